"""All that can happen to one key within some bounds: a search over the real classes.

Breadth first, so that what is found first is short. The network keeps no order. Time does not
pass; what time would do is an event of its own, possible only when it really could happen:

* a lease ends at its agent, at any moment; the home lets the agent go only after that;
* a new home stops waiting only after the old leases have ended.

Invariants: one writer or many readers; nothing readable is older than what was acknowledged, or
could be read, before; a read returns nothing older than what had been seen when it began; the
store keeps what was acknowledged; a write is applied once; nothing is stuck.
"""

import gc
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from support.cache_parts import KEY, AgentView, HomePart, Part, agent_part, home_part, new_agent
from synaxis.caches.commands import Add, AgentId, AgentKind, Item, Lookup, Put

__all__ = ["Bounds", "Found", "State", "explore"]

O, S = AgentKind.OWNER, AgentKind.SHARER  # noqa: E741  # short names for tables of bounds
CLIENT = 0
"""Stands for clients that talk to the home without an agent."""


@dataclass(slots=True, frozen=True)
class Bounds:
    """How much may happen."""

    kinds: tuple[AgentKind, ...] = (O, O)
    operations: int = 1
    """Of each agent that may own; each may be a read or a write."""
    at_once: int = 1
    """Of each agent, and of the clients together."""
    reads: int = 1
    """Of each agent that only shares."""
    client_writes: int = 0
    client_reads: int = 0
    adds: bool = False
    """Writes are additions of different powers of two, so that a lost one shows."""
    back: bool = False
    mixed: bool = False
    """With ``back``: the last write of each agent is of policy through."""
    evictions: int = 0
    crashes: int = 0
    lapses: int = 0
    """Leases that end, or streams that break."""
    fail_overs: int = 0
    duplicates: int = 0
    overtakes: int = 0
    """How often a message arrives before an older one of its stream; ``ANY_ORDER``: no limit."""
    requests: int = 9
    """Where an agent has asked so often, the search goes no further: in any order, for ever."""
    slow_log: bool = False
    """A write that is in the log is not applied at once."""
    states_max: int = 400_000
    suspects: bool = False
    """The home lets agents go though their leases may last: against rule 7."""
    forgets: bool = True
    """Messages of old streams, which nobody looks at, are left out."""
    prompt: bool = False
    """Who lives attaches before anybody stops waiting for it."""
    may_lose: bool = False
    """Acknowledged writes may be lost: policy back, with faults."""


class State(NamedTuple):
    """Everything, as numbers of parts and small values."""

    agents: tuple[int, ...]
    home: int
    net: tuple[tuple[bool, int, int, Any], ...]
    """(to the home, agent, stream, message), sorted by the number of the message."""
    left: tuple[tuple[int, ...], ...]
    """Operations left of each agent and client (reads, writes or both); then faults."""
    dead: frozenset[int]
    open: tuple[tuple[Any, int], ...]
    """Operations that are not answered: (token, newest rank seen when it began)."""
    written: tuple[bytes, ...]
    """Values by rank: their order of being acknowledged or stored, whichever is first."""
    applied: tuple[bytes, ...]
    seen: int
    """The newest rank that anybody could have read, or was told to be stored."""
    stored: int
    """The newest rank that was acknowledged."""
    stream: int


@dataclass(slots=True)
class Found:
    """What a search came to."""

    states: int = 0
    violation: str = ""
    trace: list[str] = field(default_factory=list)
    parts: tuple[int, int] = (0, 0)


class Violation(Exception):
    """An invariant does not hold."""


FAULTS = ("evictions", "crashes", "lapses", "fail_overs", "duplicates", "overtakes")
ANY_ORDER = 9


