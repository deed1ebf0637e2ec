"""The acquire command: take it, take it again, queue for it, or be told why not.

The fast path is a free name wanted exclusively by a single-name request: one struct, three
dictionary entries, no ``Resource``.
"""

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import refusals
from synaxis.locks.commands import Acquire, Granted, LockEvent, LockEventType
from synaxis.locks.deadlines import HOLD_END, WAIT_END
from synaxis.locks.deadlock import Referee
from synaxis.locks.granting import Granting
from synaxis.locks.limits import LockLimits
from synaxis.locks.requests import Request
from synaxis.locks.table import EXCLUSIVE, SEMAPHORE, SHARED, Resource
from synaxis.locks.validation import flaw_of

__all__ = ["Acquiring"]

_GRANTED = LockEventType.GRANTED
_REENTRIES_KEPT = 16
"""Sequences of past re-entries that a grant remembers beyond its holds, for late abandons."""


class Acquiring:
    """Executes ``Acquire``."""

    def __init__(self, granting: Granting, referee: Referee, limits: LockLimits) -> None:
        self._granting = granting
        self._referee = referee
        self._limits = limits

    def acquire(
        self, session: SessionId, sequence: Sequence, command: Acquire, now: LogTime
    ) -> Granted | Refused | None:
        """Grant, queue (None) or refuse."""
        names = command.names
        kind = command.kind
        if len(names) != 1 or command.mode is not EXCLUSIVE or kind is SEMAPHORE:
            return self._acquire_any(session, sequence, command, now)
        granting = self._granting
        table = granting.table
        resources = table.by_kind[kind]
        name = names[0]
        if name in resources:
            return self._acquire_any(session, sequence, command, now)
        tenant = table.tenants.get(session) or table.tenant(session)
        if len(tenant.requests) >= self._limits.requests_per_session_max:
            return self._too_many_requests()
        request = _request(tenant.session, sequence, table.arrive(), command, now)
        token = request.token = granting.tokens.issue()
        resources[name] = table.grants[token] = request
        tenant.add(request)
        if request.max_hold_ms > 0:
            end = LogTime(now + request.max_hold_ms)
            granting.deadlines.watch(end, HOLD_END, request.arrival, request)
        journal = granting.journal
        if journal.events_wanted:
            event = LockEvent(_GRANTED, kind, name, session, token, EXCLUSIVE, 0, request.value)
            journal.events.append(event)
        return Granted(token, now)

    def _acquire_any(
        self, session: SessionId, sequence: Sequence, command: Acquire, now: LogTime
    ) -> Granted | Refused | None:
        flaw = flaw_of(command)
        if flaw is not None:
            return refusals.invalid(flaw)
        table = self._granting.table
        tenant = table.tenant(session)
        if command.reentrant:
            held = self._held_by(session, command)
            if held is not None:
                return self._reenter(held, sequence)
        if len(tenant.requests) >= self._limits.requests_per_session_max:
            return self._too_many_requests()
        found = [table.find(command.kind, name) for name in command.names]
        resources = [resource for resource in found if resource is not None]
        disagreement = _disagreement(command, resources)
        if disagreement is not None:
            return disagreement
        request = _request(tenant.session, sequence, table.arrive(), command, now)
        if not any(resource.blocks(request) for resource in resources):
            tenant.add(request)
            self._granting.grant(request, now, command.permits)
            return Granted(request.token, now)
        return self._wait(request, command, resources, now)

    def _wait(
        self, request: Request, command: Acquire, resources: list[Resource], now: LogTime
    ) -> Refused | None:
        granting = self._granting
        table = granting.table
        if command.wait_ms == 0:
            return refusals.waited_too_long(table, request, now, self._referee.owner_of)
        maximum = self._limits.waiters_per_lock_max
        if any(resource.waiting >= maximum for resource in resources):
            return refusals.limit_reached("waiters_per_lock_max", maximum)
        table.tenant(request.session).add(request)
        table.enqueue(request, command.permits)
        if command.wait_ms > 0:
            end = LogTime(now + command.wait_ms)
            granting.deadlines.watch(end, WAIT_END, request.arrival, request)
        granting.journal.note(LockEventType.QUEUED, request)
        return self._referee.judge(request, now)

    def _held_by(self, session: SessionId, command: Acquire) -> Request | None:
        """Return the grant of the same session and task that covers what is asked for."""
        resource = self._granting.table.find(command.kind, command.names[0])
        if resource is None:
            return None
        wanted = set(command.names)
        for holder in resource.holders.values():
            same = holder.session == session and holder.task == command.task
            strong = holder.mode is EXCLUSIVE or command.mode is SHARED
            if same and strong and wanted.issubset(holder.names):
                return holder
        return None

    def _reenter(self, request: Request, sequence: Sequence) -> Granted | Refused:
        if request.holds >= self._limits.reentries_max:
            return refusals.limit_reached("reentries_max", self._limits.reentries_max)
        tenant = self._granting.table.tenant(request.session)
        entries = request.entries if request.entries is not None else [request.sequence]
        request.holds += 1
        request.entries = entries = [*entries, sequence]
        tenant.requests[sequence] = request
        # A release does not say which entry it ends, so entries outlive releases; the oldest
        # have certainly been answered.
        while len(entries) > request.holds + _REENTRIES_KEPT:
            oldest = entries.pop(0)
            if oldest != request.sequence:
                tenant.requests.pop(oldest, None)
        return Granted(request.token, request.since, request.holds)

    def _too_many_requests(self) -> Refused:
        maximum = self._limits.requests_per_session_max
        return refusals.limit_reached("requests_per_session_max", maximum)


def _request(
    session: SessionId, sequence: Sequence, arrival: int, command: Acquire, now: LogTime
) -> Request:
    return Request(
        session,
        sequence,
        arrival,
        command.names,
        command.kind,
        command.mode,
        command.weight,
        command.task,
        command.priority,
        command.max_hold_ms,
        command.lock_delay_ms,
        command.value,
        now,
    )


def _disagreement(command: Acquire, resources: list[Resource]) -> Refused | None:
    """Refuse a capacity that differs from the one in force."""
    if command.kind is not SEMAPHORE:
        return None
    for resource in resources:
        if resource.permits != command.permits:
            return refusals.invalid(
                f"semaphore {resource.name!r} has {resource.permits} permits, "
                f"not {command.permits}; SetPermits changes that",
                name=resource.name,
                permits=resource.permits,
            )
    return None
