"""Answers to questions about the lock table. Nothing here changes it."""

from collections.abc import Iterator
from heapq import nsmallest
from itertools import islice

import msgspec

from synaxis.ids import LogTime
from synaxis.locks import refusals
from synaxis.locks.commands import (
    DescribeLock,
    DescribeWaits,
    Holder,
    ListLocks,
    LockInfo,
    LockList,
    WaitEdge,
    Waiter,
    WaitGraphInfo,
)
from synaxis.locks.limits import LockLimits
from synaxis.locks.requests import Conversion, Request
from synaxis.locks.table import EXCLUSIVE, LockTable, Resource
from synaxis.locks.wait_graph import edges_of

__all__ = ["answer"]


def answer(
    table: LockTable, limits: LockLimits, query: msgspec.Struct, now: LogTime
) -> msgspec.Struct:
    """Answer one of ``commands.LockQuery``; anything else is refused."""
    match query:
        case DescribeLock():
            found = table.look(query.kind, query.name)
            return _describe(found or Resource(query.kind, query.name), now)
        case ListLocks():
            return _list(table, limits, query, now)
        case DescribeWaits():
            return _waits(table, limits)
        case _:
            return refusals.invalid(f"{type(query).__name__} is no question to the lock service")


def _list(table: LockTable, limits: LockLimits, query: ListLocks, now: LogTime) -> LockList:
    prefix, after = query.prefix, query.after
    limit = max(1, min(query.limit, limits.list_limit_max))
    names = (n for n in table.by_kind[query.kind] if n > after and n.startswith(prefix))
    page = nsmallest(limit + 1, names)
    locks: list[LockInfo] = []
    rows = 0
    for name in page[:limit]:
        resource = table.look(query.kind, name)
        assert resource is not None
        rows += len(resource.holders) + resource.waiting
        if locks and rows > limits.list_rows_max:
            break
        locks.append(_describe(resource, now))
    return LockList(tuple(locks), len(locks) < len(page), now)


def _describe(resource: Resource, now: LogTime) -> LockInfo:
    return LockInfo(
        resource.name,
        resource.kind,
        now,
        tuple(_holder(request) for request in resource.holders.values()),
        tuple(_waiters(resource)),
        resource.permits,
        resource.deadline,
    )


def _holder(request: Request) -> Holder:
    return Holder(
        request.session,
        request.token,
        request.mode,
        request.since,
        request.holds,
        request.weight,
        request.deadline,
        request.value,
    )


def _waiters(resource: Resource) -> Iterator[Waiter]:
    for request in resource.converting.values():
        conversion = request.conversion
        assert conversion is not None
        yield _upgrader(request, conversion)
    for request in resource.queue.values():
        yield Waiter(
            request.session,
            request.sequence,
            request.mode,
            request.since,
            request.weight,
            request.deadline,
            converting=False,
        )


def _upgrader(request: Request, conversion: Conversion) -> Waiter:
    return Waiter(
        request.session,
        conversion.sequence,
        EXCLUSIVE,
        conversion.since,
        request.weight,
        conversion.deadline,
        converting=True,
    )


def _waits(table: LockTable, limits: LockLimits) -> WaitGraphInfo:
    edges = list(islice(_edges(table), limits.wait_edges_max + 1))
    shown = sorted(set(edges[: limits.wait_edges_max]), key=lambda e: (e.waiter, e.holder, e.name))
    truncated = len(edges) > limits.wait_edges_max
    return WaitGraphInfo(tuple(shown), table.deadlocks_total, truncated)


def _edges(table: LockTable) -> Iterator[WaitEdge]:
    for session, tenant in sorted(table.tenants.items()):
        for task in tenant.waits:
            for resource, blocker in edges_of(table, (session, task)):
                yield WaitEdge(session, blocker.session, resource.name)
