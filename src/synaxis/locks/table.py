"""Who holds what and who queues for it: the data of the lock service and its two questions.

``Resource.blocks`` says whether a request must wait, ``Resource.blockers`` for whom. They are the
whole compatibility rule; queues, deadlock search and invariants are built on them.

A request may have a name when nobody it is incompatible with holds the name or stands ahead of
it in the queue. So shared requests join each other past no exclusive waiter, nobody barges, and a
queue's order is the order of arrival everywhere, also for requests that wait in several queues.

Most locks are held by one exclusive grant that nobody waits for. Such a name maps straight to
its ``Request``; a ``Resource`` is made at the first touch by a second party. That halves the
memory and the work of the common case; only this module and the fast paths of
``granting.py`` know.
"""

from collections import OrderedDict
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import LockKind, LockMode
from synaxis.locks.requests import Request

__all__ = [
    "ELECTION",
    "EXCLUSIVE",
    "LOCK",
    "SEMAPHORE",
    "SHARED",
    "LockCounts",
    "LockTable",
    "Resource",
    "Tenant",
]

# Looking a member up in its enum costs more than the comparison it is wanted for.
LOCK, SEMAPHORE, ELECTION = LockKind.LOCK, LockKind.SEMAPHORE, LockKind.ELECTION
EXCLUSIVE, SHARED = LockMode.EXCLUSIVE, LockMode.SHARED


class LockCounts(NamedTuple):
    """Sizes of a lock table, for metrics."""

    exclusive: int
    """Exclusive grants of locks, and elections."""
    shared: int
    semaphore: int
    """Grants of semaphores, whatever their weight."""
    waiting: int
    """Requests and upgrades in queues."""


