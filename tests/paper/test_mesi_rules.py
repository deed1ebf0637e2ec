"""One test per sentence of the rules in ``caches/DESIGN.md``; crossings are in the search."""

from typing import Any

import pytest

from support.cache_shard import CacheShard
from synaxis.caches.agent import Agent
from synaxis.caches.bus import (
    BusRd,
    Down,
    Flush,
    Flushed,
    Grant,
    Inv,
    LineState,
    ProbeAck,
    Renewed,
)
from synaxis.caches.commands import AgentKind, Item, Lookup, Put, Stored
from synaxis.ids import Instant, LogTime, SessionId

KEY = "c/k"
M, E, S = LineState.M, LineState.E, LineState.S


def put(value: bytes) -> Put:
    return Put((Item(KEY, value),))


@pytest.fixture
def shard() -> CacheShard:
    return CacheShard()


def on_the_wire(shard: CacheShard, agent: Agent, kind: type) -> Any:
    """Return the one message of a kind that waits for the agent."""
    (message,) = [each for _, each in shard.to_agent[agent.id] if isinstance(each, kind)]
    return message


def hear(shard: CacheShard, agent: Agent, message: Any) -> None:
    assert agent.stream is not None
    agent.receive(agent.stream, message, Instant(shard.now))
    shard.send(agent)


def test_rule_1_one_transaction_of_a_key_at_a_time(shard: CacheShard) -> None:
    a, b, c = shard.agent(1), shard.agent(2), shard.agent(3)
    shard.do(a, put(b"1"))
    shard.call(b, put(b"2"), "b")
    shard.call(c, put(b"3"), "c")
    shard.step(b, home=True)
    shard.step(c, home=True)
    line = shard.home.directory.lines[KEY]
    assert line.current is not None
    assert (line.current.agent, len(line.queue)) == (b.id, 1)
    assert [type(each) for _, each in shard.to_agent[a.id]] == [Inv]
    shard.run()
    assert shard.machine.records.by_key[KEY].value == b"3"


def test_rule_1_what_comes_on_an_old_stream_is_ignored(shard: CacheShard) -> None:
    a = shard.agent(1)
    old = a.stream
    shard.attach(a)
    shard.run()
    shard.home.demand(SessionId(0), BusRd(99, KEY), (a.id, old))
    assert KEY not in shard.home.directory.lines
    a.receive(old, Renewed(1), Instant(shard.now))  # type: ignore[arg-type]
    assert a.is_usable(Instant(shard.now))


