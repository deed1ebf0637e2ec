"""A lease that lapses and is prolonged after all: what waited meanwhile goes on."""

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import (
    Attached,
    BusRd,
    Grant,
    LineState,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.caches.commands import AgentId, AgentKind, Lookup, Reading, Readings, Version
from synaxis.caches.line import Line
from synaxis.ids import Instant

READING = Reading(b"v", 0, Version(1))


def attached() -> Agent:
    """Return an agent that attached at 0 ms and asked for more time at 200 ms."""
    agent = Agent(AgentId(7), AgentKind.SHARER, "me", AgentConfig())
    agent.attached_to(1, Instant(0))
    agent.receive(1, Attached(1_000), Instant(10))
    agent.tick(Instant(500))
    agent.take_messages()
    return agent


def test_what_was_asked_in_between_is_asked_when_it_goes_on() -> None:
    agent = attached()
    agent.call(Lookup(("c/k",)), "token", Instant(1_100))
    assert agent.take_messages() == []
    agent.receive(1, Renewed(1), Instant(1_101))
    assert agent.take_messages() == [BusRd(1, "c/k")]


def test_what_was_answered_in_between_is_asked_again() -> None:
    agent = attached()
    agent.call(Lookup(("c/k",)), "token", Instant(600))
    agent.take_messages()
    agent.receive(1, Grant(1, "c/k", 1, LineState.S, READING), Instant(1_100))
    assert agent.take_answers() == [], "it may be old by now"
    agent.receive(1, Renewed(1), Instant(1_101))
    assert agent.take_messages() == [BusRd(2, "c/k")]
    agent.receive(1, Grant(2, "c/k", 2, LineState.S, READING), Instant(1_102))
    assert agent.take_answers() == [("token", Readings((READING,)))]


def test_a_lease_that_was_not_prolonged_in_time_stays_over() -> None:
    agent = attached()
    agent.call(Lookup(("c/k",)), "token", Instant(1_600))
    agent.receive(1, Renewed(1), Instant(1_601))
    assert not agent.is_usable(Instant(1_601))
    assert agent.take_messages() == []


def test_a_right_that_nobody_waits_for_goes_back() -> None:
    agent = attached()
    number = agent.reserve("c/k", "token", renew=False)
    agent.surrender("c/k", request=number)
    assert agent.take_messages() == [
        Reserve(number, "c/k"),
        Surrender("c/k", 0, number),
    ]
    agent.receive(1, Reserved(number, "c/k", 5), Instant(600))
    assert agent.take_messages() == [Surrender("c/k", 5)]
    assert agent.take_answers() == []


def test_the_watcher_hears_of_lines_that_come_and_go() -> None:
    agent = attached()
    seen: list[tuple[str, LineState, bool]] = []

    def watch(line: Line) -> None:
        seen.append((line.key, line.state, agent.stream is not None))

    agent.watcher = watch
    for key in ("c/a", "c/b"):
        agent.call(Lookup((key,)), key, Instant(600))
    for number, key in enumerate(("c/a", "c/b"), 1):
        agent.receive(1, Grant(number, key, number, LineState.S, READING), Instant(601))
    agent.drop("c/a")
    agent.detached()
    assert seen == [
        ("c/a", LineState.S, True),
        ("c/b", LineState.S, True),
        ("c/b", LineState.I, False),
    ], "what the shell drops itself is no news to it"
