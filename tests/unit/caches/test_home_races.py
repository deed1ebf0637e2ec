"""What crosses what between agents, home and log; each test is named for a fault that was there."""

import pytest

from support.cache_shard import CacheShard
from synaxis.caches.agent import Agent
from synaxis.caches.bus import Inv, LineState
from synaxis.caches.commands import (
    INTEGER,
    Add,
    AgentKind,
    Backing,
    Clear,
    Counted,
    Item,
    Lookup,
    Put,
    Stored,
    WriteBack,
)
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.effects import Refused
from synaxis.ids import Instant

KEY = "c/k"


def put(value: bytes, **options: object) -> Put:
    return Put((Item(KEY, value, **options),))  # type: ignore[arg-type]


@pytest.fixture
def shard() -> CacheShard:
    return CacheShard()


def stored(shard: CacheShard, key: str = KEY) -> bytes | None:
    record = shard.machine.records.live(key, shard.now)  # type: ignore[arg-type]
    return None if record is None else record.value


def owned(shard: CacheShard, agent: Agent) -> None:
    """Have the agent own the key, and its next message stay on the wire."""
    assert shard.do(agent, Lookup((KEY,)))
    assert agent.lines[KEY].state is LineState.E


# --- writes whose stream breaks --------------------------------------------------------------


