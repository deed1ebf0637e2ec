"""The whole state as bytes, and back.

Stored is only what cannot be derived: the requests in order of arrival, the counters, and what
resources know beyond their requests. Queues, indexes and the deadline heap are rebuilt, so they
cannot disagree with the requests. Equal states give equal bytes, because everything is sorted.
"""

from collections.abc import Iterable

import msgspec

from synaxis.errors import StorageCorrupt
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks.commands import LockKind
from synaxis.locks.deadlines import DELAY_END, HOLD_END, WAIT_END, Deadlines
from synaxis.locks.gates import Gate, GateKind, Gates, GateWait
from synaxis.locks.requests import Request
from synaxis.locks.table import ELECTION, EXCLUSIVE, LOCK, SEMAPHORE, LockTable, Resource
from synaxis.locks.tokens import FencingTokens

__all__ = ["Abandoned", "State", "capture", "decode", "load"]

FORMAT_VERSION = 1

Abandoned = dict[SessionId, list[Sequence]]
"""Commands that were abandoned before they arrived."""


class ResourceState(msgspec.Struct, array_like=True):
    """What a resource knows beyond its requests."""

    kind: LockKind
    name: str
    permits: int
    pinned: bool
    delayed_until: LogTime | None
    delay_number: int


class GateState(msgspec.Struct, array_like=True):
    """A barrier or latch without its waits."""

    kind: GateKind
    name: str
    count: int
    remaining: int


class State(msgspec.Struct, array_like=True):
    """Everything that replicas have in common."""

    version: int
    token: int
    arrivals: int
    deadlocks_total: int
    searches_exhausted_total: int
    requests: list[Request]
    resources: list[ResourceState]
    gates: list[GateState]
    gate_waits: list[GateWait]
    abandoned: list[tuple[SessionId, list[Sequence]]]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(State)


def capture(table: LockTable, gates: Gates, tokens: FencingTokens, abandoned: Abandoned) -> bytes:
    """Return the state of these parts as bytes."""
    requests = [one for tenant in table.tenants.values() for one in tenant.distinct()]
    requests.sort(key=_arrival)
    waits = [wait for own in gates.waits.values() for wait in own.values()]
    waits.sort(key=_arrival)
    state = State(
        FORMAT_VERSION,
        tokens.last,
        table.arrivals,
        table.deadlocks_total,
        table.searches_exhausted_total,
        requests,
        _resource_states(table),
        _gate_states(gates),
        waits,
        sorted(abandoned.items()),
    )
    return _ENCODER.encode(state)


def decode(data: bytes) -> State:
    """Return the state that ``capture`` wrote.

    Raises:
        StorageCorrupt: these bytes are something else.
    """
    try:
        state = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise StorageCorrupt(f"not a snapshot of a lock table: {error}") from error
    if state.version != FORMAT_VERSION:
        raise StorageCorrupt(f"lock snapshot version {state.version}, not {FORMAT_VERSION}")
    return state


def load(
    state: State, table: LockTable, gates: Gates, tokens: FencingTokens, deadlines: Deadlines
) -> Abandoned:
    """Fill these empty parts with ``state``; return what was abandoned early."""
    tokens.resume(state.token)
    table.arrivals = state.arrivals
    table.deadlocks_total = state.deadlocks_total
    table.searches_exhausted_total = state.searches_exhausted_total
    for request in state.requests:
        _index(request, table)
    for request in sorted((one for one in state.requests if one.token), key=_token):
        _hold(request, table)
        if request.deadline is not None:
            deadlines.watch(request.deadline, HOLD_END, request.arrival, request)
    _load_waits(state.requests, table, deadlines)
    for resource in state.resources:
        _load_resource(resource, table, deadlines)
    _load_gates(state, gates, deadlines)
    return dict(state.abandoned)


def _arrival(one: Request | GateWait) -> int:
    return one.arrival


def _token(request: Request) -> int:
    return request.token


def _wait_began(request: Request) -> int:
    conversion = request.conversion
    return conversion.arrival if request.token and conversion is not None else request.arrival


def _resource_states(table: LockTable) -> list[ResourceState]:
    kept = [
        one
        for kind in (LOCK, SEMAPHORE, ELECTION)
        for one in table.by_kind[kind].values()
        if isinstance(one, Resource) and (kind is SEMAPHORE or one.deadline is not None)
    ]
    kept.sort(key=lambda one: (one.kind, one.name))
    return [
        ResourceState(one.kind, one.name, one.permits, one.pinned, one.deadline, one.delay_number)
        for one in kept
    ]


def _gate_states(gates: Gates) -> list[GateState]:
    return [
        GateState(kind, name, gate.count, gate.remaining)
        for kind in GateKind
        for name, gate in sorted(gates.by_kind[kind].items())
    ]


def _index(request: Request, table: LockTable) -> None:
    tenant = table.tenant(request.session)
    request.session = tenant.session
    tenant.add(request)
    for entry in request.entries or ():
        tenant.requests[entry] = request
    if request.conversion is not None:
        tenant.requests[request.conversion.sequence] = request


def _hold(request: Request, table: LockTable) -> None:
    resources = table.by_kind[request.kind]
    name = request.names[0]
    plain = len(request.names) == 1 and request.mode is EXCLUSIVE and request.kind is not SEMAPHORE
    if plain and name not in resources:
        table.grants[request.token] = resources[name] = request
    else:
        table.hold(request)


def _load_waits(requests: Iterable[Request], table: LockTable, deadlines: Deadlines) -> None:
    for request in sorted((one for one in requests if one.waiting), key=_wait_began):
        conversion = request.conversion
        if not request.token:
            table.enqueue(request)
            if request.deadline is not None:
                deadlines.watch(request.deadline, WAIT_END, request.arrival, request)
        elif conversion is not None:
            table.start_upgrade(request)
            if conversion.deadline is not None:
                deadlines.watch(conversion.deadline, WAIT_END, conversion.arrival, conversion)


def _load_resource(state: ResourceState, table: LockTable, deadlines: Deadlines) -> None:
    resource = table.open(state.kind, state.name)
    resource.permits = state.permits
    resource.pinned = state.pinned
    table.pinned += state.pinned
    resource.delay_number = state.delay_number
    if state.delayed_until is not None:
        deadlines.watch(state.delayed_until, DELAY_END, state.delay_number, resource)


def _load_gates(state: State, gates: Gates, deadlines: Deadlines) -> None:
    for each in state.gates:
        gate = gates.by_kind[each.kind][each.name] = Gate(each.name, each.count)
        gate.remaining = each.remaining
    for wait in state.gate_waits:
        gates.by_kind[wait.kind][wait.name].waits[wait.arrival] = wait
        gates.waits.setdefault(wait.session, {})[wait.sequence] = wait
        if wait.deadline is not None:
            deadlines.watch(wait.deadline, WAIT_END, wait.arrival, wait)