class Resource:
    """One name of one kind: holders in token order, upgraders, and a queue by arrival."""

    __slots__ = (
        "converting",
        "deadline",
        "delay_number",
        "exclusive",
        "holders",
        "kind",
        "name",
        "permits",
        "pinned",
        "queue",
        "used",
    )

    def __init__(self, kind: LockKind, name: str, permits: int = 1) -> None:
        self.kind = kind
        self.name = name
        self.holders: dict[int, Request] = {}
        """By arrival; iterates in token order, because an upgrade needs to be alone."""
        self.queue: OrderedDict[int, Request] = OrderedDict()
        """By arrival. Ordered so that the head is found in O(1) after many left before it."""
        self.converting: dict[int, Request] = {}
        """Holders that wait for an upgrade, by arrival of the conversion."""
        self.exclusive = False
        """Whether the holder is exclusive. Kept, because asking the holders is not O(1)."""
        self.permits = permits
        self.used = 0
        """Semaphores: sum of the holders' weights."""
        self.pinned = False
        """Semaphores: the capacity was set by an operator and outlives the last holder."""
        self.deadline: LogTime | None = None
        """End of the lock delay; nothing is granted before."""
        self.delay_number = 0
        """Orders delays that end in the same millisecond."""

    def blocks(self, request: Request) -> bool:
        """Whether ``request``, queued or new, must wait for this name."""
        if self.deadline is not None or self.converting:
            return True
        return self._occupied(request) or self._overtakes(request)

    @property
    def blocks_upgrade(self) -> bool:
        """Whether a shared holder must wait before it can be exclusive."""
        return self.deadline is not None or len(self.holders) > 1

    def _occupied(self, request: Request) -> bool:
        if self.kind is SEMAPHORE:
            return self.used + request.weight > self.permits
        return self.exclusive or (request.mode is EXCLUSIVE and bool(self.holders))

    def _overtakes(self, request: Request) -> bool:
        for ahead in self.queue.values():
            if ahead.arrival >= request.arrival:
                return False
            if not self._tolerates(request, ahead):
                return True
        return False

    def _tolerates(self, request: Request, other: Request) -> bool:
        return request.mode is SHARED and other.mode is SHARED and self.kind is LOCK

    def blockers(self, request: Request) -> Iterator[Request]:
        """Yield the incompatible holders and the incompatible waiters ahead of a waiter.

        Upgraders are holders, so they are among the holders; they are yielded once.
        """
        if request.token:
            yield from (holder for holder in self.holders.values() if holder is not request)
            return
        if self._occupied(request):
            yield from self.holders.values()
        else:
            yield from self.converting.values()
        for ahead in self.queue.values():
            if ahead.arrival >= request.arrival:
                return
            if not self._tolerates(request, ahead):
                yield ahead

    def admit(self, request: Request) -> None:
        """Make ``request`` a holder. The caller has checked that it may be."""
        self.holders[request.arrival] = request
        self.used += request.weight
        self.exclusive = self.kind is not SEMAPHORE and request.mode is EXCLUSIVE

    def evict(self, request: Request) -> None:
        """Make ``request`` a holder no longer."""
        del self.holders[request.arrival]
        self.used -= request.weight
        self.exclusive = False

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting this resource."""
        used = self.holders or self.queue or self.pinned
        return not used and self.deadline is None

    @property
    def waiting(self) -> int:
        """Requests that wait here."""
        return len(self.queue) + len(self.converting)


class Tenant:
    """Everything that one session has in the table."""

    __slots__ = ("by_task", "requests", "session", "waits")

    def __init__(self, session: SessionId) -> None:
        self.session = session
        self.requests: dict[Sequence, Request] = {}
        """By the sequences of their acquires; re-entries and upgrades add a key for the same
        request, so ``requests[s].sequence == s`` picks each request once."""
        self.by_task: dict[int, list[Request]] = {}
        """The requests of each task, each once, oldest first."""
        self.waits: dict[int, list[Request]] = {}
        """What each task waits for, upgrades included, in the order in which the waits began."""

    def add(self, request: Request) -> None:
        """Index a new request."""
        self.requests[request.sequence] = request
        mine = self.by_task.get(request.task)
        if mine is None:
            self.by_task[request.task] = [request]
        else:
            mine.append(request)

    def remove(self, request: Request) -> None:
        """Forget a request, under all its sequences."""
        self.requests.pop(request.sequence, None)
        mine = self.by_task[request.task]
        if len(mine) == 1:
            del self.by_task[request.task]
        else:
            mine.remove(request)
        if request.entries is not None:
            for entry in request.entries:
                self.requests.pop(entry, None)
        if request.conversion is not None:
            self.requests.pop(request.conversion.sequence, None)

    def start_wait(self, request: Request) -> None:
        """Note that ``request`` waits."""
        self.waits.setdefault(request.task, []).append(request)

    def end_wait(self, request: Request) -> None:
        """Note that ``request`` waits no longer."""
        waits = self.waits[request.task]
        waits.remove(request)
        if not waits:
            del self.waits[request.task]

    def distinct(self) -> list[Request]:
        """Return each request once, in the order of their sequences."""
        return [one for key, one in sorted(self.requests.items()) if one.sequence == key]

    def of_task(self, task: int) -> list[Request]:
        """Return the requests of one task, in the order of their sequences."""
        return sorted(self.by_task.get(task, ()), key=attrgetter("sequence"))


class LockTable:
    """All resources, grants and waiters of a group.

    Invariants: ``grants`` holds exactly the requests with a token; a request is indexed by its
    session; no resource is idle.
    """

    def __init__(self) -> None:
        self.by_kind: dict[LockKind, dict[str, Resource | Request]] = {
            LOCK: {},
            SEMAPHORE: {},
            ELECTION: {},
        }
        self.grants: dict[FencingToken, Request] = {}
        self.tenants: dict[SessionId, Tenant] = {}
        """Sessions that ever asked for something and still live."""
        self.arrivals = 0
        """Number of the youngest request."""
        self.waiting = 0
        """Requests and upgrades that wait now."""
        self.shared = 0
        """Shared grants."""
        self.permit_grants = 0
        """Grants of semaphores, whatever their weight."""
        self.pinned = 0
        """Semaphores whose capacity was set by an operator."""
        self.deadlocks_total = 0
        self.searches_exhausted_total = 0
        """Deadlock searches that gave up at ``deadlock_visits_max``."""

    def tenant(self, session: SessionId) -> Tenant:
        """Return what ``session`` has, creating an empty record."""
        found = self.tenants.get(session)
        if found is None:
            found = self.tenants[session] = Tenant(session)
        return found

    def arrive(self) -> int:
        """Return the number of the next request."""
        self.arrivals += 1
        return self.arrivals

    def find(self, kind: LockKind, name: str) -> Resource | None:
        """Return a resource to work on, or None when nobody uses the name."""
        found = self.by_kind[kind].get(name)
        if isinstance(found, Request):
            resource = self.by_kind[kind][name] = spread(found, name)
            return resource
        return found

    def open(self, kind: LockKind, name: str, permits: int = 1) -> Resource:
        """Return a resource to work on, creating it."""
        found = self.find(kind, name)
        if found is None:
            found = self.by_kind[kind][name] = Resource(kind, name, permits)
        return found

    def look(self, kind: LockKind, name: str) -> Resource | None:
        """Return a resource to read; the table does not change."""
        found = self.by_kind[kind].get(name)
        return spread(found, name) if isinstance(found, Request) else found

    def resources_of(self, request: Request) -> list[Resource]:
        """Return the existing resources among the names of ``request``."""
        found = (self.find(request.kind, name) for name in request.names)
        return [resource for resource in found if resource is not None]

    def contended(self, request: Request) -> bool:
        """Whether somebody else waits for a name that ``request`` holds or waits for."""
        resources = self.by_kind[request.kind]
        own = int(request.waiting)
        for name in request.names:
            resource = resources[name]
            if isinstance(resource, Resource) and resource.waiting > own:
                return True
        return False

    def drop_if_idle(self, resource: Resource) -> None:
        """Forget a resource that nobody uses."""
        if resource.idle:
            self.by_kind[resource.kind].pop(resource.name, None)

    def hold(self, request: Request, permits: int = 1) -> None:
        """Enter a grant: ``request`` has its token and becomes a holder of all its names."""
        self.grants[request.token] = request
        self._count(request, 1)
        for name in request.names:
            self.open(request.kind, name, permits).admit(request)

    def enqueue(self, request: Request, permits: int = 1) -> None:
        """Put a new request at the end of the queues of all its names."""
        for name in request.names:
            self.open(request.kind, name, permits).queue[request.arrival] = request
        self.tenant(request.session).start_wait(request)
        self.waiting += 1

    def dequeue(self, request: Request) -> list[Resource]:
        """Take a waiter out of all its queues and return the resources."""
        resources = self.resources_of(request)
        for resource in resources:
            del resource.queue[request.arrival]
        self.tenant(request.session).end_wait(request)
        self.waiting -= 1
        return resources

    def start_upgrade(self, request: Request) -> None:
        """Put the waiting conversion of ``request`` ahead of the queues of all its names."""
        assert request.conversion is not None
        for resource in self.resources_of(request):
            resource.converting[request.conversion.arrival] = request
        self.tenant(request.session).start_wait(request)
        self.waiting += 1

    def end_upgrade(self, request: Request) -> list[Resource]:
        """Take the conversion of ``request`` out of its wait and return the resources."""
        assert request.conversion is not None
        resources = self.resources_of(request)
        for resource in resources:
            del resource.converting[request.conversion.arrival]
        request.conversion.waiting = False
        self.tenant(request.session).end_wait(request)
        self.waiting -= 1
        return resources

    def unhold(self, request: Request) -> list[Resource]:
        """End a grant and return its resources; idle ones are still in the table."""
        del self.grants[request.token]
        self._count(request, -1)
        resources = self.resources_of(request)
        for resource in resources:
            resource.evict(request)
        return resources

    def change_mode(self, request: Request, mode: LockMode) -> list[Resource]:
        """Hold a lock in another mode and return its resources."""
        self._count(request, -1)
        request.mode = mode
        self._count(request, 1)
        resources = self.resources_of(request)
        for resource in resources:
            resource.exclusive = mode is EXCLUSIVE
        return resources

    def rename(self, request: Request, token: FencingToken) -> None:
        """File a grant under another token."""
        del self.grants[request.token]
        request.token = token
        self.grants[token] = request

    def counts(self) -> LockCounts:
        """Return how much is held and waited for. O(1)."""
        others = self.shared + self.permit_grants
        return LockCounts(len(self.grants) - others, self.shared, self.permit_grants, self.waiting)

    def _count(self, request: Request, step: int) -> None:
        if request.kind is SEMAPHORE:
            self.permit_grants += step
        elif request.mode is SHARED:
            self.shared += step


def spread(request: Request, name: str) -> Resource:
    """Return the full form of a name that is held by ``request`` alone."""
    resource = Resource(request.kind, name)
    resource.admit(request)
    return resource
