"""A cache shard in memory: home, store, a log in one step, agents on streams, virtual time.

The log is applied at once, or entry by entry when ``log_is_slow``. Messages wait in ``wires`` until
``run`` or ``step`` carries them. No replica, no sockets: the rules alone.
"""

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import msgspec

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.commands import AgentId, AgentKind, Lookup
from synaxis.caches.home import CacheHome
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.ids import Instant, LogTime, Sequence, SessionId

if TYPE_CHECKING:
    from synaxis.caches.local import Outcome

__all__ = ["CacheShard"]

START = 1_000_000


class CacheShard:
    """See the module."""

    def __init__(
        self, limits: CacheLimits | None = None, home_limits: HomeLimits | None = None
    ) -> None:
        self.now = START
        self.machine = CacheMachine(limits or CacheLimits())
        self.limits = home_limits or HomeLimits()
        self.home = CacheHome(self.machine, self.limits)
        self.home.begin(LogTime(self.now))
        self.agents: dict[AgentId, Agent] = {}
        self.to_home: dict[AgentId, deque[tuple[int, msgspec.Struct]]] = {}
        self.to_agent: dict[AgentId, deque[tuple[int, msgspec.Struct]]] = {}
        self.log: deque[tuple[SessionId, Sequence, msgspec.Struct, object]] = deque()
        self.log_is_slow = False
        self.answers: dict[Any, Outcome | msgspec.Struct | Exception] = {}
        self._streams = count(1)
        self._sequences = count(1)

    # --- building ---------------------------------------------------------------------------

    def agent(
        self, number: int, kind: AgentKind = AgentKind.OWNER, config: AgentConfig | None = None
    ) -> Agent:
        """Return a new agent that is attached already."""
        agent = Agent(AgentId(number), kind, f"agent {number}", config or AgentConfig())
        self.agents[agent.id] = agent
        self.to_home[agent.id], self.to_agent[agent.id] = deque(), deque()
        self.attach(agent)
        self.run()
        return agent

    def attach(self, agent: Agent) -> None:
        """Open a stream."""
        self.to_home[agent.id].clear()
        self.to_agent[agent.id].clear()
        agent.attached_to(next(self._streams), Instant(self.now))
        self.send(agent)

    # --- what the world does ----------------------------------------------------------------

    def send(self, agent: Agent) -> None:
        """Put what the agent has to say on the wire, and take its answers."""
        stream = agent.stream
        for message in agent.take_messages():
            assert stream is not None
            self.to_home[agent.id].append((stream, message))
        for token, outcome in agent.take_answers():
            self.answers[token] = outcome

    def call(self, agent: Agent, command: Any, token: object, *, back: bool = False) -> None:
        """Give an agent something to do."""
        agent.call(command, token, Instant(self.now), back=back)
        self.send(agent)

    def do(self, agent: Agent, command: Any, *, back: bool = False) -> Any:
        """Have an agent do it, and return the outcome."""
        token = object()
        self.call(agent, command, token, back=back)
        self.run()
        return self.answers.get(token)

    def read(self, agent: Agent, key: str) -> Any:
        """Return the value that an agent reads; None if there is none."""
        found = self.do(agent, Lookup((key,)))
        return None if found is None or found.readings[0] is None else found.readings[0].value

    def propose(self, command: msgspec.Struct, token: object = None, session: int = 1) -> object:
        """Do as a client does that talks to the home; the reply comes into ``answers``."""
        token = token or object()
        sequence = Sequence(next(self._sequences))
        self.machine.validate(command)
        whole = SessionId(session), sequence, command, token
        self.home.see(LogTime(self.now))
        if not self.home.gate.holds(SessionId(session), sequence, command, whole):
            self.log.append(whole)
        self._after_home()
        return token

    def ask(self, query: msgspec.Struct) -> Any:
        """Ask as a client does that talks to the home; return the answer, None if it waits."""
        token = object()
        self.home.see(LogTime(self.now))
        if not self.home.gate.holds_query(query, (query, token)):
            return self.machine.query(query, LogTime(self.now))
        self.run()
        return self.answers.get(token)

    # --- time and messages ------------------------------------------------------------------

    def step(self, agent: Agent, *, home: bool) -> bool:
        """Carry one message of an agent to the home, or one to the agent."""
        wire = (self.to_home if home else self.to_agent)[agent.id]
        if not wire:
            return False
        stream, message = wire.popleft()
        if home:
            self.home.see(LogTime(self.now))
            self.home.demand(SessionId(0), message, (agent.id, stream))
        else:
            agent.receive(stream, message, Instant(self.now))  # type: ignore[arg-type]
            self.send(agent)
        self._after_home()
        return True

    def run(self) -> None:
        """Carry messages and apply the log until nothing moves."""
        moved = True
        self._after_home()
        while moved:
            moved = False
            for agent in list(self.agents.values()):
                moved |= self.step(agent, home=True)
                moved |= self.step(agent, home=False)
            if self.log_is_slow and self.apply_one():
                moved = True
                self._after_home()

    def _after_home(self) -> None:
        home = self.home
        while True:
            for whole in home.gate.take_released():
                self.log.append(whole)  # type: ignore[arg-type]
            for command in home.take_commands():
                self.log.append((SessionId(0), Sequence(0), command, None))
            for whole in home.gate.take_questions():
                query, token = cast("tuple[msgspec.Struct, object]", whole)
                self.answers[token] = self.machine.query(query, LogTime(self.now))
            for whole, error in home.gate.take_refusals():
                self.answers[cast("tuple[object, ...]", whole)[-1]] = error
            if home.wants_confirmation():
                home.asked()
                home.confirmed(LogTime(self.now))
            for handle, message in home.take_replies():
                number, stream = cast("tuple[AgentId, int]", handle)
                self.to_agent[number].append((stream, message))
            if self.log_is_slow or not self.apply_one():
                break
        home.check_invariants()
        self.machine.check_invariants()

    def apply_one(self) -> bool:
        """Apply the next entry of the log."""
        if not self.log:
            return False
        session, sequence, command, token = self.log.popleft()
        self.machine.advance(LogTime(self.now))
        reply = self.machine.apply(session, sequence, command, LogTime(self.now))
        if token is not None and reply is not None:
            self.answers[token] = reply
        self.home.gate.settled(session, sequence, command)
        return True

    def pass_time(self, ms: int) -> None:
        """Let time pass, with every timer in its order."""
        end = self.now + ms
        while True:
            times = [agent.deadline() for agent in self.agents.values()] + [self.home.deadline()]
            due = min((each for each in times if each is not None), default=end)
            self.now = min(max(due, self.now + 1), end)
            self.home.see(LogTime(self.now))
            self.home.tick(LogTime(self.now))
            for agent in self.agents.values():
                agent.tick(Instant(self.now))
                self.send(agent)
            self.run()
            if self.now >= end:
                return

    def fail_over(self) -> None:
        """Another node becomes the home, with the same store; all streams end."""
        for agent in self.agents.values():
            agent.detached()
        self.home.end()
        self.home.take_replies()
        self.home.gate.drop_held()
        self.home = CacheHome(self.machine, self.limits)
        self.home.begin(LogTime(self.now))
