"""An agent: streams, leases, what it holds and what waits."""

import pytest

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import (
    Attach,
    Attached,
    BusRd,
    Detach,
    Detached,
    Grant,
    HomeMessage,
    Inv,
    InvTag,
    LineState,
    ProbeAck,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.caches.commands import AgentId, AgentKind, Item, Lookup, Put, Reading, Version
from synaxis.caches.lru import LINE_OVERHEAD_BYTES
from synaxis.ids import Instant

NOW = Instant(1_000)
LEASE = 500
STREAM = 4


def reading(value: bytes = b"1", tags: tuple[str, ...] = ()) -> Reading:
    return Reading(value, 0, Version(1), tags=tags)


class Agents(Agent):
    """An agent that is told things at a time of its own."""

    def __init__(self, **config: int) -> None:
        super().__init__(AgentId(1), AgentKind.OWNER, "n", AgentConfig(**config))
        self.now = NOW
        self.attached_to(STREAM, NOW)

    def hear(self, *messages: HomeMessage) -> None:
        for message in messages:
            self.receive(STREAM, message, self.now)

    def hold(self, key: str, state: LineState = LineState.E, **options: object) -> None:
        self.call(Lookup((key,)), key, self.now)
        (asked,) = self.take_messages()
        assert isinstance(asked, BusRd)
        found = reading(**options)  # type: ignore[arg-type]
        self.hear(Grant(asked.request, key, 10 + asked.request, state, found))
        self.take_answers()


@pytest.fixture
def agent() -> Agents:
    agent = Agents()
    agent.take_messages()
    agent.hear(Attached(LEASE))
    return agent


def test_it_attaches_with_what_it_still_has_to_say(agent: Agents) -> None:
    agent.hold("c/a")
    agent.call(Put((Item("c/a", b"2"),)), 0, NOW, back=True)
    agent.attached_to(STREAM + 1, NOW)
    (attach,) = agent.take_messages()
    assert isinstance(attach, Attach)
    assert [each.item.value for each in attach.dirty] == [b"2"]
    assert not agent.lines
    assert agent.unflushed == 1


def test_nothing_is_usable_before_attached_and_after_the_lease(agent: Agents) -> None:
    assert not Agents().is_usable(NOW)
    assert agent.is_usable(Instant(NOW + LEASE - 1))
    assert not agent.is_usable(Instant(NOW + LEASE))


def test_the_lease_runs_from_when_it_was_asked_for(agent: Agents) -> None:
    assert agent.deadline() == NOW + LEASE // 5
    agent.tick(Instant(NOW + 100))
    assert agent.take_messages() == [Renew(1)]
    agent.now = Instant(NOW + 300)
    agent.hear(Renewed(1))
    assert agent.lease_until == NOW + 100 + LEASE
    agent.hear(Renewed(1), Renewed(0), Attached(LEASE))
    assert agent.lease_until == NOW + 100 + LEASE


def test_a_lease_that_ends_drops_all_lines_and_is_counted(agent: Agents) -> None:
    agent.hold("c/a")
    agent.tick(Instant(NOW + LEASE))
    assert agent.stream is None
    assert not agent.lines
    assert agent.tally.lease_expiries == 1
    assert agent.deadline() is None


def test_a_grant_that_comes_after_the_lease_is_not_believed(agent: Agents) -> None:
    agent.call(Lookup(("c/a",)), "a", NOW)
    agent.take_messages()
    agent.now = Instant(NOW + LEASE)
    agent.hear(Grant(1, "c/a", 10, LineState.E, reading()))
    assert not agent.take_answers()
    agent._sent_at[1] = Instant(NOW + 400)
    agent.hear(Renewed(1))
    (asked,) = agent.take_messages()
    assert asked == BusRd(2, "c/a")


def test_what_is_called_while_it_is_not_attached_waits() -> None:
    agent = Agents()
    agent.call(Lookup(("c/a",)), "a", NOW)
    assert len(agent.take_messages()) == 1, "Attach alone"
    agent.hear(Attached(LEASE))
    assert agent.take_messages() == [BusRd(1, "c/a")]


def test_a_cancelled_operation_is_not_answered_but_a_begun_write_is_done(agent: Agents) -> None:
    agent.hold("c/a")
    agent.call(Put((Item("c/a", b"2"),)), "write", NOW)
    agent.call(Lookup(("c/a",)), "read", NOW)
    agent.cancel("c/a", "read")
    agent.cancel("c/a", "write")
    agent.cancel("c/none", "write")
    assert [each.token for each in agent.busy["c/a"].operations] == ["write"]


def test_the_home_ends_a_stream(agent: Agents) -> None:
    agent.hold("c/a")
    agent.receive(STREAM - 1, Detached(), NOW)
    assert agent.lines
    agent.hear(Detached())
    assert agent.stream is None
    assert not agent.lines


def test_lines_beyond_the_bound_go_silently(agent: Agents) -> None:
    agent = Agents(entries_max=2)
    agent.take_messages()
    agent.hear(Attached(LEASE))
    for key in ("c/a", "c/b", "c/d"):
        agent.hold(key)
    assert list(agent.lines) == ["c/b", "c/d"]
    assert agent.tally.evictions == 1
    assert not agent.take_messages()


def test_a_value_that_is_too_big_is_served_and_not_held() -> None:
    agent = Agents(bytes_max=LINE_OVERHEAD_BYTES + 50)
    agent.take_messages()
    agent.hear(Attached(LEASE))
    agent.hold("c/a", value=b"x" * 100)
    assert not agent.lines
    assert not agent.busy


def test_a_tag_takes_the_lines_that_carry_it_and_those_that_are_asked_for(agent: Agents) -> None:
    agent.hold("c/a", tags=("t",))
    agent.hold("c/b")
    agent.hold("d/a", tags=("t",))
    agent.call(Lookup(("c/new",)), "new", NOW)
    agent.take_messages()
    agent.hear(InvTag("c", "t", 90))
    assert agent.take_messages() == [ProbeAck("c", 90)]
    assert list(agent.lines) == ["c/b", "d/a"]
    agent.hear(Grant(4, "c/new", 80, LineState.S, reading()))
    assert len(agent.take_answers()) == 1
    assert "c/new" not in agent.lines
    agent.hear(InvTag("c", "", 91))
    assert list(agent.lines) == ["d/a"]


def test_a_watcher_hears_of_lines_that_come_and_go(agent: Agents) -> None:
    heard: list[tuple[str, LineState]] = []
    agent.watcher = lambda line: heard.append((line.key, line.state))
    agent.hold("c/a")
    agent.hear(Inv("c/a", 90))
    assert heard == [("c/a", LineState.E), ("c/a", LineState.I)]
    assert agent.tally.invalidations == 1
    assert not agent._by_tag


def test_reservations_are_asked_for_again_on_a_new_stream(agent: Agents) -> None:
    number = agent.reserve("c/a", "token", renew=False)
    assert agent.take_messages() == [Reserve(number, "c/a")]
    agent.attached_to(STREAM, NOW)
    agent.hear(Attached(LEASE))
    assert agent.take_messages()[1:] == [Reserve(number, "c/a")]
    agent.hear(Reserved(number, "c/a", 77, 10))
    assert agent.take_answers() == [("token", Reserved(number, "c/a", 77, 10))]


def test_a_right_that_nobody_waits_for_any_more_is_given_back(agent: Agents) -> None:
    number = agent.reserve("c/a", "token", renew=False)
    agent.surrender("c/a", request=number)
    agent.take_messages()
    agent.hear(Reserved(number, "c/a", 77, 10))
    assert not agent.take_answers()
    assert agent.take_messages() == [Surrender("c/a", 77)]


def test_leaving(agent: Agents) -> None:
    agent.leave()
    assert agent.take_messages() == [Detach()]
