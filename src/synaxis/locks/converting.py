"""Changing the mode of a grant without letting go of it, and undoing commands.

An upgrade needs to be the only holder of all its names. It waits ahead of every new request, as
it already holds what they wait for. A downgrade never waits.
"""

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import refusals
from synaxis.locks.commands import Abandon, Convert, Done, Granted, LockEventType
from synaxis.locks.deadlines import WAIT_END
from synaxis.locks.deadlock import Referee
from synaxis.locks.granting import Granting
from synaxis.locks.limits import LockLimits
from synaxis.locks.requests import Conversion, Request
from synaxis.locks.table import LOCK, SHARED

__all__ = ["Converting"]


class Converting:
    """Executes ``Convert`` and the undoing of acquires and conversions."""

    def __init__(self, granting: Granting, referee: Referee, limits: LockLimits) -> None:
        self._granting = granting
        self._referee = referee
        self._limits = limits

    def convert(
        self, session: SessionId, sequence: Sequence, command: Convert, now: LogTime
    ) -> Granted | Refused | None:
        """Change the mode now, queue the upgrade (None), or refuse."""
        request = self._granting.table.grants.get(command.token)
        if request is None or request.session != session:
            return refusals.not_held(command.token)
        if request.kind is not LOCK:
            return refusals.invalid("only locks have modes; this grant is of another kind")
        if request.waiting:
            return refusals.invalid("an upgrade of this grant waits already")
        if request.mode is command.mode:
            return Granted(request.token, request.since, request.holds)
        self._granting.forget_conversion(request)
        if command.mode is SHARED:
            self._granting.downgrade(request, now)
            return Granted(request.token, now, request.holds)
        return self._upgrade(request, sequence, command.wait_ms, now)

    def _upgrade(
        self, request: Request, sequence: Sequence, wait_ms: int, now: LogTime
    ) -> Granted | Refused | None:
        granting = self._granting
        table = granting.table
        resources = table.resources_of(request)
        blocked = any(resource.blocks_upgrade for resource in resources)
        conversion = Conversion(
            request.session, sequence, table.arrive(), now, None, request.token, waiting=False
        )
        request.conversion = conversion
        if not blocked:
            table.tenant(request.session).requests[sequence] = request
            granting.upgrade(request, now)
            granted = Granted(request.token, now, request.holds)
            if table.contended(request):
                self._referee.judge_upgraded(request, now)
            return granted
        maximum = self._limits.waiters_per_lock_max
        if wait_ms == 0:
            refused = refusals.waited_too_long(table, request, now, self._referee.owner_of)
        elif any(resource.waiting >= maximum for resource in resources):
            refused = refusals.limit_reached("waiters_per_lock_max", maximum)
        else:
            return self._wait(request, conversion, wait_ms, now)
        request.conversion = None
        return refused

    def _wait(
        self, request: Request, conversion: Conversion, wait_ms: int, now: LogTime
    ) -> Refused | None:
        granting = self._granting
        conversion.waiting = True
        granting.table.tenant(request.session).requests[conversion.sequence] = request
        granting.table.start_upgrade(request)
        if wait_ms > 0:
            end = LogTime(now + wait_ms)
            granting.deadlines.watch(end, WAIT_END, conversion.arrival, conversion)
        granting.journal.note(LockEventType.QUEUED, request)
        return self._referee.judge(request, now)

    def undo(self, request: Request, command: Abandon, now: LogTime) -> Done:
        """Undo the command ``target``, which made, waits for, re-entered or upgraded ``request``.

        An upgrade that already happened is turned back, also to its old token: the client that
        abandons it never learned the new one, and held the lock all the time.
        """
        target = command.target
        conversion = request.conversion
        if conversion is not None and conversion.sequence == target:
            if conversion.waiting:
                self._granting.refuse(request, refusals.ABANDONED, "wait_abandoned", now)
            else:
                self._turn_back(request, conversion, now)
            return Done()
        if not request.token:
            self._granting.refuse(request, refusals.ABANDONED, "wait_abandoned", now)
            return Done()
        return Done(changed=self._undo_entry(request, target, now))

    def _turn_back(self, request: Request, conversion: Conversion, now: LogTime) -> None:
        self._granting.table.rename(request, conversion.token_before)
        self._granting.forget_conversion(request)
        self._granting.downgrade(request, now)

    def _undo_entry(self, request: Request, target: Sequence, now: LogTime) -> bool:
        if request.entries is not None:
            if target not in request.entries:
                return False
            request.entries.remove(target)
            if target != request.sequence:
                self._granting.table.tenant(request.session).requests.pop(target, None)
        if request.holds > 1:
            request.holds -= 1
        else:
            self._granting.release(request, now)
        return True
