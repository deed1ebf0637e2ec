"""What happens when a wait would never end: the referee finds the cycle and picks a victim.

Only the victim's *wait* fails; what it holds stays held, because only its owner knows how to
unwind. The choice depends on replicated state alone, so every replica makes the same one.
"""

from collections.abc import Callable
from typing import Any

from synaxis.effects import Refused
from synaxis.ids import LogTime
from synaxis.locks.commands import LockEventType
from synaxis.locks.granting import Granting
from synaxis.locks.limits import LockLimits, VictimPolicy
from synaxis.locks.refusals import OwnerNames, session_hex
from synaxis.locks.requests import Owner, Request
from synaxis.locks.table import LockTable
from synaxis.locks.wait_graph import CycleSearch, Step

__all__ = ["CYCLE_HOLDS_MAX", "CYCLE_MEMBERS_MAX", "Referee"]

CYCLE_MEMBERS_MAX = 100
"""Members that a refusal names. The text says how many there are."""
CYCLE_HOLDS_MAX = 16
"""Held names that a refusal lists per member, the one that is waited for first."""


class Referee:
    """Judges every request that begins to wait."""

    def __init__(self, granting: Granting, limits: LockLimits) -> None:
        self._granting = granting
        self._limits = limits
        self.owner_of: OwnerNames = session_hex

    def judge(self, request: Request, now: LogTime) -> Refused | None:
        """Break all cycles that the wait of ``request`` has closed.

        Returns the refusal when ``request`` itself is a victim. Another victim is answered by an
        Outcome; its leaving may grant ``request``, which then has an Outcome too.
        """
        while request.waiting and self._may_be_waited_for(request):
            cycle = self._cycle_through(request.owner)
            if not cycle:
                return None
            refused = self._break(cycle, self._victim(cycle, request), request, now)
            if refused is not None:
                return refused
        return None

    def judge_upgraded(self, request: Request, now: LogTime) -> None:
        """Break all cycles that an upgrade without a wait has closed.

        Shared requests that wait for another of their names did not wait for a shared holder,
        but do for an exclusive one. The requester is no victim by this command: it has no wait.
        """
        while cycle := self._cycle_through(request.owner):
            self._break(cycle, self._victim(cycle, request), request, now)

    def _cycle_through(self, owner: Owner) -> list[Step]:
        table = self._granting.table
        search = CycleSearch(table, self._limits.deadlock_visits_max)
        cycle = search.cycle_through(owner)
        table.searches_exhausted_total += search.exhausted
        return cycle

    def _may_be_waited_for(self, request: Request) -> bool:
        """Whether a search is worth its cost: a cycle needs somebody who waits for this owner.

        A new request stands last in its queues, so only the owner's other requests count.
        """
        if request.token:
            return True
        table = self._granting.table
        others = table.tenant(request.session).by_task[request.task]
        return any(other is not request and table.contended(other) for other in others)

    def _break(
        self, cycle: list[Step], victim: Request, requester: Request, now: LogTime
    ) -> Refused | None:
        self._granting.table.deadlocks_total += 1
        details = {"cycle": self._describe(cycle), "members": len(cycle)}
        owners = " -> ".join(self.owner_of(step.owner[0]) for step in cycle[:CYCLE_MEMBERS_MAX])
        refused = Refused("deadlock", f"{len(cycle)} wait in a circle: {owners}", details)
        granting = self._granting
        granting.journal.note(LockEventType.DEADLOCK, victim, details=details)
        touched, sequence = granting.leave_queue(victim, now, "deadlock")
        if victim is not requester:
            granting.journal.answer(victim.session, sequence, refused)
        granting.wake(touched, now)
        return refused if victim is requester else None

    def _victim(self, cycle: list[Step], requester: Request) -> Request:
        candidates = [step.request for step in cycle]
        policy = self._limits.victim_policy
        if policy is VictimPolicy.REQUESTER and requester in candidates:
            return requester
        return min(candidates, key=_ranking(policy, self._granting.table))

    def _describe(self, cycle: list[Step]) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = []
        wanted = cycle[-1].resource.name
        for step in cycle[:CYCLE_MEMBERS_MAX]:
            session, task = step.owner
            shown.append(
                {
                    "session": session_hex(session),
                    "owner": self.owner_of(session),
                    "task": task,
                    "holds": _held_names(self._granting.table, step.owner, wanted),
                    "waits_for": step.resource.name,
                }
            )
            wanted = step.resource.name
        return shown


def _ranking(policy: VictimPolicy, table: LockTable) -> Callable[[Request], tuple[int, ...]]:
    """Return the sort key whose minimum is the victim."""

    def rank(request: Request) -> tuple[int, ...]:
        priority = request.priority
        locks = _locks_held(table, request.owner)
        youth = -_wait_began(request)
        tie = (request.session, request.task)
        if policy is VictimPolicy.FEWEST_LOCKS:
            return (locks, priority, youth, *tie)
        if policy is VictimPolicy.YOUNGEST:
            return (youth, priority, locks, *tie)
        return (priority, locks, youth, *tie)

    return rank


def _wait_began(request: Request) -> int:
    conversion = request.conversion
    return conversion.arrival if request.token and conversion is not None else request.arrival


def _held(table: LockTable, owner: Owner) -> list[Request]:
    return [one for one in table.tenant(owner[0]).of_task(owner[1]) if one.token]


def _locks_held(table: LockTable, owner: Owner) -> int:
    return sum(len(request.names) for request in _held(table, owner))


def _held_names(table: LockTable, owner: Owner, wanted: str) -> list[str]:
    names = [name for request in _held(table, owner) for name in request.names]
    unique = dict.fromkeys(sorted(names, key=lambda name: name != wanted))
    return list(unique)[:CYCLE_HOLDS_MAX]
