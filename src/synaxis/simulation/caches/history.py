"""What each key looked like to everybody, as histories of a sequential object.

Keys are independent, but for commands about several, of which each key has its part. The outcome of
a write whose answer nobody got is taken from the log: it happened when it was applied there, or
never.
"""

from collections.abc import Iterator
from typing import Any

from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    Add,
    Clear,
    Counted,
    Evict,
    Item,
    Lookup,
    Put,
    Readings,
    Remove,
    Removed,
    Stored,
    Version,
    WriteBack,
)
from synaxis.caches.placement import cache_of
from synaxis.effects import Refused
from synaxis.ids import Sequence, SessionId
from synaxis.simulation.caches.ledger import AgentCall, Applied, Ledger
from synaxis.simulation.history import MachineCall, Operation
from synaxis.simulation.wgl import Interval

__all__ = ["NO_RECORD", "Facts", "intervals_of", "sequential_record"]

Decided = dict[tuple[SessionId, Sequence], tuple[int, int, Any]]
State = tuple[bytes, Version, tuple[str, ...]]
"""Value, version (0: any) and tags of a record."""
NO_RECORD: State = (b"", Version(ABSENT), ())


class Facts:
    """What the log says; built once."""

    def __init__(self, calls: list[MachineCall], decided: Decided, ledger: Ledger) -> None:
        self.calls = calls
        self.decided = decided
        self.ledger = ledger
        self.stored: dict[tuple[str, bytes], State] = {}
        """(key, value) -> the record, where values are not used twice."""
        for call in calls:
            for item, version in _stored(call):
                self.stored[item.key, item.value] = (item.value, version, item.tags)


def _stored(call: MachineCall) -> Iterator[tuple[Item, Version]]:
    reply = call.reply
    if isinstance(reply, Stored) and reply.versions:
        if isinstance(call.command, Put):
            yield from zip(call.command.items, reply.versions, strict=True)
        elif isinstance(call.command, WriteBack) and not call.command.removed:
            yield call.command.item, reply.versions[0]


def intervals_of(key: str, operations: list[Operation], facts: Facts) -> list[Interval]:
    """Return all that happened to ``key``, in the order in which it was called."""
    found = [
        *_of_clients(key, operations, facts),
        *_of_agents(key, facts),
        *_of_homes(key, facts.calls),
    ]
    found.sort(key=lambda interval: interval.called)
    return found


def _of_clients(key: str, operations: list[Operation], facts: Facts) -> Iterator[Interval]:
    for one in operations:
        if one.stale:
            continue
        body, called, returned = one.body, one.called_us, one.returned_us
        if one.sequence:
            known = facts.decided.get((one.session, one.sequence))
            if known is None:
                continue
            # It cannot have been seen before a replica applied it, which spares the search a lot.
            body, called = known[2], facts.calls[known[0]].time_us
            if one.returned_us is None or one.body != body:
                returned = None
        elif returned is None:
            continue
        step = _step_of(key, one.request, body, facts)
        if step is not None:
            yield Interval(step, called, returned)


def _of_agents(key: str, facts: Facts) -> Iterator[Interval]:
    for call in facts.ledger.calls:
        applied = facts.ledger.applied.get((call.agent, call.write_id))
        if call.outcome is not None and not isinstance(call.outcome, Refused):
            step = _step_of(key, call.command, call.outcome, facts)
            if step is not None:
                yield Interval(step, _began_us(call, applied), call.returned_us)
        elif applied is not None and applied.key == key:
            yield Interval(_assumed(call, facts), applied.time_us, None)


def _began_us(call: AgentCall, applied: Applied | None) -> int:
    """Return the first moment at which it can have happened."""
    if applied is not None:
        return applied.time_us
    if call.back and call.returned_us is not None and not isinstance(call.command, Lookup):
        return call.returned_us  # its owner asks nobody, and answers at once
    return call.called_us


def _assumed(call: AgentCall, facts: Facts) -> tuple[Any, ...]:
    """Return the step of an operation of an agent that nobody was told of, but is in the log."""
    match call.command:
        case Put(items):
            return ("put", facts.stored[items[0].key, items[0].value], ANY_VERSION)
        case Add():
            return ("add", call.command.delta, None)
        case _:
            return ("remove", None)


def _of_homes(key: str, calls: list[MachineCall]) -> Iterator[Interval]:
    for call in calls:
        if isinstance(call.command, Evict):
            for evicted, version in call.command.records:
                if evicted == key:
                    yield Interval(("evict", version), call.time_us, None)


def _step_of(key: str, request: Any, body: Any, facts: Facts) -> tuple[Any, ...] | None:  # noqa: ANN401  whatever was asked
    match request, body:
        case Lookup(keys), Readings(readings) if key in keys:
            reading = readings[keys.index(key)]
            return ("read", None if reading is None else reading.value)
        case Put(items), Stored(versions, conflicts):
            for at, item in enumerate(items):
                if item.key == key:
                    return _step_of_put(item, versions, dict(conflicts).get(at), facts)
        case Add(name, delta), Counted(total) if name == key:
            return ("add", delta, total)
        case Remove(keys), Removed(count) if key in keys:
            return ("remove", count if len(keys) == 1 else None)
        case Clear(cache, tag), Removed() if cache_of(key) == cache:
            return ("clear", tag)
    return None


def _step_of_put(
    item: Item, versions: tuple[Version, ...], conflict: Version | None, facts: Facts
) -> tuple[Any, ...] | None:
    if versions:
        known = facts.stored.get((item.key, item.value), (item.value, Version(ABSENT), item.tags))
        return ("put", known, item.if_version)
    return None if conflict is None else ("conflict", conflict)


def sequential_record(state: State, step: tuple[Any, ...]) -> State | None:
    """Return what a step makes of a record, or None if its result is not legal there."""
    exists, after = state != NO_RECORD, state
    match step:
        case ("read", value):
            legal = value == (state[0] if exists else None)
        case ("put", after, condition):
            legal = condition in (ANY_VERSION, state[1])
        case ("conflict", version):
            legal = state[1] == version
        case ("add", delta, total):
            found = delta + (int(state[0]) if exists else 0)
            after, legal = (b"%d" % found, Version(ABSENT), ()), total in (None, found)
        case ("remove", count):
            after, legal = NO_RECORD, count in (None, int(exists))
        case ("clear", tag):
            after, legal = NO_RECORD if not tag or tag in state[2] else state, True
        case ("evict", version):
            after, legal = NO_RECORD if state[1] in (ABSENT, version) else state, True
        case _:
            raise AssertionError(step)
    return after if legal else None
