"""The home: who may read and write when, across agents, clients, leases and fail-overs."""

import pytest

from support.cache_shard import CacheShard
from synaxis.caches.bus import BusRdX, LineState
from synaxis.caches.commands import (
    Add,
    AgentKind,
    Backing,
    Clear,
    Counted,
    DescribeKey,
    Item,
    Lookup,
    Put,
    Remove,
    Removed,
    Stored,
    Written,
)
from synaxis.caches.limits import HomeLimits
from synaxis.errors import LeaseLost
from synaxis.ids import Instant, LogTime, Sequence, SessionId

KEY = "c/k"


def put(value: bytes, **options: object) -> Put:
    return Put((Item(KEY, value, **options),))  # type: ignore[arg-type]


@pytest.fixture
def shard() -> CacheShard:
    return CacheShard()


def test_what_one_agent_writes_another_reads(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    assert isinstance(shard.do(a, put(b"1")), Stored)
    assert shard.read(b, KEY) == b"1"
    assert a.lines[KEY].state is LineState.S
    assert b.lines[KEY].state is LineState.S


def test_a_lone_reader_owns_and_writes_without_asking(shard: CacheShard) -> None:
    a = shard.agent(1)
    assert shard.read(a, KEY) is None
    assert a.lines[KEY].state is LineState.E
    assert shard.home.tally.transactions == {"BusRd": 1}
    shard.do(a, put(b"1"))
    assert shard.home.tally.transactions == {"BusRd": 1, "Flush": 1}
    assert a.lines[KEY].state is LineState.E


def test_a_write_is_answered_when_every_sharer_has_dropped_the_old_value(shard: CacheShard) -> None:
    a = shard.agent(1, AgentKind.SHARER)
    shard.propose(put(b"1"))
    assert shard.read(a, KEY) == b"1"
    token = shard.propose(put(b"2"))
    assert token not in shard.answers
    shard.run()
    assert isinstance(shard.answers[token], Stored)
    assert KEY not in a.lines
    assert shard.read(a, KEY) == b"2"


def test_a_sharer_that_does_not_answer_holds_a_write_up_until_its_lease_ends(
    shard: CacheShard,
) -> None:
    a = shard.agent(1, AgentKind.SHARER)
    shard.propose(put(b"1"))
    shard.read(a, KEY)
    del shard.agents[a.id]  # it is stopped
    token = shard.propose(put(b"2"))
    shard.pass_time(shard.limits.lease_ms)
    assert token not in shard.answers
    assert not a.is_usable(shard.now)  # type: ignore[arg-type]
    shard.pass_time(shard.limits.patience_ms - shard.limits.lease_ms + 2)
    assert isinstance(shard.answers[token], Stored)


def test_a_new_home_waits_for_agents_of_the_old_one(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    shard.do(a, put(b"1"))
    shard.read(b, KEY)
    shard.fail_over()
    token = shard.propose(put(b"2"))
    shard.attach(a)
    shard.run()
    assert token not in shard.answers
    shard.attach(b)
    shard.run()
    assert isinstance(shard.answers[token], Stored)
    assert shard.read(b, KEY) == b"2"


def test_a_new_home_does_not_wait_for_ever(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    shard.fail_over()
    del shard.agents[a.id]
    token = shard.propose(put(b"2"))
    shard.pass_time(shard.limits.patience_ms + 2)
    assert isinstance(shard.answers[token], Stored)


def test_the_first_home_of_a_new_era_waits_for_agents_that_nobody_remembers(
    shard: CacheShard,
) -> None:
    """The former home may be cut off, and its clients with it: they read what they hold."""
    a = shard.agent(1, AgentKind.SHARER)
    shard.propose(put(b"1"))
    shard.read(a, KEY)
    del shard.agents[a.id]
    shard.fail_over()
    shard.machine.begin_era(1)
    shard.home.begin(LogTime(shard.now))
    assert shard.ask(Lookup((KEY,))).readings == (None,)
    token = shard.propose(put(b"2"))
    shard.pass_time(shard.limits.lease_ms)
    assert token not in shard.answers
    assert not a.is_usable(Instant(shard.now))
    shard.pass_time(shard.limits.patience_ms - shard.limits.lease_ms + 2)
    assert isinstance(shard.answers[token], Stored)


def test_policy_back_answers_before_the_home_knows(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    shard.do(a, put(b"2"), back=True)
    assert shard.machine.records.by_key == {}
    assert shard.ask(Lookup((KEY,))).readings[0].value == b"2"
    assert shard.read(b, KEY) == b"2"
    assert a.unflushed == 0
    shard.do(a, Add("c/n", 2), back=True)
    assert shard.do(b, Add("c/n", 3), back=True).value == 5


def test_policy_back_flushes_by_itself(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"), back=True)
    shard.pass_time(1_100)
    assert shard.machine.records.by_key[KEY].value == b"1"
    assert a.lines[KEY].state is LineState.E


def test_unflushed_writes_survive_a_fail_over(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    shard.fail_over()
    shard.attach(b)
    shard.attach(a)
    assert shard.read(b, KEY) == b"1"
    assert shard.home.tally.dirty_lost == 0


def test_an_owner_that_dies_takes_its_unflushed_writes_along_and_that_is_counted(
    shard: CacheShard,
) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    del shard.agents[a.id]
    token = object()
    shard.call(b, Lookup((KEY,)), token)
    shard.pass_time(shard.limits.patience_ms + 2)
    assert shard.answers[token].readings == (None,)  # type: ignore[union-attr]
    assert shard.home.tally.dirty_lost == 1


def test_an_owner_cannot_write_through_while_the_store_is_away(shard: CacheShard) -> None:
    """It was queued, and the caller waited for the store until its patience ended."""
    a = shard.agent(1)
    through = Put((Item(KEY, b"1"),), Backing.THROUGH)
    shard.home.backing_available(False)
    refused = shard.do(a, through)
    assert refused.code == "backing_unavailable"
    assert shard.machine.records.by_key == {}
    shard.home.backing_available(True)
    token = object()
    shard.call(a, through, token)
    shard.run()
    assert token not in shard.answers
    ((key, version, _),) = shard.machine.pending_writes(9)
    shard.log.append((SessionId(0), Sequence(0), Written(((key, version),)), None))
    shard.run()
    assert shard.answers[token] == Stored((version,))


def test_what_was_answered_before_is_taken_though_the_store_is_away(shard: CacheShard) -> None:
    """Policy back: the flush was refused, and sent again, for ever, and nobody got the key."""
    a, b = shard.agent(1), shard.agent(2)
    assert shard.read(a, KEY) is None  # it owns the key, for all that the home was told
    shard.home.backing_available(False)
    shard.do(a, Put((Item(KEY, b"1"),), Backing.THROUGH), back=True)
    assert isinstance(shard.do(b, put(b"2")), Stored)
    assert shard.read(a, KEY) == b"2"


@pytest.mark.parametrize("kind", list(AgentKind))
def test_that_there_is_nothing_is_asked_again_for_who_wants_the_store_asked(
    shard: CacheShard, kind: AgentKind
) -> None:
    """A line that said "absent" answered a read that was to load."""
    a = shard.agent(1, kind)
    assert shard.read(a, KEY) is None
    token = object()
    shard.call(a, Lookup((KEY,), load=True), token)
    shard.run()
    assert shard.home.take_loads() == [KEY]
    shard.home.loaded([], [KEY])
    shard.run()
    assert shard.answers[token].readings == (None,)  # type: ignore[union-attr]
    shard.do(a, Lookup((KEY,), load=True))
    assert shard.home.take_loads() == [], "it is known now"


def test_conditions_hold_wherever_the_write_is_done(shard: CacheShard) -> None:
    a = shard.agent(1)
    stored = shard.do(a, put(b"1", if_version=0))
    (version,) = stored.versions
    assert shard.do(a, put(b"2", if_version=version + 7)).conflicts == ((0, version),)
    assert shard.do(a, put(b"2", if_version=version)).versions[0] > version
    assert shard.do(a, Remove((KEY,))) == Removed(1)
    assert shard.do(a, Remove((KEY,))) == Removed(0)
    assert shard.do(a, Add("c/n", 5)) == Counted(5, shard.machine.records.by_key["c/n"].version)


def test_clearing_a_tag_takes_it_from_everybody(shard: CacheShard) -> None:
    a = shard.agent(1, AgentKind.SHARER)
    shard.propose(put(b"1", tags=("t",)))
    shard.propose(Put((Item("c/other", b"2"),)))
    shard.read(a, KEY)
    shard.read(a, "c/other")
    token = shard.propose(Clear("c", "t"))
    shard.run()
    assert isinstance(shard.answers[token], Removed)
    assert KEY not in a.lines
    assert "c/other" in a.lines
    assert shard.read(a, KEY) is None
    assert shard.read(a, "c/other") == b"2"


def test_one_agent_computes_a_missing_value(shard: CacheShard) -> None:
    a, b = shard.agent(1, AgentKind.SHARER), shard.agent(2, AgentKind.SHARER)
    a.reserve(KEY, "a", renew=False)
    b.reserve(KEY, "b", renew=False)
    shard.send(a)
    shard.send(b)
    shard.run()
    token = shard.answers["a"].token  # type: ignore[union-attr]
    assert token > 0
    assert "b" not in shard.answers
    shard.propose(Put((Item(KEY, b"1"),), fill=token))
    shard.run()
    assert shard.answers["b"].token == 0  # type: ignore[union-attr]
    with pytest.raises(LeaseLost):
        shard.propose(Put((Item(KEY, b"2"),), fill=token))


def test_an_owner_of_nothing_does_not_keep_others_from_computing_the_value(
    shard: CacheShard,
) -> None:
    """It was told "read again" for ever: the owner of the absent key was never asked."""
    owner, a = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    assert shard.read(owner, KEY) is None
    assert owner.lines[KEY].state is LineState.E
    a.reserve(KEY, "a", renew=False)
    shard.send(a)
    shard.run()
    assert shard.answers["a"].token > 0  # type: ignore[union-attr]


def test_what_only_its_owner_knows_need_not_be_computed(shard: CacheShard) -> None:
    owner, a = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    shard.do(owner, put(b"1"), back=True)
    a.reserve(KEY, "a", renew=False)
    shard.send(a)
    shard.run()
    assert shard.answers["a"].reading.value == b"1"  # type: ignore[union-attr]


def test_wishes_put_off_beyond_the_limit_do_not_stop_the_home() -> None:
    """The error came out of the end of the recovery, where nobody could be told."""
    shard = CacheShard(home_limits=HomeLimits(waiting_per_key_max=1))
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    shard.fail_over()
    shard.attach(b)
    shard.run()
    for number in range(4):
        shard.home.demand(SessionId(0), BusRdX(100 + number, KEY), (b.id, b.stream))
    shard.pass_time(shard.limits.patience_ms + 10)
    shard.attach(b)
    assert shard.read(b, KEY) == b"1"


def test_a_reservation_is_void_once_somebody_writes(shard: CacheShard) -> None:
    a = shard.agent(1, AgentKind.SHARER)
    a.reserve(KEY, "a", renew=False)
    shard.send(a)
    shard.run()
    shard.propose(Remove((KEY,)))
    with pytest.raises(LeaseLost):
        shard.propose(Put((Item(KEY, b"1"),), fill=shard.answers["a"].token))  # type: ignore[union-attr]


def test_people_can_look_at_a_line(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    assert shard.ask(DescribeKey(KEY)).state == "E"
    assert shard.ask(DescribeKey(KEY)).owner == "agent 1"
    shard.read(b, KEY)
    info = shard.ask(DescribeKey(KEY))
    assert (info.state, info.owner, info.sharers) == ("S", None, ("agent 1", "agent 2"))
