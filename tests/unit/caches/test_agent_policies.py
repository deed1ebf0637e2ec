"""Writes of both policies on one line: what was written last is what the home ends with."""

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import Attached, BusRdX, Flush, Flushed, Grant, LineState
from synaxis.caches.commands import AgentId, AgentKind, Item, Put, Stored, Version
from synaxis.ids import Instant

NOW = Instant(1_000)
STREAM = 5


def owner_of_an_unflushed_line() -> Agent:
    agent = Agent(AgentId(1), AgentKind.OWNER, "n1", AgentConfig(flush_ms=1_000))
    agent.attached_to(STREAM, NOW)
    agent.receive(STREAM, Attached(5_000), NOW)
    put(agent, b"back", back=True)
    *_, wish = agent.take_messages()
    assert isinstance(wish, BusRdX)
    agent.receive(STREAM, Grant(wish.request, "c/k", 1, LineState.E, None), NOW)
    ((_, answer),) = agent.take_answers()
    assert isinstance(answer, Stored)
    return agent


def put(agent: Agent, value: bytes, *, back: bool = False) -> None:
    agent.call(Put((Item("c/k", value),)), value, NOW, back=back)


def flushed(agent: Agent) -> bytes:
    """Let the home take the one flush that is on its way; return its value."""
    (flush,) = agent.take_messages()
    assert isinstance(flush, Flush)
    news = Flushed("c/k", flush.dirty.write_id, Version(10 + flush.dirty.write_id))
    agent.receive(STREAM, news, NOW)
    return flush.dirty.item.value


def test_a_write_through_follows_the_older_one_of_policy_back() -> None:
    """It overtook it, and the older value was flushed over what had been acknowledged."""
    agent = owner_of_an_unflushed_line()
    put(agent, b"through")
    assert flushed(agent) == b"back"
    assert agent.take_answers() == []
    assert flushed(agent) == b"through"
    ((token, _),) = agent.take_answers()
    assert token == b"through"
    agent.flush_all()
    assert agent.take_messages() == []
    assert agent.unflushed == 0


def test_so_do_those_that_come_in_turns() -> None:
    agent = owner_of_an_unflushed_line()
    for number in range(4):
        put(agent, b"%d" % number, back=bool(number % 2))
    arrived = []
    for _ in range(8):
        agent.flush_all()
        if not agent.unflushed and not agent.busy:
            break
        arrived.append(flushed(agent))
    assert arrived == [b"back", b"0", b"1", b"2", b"3"]
    assert [token for token, _ in agent.take_answers()] == [b"0", b"1", b"2", b"3"]