class Search:
    """See the module."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.agents: Part = agent_part()
        self.home: Part = home_part()
        self._messages: dict[Any, int] = {}
        self._wires: dict[tuple[bool, int, int, Any], tuple[Any, ...]] = {}

    def start(self) -> State:
        """Return the state in which all agents are attached and nothing was written."""
        bounds = self.bounds
        agents = tuple(
            self.agents.add(new_agent(number, kind))
            for number, kind in enumerate(bounds.kinds, start=1)
        )
        home = self.home.add(HomePart(slow=bounds.slow_log))
        each = tuple(
            (bounds.operations, 0) if kind is O else (0, bounds.reads) for kind in bounds.kinds
        )
        left = (
            (bounds.client_writes, bounds.client_reads),
            *each,
            tuple(getattr(bounds, name) for name in FAULTS),
        )
        state = State(agents, home, (), left, frozenset(), (), (b"",), (), 0, 0, 1)
        for index in range(len(agents)):
            state = self._agent(state, index, ("attach", state.stream))
            state = state._replace(stream=state.stream + 1)
            while state.net or self.home.views[state.home].log:
                for what, after in self.next(state):
                    if what.startswith(("deliver", "apply")):
                        state = after
                        break
        return state

    # --- parts ------------------------------------------------------------------------------

    def _send(self, state: State, wires: list[tuple[bool, int, int, Any]]) -> State:
        if not wires:
            return state
        if self.bounds.overtakes < ANY_ORDER:
            net = sorted([*state.net, *wires], key=lambda wire: wire[:3])
        else:
            for wire in wires:
                self._messages.setdefault(wire, len(self._messages))
            net = sorted([*state.net, *wires], key=self._messages.__getitem__)
        return state._replace(net=tuple(net))

    def _agent(self, state: State, index: int, action: tuple[Any, ...]) -> State:
        number, (messages, answers) = self.agents.step(state.agents[index], action)
        agents = (*state.agents[:index], number, *state.agents[index + 1 :])
        stream = self.agents.views[number].stream
        state = state._replace(agents=agents)
        state = self._send(state, [(True, index, stream, each) for each in messages])
        return self._answered(state, answers, index)

    def _home(self, state: State, action: tuple[Any, ...]) -> State:
        number, (replies, applied, answers) = self.home.step(state.home, action)
        state = state._replace(home=number)
        for value in applied:
            state = self._applied(state, value)
        wires = [(False, agent - 1, stream, each) for (agent, stream), each in replies]
        return self._answered(self._send(state, wires), answers, None)

    def _applied(self, state: State, value: bytes) -> State:
        if value in state.applied:
            raise Violation(f"{value!r} was applied twice")
        if self.bounds.adds and state.applied:
            before, after = int(state.applied[-1]), int(value)
            if before & after != before:
                raise Violation(f"an addition is lost between {before:b} and {after:b}")
        state = self._ranked(state, value)._replace(applied=(*state.applied, value))
        before = max((state.written.index(each) for each in state.applied[:-1]), default=0)
        if state.written.index(value) < before and not self.bounds.may_lose:
            raise Violation(f"{value!r} is stored after a newer one")
        return state

    @staticmethod
    def _ranked(state: State, value: bytes) -> State:
        if value in state.written:
            return state
        return state._replace(written=(*state.written, value))

    def _answered(self, state: State, answers: Any, index: int | None) -> State:
        for token, outcome in answers:
            opened = dict(state.open)
            if token not in opened:
                raise Violation(f"{token} was answered twice")
            began = opened.pop(token)
            state = state._replace(open=tuple(sorted(opened.items())))
            if isinstance(outcome, bytes):
                rank = state.written.index(outcome)
                if rank < began and not self.bounds.may_lose:
                    raise Violation(f"{token} read {outcome!r}, older than what it could know")
                state = state._replace(seen=max(state.seen, rank))
            else:
                value = token[1] if outcome is True else b"%d" % outcome
                if value not in state.written and not self.bounds.back:
                    raise Violation(f"{value!r} is acknowledged and not in the store")
                state = self._ranked(state, value)
                rank = state.written.index(value)
                newest = max(state.stored, rank)
                state = state._replace(stored=newest, seen=max(state.seen, rank))
        return state

    # --- events -----------------------------------------------------------------------------

    def next(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._deliveries(state)
        yield from self._calls(state)
        home = self.home.views[state.home]
        if home.log:
            yield "apply", self._home(state, ("apply",))
        for index, number in enumerate(state.agents):
            if index not in state.dead:
                yield from self._of_agent(state, index, self.agents.views[number])
        yield from self._of_home(state)

    def _deliveries(self, state: State) -> Iterator[tuple[str, State]]:
        stream = None
        for position, wire in enumerate(state.net):
            rest = state.net[:position] + state.net[position + 1 :]
            left: tuple[tuple[int, ...], ...] | None = state.left
            if wire[:3] == stream and self.bounds.overtakes < ANY_ORDER:
                left = self._spent(state, "overtakes")
            stream = wire[:3]
            if left:
                after = state._replace(net=rest, left=left)
                yield f"deliver {wire}", self._deliver(after, wire)
            if faults := self._spent(state, "duplicates"):
                yield f"duplicate {wire}", self._deliver(state._replace(left=faults), wire)

    def _deliver(self, state: State, wire: tuple[bool, int, int, Any]) -> State:
        to_home, index, stream, message = wire
        if to_home:
            return self._home(state, ("demand", AgentId(index + 1), stream, message))
        return self._agent(state, index, ("receive", stream, message))

    def _spent(self, state: State, name: str) -> tuple[tuple[int, ...], ...] | None:
        position = FAULTS.index(name)
        faults = state.left[-1]
        if not faults[position]:
            return None
        less = (*faults[:position], faults[position] - 1, *faults[position + 1 :])
        return (*state.left[:-1], less)

    def _calls(self, state: State) -> Iterator[tuple[str, State]]:
        for who, (some, reads) in enumerate(state.left[:-1]):
            busy = sum(token[0] == who for token, _ in state.open)
            if who - 1 in state.dead or busy >= self.bounds.at_once:
                continue
            if some:
                value = (
                    b"%d" % (1 << 4 * who + some) if self.bounds.adds else b"%d.%d" % (who, some)
                )
                after = self._begun(state, who, (some - 1, reads), (who, value))
                yield f"{who} writes {value!r}", self._put(after, who, value)
            if reads or (some and who != CLIENT):
                less = (some, reads - 1) if reads else (some - 1, reads)
                token = who, b"?%d.%d" % (some, reads)
                after = self._begun(state, who, less, token)
                yield f"{who} reads", self._get(after, who, token)

    @staticmethod
    def _begun(state: State, who: int, left: tuple[int, int], token: Any) -> State:
        everything = (*state.left[:who], left, *state.left[who + 1 :])
        opened = tuple(sorted([*state.open, (token, state.seen)]))
        return state._replace(left=everything, open=opened)

    def _put(self, state: State, who: int, value: bytes) -> State:
        token = who, value
        command = Add(KEY, int(value)) if self.bounds.adds else Put((Item(KEY, value),))
        if who == CLIENT:
            return self._home(state, ("put", command, token))
        through = self.bounds.mixed and value.endswith(b".1")
        back = self.bounds.back and not through
        return self._agent(state, who - 1, ("call", command, token, back))

    def _get(self, state: State, who: int, token: Any) -> State:
        if who == CLIENT:
            return self._home(state, ("get", Lookup((KEY,)), token))
        action = ("call", Lookup((KEY,)), token, self.bounds.back)
        return self._agent(state, who - 1, action)

    def _of_agent(self, state: State, index: int, view: AgentView) -> Iterator[tuple[str, State]]:
        who = index + 1
        if view.can_evict and (faults := self._spent(state, "evictions")):
            yield f"{who} evicts", self._agent(state._replace(left=faults), index, ("evict",))
        if view.can_flush:
            yield f"{who} flushes", self._agent(state, index, ("flush",))
        if faults := self._spent(state, "crashes"):
            opened = tuple(each for each in state.open if each[0][0] != who)
            dead = state._replace(left=faults, dead=state.dead | {index}, open=opened)
            yield f"{who} dies", dead
        first = self.home.views[state.home].first_stream
        if not view.stream or view.stream < first:
            yield f"{who} attaches", self._attached(state, index)
        elif view.usable and (faults := self._spent(state, "lapses")):
            yield f"{who} breaks its stream", self._attached(state._replace(left=faults), index)
        if view.usable and (
            faults := state.left if view.stream < first else self._spent(state, "lapses")
        ):
            yield f"{who} lapses", self._agent(state._replace(left=faults), index, ("lapse",))

    def _attached(self, state: State, index: int) -> State:
        after = state._replace(stream=state.stream + 1)
        return self._agent(after, index, ("attach", state.stream))

    def _of_home(self, state: State) -> Iterator[tuple[str, State]]:
        home = self.home.views[state.home]
        views = self.agents.views
        for agent, stream in home.streams:
            view = views[state.agents[agent - 1]]
            late = not self.bounds.prompt and view.stream != stream
            if agent - 1 in state.dead or late or self.bounds.suspects:
                yield f"home lets {agent} go", self._home(state, ("let go", AgentId(agent)))
        if home.recovering and all(
            agent - 1 in state.dead
            or (not self.bounds.prompt and self._is_free(state, agent, home.first_stream))
            for agent in home.recovering
        ):
            yield "home waits no longer", self._home(state, ("recovered",))
        if faults := self._spent(state, "fail_overs"):
            kept = tuple(each for each in state.net if not (each[0] and self.bounds.forgets))
            opened = tuple(each for each in state.open if each[0][0] != CLIENT)
            for count in range(home.log + 1):
                after = state._replace(left=faults, net=kept, open=opened)
                action = ("fail over", count, state.stream)
                yield f"fail over, {count} of the log kept", self._home(after, action)

    def _is_free(self, state: State, agent: int, first: int) -> bool:
        """Whether an agent does not use its lease of an earlier home any more."""
        view: AgentView = self.agents.views[state.agents[agent - 1]]
        return not view.usable or view.stream >= first

    # --- invariants -------------------------------------------------------------------------

    def pruned(self, state: State) -> State:
        """Forget messages that nobody will look at."""
        if not self.bounds.forgets:
            return state
        home = self.home.views[state.home]
        known = {agent - 1: stream for agent, stream in home.streams}
        net = tuple(wire for wire in state.net if self._matters(state, wire, known, home))
        return state if len(net) == len(state.net) else state._replace(net=net)

    def _matters(self, state: State, wire: Any, known: dict[int, int], home: Any) -> bool:
        to_home, index, stream, _ = wire
        if to_home:
            return bool(stream >= max(known.get(index, 0), home.first_stream))
        if index in state.dead:
            return False
        return bool(self.agents.views[state.agents[index]].stream == stream)

    def checked(self, state: State) -> State:
        """Check a new state, and return it with what can be read in it noted as seen."""
        views = [
            self.agents.views[number]
            for index, number in enumerate(state.agents)
            if index not in state.dead
        ]
        readable = [view.readable for view in views if view.readable is not None]
        owners = [view for view in views if view.owns]
        if len(owners) > 1:
            raise Violation("two owners")
        if owners and len(readable) > (owners[0].readable is not None):
            raise Violation("an owner and another reader")
        seen = state.seen
        for value in readable:
            if value not in state.written:
                raise Violation(f"{value!r} is readable before it is stored")
            rank = state.written.index(value)
            if rank < seen and not self.bounds.may_lose:
                raise Violation(f"{value!r} is readable, older than {state.written[seen]!r}")
            seen = max(seen, rank)
        self._check_kept(state, views)
        return state if seen == state.seen else state._replace(seen=seen)

    def _check_kept(self, state: State, views: list[AgentView]) -> None:
        if self.bounds.may_lose:
            return
        kept = [self.home.views[state.home].stored]
        for view in views:
            kept += [each for each in view.unflushed if each in state.written]
        if max(state.written.index(each) for each in kept) < state.stored:
            raise Violation(f"{state.written[state.stored]!r} was acknowledged and is lost")

    def is_far(self, state: State) -> bool:
        """Whether an agent has asked more often than the bounds allow."""
        limit, views = self.bounds.requests, self.agents.views
        return any(views[number].requests > limit for number in state.agents)

    def check_rest(self, state: State) -> None:
        """Check a state in which nothing more can happen but faults."""
        if state.open:
            raise Violation(f"stuck: {state.open}")
        for index, number in enumerate(state.agents):
            view = self.agents.views[number]
            if index not in state.dead and view.unflushed:
                raise Violation("stuck: a write is not flushed")


FAULTY = ("duplicate", "fail over")


def is_fault(what: str) -> bool:
    """Whether an event may as well never happen."""
    return what.startswith(FAULTY) or what.endswith(("evicts", "dies", "stream", "lapses"))


def explore(bounds: Bounds) -> Found:
    """Search; stops at the first violation."""
    search, found = Search(bounds), Found()
    first = search.start()
    before: dict[State, tuple[State | None, str]] = {first: (None, "")}
    line = deque([first])
    at: list[Any] = [first, ""]
    gc.disable()  # hundreds of thousands of tuples, and not one is garbage
    try:
        while line and len(before) <= bounds.states_max:
            state = at[0] = line.popleft()
            if not search.is_far(state):
                _expand(search, state, before, line, at)
        assert not line, "too many states"
    except (Violation, AssertionError) as error:
        found.violation = str(error) or "an assertion of the code"
        found.trace = traced(before, *at)
    finally:
        gc.enable()
    found.states = len(before)
    found.parts = len(search.agents.states), len(search.home.states)
    return found


def _expand(
    search: Search,
    state: State,
    before: dict[State, tuple[State | None, str]],
    line: deque[State],
    at: list[Any],
) -> None:
    """Take the events that are possible in a state; ``at`` tells where the search is."""
    resting = True
    at[1] = "something that is possible here"
    for what, after in search.next(state):
        at[1] = what
        new = search.checked(search.pruned(after))
        resting &= is_fault(what) or new == state
        if new not in before:
            before[new] = state, what
            line.append(new)
        at[1] = f"something after: {what}"
    if resting:
        at[1] = "at rest"
        search.check_rest(state)


def traced(before: dict[State, tuple[State | None, str]], state: State, last: str) -> list[str]:
    """Return the events that led there."""
    trace: list[str] = [last]
    at: State | None = state
    while at is not None:
        at, what = before[at]
        trace.append(what)
    return trace[::-1]
