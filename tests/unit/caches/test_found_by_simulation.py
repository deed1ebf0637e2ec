"""What whole simulated clusters did wrong once, each as the shortest story that shows it."""

import pytest

from support.cache_shard import CacheShard
from synaxis.caches.bus import Reserved
from synaxis.caches.commands import (
    Add,
    AgentKind,
    Clear,
    Evict,
    Item,
    Lookup,
    Put,
    Removed,
    Stored,
    Version,
)
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.caches.records import Records
from synaxis.errors import LeaseLost
from synaxis.ids import LogTime, Sequence, SessionId

KEY = "c/k"


def put(value: bytes, fill: int = 0, **options: object) -> Put:
    return Put((Item(KEY, value, **options),), fill=fill)  # type: ignore[arg-type]


@pytest.fixture
def shard() -> CacheShard:
    return CacheShard()


def test_owners_who_want_the_same_key_do_not_take_it_from_each_other_for_ever(
    shard: CacheShard,
) -> None:
    agents = [shard.agent(number) for number in (1, 2, 3)]
    for agent in agents:
        shard.call(agent, Add(KEY, 1), agent)
    shard.run()
    assert sorted(shard.answers[agent].value for agent in agents) == [1, 2, 3]  # type: ignore[union-attr]


def test_a_read_that_came_after_the_home_had_answered_is_not_served_from_that_answer() -> None:
    shard = CacheShard(home_limits=HomeLimits(sharers_per_key_max=1))
    a, b = shard.agent(1, AgentKind.SHARER), shard.agent(2, AgentKind.SHARER)
    shard.propose(put(b"old"))
    assert shard.read(a, KEY) == b"old"
    shard.call(b, Lookup((KEY,)), "early")
    shard.step(b, home=True)  # b may read it once; that answer is on its way
    written = shard.propose(put(b"new"))
    shard.step(a, home=False)
    shard.step(a, home=True)
    assert isinstance(shard.answers[written], Stored)
    shard.call(b, Lookup((KEY,)), "late")
    shard.run()
    assert shard.answers["early"].readings[0].value == b"old"  # type: ignore[union-attr]
    assert shard.answers["late"].readings[0].value == b"new"  # type: ignore[union-attr]


def reserved(shard: CacheShard) -> int:
    """Have an agent reserve the key, and return its token."""
    agent = shard.agent(9, AgentKind.SHARER)
    agent.reserve(KEY, "reserved", renew=False)
    shard.send(agent)
    shard.run()
    answer = shard.answers["reserved"]
    assert isinstance(answer, Reserved)
    assert answer.token
    return answer.token


def test_a_value_is_not_stored_over_a_write_that_was_before_it_in_the_queue(
    shard: CacheShard,
) -> None:
    a, b = shard.agent(1), shard.agent(2, AgentKind.SHARER)
    token = reserved(shard)
    assert shard.read(b, KEY) is None  # b knows that there is nothing: writes wait for it
    shard.call(a, put(b"new"), "new")
    shard.step(a, home=True)
    filled = shard.propose(put(b"computed from what was", fill=token))
    shard.run()
    assert isinstance(shard.answers["new"], Stored)
    assert isinstance(shard.answers[filled], LeaseLost)
    assert shard.read(a, KEY) == b"new"


def test_a_value_that_was_begun_before_a_clear_is_not_stored_after_it(shard: CacheShard) -> None:
    token = reserved(shard)
    shard.propose(Clear("c"))
    with pytest.raises(LeaseLost):
        shard.propose(put(b"computed from what was", fill=token))


def test_a_clear_comes_behind_the_writes_that_owners_gave_away_before_it(
    shard: CacheShard,
) -> None:
    a = shard.agent(1)
    assert shard.read(a, KEY) is None
    shard.propose(Clear("c"))
    shard.call(a, put(b"1"), "written")
    shard.step(a, home=False)  # it is to drop its lines, and says so behind its write
    for stream, message in shard.to_home[a.id]:  # both arrive within one turn
        shard.home.demand(SessionId(0), message, (a.id, stream))
    shard.to_home[a.id].clear()
    shard.run()
    assert isinstance(shard.answers["written"], Stored)
    assert shard.read(a, KEY) is None


def test_a_clear_does_not_queue_behind_an_owner_that_waits_for_the_clear(
    shard: CacheShard,
) -> None:
    """Found by hostile users: the key, and with it the whole cache, was stuck for ever."""
    a, b = shard.agent(1), shard.agent(2)
    assert shard.read(a, KEY) is None
    shard.log_is_slow = True
    cleared = shard.propose(Clear("c"))
    shard.call(a, put(b"1"), "written")
    shard.step(a, home=True)  # its write is in the log, before the Clear
    shard.call(b, put(b"2"), "next")
    shard.step(b, home=True)  # it wants the key: that waits for the write, and then for the Clear
    for agent in (a, a, b):
        shard.step(agent, home=False)
        shard.step(agent, home=True)
    shard.run()
    assert isinstance(shard.answers[cleared], Removed)
    assert isinstance(shard.answers["written"], Stored)
    assert isinstance(shard.answers["next"], Stored)
    assert shard.read(a, KEY) == b"2"


def test_a_new_home_evicts_nothing_that_agents_of_the_old_one_may_read() -> None:
    shard = CacheShard(CacheLimits(records_max=2))
    agent = shard.agent(1, AgentKind.SHARER)
    shard.propose(Put((Item(KEY, b"1"),)))
    assert shard.read(agent, KEY) == b"1"
    shard.machine.records.store(Item("c/other", b"2"), shard.machine.next_version(), LogTime(1))
    del shard.agents[agent.id]  # it cannot be reached, and reads on under its lease
    shard.log_is_slow = True
    shard.fail_over()
    shard.home.tick(LogTime(shard.now + 1))
    assert shard.home.is_recovering
    assert not [command for command in shard.home.take_commands() if isinstance(command, Evict)]


def test_the_end_of_a_command_is_not_taken_for_that_of_its_repetition(shard: CacheShard) -> None:
    gate, origin = shard.home.gate, (SessionId(1), Sequence(1))
    command = put(b"1")
    assert not gate.holds(*origin, command, "first")  # no agents: the log has it at once
    agent = shard.agent(1, AgentKind.SHARER)
    assert shard.read(agent, KEY) is None
    assert gate.holds(*origin, command, (*origin, command, "again"))  # it waits for the agent
    gate.settled(*origin, command)
    assert shard.home.directory.lines[KEY].writing == 0
    shard.run()
    assert isinstance(shard.answers["again"], Stored)
    assert KEY not in shard.home.directory.lines


def test_a_restored_replica_lets_go_of_a_record_when_the_others_do() -> None:
    old, restored = Records(), Records()
    old.store(Item(KEY, b"1", ttl_ms=1_500), Version(1), LogTime(0))
    old.store(Item(KEY, b"2", ttl_ms=2_100), Version(2), LogTime(0))
    restored.load(old.save(), {})
    for records in (old, restored):
        records.expire(LogTime(2_500))
    assert old.save() == restored.save()
    for records in (old, restored):
        records.expire(LogTime(3_000))
    assert old.save() == restored.save() == []