def test_rule_2_an_owner_goes_down_before_another_reads(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    shard.call(b, Lookup((KEY,)), "b")
    shard.step(b, home=True)
    assert isinstance(on_the_wire(shard, a, Down), Down)
    assert not shard.to_agent[b.id]
    shard.run()
    assert (a.lines[KEY].state, b.lines[KEY].state) == (S, S)


def test_rule_2_all_have_answered_before_one_owns(shard: CacheShard) -> None:
    a, b, c = shard.agent(1), shard.agent(2), shard.agent(3)
    shard.propose(put(b"1"))
    for agent in (a, b, c):
        shard.read(agent, KEY)
    shard.call(a, put(b"2"), "a")
    shard.step(a, home=True)
    shard.step(b, home=False)
    shard.step(b, home=True)
    assert not shard.to_agent[a.id], "c has not answered"
    shard.step(c, home=False)
    shard.step(c, home=True)
    assert on_the_wire(shard, a, Grant).state is E


def test_rule_2_an_upgrade_is_granted_with_the_record(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.propose(put(b"1"))
    shard.read(a, KEY)
    shard.read(b, KEY)
    shard.call(a, put(b"2"), "a")
    shard.step(a, home=True)
    shard.step(b, home=False)
    shard.step(b, home=True)
    assert on_the_wire(shard, a, Grant).reading.value == b"1"


def test_rule_3_a_grant_that_a_probe_overtook_serves_once_and_is_not_kept(
    shard: CacheShard,
) -> None:
    a = shard.agent(1)
    shard.propose(put(b"1"))
    shard.call(a, Lookup((KEY,)), "a")
    shard.step(a, home=True)
    grant = on_the_wire(shard, a, Grant)
    hear(shard, a, Inv(KEY, grant.seq + 1))
    hear(shard, a, grant)
    assert shard.answers["a"].readings[0].value == b"1"  # type: ignore[union-attr]
    assert KEY not in a.lines


def test_rule_3_a_grant_answers_its_own_request_only(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.call(a, Lookup((KEY,)), "a")
    hear(shard, a, Grant(7, KEY, 100, E, None))
    assert KEY not in a.lines
    assert "a" not in shard.answers


def test_rule_4_a_write_is_answered_and_readable_when_it_is_replicated(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    shard.log_is_slow = True
    shard.call(a, put(b"2"), "write")
    shard.call(a, Lookup((KEY,)), "read")
    shard.step(a, home=True)
    assert a.lines[KEY].state is M
    assert not {"write", "read"} & set(shard.answers)
    shard.run()
    assert isinstance(shard.answers["write"], Stored)
    assert shard.answers["read"].readings[0].value == b"2"  # type: ignore[union-attr]
    assert a.lines[KEY].state is E


def test_rule_4_a_write_under_an_old_grant_is_refused(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    shard.call(a, put(b"late"), "a")
    _, late = shard.to_home[a.id].popleft()
    assert isinstance(late, Flush)
    shard.do(b, put(b"2"))
    assert a.stream is not None
    shard.home.demand(SessionId(0), late, (a.id, a.stream))
    ((_, refused),) = shard.home.take_replies()
    assert refused == Flushed(KEY, late.dirty.write_id, 0)  # type: ignore[arg-type]
    assert shard.machine.records.by_key[KEY].value == b"2"


def test_rule_5_a_write_that_is_sent_twice_is_done_once(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    shard.call(a, put(b"2"), "a")
    shard.to_home[a.id].append(shard.to_home[a.id][0])
    shard.run()
    version = shard.machine.records.by_key[KEY].version
    assert shard.answers["a"] == Stored((version,))
    assert shard.machine.next_version() == version + 1


def test_rule_5_an_owner_that_asks_again_gets_its_grant_again(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    grant = a.lines[KEY].grant
    a.drop(KEY)
    assert shard.read(a, KEY) == b"1"
    assert (a.lines[KEY].state, a.lines[KEY].grant) == (E, grant)


def test_rule_5_a_probe_that_comes_twice_gets_the_same_answer(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    shard.call(b, Lookup((KEY,)), "b")
    shard.step(b, home=True)
    probe = on_the_wire(shard, a, Down)
    hear(shard, a, probe)
    hear(shard, a, probe)
    (_, one), (_, other) = shard.to_home[a.id]
    assert isinstance(one, ProbeAck)
    assert one == other
    assert one.dirty is not None


def test_rule_6_clean_lines_go_silently_and_dirty_ones_home_first(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    a.drop(KEY)
    shard.send(a)
    assert not shard.to_home[a.id]
    shard.do(a, put(b"2"), back=True)
    a.drop(KEY)
    shard.send(a)
    assert [type(each) for _, each in shard.to_home[a.id]] == [Flush]
    shard.run()
    assert shard.machine.records.by_key[KEY].value == b"2"
    assert KEY not in a.lines
    assert not a.busy


def test_rule_7_an_agent_stops_before_its_home_lets_it_go(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.do(a, put(b"1"))
    lease, patience = shard.limits.lease_ms, shard.limits.patience_ms
    assert not a.is_usable(Instant(shard.now + lease))
    shard.home.tick(LogTime(shard.now + patience))
    assert shard.home.directory.lines[KEY].owner == a.id
    shard.home.tick(LogTime(shard.now + patience + 1))
    assert KEY not in shard.home.directory.lines


def test_rule_7_who_does_not_answer_a_probe_gets_no_more_time(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    shard.call(b, put(b"2"), "b")
    shard.step(b, home=True)
    for _ in range(12):
        shard.to_agent[a.id] = type(shard.to_agent[a.id])(
            each for each in shard.to_agent[a.id] if not isinstance(each[1], Inv)
        )
        shard.pass_time(1_000)
    assert isinstance(shard.answers["b"], Stored)


def test_rule_8_a_new_home_waits_for_those_that_the_log_knows(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"))
    shard.fail_over()
    shard.attach(b)
    shard.call(b, Lookup((KEY,)), "b")
    shard.run()
    assert "b" not in shard.answers
    del shard.agents[a.id]
    shard.pass_time(shard.limits.patience_ms + 2)
    assert shard.answers["b"].readings[0].value == b"1"  # type: ignore[union-attr]


def test_rule_8_a_lease_is_prolonged_only_by_a_confirmed_leader(shard: CacheShard) -> None:
    a = shard.agent(1)
    shard.now += 1_000
    a.tick(Instant(shard.now))
    (renew,) = a.take_messages()
    shard.home.demand(SessionId(0), renew, (a.id, a.stream))
    assert shard.home.wants_confirmation()
    assert not shard.home.take_replies()
    shard.home.asked()
    shard.home.confirmed(LogTime(shard.now))
    ((_, renewed),) = shard.home.take_replies()
    assert isinstance(renewed, Renewed)


def test_rule_9_clients_share_only(shard: CacheShard) -> None:
    a = shard.agent(1, AgentKind.SHARER)
    shard.propose(put(b"1"))
    assert shard.read(a, KEY) == b"1"
    assert a.lines[KEY].state is S
    a.detached()
    assert not a.lines


def test_rule_10_policy_back_loses_what_a_dead_owner_had_and_counts_it(shard: CacheShard) -> None:
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"flushed"), back=True)
    shard.pass_time(1_100)
    shard.do(a, put(b"lost"), back=True)
    del shard.agents[a.id]
    shard.call(b, Lookup((KEY,)), "b")
    shard.pass_time(shard.limits.patience_ms + 2)
    assert shard.answers["b"].readings[0].value == b"flushed"  # type: ignore[union-attr]
    assert shard.home.tally.dirty_lost == 1


# --- what the cache that came before this one did wrong --------------------------------------


def test_c1_what_another_node_has_modified_can_be_read(shard: CacheShard) -> None:
    """It asked its own dictionary before anybody else, and returned nothing."""
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    assert a.lines[KEY].state is M
    assert shard.read(b, KEY) == b"1"


def test_c2_a_node_does_not_read_what_it_wrote_before_others_did(shard: CacheShard) -> None:
    """Its own older write won over a newer one of a peer: both shared, with different values."""
    a, b = shard.agent(1), shard.agent(2)
    shard.do(a, put(b"1"), back=True)
    shard.do(b, put(b"2"), back=True)
    assert shard.read(a, KEY) == b"2"
    values = {each.lines[KEY].reading.value for each in (a, b)}  # type: ignore[union-attr]
    assert values == {b"2"}


def test_c3_two_that_write_at_once_are_never_both_modified(shard: CacheShard) -> None:
    """Both invalidated the other and went to M: the lock was each node's own."""
    a, b = shard.agent(1), shard.agent(2)
    shard.propose(put(b"0"))
    shard.read(a, KEY)
    shard.read(b, KEY)
    shard.call(a, put(b"1"), "a", back=True)
    shard.call(b, put(b"2"), "b", back=True)
    moved = True
    while moved:
        moved = any(shard.step(each, home=home) for each in (a, b) for home in (True, False))
        states = [each.lines[KEY].state for each in (a, b) if KEY in each.lines]
        assert sum(state >= E for state in states) <= 1
    assert {type(shard.answers["a"]), type(shard.answers["b"])} == {Stored}
    assert shard.read(a, KEY) == shard.read(b, KEY)


def test_c4_who_cannot_be_reached_cannot_go_on_serving_what_was_overwritten(
    shard: CacheShard,
) -> None:
    """A write went past a peer that did not answer, and the peer served the old value for ever."""
    a, b = shard.agent(1), shard.agent(2)
    shard.propose(put(b"old"))
    shard.read(b, KEY)
    del shard.agents[b.id]
    shard.call(a, put(b"new"), "a")
    shard.pass_time(shard.limits.lease_ms - 1)
    assert "a" not in shard.answers
    shard.pass_time(shard.limits.patience_ms)
    assert isinstance(shard.answers["a"], Stored)
    assert not b.is_usable(Instant(shard.now))


def test_c5_flushes_carry_data_versions_grow_and_void_lines_take_no_room(shard: CacheShard) -> None:
    """None of that was so; nor was there a ttl, a removal or a condition (see ``test_home``)."""
    a, b = shard.agent(1), shard.agent(2)
    versions = [
        shard.do(agent, put(b"%d" % number)).versions[0]
        for number, agent in enumerate([a, b, a, b])
    ]
    assert versions == sorted(set(versions))
    assert shard.machine.records.by_key[KEY].value == b"3"
    assert KEY not in a.lines
    assert a.lines.currsize == 0
