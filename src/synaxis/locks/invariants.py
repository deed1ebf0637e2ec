"""What must always hold between two steps, asserted from scratch.

Slow on purpose: nothing here trusts a counter or an index that the rules keep. The simulator and
the property tests call it after every step.
"""

from synaxis.locks.deadlines import Deadlines
from synaxis.locks.gates import GateKind, Gates
from synaxis.locks.limits import LockLimits
from synaxis.locks.requests import Owner, Request
from synaxis.locks.table import EXCLUSIVE, SEMAPHORE, SHARED, LockTable, Resource
from synaxis.locks.tokens import TOKEN_LIMIT, FencingTokens
from synaxis.locks.wait_graph import edges_of

__all__ = ["check"]

_GRAPH_EDGES_MAX = 2_000
"""The wait graph is only checked for cycles while it is small."""


def check(
    table: LockTable, gates: Gates, tokens: FencingTokens, deadlines: Deadlines, limits: LockLimits
) -> None:
    """Assert all invariants."""
    resources = _all_resources(table)
    for resource in resources:
        _check_holders(resource, tokens)
        _check_queue(resource, limits)
        assert not resource.idle, f"{resource.name!r} is idle and still kept"
    _check_no_one_forgotten(resources, table)
    _check_indexes(resources, table, limits)
    _check_gates(gates)
    _check_deadlines(resources, table, gates, deadlines)
    if not table.searches_exhausted_total:
        _check_acyclic(table)


def _all_resources(table: LockTable) -> list[Resource]:
    found: list[Resource] = []
    for kind, by_name in table.by_kind.items():
        for name, entry in by_name.items():
            resource = table.look(kind, name)
            assert resource is not None
            assert (resource.kind, resource.name) == (kind, name), "filed under its own name"
            if isinstance(entry, Request):
                plain = entry.names == (name,) and entry.mode is EXCLUSIVE
                assert plain, f"{name!r} maps straight to a request that is not plain"
            found.append(resource)
    return found


def _check_holders(resource: Resource, tokens: FencingTokens) -> None:
    holders = list(resource.holders.values())
    exclusive = [one for one in holders if one.mode is EXCLUSIVE]
    if resource.kind is SEMAPHORE:
        assert resource.used == sum(one.weight for one in holders), "permits are counted"
        assert not resource.exclusive
    else:
        assert len(holders) <= 1 or not exclusive, f"{resource.name!r} has incompatible holders"
        assert resource.exclusive == bool(exclusive)
    order = [one.token for one in holders]
    assert order == sorted(set(order)), "holders stand in token order"
    assert all(0 < token <= tokens.last < TOKEN_LIMIT for token in order), "tokens were issued"


def _check_queue(resource: Resource, limits: LockLimits) -> None:
    assert list(resource.queue) == sorted(resource.queue), "queues are in order of arrival"
    assert resource.waiting <= limits.waiters_per_lock_max
    for arrival, request in resource.queue.items():
        assert arrival == request.arrival
        assert not request.token, "who waits holds nothing by that request"
        assert resource.name in request.names
        assert resource.kind is not SEMAPHORE or request.weight <= resource.permits
    for arrival, request in resource.converting.items():
        conversion = request.conversion
        assert conversion is not None
        assert conversion.waiting
        assert conversion.arrival == arrival
        assert resource.holders.get(request.arrival) is request, "upgraders hold"


def _check_no_one_forgotten(resources: list[Resource], table: LockTable) -> None:
    for resource in resources:
        for request in resource.queue.values():
            names = table.resources_of(request)
            blocked = any(each.blocks(request) for each in names)
            assert blocked, f"{request.owner} could have {request.names} and waits"
        for request in resource.converting.values():
            names = table.resources_of(request)
            blocked = any(each.blocks_upgrade for each in names)
            assert blocked, f"{request.owner} could upgrade {request.names} and waits"


def _check_indexes(resources: list[Resource], table: LockTable, limits: LockLimits) -> None:
    held: dict[int, Request] = {}
    waiting: dict[int, Request] = {}
    for resource in resources:
        held.update({one.token: one for one in resource.holders.values()})
        waiting.update({id(one): one for one in resource.queue.values()})
        waiting.update({id(one): one for one in resource.converting.values()})
    assert held == table.grants, "the grant index is what the resources say"
    assert len(waiting) == table.waiting
    semaphore = sum(one.kind is SEMAPHORE for one in held.values())
    shared = sum(one.mode is SHARED for one in held.values())
    counted = (len(held) - semaphore - shared, shared, semaphore, len(waiting))
    assert table.counts() == counted, "the counters are what the resources say"
    indexed: list[Request] = []
    for session, tenant in table.tenants.items():
        own = tenant.distinct()
        assert all(one.session == session == tenant.session for one in own)
        assert len(tenant.requests) <= limits.requests_per_session_max + 2 * len(own) + sum(
            len(one.entries or ()) for one in own
        )
        waits = [one for each in tenant.waits.values() for one in each]
        assert all(one.task == task for task, each in tenant.waits.items() for one in each)
        assert {id(one) for one in waits} == {id(one) for one in own if one.waiting}
        indexed += own
    expected = {id(one) for one in held.values()} | set(waiting)
    assert {id(one) for one in indexed} == expected, "each session knows its own requests"


def _check_gates(gates: Gates) -> None:
    standing: set[int] = set()
    for kind, by_name in gates.by_kind.items():
        for gate in by_name.values():
            standing.update(id(wait) for wait in gate.waits.values())
            if kind is GateKind.BARRIER:
                assert 0 < len(gate.waits) < gate.count, "a full or empty barrier is no barrier"
            else:
                assert gate.remaining or not gate.waits, "nobody waits at an open latch"
    indexed = {id(wait) for own in gates.waits.values() for wait in own.values()}
    assert indexed == standing, "each session knows its own waits at gates"


def _check_deadlines(
    resources: list[Resource], table: LockTable, gates: Gates, deadlines: Deadlines
) -> None:
    due = [one.deadline for one in resources]
    for tenant in table.tenants.values():
        for request in tenant.distinct():
            due.append(request.deadline)
            if request.conversion is not None:
                due.append(request.conversion.deadline)
    due += [wait.deadline for own in gates.waits.values() for wait in own.values()]
    earliest = min((one for one in due if one is not None), default=None)
    assert deadlines.next() == earliest, "the heap knows the earliest deadline"


def _check_acyclic(table: LockTable) -> None:
    """Assert that no wait would last for ever; semaphores may still hide a cycle of timeouts."""
    edges: dict[Owner, set[Owner]] = {}
    count = 0
    for session, tenant in table.tenants.items():
        for task in tenant.waits:
            out = edges.setdefault((session, task), set())
            for resource, blocker in edges_of(table, (session, task)):
                count += 1
                if resource.kind is not SEMAPHORE:
                    out.add(blocker.owner)
    if count > _GRAPH_EDGES_MAX:
        return
    while edges:
        leaves = [owner for owner, out in edges.items() if not any(o in edges for o in out)]
        assert leaves, f"a deadlock went unnoticed among {sorted(edges)}"
        for owner in leaves:
            del edges[owner]
