"""Semaphores: what is special about counting permits.

The first acquire fixes the capacity and later ones must agree, so that two versions of a program
cannot silently work with two capacities. It is forgotten with the last holder and waiter, unless
an operator has set it: then it is pinned until it is set to 0.
"""

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import refusals
from synaxis.locks.commands import Done, SetPermits
from synaxis.locks.granting import Granting
from synaxis.locks.limits import LockLimits
from synaxis.locks.table import SEMAPHORE, Resource

__all__ = ["Semaphores"]

UNPIN = 0
"""``SetPermits.permits`` that gives the capacity back to the acquires."""


class Semaphores:
    """Executes ``SetPermits``; acquires of semaphores are those of locks."""

    def __init__(self, granting: Granting, limits: LockLimits) -> None:
        self._granting = granting
        self._limits = limits

    def set_permits(
        self, _session: SessionId, _sequence: Sequence, command: SetPermits, now: LogTime
    ) -> Done | Refused:
        """Resize and pin, or unpin.

        Waiters that want more than there will ever be are refused. Shrinking is no wait, so it
        starts no deadlock search.
        """
        table = self._granting.table
        permits = command.permits
        if permits < 0:
            return refusals.invalid(f"permits is {permits}; it must not be negative")
        resource = table.find(SEMAPHORE, command.name)
        if permits == UNPIN:
            return self._unpin(resource)
        if resource is None or not resource.pinned:
            if table.pinned >= self._limits.pinned_semaphores_max:
                maximum = self._limits.pinned_semaphores_max
                return refusals.limit_reached("pinned_semaphores_max", maximum)
            table.pinned += 1
        resource = table.open(SEMAPHORE, command.name, permits)
        changed = not resource.pinned or resource.permits != permits
        resource.pinned = True
        resource.permits = permits
        self._refuse_too_heavy(resource, now)
        self._granting.wake([resource], now)
        return Done(changed=changed)

    def _unpin(self, resource: Resource | None) -> Done:
        if resource is None or not resource.pinned:
            return Done(changed=False)
        resource.pinned = False
        self._granting.table.pinned -= 1
        self._granting.table.drop_if_idle(resource)
        return Done()

    def _refuse_too_heavy(self, resource: Resource, now: LogTime) -> None:
        for request in list(resource.queue.values()):
            if request.weight > resource.permits:
                refused = refusals.invalid(
                    f"semaphore {resource.name!r} was resized to {resource.permits} permits, "
                    f"fewer than the {request.weight} wanted",
                    name=resource.name,
                    permits=resource.permits,
                )
                self._granting.refuse(request, refused, "resized", now)
