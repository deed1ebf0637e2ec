"""Where grants begin and end: grant, release, forced loss, and waking who comes next.

Rule: whatever makes a name more available ends in ``wake`` within the same step, so no grantable
request is ever left waiting. ``wake`` gives upgraders their turn first, then the queue in order,
and stops at the first request that must keep its place.

Invariant: a grant happens only here, inside ``apply``, ``advance`` or ``end_session``; a session
that ended in an earlier step has no request left that could be granted.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence
from synaxis.locks import refusals
from synaxis.locks.commands import LockEventType
from synaxis.locks.deadlines import DELAY_END, HOLD_END, Deadlines
from synaxis.locks.journal import Journal
from synaxis.locks.requests import Request
from synaxis.locks.table import EXCLUSIVE, SEMAPHORE, SHARED, LockTable, Resource
from synaxis.locks.tokens import FencingTokens

__all__ = ["Granting"]


class Granting:
    """The life cycle of grants over one table."""

    def __init__(
        self, table: LockTable, tokens: FencingTokens, deadlines: Deadlines, journal: Journal
    ) -> None:
        self.table = table
        self.tokens = tokens
        self.deadlines = deadlines
        self.journal = journal

    def grant(self, request: Request, now: LogTime, permits: int = 1) -> None:
        """Give ``request``, which no queue holds any more, all its names."""
        waited_ms = now - request.since
        request.token = self.tokens.issue()
        request.since = now
        self.table.hold(request, permits)
        if request.max_hold_ms:
            end = LogTime(now + request.max_hold_ms)
            self.deadlines.watch(end, HOLD_END, request.arrival, request)
        self.journal.note(LockEventType.GRANTED, request, waited_ms)

    def release(self, request: Request, now: LogTime) -> None:
        """End a grant because its session wants it."""
        self.journal.note(LockEventType.RELEASED, request)
        self._fail_upgrade(request, refusals.not_held(request.token))
        self._finish(request, self.table.unhold(request), now)

    def lose(
        self, request: Request, now: LogTime, reason: str, details: dict[str, Any] | None = None
    ) -> None:
        """End a grant against its session's will; its lock delay begins."""
        touched = self.take_away(request, now, reason, details)
        self.wake(touched, now)

    def take_away(
        self, request: Request, now: LogTime, reason: str, details: dict[str, Any] | None = None
    ) -> list[Resource]:
        """Do as ``lose`` but leave the waking to the caller, who must wake what is returned."""
        forced = reason == "force_released"
        what = LockEventType.FORCE_RELEASED if forced else LockEventType.EXPIRED
        self.journal.note(what, request, details={"reason": reason} | (details or {}))
        self._fail_upgrade(request, refusals.lost(request.token, reason))
        resources = self.table.unhold(request)
        self._forget(request)
        if request.lock_delay_ms:
            end = LogTime(now + request.lock_delay_ms)
            for resource in resources:
                self._delay(resource, end)
        return resources

    def refuse(self, request: Request, refused: Refused, reason: str, now: LogTime) -> None:
        """End a wait with a refusal, and tell it before anybody gains from it."""
        touched, sequence = self.leave_queue(request, now, reason)
        self.journal.answer(request.session, sequence, refused)
        self.wake(touched, now)

    def leave_queue(
        self, request: Request, now: LogTime, reason: str
    ) -> tuple[list[Resource], Sequence]:
        """End a wait without a grant; return what the caller must wake, and the command's number.

        A new request is forgotten, an upgrader keeps what it holds.
        """
        conversion = request.conversion
        since = conversion.since if request.token and conversion is not None else request.since
        self.journal.note(LockEventType.LEFT_QUEUE, request, now - since, {"reason": reason})
        if conversion is not None and request.token:
            touched = self.table.end_upgrade(request)
            self.forget_conversion(request)
            return touched, conversion.sequence
        touched = self.table.dequeue(request)
        self._forget(request)
        return touched, request.sequence

    def forget_conversion(self, request: Request) -> None:
        """Drop the record of an upgrade that has ended, however it ended."""
        conversion = request.conversion
        if conversion is not None:
            assert not conversion.waiting, "a waiting upgrade leaves its queues first"
            self.deadlines.forget(conversion)
            self.table.tenant(request.session).requests.pop(conversion.sequence, None)
            request.conversion = None

    def upgrade(self, request: Request, now: LogTime) -> None:
        """Make a shared grant exclusive under a new token; it is the only holder."""
        conversion = request.conversion
        assert conversion is not None
        self.table.rename(request, self.tokens.issue())
        self.table.change_mode(request, EXCLUSIVE)
        self.journal.note(LockEventType.CONVERTED, request, now - conversion.since)

    def downgrade(self, request: Request, now: LogTime) -> None:
        """Make an exclusive grant shared; who waits for shared access may join."""
        resources = self.table.change_mode(request, SHARED)
        self.journal.note(LockEventType.CONVERTED, request)
        self.wake(resources, now)

    def end_delay(self, resource: Resource, now: LogTime) -> None:
        """Let a name be granted again after its lock delay."""
        self.deadlines.forget(resource)
        self.wake([resource], now)

    # --- waking ---------------------------------------------------------------------------

    def wake(self, resources: Iterable[Resource], now: LogTime) -> None:
        """Grant everything that these resources kept waiting and need not any more."""
        pending = deque(resources)
        while pending:
            resource = pending.popleft()
            if resource.deadline is None:
                self._wake_upgraders(resource, now)
                if not resource.converting:
                    pending.extend(self._wake_queue(resource, now))
            self.table.drop_if_idle(resource)

    def _wake_upgraders(self, resource: Resource, now: LogTime) -> None:
        for request in list(resource.converting.values()):
            names = self.table.resources_of(request)
            if not any(each.blocks_upgrade for each in names):
                assert request.conversion is not None
                self.table.end_upgrade(request)
                self.deadlines.forget(request.conversion)
                self.upgrade(request, now)
                self.journal.granted(request, request.conversion.sequence, now)

    def _wake_queue(self, resource: Resource, now: LogTime) -> list[Resource]:
        """Grant from the head; return other resources that this has changed.

        A waiter for permits of several semaphores keeps everybody behind it waiting in all of
        them, but as a holder only those for whom there is no room.
        """
        queue = resource.queue
        changed: list[Resource] = []
        while queue:
            granted = self._wake_one(next(iter(queue.values())), now)
            if not granted:
                break
            if resource.kind is SEMAPHORE and len(granted) > 1:
                changed += granted
        # Behind a shared head that waits for another of its names, shared requests may pass.
        if queue and not resource.exclusive:
            for request in list(queue.values()):
                if request.mode is not SHARED:
                    break
                self._wake_one(request, now)
        return changed

    def _wake_one(self, request: Request, now: LogTime) -> list[Resource]:
        """Grant a waiter if all its resources allow it, and return them."""
        resources = self.table.resources_of(request)
        if any(resource.blocks(request) for resource in resources):
            return []
        self.table.dequeue(request)
        self.deadlines.forget(request)
        self.grant(request, now)
        self.journal.granted(request, request.sequence, now)
        return resources

    # --- endings --------------------------------------------------------------------------

    def _finish(self, request: Request, resources: list[Resource], now: LogTime) -> None:
        self._forget(request)
        self.wake(resources, now)

    def _forget(self, request: Request) -> None:
        self.deadlines.forget(request)
        self.table.tenant(request.session).remove(request)

    def _fail_upgrade(self, request: Request, refusal: Refused) -> None:
        conversion = request.conversion
        if conversion is not None and conversion.waiting:
            self.table.end_upgrade(request)
            self.journal.answer(request.session, conversion.sequence, refusal)
        self.forget_conversion(request)

    def _delay(self, resource: Resource, end: LogTime) -> None:
        if resource.deadline is not None and resource.deadline >= end:
            return
        self.deadlines.forget(resource)
        resource.delay_number = self.table.arrive()
        self.deadlines.watch(end, DELAY_END, resource.delay_number, resource)
