"""``Synaxis``: the blocking twin, with the same names, for code without an event loop.

Every class here holds its asynchronous original and lends it a loop in another thread; see
``twins``. What belongs to queues is in ``sync_queues``.

A thread cannot be cancelled: a lock that is lost under a ``with`` body sets ``held.lost``, makes
``held.ensure()`` raise, and ``LockLost`` leaves the ``with`` at its end.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

from synaxis.client.caches.cache import Cache
from synaxis.client.caches.options import CacheOptions
from synaxis.client.cluster import AsyncSynaxis, ConnectOptions
from synaxis.client.election import Election
from synaxis.client.errands import borrowing
from synaxis.client.gates import Barrier, Latch
from synaxis.client.grants import Grant, GrantState, OnLoss
from synaxis.client.lock_admin import LockAdmin
from synaxis.client.lock_many import GrantSet, LockMany
from synaxis.client.lock_options import HoldOptions, LockOptions, Mode
from synaxis.client.locks import Lock
from synaxis.client.owners import owner_of_thread
from synaxis.client.portal import Portal
from synaxis.client.queues.codecs import Codec
from synaxis.client.semaphore import Semaphore
from synaxis.client.sync_caches import BlockingCache, BlockingCacheAdmin
from synaxis.client.sync_queues import BlockingTopic, BlockingTopics
from synaxis.client.twins import BlockingIterator, Twin, blocking, iterating
from synaxis.errors import LockTimeout
from synaxis.ids import FencingToken

__all__ = [
    "BlockingBarrier",
    "BlockingElection",
    "BlockingGrant",
    "BlockingGrantSet",
    "BlockingIterator",
    "BlockingLatch",
    "BlockingLock",
    "BlockingLockAdmin",
    "BlockingLockMany",
    "BlockingSemaphore",
    "Lost",
    "Synaxis",
]

A = TypeVar("A")
P = ParamSpec("P")


def locking(
    method: Callable[Concatenate[A, P], Lock],
) -> Callable[Concatenate[Twin[A], P], "BlockingLock"]:
    """Return the method whose context manager blocks."""

    @wraps(method)
    def call(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> "BlockingLock":
        return BlockingLock(method(self._original, *args, **kwargs), self._portal)

    return call


class Lost:
    """Whether a grant is lost; the twin of the ``asyncio.Event``."""

    def __init__(self, grant: Grant | GrantSet, portal: Portal) -> None:
        self._event = grant.lost
        self._portal = portal

    def is_set(self) -> bool:
        """Whether it is lost."""
        return self._event.is_set()

    def wait(self) -> bool:
        """Block until it is lost."""
        return self._portal.run(self._event.wait())


class BlockingGrant(Twin[Grant]):
    """A grant; see ``Grant``."""

    def __init__(self, original: Grant, portal: Portal) -> None:
        super().__init__(original, portal)
        self.lost = Lost(original, portal)

    def __repr__(self) -> str:
        return repr(self._original)

    @property
    def token(self) -> int:
        """The fencing token."""
        return self._original.token

    @property
    def names(self) -> tuple[str, ...]:
        """What is held."""
        return self._original.names

    @property
    def name(self) -> str:
        """The name, when there is but one; else the first."""
        return self._original.name

    @property
    def mode(self) -> Mode:
        """How it is held."""
        return self._original.mode

    @property
    def state(self) -> GrantState:
        """What can be known without I/O."""
        return self._original.state

    @property
    def remaining(self) -> float:
        """Seconds for which it may be believed in if nothing more is heard."""
        return self._original.remaining

    def ensure(self) -> None:
        """Check that the lock is held, without I/O; see ``Grant.ensure``."""
        self._original.ensure()

    safe = blocking(Grant.safe)
    release = blocking(Grant.release)
    upgrade = blocking(Grant.upgrade)
    downgrade = blocking(Grant.downgrade)
    set_value = blocking(Grant.set_value)


class BlockingGrantSet(Twin[GrantSet]):
    """Grants held together; see ``GrantSet``."""

    def __init__(self, original: GrantSet, portal: Portal) -> None:
        super().__init__(original, portal)
        self.lost = Lost(original, portal)

    @property
    def token(self) -> int:
        """The one token of all names; see ``GrantSet.token``."""
        return self._original.token

    @property
    def tokens(self) -> dict[str, FencingToken]:
        """The fencing token of each name."""
        return self._original.tokens

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return self._original.names

    def ensure(self) -> None:
        """Check that all are held, without I/O; see ``GrantSet.ensure``."""
        self._original.ensure()

    safe = blocking(GrantSet.safe)
    release = blocking(GrantSet.release)


class BlockingLock(Twin[Lock]):
    """``with cluster.lock(name) as held``; see ``Lock``. The thread is the owner that waits."""

    def __enter__(self) -> BlockingGrant:
        """Wait for the lock; see ``Lock.__aenter__``."""
        return self.acquire()

    def acquire(self) -> BlockingGrant:
        """Wait for the lock, and leave its release to the caller."""
        lock, portal = self._original, self._portal
        lock.asked_by(owner_of_thread())
        try:
            grant = portal.run(lock.acquire())
        except BaseException:
            portal.post(lock.give_back)  # Ctrl-C may come after the grant
            raise
        return BlockingGrant(grant, portal)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock, or tell that it was lost; see ``Lock.__aexit__``."""
        self._portal.run(self._original.__aexit__(kind, error, traceback))