def test_an_addition_whose_stream_broke_is_worked_out_anew(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    owned(shard, a)
    shard.call(a, Add(KEY, 1), "a")  # its flush is lost with the stream
    shard.attach(a)
    assert shard.do(b, Add(KEY, 10)) is not None
    shard.run()
    assert shard.answers["a"].value == 11  # type: ignore[union-attr]
    assert stored(shard) == b"11"


def test_an_addition_that_was_stored_before_its_stream_broke_is_not_done_again(
    shard: CacheShard,
) -> None:
    a, b = shard.agent(1), shard.agent(2)
    owned(shard, a)
    shard.call(a, Add(KEY, 1), "a")
    shard.step(a, home=True)
    shard.to_agent[a.id].clear()  # the answer is lost with the stream
    shard.attach(a)
    assert shard.do(b, Add(KEY, 10)).value == 11
    assert isinstance(shard.answers["a"], Counted)
    assert shard.answers["a"].value == 1
    assert shard.read(a, KEY) == b"11"


def test_an_owner_that_attaches_anew_hands_its_writes_over_before_others_are_served(
    shard: CacheShard,
) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    shard.call(b, Lookup((KEY,)), "b")
    shard.step(b, home=True)  # it waits for the owner
    shard.attach(a)
    shard.run()
    assert shard.answers["b"].readings[0].value == b"1"  # type: ignore[union-attr]
    assert shard.home.tally.dirty_lost == 0


def test_what_is_told_before_the_attachment_asks_for_nothing_too_early(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"), back=True)
    a.flush_all()
    shard.send(a)
    shard.step(a, home=True)
    shard.to_agent[a.id].clear()
    a.detached()
    shard.call(a, Lookup((KEY,)), "a")
    shard.attach(a)
    shard.run()
    assert shard.answers["a"].readings[0].value == b"1"  # type: ignore[union-attr]


def test_an_agent_that_attaches_twice_is_served_when_the_log_knows_the_second_time() -> None:
    shard = CacheShard()
    shard.log_is_slow = True
    a = shard.agent(1)
    shard.attach(a)
    shard.step(a, home=True)
    shard.attach(a)
    shard.step(a, home=True)
    shard.apply_one()
    shard._after_home()
    assert not shard.to_agent[a.id]
    shard.run()
    assert a.is_usable(Instant(shard.now))


# --- recovery --------------------------------------------------------------------------------


def test_nobody_owns_while_sharers_of_an_old_home_may_read(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    shard.propose(put(b"1"))
    shard.read(b, KEY)
    shard.fail_over()
    shard.attach(a)
    assert shard.read(a, KEY) == b"1"
    assert a.lines[KEY].state is LineState.S
    shard.call(a, put(b"2"), "a")
    shard.run()
    assert "a" not in shard.answers
    shard.attach(b)
    shard.run()
    assert isinstance(shard.answers["a"], Stored)


def test_writes_of_an_old_stream_wait_for_the_end_of_the_recovery_and_reads_for_them(
    shard: CacheShard,
) -> None:
    a, b = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    shard.do(a, put(b"1"), back=True)
    shard.fail_over()
    shard.attach(a)
    shard.run()
    assert stored(shard) is None
    shard.call(a, Lookup((KEY,)), "a")
    shard.run()
    assert "a" not in shard.answers
    shard.attach(b)
    shard.run()
    assert shard.answers["a"].readings[0].value == b"1"  # type: ignore[union-attr]


def test_a_write_over_a_cleared_record_survives_a_fail_over(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.propose(put(b"old"))
    shard.propose(Clear("c"))
    shard.run()
    shard.do(a, put(b"1"), back=True)
    shard.fail_over()
    shard.attach(a)
    shard.run()
    assert stored(shard) == b"1"


# --- questions and the log -------------------------------------------------------------------


def test_a_question_waits_for_a_write_on_its_way_that_its_owner_answered(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.log_is_slow = True
    shard.do(a, put(b"1"), back=True)
    shard.call(b, put(b"2"), "b")
    shard.step(b, home=True)
    shard.step(a, home=False)
    shard.step(a, home=True)  # the owner has given its write away; it is in the log
    assert len(shard.log) == 1
    assert shard.ask(Lookup((KEY,))).readings[0].value in (b"1", b"2")


def test_a_write_without_room_is_refused_and_not_remembered_as_stored() -> None:
    shard = CacheShard(CacheLimits(bytes_max=50))
    a = shard.agent(1)
    assert isinstance(shard.do(a, put(b"x" * 60)), Refused)
    assert stored(shard) is None
    assert not shard.machine.agents[a.id].answers
    assert isinstance(shard.do(a, put(b"1")), Stored)


def test_a_write_of_policy_back_without_room_stays_with_its_owner() -> None:
    shard = CacheShard(CacheLimits(bytes_max=50))
    a = shard.agent(1)
    shard.do(a, put(b"x" * 60), back=True)
    a.flush_all()
    shard.send(a)
    shard.run()
    assert a.unflushed == 1
    assert shard.read(a, KEY) == b"x" * 60


def test_a_settled_write_is_not_done_again(shard: CacheShard) -> None:
    a = shard.agent(1)
    for write_id, floor in ((1, 1), (2, 2), (1, 1)):
        item = Item(KEY, b"%d" % write_id)
        shard.machine.apply(0, 0, WriteBack(a.id, write_id, floor, item), shard.now)  # type: ignore[arg-type]
    assert stored(shard) == b"2"


# --- Clear -----------------------------------------------------------------------------------


def clearing(shard: CacheShard, tag: str = "") -> None:
    """Begin a Clear that waits for an agent which says nothing."""
    shard.propose(Clear("c", tag), "clear")


@pytest.fixture
def quiet(shard: CacheShard) -> Agent:
    """An agent that says nothing more."""
    return shard.agents.pop(shard.agent(9, AgentKind.SHARER).id)


@pytest.mark.usefixtures("quiet")
def test_an_owner_keeps_nothing_of_what_is_being_cleared(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    clearing(shard)
    assert shard.read(a, KEY) == b"1"
    assert KEY not in a.lines
    shard.pass_time(shard.limits.patience_ms + 2)
    assert shard.read(a, KEY) is None


@pytest.mark.usefixtures("quiet")
def test_owning_waits_until_a_clear_is_applied(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    shard.do(a, put(b"1"))
    shard.read(b, KEY)
    shard.call(a, put(b"2"), "a")
    shard.step(a, home=True)  # waits for the sharer
    clearing(shard)
    shard.run()
    assert "a" not in shard.answers
    shard.pass_time(shard.limits.patience_ms + 2)
    assert isinstance(shard.answers["a"], Stored)
    assert shard.read(a, KEY) == stored(shard) == b"2"


def test_a_write_that_is_cleared_on_its_way_is_not_kept(shard: CacheShard) -> None:
    a = shard.agent(1)
    owned(shard, a)
    shard.call(a, put(b"1", tags=("t",)), "a")
    token = shard.propose(Clear("c", "t"))
    shard.run()
    assert token in shard.answers
    assert isinstance(shard.answers["a"], Stored)
    assert shard.read(a, KEY) is None


@pytest.mark.usefixtures("quiet")
def test_a_write_after_the_owner_answered_a_clear_survives_it(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"0", tags=("other",)))
    clearing(shard, "t")
    shard.run()
    shard.call(a, put(b"1", tags=("t",)), "a")
    shard.run()
    shard.pass_time(shard.limits.patience_ms + 2)
    assert isinstance(shard.answers["a"], Stored)
    assert shard.read(a, KEY) == stored(shard) == b"1"


def test_clearing_an_unflushed_write_does_not_bring_back_what_it_replaced(
    shard: CacheShard,
) -> None:
    a = shard.agent(1)
    shard.propose(put(b"old", tags=("blue",)))
    shard.do(a, put(b"new", tags=("red",)), back=True)
    shard.propose(Clear("c", "red"))
    shard.run()
    assert shard.read(a, KEY) is None


# --- times -----------------------------------------------------------------------------------


def test_a_soft_end_comes_without_a_ttl(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1", soft_ms=100))
    assert shard.do(a, Lookup((KEY,))).readings[0].soft_ms == 100
    shard.pass_time(150)
    assert shard.do(a, Lookup((KEY,))).readings[0].soft_ms == -50


def test_adding_to_what_should_be_renewed_is_no_broken_command(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, Put((Item(KEY, b"1", INTEGER, soft_ms=100),)))
    shard.pass_time(150)
    assert shard.do(a, Add(KEY, 1)).value == 2


def test_an_owner_counts_the_time_of_its_write_from_when_it_sent_it(shard: CacheShard) -> None:
    a = shard.agent(1)
    owned(shard, a)
    shard.call(a, put(b"1", ttl_ms=1_000), "a")
    shard.step(a, home=True)
    shard.now += 500
    shard.step(a, home=False)
    line = a.lines[KEY]
    record = shard.machine.records.by_key[KEY]
    assert line.expires_at is not None
    assert line.expires_at <= record.expires_at


def test_the_time_of_an_unflushed_write_begins_at_home(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1", ttl_ms=500), back=True)
    shard.now += 600
    assert shard.read(a, KEY) == b"1"
    assert shard.machine.records.by_key[KEY].expires_at == shard.now + 500


def test_records_with_an_idle_time_are_not_held_and_keep_it(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, Put((Item(KEY, b"1", INTEGER, idle_ms=5_000),)))
    assert KEY not in a.lines
    assert shard.do(a, Add(KEY, 1)).value == 2
    assert shard.machine.records.by_key[KEY].idle_ms == 5_000
    token = shard.propose(Add(KEY, 1))
    shard.run()
    assert shard.answers[token].value == 3  # type: ignore[union-attr]
    assert shard.machine.records.by_key[KEY].idle_ms == 5_000
    assert not a.lines


# --- probes ----------------------------------------------------------------------------------


def test_a_probe_older_than_the_grant_takes_nothing(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    shard.do(b, put(b"2"))
    shard.do(a, put(b"3"), back=True)
    old = Inv(KEY, a.lines[KEY].grant - 1)
    a.receive(a.stream, old, Instant(shard.now))  # type: ignore[arg-type]
    assert a.lines[KEY].state is LineState.M
    assert a.unflushed == 1


def test_records_evicted_for_want_of_room_are_taken_from_their_holders_first() -> None:
    shard = CacheShard(CacheLimits(records_max=4), HomeLimits())
    a = shard.agent(1, AgentKind.SHARER)
    shard.propose(Put((Item("c/0", b"0"),)))
    shard.read(a, "c/0")
    for number in range(1, 9):
        shard.propose(Put((Item(f"c/{number}", b"x"),), Backing.NONE))
        shard.run()
    assert shard.machine.evictions >= 5
    assert ("c/0" in a.lines) == ("c/0" in shard.machine.records.by_key)


def test_a_write_whose_predecessor_was_cleared_survives_a_fail_over(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.propose(put(b"old", tags=("red",)))
    shard.do(a, put(b"new"), back=True)
    shard.propose(Clear("c", "red"))
    shard.run()
    shard.fail_over()
    shard.attach(a)
    shard.run()
    assert stored(shard) == b"new"
