"""The real agent and the real home of one key, as parts of a search: states that can be forked.

A part is deterministic, so what a step does to it is worked out once and remembered: the search
over all of them together then only looks steps up.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from support.state_copy import Fingerprints, copied
from synaxis.caches.agent import Agent, AgentConfig, AgentTally
from synaxis.caches.bus import LineState
from synaxis.caches.commands import AgentId, AgentKind, Counted, Lookup, Readings, Stored
from synaxis.caches.desk import Desk
from synaxis.caches.eviction import Evictor
from synaxis.caches.home import CacheHome
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.caches.reservations import Reservations
from synaxis.ids import Instant, LogTime, Sequence, SessionId

if TYPE_CHECKING:
    import msgspec

__all__ = ["KEY", "AgentView", "HomePart", "HomeView", "Part", "agent_part", "home_part"]

KEY = "c/k"
NOW = 1_000_000
LIMITS = CacheLimits()
HOME_LIMITS = HomeLimits()
AGENT_CONFIG = AgentConfig()
INTERNED: dict[Any, Any] = {}
"""Tokens: a gate knows them by their identity, so equal ones must be one."""

Action = tuple[Any, ...]
Output = tuple[Any, ...]


class Part:
    """All states of one kind that were met, numbered, and the steps between them."""

    def __init__(
        self,
        perform: Callable[[Any, Action], Output],
        view: Callable[[Any], Any],
        fingerprints: Fingerprints,
    ) -> None:
        self.states: list[Any] = []
        self.views: list[Any] = []
        self._perform = perform
        self._view = view
        self._fingerprints = fingerprints
        self._numbers: dict[Hashable, int] = {}
        self._steps: dict[tuple[int, Action], tuple[int, Output]] = {}

    def add(self, state: Any) -> int:
        """Return the number of a state."""
        fingerprint = self._fingerprints.of(state)
        number = self._numbers.get(fingerprint)
        if number is None:
            number = self._numbers[fingerprint] = len(self.states)
            self.states.append(state)
            self.views.append(self._view(state))
        return number

    def step(self, number: int, action: Action) -> tuple[int, Output]:
        """Return the next state and what came out."""
        found = self._steps.get((number, action))
        if found is None:
            state = copied(self.states[number])
            output = self._perform(state, action)
            found = self._steps[number, action] = self.add(state), output
        return found


# --- agents --------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class AgentView:
    """What the search must know of an agent."""

    stream: int
    """0: none."""
    usable: bool
    owns: bool
    """It has the line in E or M, and a good lease."""
    readable: bytes | None
    """The value that it would serve now, b"" if it knows that there is none; None: none."""
    unflushed: tuple[bytes, ...]
    can_flush: bool
    can_evict: bool
    requests: int


def agent_part() -> Part:
    """Return the part of an agent."""
    kinds = {Agent: ("_config", "_now", "tally", "watcher", "_flush_at")}
    ignored = {(kind, name) for kind, names in kinds.items() for name in names}
    return Part(_agent_step, _agent_view, Fingerprints(ignored | {(AgentTally, "installed")}))


def new_agent(number: int, kind: AgentKind) -> Agent:
    """Return an agent that is not attached."""
    return Agent(AgentId(number), kind, "", AGENT_CONFIG)


def _agent_step(agent: Agent, action: Action) -> Output:
    now = Instant(NOW)
    match action:
        case ("call", command, token, back):
            agent.call(command, token, now, back=back)
        case ("receive", stream, message):
            agent.receive(stream, message, now)
        case ("attach", stream):
            agent.attached_to(stream, now)
        case ("lapse",):
            agent.tick(agent.lease_until)
            assert agent.stream is None
        case ("flush",):
            agent.flush_all()
        case ("evict",):
            agent.drop(KEY)
        case _:
            raise AssertionError(action)
    answers = tuple((token, _plain(outcome)) for token, outcome in agent.take_answers())
    return tuple(agent.take_messages()), answers


def _plain(outcome: Any) -> Any:
    """Return what was read, a sum, or True for a write that is done."""
    match outcome:
        case Readings((reading,)):
            return b"" if reading is None else reading.value
        case Stored((_,)):
            return True
        case Counted(value):
            return value
        case _:
            raise AssertionError(outcome)


def _agent_view(agent: Agent) -> AgentView:
    now = Instant(NOW)
    line = agent.busy.get(KEY) or agent.lines.get(KEY)
    if line is not None:
        kept = line.state is not LineState.I and not line.leaving
        assert kept == (KEY in agent.lines), "the table of lines is wrong"
    usable, requests = agent.is_usable(now), agent._out.request
    if line is None:
        return AgentView(agent.stream or 0, usable, False, None, (), False, False, requests)
    readable = None
    if usable and line.is_readable(now):
        readable = b"" if line.reading is None else line.reading.value
    unflushed = [each for _, each in line.held.values()] + ([line.dirty] if line.dirty else [])
    can_flush = line.dirty is not None and line.sent != line.dirty.write_id
    return AgentView(
        agent.stream or 0,
        usable,
        usable and line.state >= LineState.E,
        readable,
        tuple(each.item.value for each in unflushed),
        can_flush and usable,
        line.state is not LineState.I and line.writing is None and not line.leaving,
        requests,
    )


# --- the home ------------------------------------------------------------------------------


class HomePart:
    """The leader of the shard: store, home, and the log between them."""

    def __init__(self, *, slow: bool) -> None:
        self.machine = CacheMachine(LIMITS)
        self.home = CacheHome(self.machine, HOME_LIMITS)
        self.home.begin(LogTime(NOW))
        self.log: deque[tuple[SessionId, Sequence, msgspec.Struct, object]] = deque()
        self.slow = slow
        self.sequence = 0
        self.first_stream = 0
        """Streams below are of an earlier home."""


@dataclass(slots=True, frozen=True)
class HomeView:
    """What the search must know of the home."""

    stored: bytes
    log: int
    first_stream: int
    recovering: tuple[int, ...]
    streams: tuple[tuple[int, int], ...]
    """Agent -> its stream, as the home knows it."""


def home_part() -> Part:
    """Return the part of the home."""
    names = {
        CacheMachine: ("limits", "_handlers", "hits", "misses", "describe"),
        Desk: ("limits", "tally"),
        Reservations: ("_lease_ms", "_waiting_max"),
        HomePart: ("slow",),
        Evictor: ("_hand",),
    }
    ignored = {(kind, name) for kind, each in names.items() for name in each}
    return Part(_home_step, _home_view, Fingerprints(ignored))


def _home_step(part: HomePart, action: Action) -> Output:
    answers: list[tuple[Any, Any]] = []
    applied: list[bytes] = []
    part.home.see(LogTime(NOW))
    match action:
        case ("demand", agent, stream, message):
            part.home.demand(SessionId(0), message, (agent, stream))
        case ("apply",):
            _apply(part, answers, applied)
        case ("fail over", count, stream):
            _fail_over(part, count, stream, applied)
        case ("put" | "get", question, token):
            _of_client(part, question, token, answers)
        case _:
            _let_time_pass(part, action)
    replies = _drain(part, answers, applied)
    return replies, tuple(applied), tuple(answers)


def _let_time_pass(part: HomePart, action: Action) -> None:
    desk = part.home._desk
    match action:
        case ("let go", agent):
            desk.holders.by_id[agent].heard = LogTime(0)
        case ("recovered",):
            desk.recovery._ends_at = LogTime(0)
        case _:
            raise AssertionError(action)
    part.home.tick(LogTime(NOW))


def _fail_over(part: HomePart, count: int, stream: int, applied: list[bytes]) -> None:
    for _ in range(count):
        _apply(part, [], applied)  # clients have lost their connections
    part.log.clear()
    part.first_stream = stream
    part.home = CacheHome(part.machine, HOME_LIMITS)
    part.home.begin(LogTime(NOW))


def _of_client(part: HomePart, question: Any, token: Any, answers: list[tuple[Any, Any]]) -> None:
    gate = part.home.gate
    if isinstance(question, Lookup):
        whole = INTERNED.setdefault((question, token), (question, token))
        if not gate.holds_query(question, whole):
            answers.append((token, _plain(part.machine.query(question, LogTime(NOW)))))
        return
    part.sequence += 1
    whole = SessionId(1), Sequence(part.sequence), question, token
    whole = INTERNED.setdefault(whole, whole)
    if not gate.holds(whole[0], whole[1], question, whole):
        part.log.append(whole)


def _drain(part: HomePart, answers: list[tuple[Any, Any]], applied: list[bytes]) -> Output:
    """Do as the replica does after each event of its leader."""
    home, replies = part.home, []
    while True:
        part.log.extend(home.gate.take_released())  # type: ignore[arg-type]
        for command in home.take_commands():
            part.log.append((SessionId(0), Sequence(0), command, None))
        for question in home.gate.take_questions():
            query, token = cast("tuple[Lookup, Any]", question)
            answers.append((token, _plain(part.machine.query(query, LogTime(NOW)))))
        assert not home.gate.take_refusals()
        replies += home.take_replies()
        if part.slow or not part.log:
            break
        _apply(part, answers, applied)
    home.check_invariants()
    return tuple(replies)


def _apply(part: HomePart, answers: list[tuple[Any, Any]], applied: list[bytes]) -> None:
    session, sequence, command, token = part.log.popleft()
    before = part.machine.records.by_key.get(KEY)
    reply = part.machine.apply(session, sequence, command, LogTime(NOW))
    after = part.machine.records.by_key.get(KEY)
    if after is not None and after is not before:
        applied.append(after.value)
    if token is not None:
        answers.append((token, _plain(reply)))
    part.home.gate.settled(session, sequence, command)


def _home_view(part: HomePart) -> HomeView:
    record = part.machine.records.by_key.get(KEY)
    home = part.home
    return HomeView(
        b"" if record is None else record.value,
        len(part.log),
        part.first_stream,
        tuple(home._desk.recovery._agents),
        tuple((each.id, each.handle[1]) for each in home._desk.holders),  # type: ignore[index]
    )
