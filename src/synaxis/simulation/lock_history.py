"""One lock's history as intervals of a sequential lock, for the linearizability search.

The sequential lock knows holders and the highest token, nothing of queues: a waiting acquire
happens when it is granted. What the search proves is therefore independent of log indexes, of
ranks and of the ``LockModel``.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from synaxis.effects import Refused
from synaxis.ids import Sequence, SessionId
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    Convert,
    DescribeLock,
    Done,
    Granted,
    LockInfo,
    LockKind,
    LockMode,
    Release,
)
from synaxis.simulation.history import MachineCall, MachineCallKind, Operation
from synaxis.simulation.wgl import Interval

__all__ = ["INITIAL", "intervals_of", "prefix", "sequential_lock"]

Holder = tuple[int, int, bool, int]
"""Token, session, whether exclusive, how often held."""
State = tuple[tuple[Holder, ...], int]
"""Holders in token order, highest token so far."""

INITIAL: State = ((), 0)
Decisions = dict[tuple[SessionId, Sequence], tuple[int, int, Any]]


def sequential_lock(state: State, operation: tuple[Any, ...]) -> State | None:
    """Return the state after ``operation``, or None if its result is not legal here."""
    following: State | None = _STEPS[operation[0]](state, *operation[1:])
    return following


def _grant(
    state: State, session: int, exclusive: bool, token: int, before: int = 0
) -> State | None:
    holders, highest = state
    if token <= highest:
        return _change_holds(state, session, token, 1)
    if highest < before or any(exclusive or other[2] for other in holders):
        return None
    return (*holders, (token, session, exclusive, 1)), token


def _change_holds(state: State, session: int, token: int, by: int) -> State | None:
    holders, highest = state
    for place, (held, owner, exclusive, holds) in enumerate(holders):
        if held == token and owner == session:
            kept = ((held, owner, exclusive, holds + by),) if holds + by > 0 else ()
            return (*holders[:place], *kept, *holders[place + 1 :]), highest
    return None


def _release(state: State, session: int, token: int, changed: bool) -> State | None:
    following = _change_holds(state, session, token, -1)
    if changed:
        return following
    return state if following is None else None


def _refuse_attempt(state: State) -> State | None:
    return state if state[0] else None


def _convert(
    state: State, session: int, token: int, new_token: int, exclusive: bool
) -> State | None:
    holders, highest = state
    others = tuple(one for one in holders if one[0] != token)
    if len(others) == len(holders) or (exclusive and others):
        return None
    if exclusive and new_token < highest:
        return None
    (holds,) = (one[3] for one in holders if one[0] == token)
    changed = sorted((*others, (new_token, session, exclusive, holds)))
    return tuple(changed), max(highest, new_token)


def _read(state: State, tokens: tuple[int, ...]) -> State | None:
    return state if tuple(one[0] for one in state[0]) == tokens else None


def _end(state: State, session: int) -> State:
    return tuple(one for one in state[0] if one[1] != session), state[1]


_STEPS: dict[str, Any] = {
    "grant": _grant,
    "release": _release,
    "refuse_attempt": _refuse_attempt,
    "convert": _convert,
    "read": _read,
    "end": _end,
}


def intervals_of(
    name: str,
    operations: Iterable[Operation],
    calls: list[MachineCall],
    decided: Decisions,
) -> list[Interval]:
    """Return what happened to the lock ``name``, in no particular order.

    What a client did not learn is taken from ``decided``: it had happened when the first replica
    made the call. Without that, every client that died would double the search.
    """
    operations = list(operations)
    # Who waits for several names can stand at the head of one that is free: then an attempt is
    # refused although nobody holds it, which this sequential lock knows nothing of.
    alone = not any(
        isinstance(one.request, Acquire)
        and len(one.request.names) > 1
        and name in one.request.names
        for one in operations
    )
    translator = _Translator(name, decided)
    found: list[Interval] = []
    for one in operations:
        what = translator.meaning(one)
        if what is not None and (alone or what[0] != "refuse_attempt"):
            found.append(Interval(what, one.called_us, _returned(one, calls, decided)))
    ended = {what.operation[1] for what in found if what.operation[0] in ("grant", "convert")}
    found += [
        Interval(("end", call.session), call.time_us, call.time_us)
        for call in calls
        if call.kind == MachineCallKind.END_SESSION and call.session in ended
    ]
    return _with_predecessors(found)


def _with_predecessors(found: list[Interval]) -> list[Interval]:
    """Add to each grant the token that must have been given before it.

    That follows from the others, as all of them happened; saying it keeps the search from trying
    orders that end nowhere.
    """
    tokens = sorted({_new_token(one.operation) for one in found} - {0})
    before = dict(zip(tokens[1:], tokens, strict=False))
    return [
        Interval((*one.operation, before.get(one.operation[3], 0)), one.called, one.returned)
        if one.operation[0] == "grant"
        else one
        for one in found
    ]


def _new_token(operation: tuple[Any, ...]) -> int:
    match operation:
        case ("grant", _, _, token) | ("convert", _, _, token, True):
            return int(token)
        case _:
            return 0


def _returned(one: Operation, calls: list[MachineCall], decided: Decisions) -> int | None:
    if one.returned_us is not None or (one.session, one.sequence) not in decided:
        return one.returned_us
    return calls[decided[one.session, one.sequence][1]].time_us


def prefix(intervals: list[Interval], count: int) -> list[Interval]:
    """Return the history up to a moment: what was under way then has an unknown outcome."""
    if len(intervals) <= count:
        return intervals
    end = intervals[count].called
    return [
        one
        if one.returned is not None and one.returned < end
        else Interval(one.operation, one.called, None)
        for one in intervals[:count]
    ]


class _Translator:
    """Says what requests and answers mean to one lock.

    Collects its grants on the way, because releases name nothing but a token.
    """

    def __init__(self, name: str, decided: Decisions) -> None:
        self._name = name
        self._decided = decided
        self._tokens: set[int] = set()
        self._upgrades: dict[tuple[SessionId, Sequence], tuple[int, int]] = {}

    def meaning(self, one: Operation) -> tuple[Any, ...] | None:
        """Return the operation of the sequential lock, or None if this is none of its business."""
        body = one.body
        if body is None:
            known = self._decided.get((one.session, one.sequence))
            body = known[2] if known is not None else None
        match one.request:
            case Acquire() as acquire:
                return self._taking(one, acquire, body)
            case DescribeLock(asked) if asked == self._name and isinstance(body, LockInfo):
                tokens = tuple(sorted(holder.token for holder in body.holders))
                return None if one.stale else ("read", tokens)
            case _:
                return self._changing(one, body)

    def _taking(
        self, one: Operation, acquire: Acquire, body: msgspec.Struct | None
    ) -> tuple[Any, ...] | None:
        if self._name not in acquire.names or acquire.kind != LockKind.LOCK:
            return None
        if isinstance(body, Granted):
            self._tokens.add(body.token)
            return "grant", one.session, acquire.mode == LockMode.EXCLUSIVE, body.token
        refused = isinstance(body, Refused) and body.code == "lock_timeout"
        return ("refuse_attempt",) if refused and acquire.wait_ms == 0 else None

    def _changing(self, one: Operation, body: msgspec.Struct | None) -> tuple[Any, ...] | None:
        match one.request, body:
            case Convert(token, mode), Granted(new) if token in self._tokens:
                self._tokens.add(new)
                self._upgrades[one.session, one.sequence] = (new, token)
                return "convert", one.session, token, new, mode == LockMode.EXCLUSIVE
            case Release(token), Done(changed) if token in self._tokens:
                return "release", one.session, token, changed
            case Abandon(target), Done(changed=True):
                if (one.session, target) in self._upgrades:
                    given, before = self._upgrades[one.session, target]
                    return "convert", one.session, given, before, False
                granted = self._decided.get((one.session, target), (0, 0, None))[2]
                if isinstance(granted, Granted) and granted.token in self._tokens:
                    return "release", one.session, granted.token, True
            case _:
                pass
        return None