class BlockingLockMany(Twin[LockMany]):
    """``with cluster.lock_many(names) as held``; see ``LockMany``."""

    def __enter__(self) -> BlockingGrantSet:
        """Wait for all of them; see ``LockMany.__aenter__``."""
        self._original.asked_by(owner_of_thread())
        return BlockingGrantSet(self._portal.run(self._original.__aenter__()), self._portal)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release all of them; see ``LockMany.__aexit__``."""
        self._portal.run(self._original.__aexit__(kind, error, traceback))


class BlockingSemaphore(Twin[Semaphore]):
    """See ``Semaphore``."""

    acquire = locking(Semaphore.acquire)

    def try_acquire(
        self, weight: int = 1, *, on_loss: OnLoss = "event", **options: Unpack[HoldOptions]
    ) -> BlockingGrant | None:
        """Take ``weight`` permits if they are free this instant; None if they are not."""
        options["wait"] = 0
        with suppress(LockTimeout):
            return self.acquire(weight, on_loss=on_loss, **options).acquire()
        return None

    resize = blocking(Semaphore.resize)


class BlockingElection(Twin[Election]):
    """See ``Election``."""

    campaign = locking(Election.campaign)
    leader = blocking(Election.leader)
    observe = iterating(Election.observe)


class BlockingBarrier(Twin[Barrier]):
    """See ``Barrier``."""

    wait = blocking(Barrier.wait)


class BlockingLatch(Twin[Latch]):
    """See ``Latch``."""

    count_down = blocking(Latch.count_down)
    remaining = blocking(Latch.remaining)
    delete = blocking(Latch.delete)
    wait = blocking(Latch.wait)


class BlockingLockAdmin(Twin[LockAdmin]):
    """See ``LockAdmin``."""

    list = blocking(LockAdmin.list)
    get = blocking(LockAdmin.get)
    waiters = blocking(LockAdmin.waiters)
    force_release = blocking(LockAdmin.force_release)
    waits = blocking(LockAdmin.waits)
    watch = iterating(LockAdmin.watch)


class Synaxis(Twin[AsyncSynaxis]):
    """A connection to a Synaxis cluster, for threads. See ``AsyncSynaxis``.

    One client serves many threads. After ``fork`` the child must open its own.
    """

    def __init__(
        self, url: str | Iterable[str] | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        """Note what to connect to; see ``AsyncSynaxis``."""
        super().__init__(AsyncSynaxis(url, **options), Portal())

    def open(self) -> Self:
        """Reach the cluster; see ``AsyncSynaxis.open``."""
        self._portal.start()
        try:
            self._portal.run(self._original.open())
        except BaseException:
            self._portal.stop()
            raise
        return self

    def close(self) -> None:
        """Give back everything that is held, and disconnect. Safe to repeat."""
        if self._portal.alive:
            self._portal.run(self._original.aclose())
        self._portal.stop()

    def __enter__(self) -> Self:
        """Open; see ``open``."""
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; see ``close``."""
        self.close()

    def __repr__(self) -> str:
        return f"<Synaxis {self._original!r}>"

    @property
    def cluster_id(self) -> str:
        """The id that the cluster drew when it was created."""
        return self._original.cluster_id

    lock = locking(AsyncSynaxis.lock)

    def acquire(
        self, name: str, *, on_loss: OnLoss = "event", **options: Unpack[LockOptions]
    ) -> BlockingGrant:
        """Wait for the lock and return the grant; see ``AsyncSynaxis.acquire``."""
        lock = self._original.lock(name, on_loss=on_loss, **options)
        return BlockingLock(lock, self._portal).acquire()

    def try_lock(
        self, name: str, *, on_loss: OnLoss = "event", **options: Unpack[LockOptions]
    ) -> BlockingGrant | None:
        """Take the lock if it is free this instant; None if it is not."""
        options["wait"] = 0
        with suppress(LockTimeout):
            return self.acquire(name, on_loss=on_loss, **options)
        return None

    def lock_many(
        self, names: Iterable[str], *, on_loss: OnLoss = "cancel", **options: Unpack[LockOptions]
    ) -> BlockingLockMany:
        """Return a context manager that holds all ``names``; see ``AsyncSynaxis.lock_many``."""
        original = self._original.lock_many(names, on_loss=on_loss, **options)
        return BlockingLockMany(original, self._portal)

    @property
    def locks(self) -> BlockingLockAdmin:
        """Looking at locks, and taking them away."""
        return BlockingLockAdmin(self._original.locks, self._portal)

    def semaphore(self, name: str, permits: int) -> BlockingSemaphore:
        """Return the semaphore ``name``, of which ``permits`` may be held at once."""
        return BlockingSemaphore(self._original.semaphore(name, permits), self._portal)

    def election(self, name: str) -> BlockingElection:
        """Return the election of the leader for ``name``."""
        return BlockingElection(self._original.election(name), self._portal)

    def barrier(self, name: str, parties: int) -> BlockingBarrier:
        """Return the barrier ``name``, at which ``parties`` wait for each other."""
        return BlockingBarrier(self._original.barrier(name, parties), self._portal)

    def latch(self, name: str, count: int) -> BlockingLatch:
        """Return the latch ``name``, which opens when it has been counted down from ``count``."""
        return BlockingLatch(self._original.latch(name, count), self._portal)

    @property
    def topics(self) -> BlockingTopics:
        """Creating, changing and removing topics."""
        return BlockingTopics(self._original.topics, self._portal)

    def topic(self, name: str, *, codec: str | Codec | None = None) -> BlockingTopic:
        """Return the topic ``name``, to publish to and to consume from; asks nobody."""
        return BlockingTopic(self._original.topic(name, codec=codec), self._portal)

    def cache(self, name: str, **options: Unpack[CacheOptions]) -> BlockingCache:
        """Return the cache ``name``; see ``AsyncSynaxis.cache``.

        ``loader`` and ``writer`` are plain functions here, called in the thread that asks.
        """
        if (loader := options.get("loader")) is not None:
            options["loader"] = borrowing(loader)
        if (writer := options.get("writer")) is not None:
            options["writer"] = borrowing(writer)

        async def make() -> Cache:
            return self._original.cache(name, **options)

        return BlockingCache(self._portal.run(make()), self._portal)

    @property
    def caches(self) -> BlockingCacheAdmin:
        """Looking at caches from outside: sizes, counts, and who holds what."""
        return BlockingCacheAdmin(self._original.caches, self._portal)

    drain = blocking(AsyncSynaxis.drain)
    status = blocking(AsyncSynaxis.status)
    members = blocking(AsyncSynaxis.members)
    add_member = blocking(AsyncSynaxis.add_member)
    remove_member = blocking(AsyncSynaxis.remove_member)
    transfer_leadership = blocking(AsyncSynaxis.transfer_leadership)
    ping = blocking(AsyncSynaxis.ping)
