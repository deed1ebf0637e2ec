"""Who waits for whom, read from the lock table at the moment of asking.

Nodes are owners: a session, or one of its tasks when the client names them. A waiter has an edge
to every incompatible holder and to every incompatible waiter ahead of it; without the second
kind the deadlocks of fair queues would be missed. Edges are never stored, so they cannot be
overwritten, leak, or go stale when a lock changes hands.

A new cycle runs through the owner whose request began to wait, so one search from there finds it.
The search is breadth-first: the first cycle found is a shortest one and names no bystanders.

Permits of a semaphore are interchangeable, so a wait for them is hopeless only if what the
*other* owners can still give back is not enough. Such cycles are confirmed by reduction: owners
who can still finish are taken out until none is left to take; who remains is stuck for ever.

Sources:
    Silberschatz, Galvin, Gagne, "Operating System Concepts", 10th ed., 8.6.1 (wait-for graph)
    and 8.6.2 (several instances of a resource type).
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from synaxis.locks.requests import Owner, Request
from synaxis.locks.table import EXCLUSIVE, SEMAPHORE, LockTable, Resource

__all__ = ["CycleSearch", "Step", "edges_of"]


class Step(NamedTuple):
    """``request`` of ``owner`` waits for ``resource``; the next step's owner is in the way."""

    owner: Owner
    request: Request
    resource: Resource


def waits_of(table: LockTable, owner: Owner) -> list[Request]:
    """Return what ``owner`` waits for, oldest wait first."""
    tenant = table.tenants.get(owner[0])
    return [] if tenant is None else tenant.waits.get(owner[1], [])


def edges_of(table: LockTable, owner: Owner) -> Iterator[tuple[Resource, Request]]:
    """Yield (resource, request in the way) for everything ``owner`` waits for."""
    for request in waits_of(table, owner):
        for resource in table.resources_of(request):
            for blocker in resource.blockers(request):
                yield resource, blocker


class _BudgetSpent(Exception):
    """The search has looked at as many edges as it may."""


class CycleSearch:
    """One search; ``visits`` counts the edges looked at, at most ``visits_max``.

    Time: each queue is read once per mode or weight however many of its waiters are reached,
    because what is ahead of an earlier waiter is also ahead of a later one.
    """

    def __init__(self, table: LockTable, visits_max: int) -> None:
        self._table = table
        self._visits_max = visits_max
        self._read_to: dict[tuple[Resource, int], int] = {}
        self._permits_met = False
        self.visits = 0
        self.exhausted = False

    def cycle_through(self, start: Owner) -> list[Step]:
        """Return a shortest deadlock through ``start`` in wait order, or nothing."""
        try:
            cycle, _ = self._breadth_first(start, through_permits=False)
            if cycle or not self._permits_met:
                return cycle
            cycle, reached = self._breadth_first(start, through_permits=True)
            return self._confirm(start, reached) if cycle else []
        except _BudgetSpent:
            self.exhausted = True
            return []

    def _confirm(self, start: Owner, reached: dict[Owner, Step | None]) -> list[Step]:
        _, reached = self._breadth_first(start, through_permits=True, whole=True)
        stuck = self._reduce(reached)
        if start not in stuck:
            return []
        return self._breadth_first(start, through_permits=True, within=stuck)[0]

    def _breadth_first(
        self,
        start: Owner,
        *,
        through_permits: bool,
        whole: bool = False,
        within: dict[Owner, None] | None = None,
    ) -> tuple[list[Step], dict[Owner, Step | None]]:
        """Return the first cycle met and the owners reached, each with the step that led there.

        ``whole`` goes on after a cycle, ``within`` restricts the owners.
        """
        self._read_to.clear()
        led_by: dict[Owner, Step | None] = {start: None}
        frontier = deque([start])
        while frontier:
            owner = frontier.popleft()
            for step, blocker in self._steps(owner, through_permits=through_permits):
                if blocker == start and not whole:
                    return _path(step, led_by), led_by
                if blocker not in led_by and (within is None or blocker in within):
                    led_by[blocker] = step
                    frontier.append(blocker)
        return [], led_by

    def _steps(self, owner: Owner, *, through_permits: bool) -> Iterator[tuple[Step, Owner]]:
        for request in waits_of(self._table, owner):
            for resource in self._table.resources_of(request):
                if self._was_read(resource, request):
                    continue
                step = Step(owner, request, resource)
                for blocker in resource.blockers(request):
                    self._spend()
                    if blocker.token and resource.kind is SEMAPHORE and not through_permits:
                        self._permits_met = True
                    else:
                        yield step, blocker.owner

    def _was_read(self, resource: Resource, request: Request) -> bool:
        if request.token:
            return False
        # Whom a waiter meets depends on its mode, and for permits on how many it wants.
        exclusive = request.mode is EXCLUSIVE
        key = (resource, request.weight if resource.kind is SEMAPHORE else int(exclusive))
        if self._read_to.get(key, 0) >= request.arrival:
            return True
        self._read_to[key] = request.arrival
        return False

    def _spend(self) -> None:
        self.visits += 1
        if self.visits > self._visits_max:
            raise _BudgetSpent

    def _reduce(self, reached: dict[Owner, Step | None]) -> dict[Owner, None]:
        stuck = dict.fromkeys(owner for owner in reached if waits_of(self._table, owner))
        while True:
            free = [owner for owner in stuck if not self._hopeless(owner, stuck)]
            if not free:
                return stuck
            for owner in free:
                del stuck[owner]

    def _hopeless(self, owner: Owner, stuck: dict[Owner, None]) -> bool:
        return any(
            self._never_given(request, resource, stuck)
            for request in waits_of(self._table, owner)
            for resource in self._table.resources_of(request)
        )

    def _never_given(self, request: Request, resource: Resource, stuck: dict[Owner, None]) -> bool:
        kept = 0
        for blocker in resource.blockers(request):
            self._spend()
            if blocker.owner in stuck:
                if resource.kind is not SEMAPHORE or not blocker.token:
                    return True
                kept += blocker.weight
        return kept + request.weight > resource.permits


def _path(last: Step, led_by: dict[Owner, Step | None]) -> list[Step]:
    path = [last]
    step = led_by[last.owner]
    while step is not None:
        path.append(step)
        step = led_by[step.owner]
    path.reverse()
    return path
