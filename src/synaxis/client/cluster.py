"""The front door: ``connect()`` and ``AsyncSynaxis``.

One client is one set of connections and one session per group. Share it: it is made for many
tasks of one event loop. It opens nothing before ``async with`` (or ``open``) and leaves nothing
behind after ``aclose``.
"""

import os
import socket
import warnings
from collections.abc import Iterable
from random import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from synaxis.client.caches.cache import Cache
from synaxis.client.caches.looking import CacheAdmin
from synaxis.client.caches.options import CacheOptions
from synaxis.client.caches.options import plan as cache_plan
from synaxis.client.caches.service import CacheService
from synaxis.client.caller import Caller
from synaxis.client.clock import now
from synaxis.client.election import Election
from synaxis.client.endpoints import parse_urls
from synaxis.client.environment import api_key_from_environment, urls_from_environment
from synaxis.client.gates import Barrier, Latch
from synaxis.client.grants import Grant, OnLoss
from synaxis.client.lock_admin import LockAdmin
from synaxis.client.lock_many import LockMany, by_group
from synaxis.client.lock_options import DEFAULT_WAIT_S, LockOptions, checked, lock_command
from synaxis.client.locks import Lock
from synaxis.client.pool import SessionPool
from synaxis.client.queues.codecs import Codec
from synaxis.client.queues.service import QueueService
from synaxis.client.queues.topic import Topic
from synaxis.client.queues.topics import Topics
from synaxis.client.requests import ANY_NODE, AdminRequest, Operation
from synaxis.client.routing import Router
from synaxis.client.semaphore import Semaphore
from synaxis.client.watchdog import Watchdog
from synaxis.errors import InvalidArgument, LockTimeout
from synaxis.ids import GroupId, NodeId
from synaxis.wire.client import (
    CLIENT_PROTOCOL_VERSION,
    Accepted,
    AddMember,
    AdminAnswer,
    Hello,
    Lost,
    MemberStatus,
    NodeStatus,
    RemoveMember,
    StatusRequest,
    TransferLeadership,
)

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["AsyncSynaxis", "connect"]

DEFAULT_TIMEOUT_S = 5.0
DEFAULT_SESSION_TTL_S = 15.0
CLOSE_TIMEOUT_S = 2.0
"""How long closing may wait for the cluster; what is not told expires with the session."""
DRAIN_TIMEOUT_S = 30.0
CLUSTER = GroupId("cluster")


class ConnectOptions(TypedDict, total=False):
    """Options of a client; durations are seconds."""

    api_key: str | None
    """Credentials; default ``SYNAXIS_API_KEY``."""
    timeout: float
    """How long the cluster may take to answer, on top of any ``wait``. Default 5."""
    session_ttl: float
    """How long the cluster keeps what we hold when it hears nothing from us. Default 15; we
    ourselves stop believing in it after two thirds of that."""
    name: str | None
    """Who we are, shown to people as the owner of locks; default host and process."""
    ssl: "SSLContext | None"
    """For https URLs; default: the system's certificate authorities."""
    watchdog: bool
    """Log when the event loop is blocked for so long that locks may be lost. Default True."""


class AsyncSynaxis:
    """A connection to a Synaxis cluster. See the module; ``Synaxis`` is the blocking twin."""

    def __init__(
        self, url: str | Iterable[str] | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        """Note what to connect to; ``SYNAXIS_URL`` by default. No I/O happens here.

        Raises:
            InvalidArgument: a URL or an option is malformed.
        """
        unknown = set(options) - ConnectOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        self._urls = parse_urls(urls_from_environment() if url is None else url)
        self._options = options
        self._timeout_s = _positive(options.get("timeout", DEFAULT_TIMEOUT_S), "timeout")
        ttl_s = _positive(options.get("session_ttl", DEFAULT_SESSION_TTL_S), "session_ttl")
        self._ttl_ms = round(ttl_s * 1000)
        self._name = options.get("name") or f"{socket.gethostname()}/{os.getpid()}"
        self._label = self._name.encode()
        self._caller: Caller | None = None
        self._router: Router | None = None
        self._queues: QueueService | None = None
        self._caches: CacheService | None = None
        self._watchdog: Watchdog | None = None

    # --- life -------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Reach the cluster.

        Raises:
            ConnectionFailed: no node answered within ``timeout``.
            AuthenticationRequired, PermissionDenied: the cluster does not want us.
        """
        if self._router is not None:
            raise RuntimeError("this client is open already, or was closed; make another")
        api_key = self._options.get("api_key")
        key = api_key_from_environment() if api_key is None else api_key
        hello = Hello(CLIENT_PROTOCOL_VERSION, self._name, key)
        random, ssl = SystemRandom(), self._options.get("ssl")
        router = Router(self._urls, hello, ssl, self._grant_lost, random)
        self._router = router
        pool = SessionPool(router, self._ttl_ms, self._name, random)
        try:
            await router.start(self._timeout_s)
        except BaseException:
            await router.close()
            raise
        pool.start()
        self._caller = Caller(pool, self._timeout_s, self._label)
        self._queues = QueueService(
            self._caller,
            lambda: Router(router.urls, hello, ssl, lambda _: None, random),
            random,
        )
        self._caches = CacheService(self._caller, random)
        if self._options.get("watchdog", True):
            self._watchdog = Watchdog(pool)
            self._watchdog.start()
        return self

    def _grant_lost(self, lost: Lost) -> None:
        if self._caller is not None:
            self._caller.pool.grant_lost(lost)

    async def aclose(self) -> None:
        """Give back everything that is held, and disconnect. Safe to repeat."""
        caller, router, queues, caches = self._caller, self._router, self._queues, self._caches
        self._caller = None
        if caller is None or router is None or queues is None or caches is None:
            return
        if self._watchdog is not None:
            self._watchdog.stop()
        try:
            await caches.close()
            await queues.close()
            await caller.pool.close(min(self._timeout_s, CLOSE_TIMEOUT_S))
        finally:
            await router.close()

    async def __aenter__(self) -> Self:
        """Open; see ``open``."""
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; see ``aclose``."""
        await self.aclose()

    def __del__(self) -> None:
        """Complain about a client that nobody closed."""
        if getattr(self, "_caller", None) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {','.join(self._urls)}>"

    @property
    def _open(self) -> Caller:
        if self._caller is None:
            raise RuntimeError("the client is not open: use 'async with synaxis.connect(...)'")
        return self._caller

    @property
    def _queue_service(self) -> QueueService:
        if self._caller is None or self._queues is None:
            raise RuntimeError("the client is not open: use 'async with synaxis.connect(...)'")
        return self._queues

    @property
    def _cache_service(self) -> CacheService:
        if self._caller is None or self._caches is None:
            raise RuntimeError("the client is not open: use 'async with synaxis.connect(...)'")
        return self._caches

    @property
    def cluster_id(self) -> str:
        """The id that the cluster drew when it was created."""
        return self._open.pool.router.cluster_id

    @property
    def timeout(self) -> float:
        """Seconds that the cluster may take to answer."""
        return self._timeout_s

    # --- locks ------------------------------------------------------------------------------

    def lock(
        self, name: str, *, on_loss: OnLoss = "cancel", **options: Unpack[LockOptions]
    ) -> Lock:
        """Return a context manager, for one use, that holds the lock ``name``.

        Raises:
            InvalidArgument: an option is out of range.
        """
        caller = self._open
        wait = options.get("wait", DEFAULT_WAIT_S)
        command = lock_command((name,), caller.label, **options)
        return Lock(caller.pool, caller.group_of(name), command, wait, on_loss, caller.timeout_s)

    async def acquire(
        self, name: str, *, on_loss: OnLoss = "event", **options: Unpack[LockOptions]
    ) -> Grant:
        """Wait for the lock and return the grant, which the caller must release.

        Raises:
            LockTimeout, DeadlockError: it was not granted.
            SynaxisError: the cluster gave no answer in time; nothing stays behind.
        """
        return await self.lock(name, on_loss=on_loss, **options).acquire()

    async def try_lock(
        self, name: str, *, on_loss: OnLoss = "event", **options: Unpack[LockOptions]
    ) -> Grant | None:
        """Take the lock if it is free this instant; None if it is not."""
        options["wait"] = 0
        try:
            return await self.acquire(name, on_loss=on_loss, **options)
        except LockTimeout:
            return None

    def lock_many(
        self, names: Iterable[str], *, on_loss: OnLoss = "cancel", **options: Unpack[LockOptions]
    ) -> LockMany:
        """Return a context manager that holds all ``names``, or none.

        Atomic for names of one group; over several groups they are taken in one global order.

        Raises:
            InvalidArgument: an option is out of range, or there are no names.
        """
        caller = self._open

        def make(group: GroupId, chosen: tuple[str, ...], wait: float | None) -> Lock:
            options["wait"] = wait
            command = lock_command(chosen, caller.label, **options)
            return Lock(caller.pool, group, command, wait, on_loss, caller.timeout_s)

        wait = options.get("wait", DEFAULT_WAIT_S)
        return LockMany(by_group(names, caller), wait, make)

    @property
    def locks(self) -> LockAdmin:
        """Looking at locks, and taking them away."""
        return LockAdmin(self._open)

    # --- what stands on locks ---------------------------------------------------------------

    def semaphore(self, name: str, permits: int) -> Semaphore:
        """Return the semaphore ``name``, of which ``permits`` may be held at once."""
        return Semaphore(self._open, name, permits)

    def election(self, name: str) -> Election:
        """Return the election of the leader for ``name``."""
        return Election(self._open, name)

    def barrier(self, name: str, parties: int) -> Barrier:
        """Return the barrier ``name``, at which ``parties`` wait for each other."""
        return Barrier(self._open, name, parties)

    def latch(self, name: str, count: int) -> Latch:
        """Return the latch ``name``, which opens when it has been counted down from ``count``."""
        return Latch(self._open, name, count)

    # --- queues -----------------------------------------------------------------------------

    @property
    def topics(self) -> Topics:
        """Creating, changing and removing topics."""
        return Topics(self._queue_service)

    def topic(self, name: str, *, codec: str | Codec | None = None) -> Topic:
        """Return the topic ``name``, to publish to and to consume from; asks nobody.

        Args:
            name: it must exist when it is first used.
            codec: ``"bytes"``, ``"msgpack"``, ``"json"`` or one of your own. Default: bytes as they
                are, everything else as msgpack.

        Raises:
            InvalidArgument: the name is malformed, or there is no such codec.
        """
        return Topic(self._queue_service, name, codec)

    async def drain(self, timeout: float = DRAIN_TIMEOUT_S) -> bool:  # noqa: ASYNC109
        """Stop consuming, wait for what is being worked on or published, give back the rest.

        For the end of a program. Returns whether nothing was left after ``timeout`` seconds.
        """
        return await self._queue_service.drain(timeout)

    # --- caches -----------------------------------------------------------------------------

    def cache(self, name: str, **options: Unpack[CacheOptions]) -> Cache:
        """Return the cache ``name``; asks nobody. Handles of one name are one cache.

        Args:
            name: 1 to 200 letters, digits, ``.``, ``_`` or ``-``.
            options: see ``CacheOptions``.

        Raises:
            InvalidArgument: the name or an option is malformed, or contradicts another.
        """
        unknown = set(options) - CacheOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        return Cache(self._cache_service, cache_plan(name, **options))

    @property
    def caches(self) -> CacheAdmin:
        """Looking at caches from outside: sizes, counts, and who holds what."""
        return CacheAdmin(self._cache_service)

    # --- the cluster itself -----------------------------------------------------------------

    async def status(self) -> NodeStatus:
        """Return what one node (any) knows of itself and the cluster."""
        answer = await self._admin(ANY_NODE, StatusRequest())
        assert isinstance(answer, NodeStatus)
        return answer

    async def members(self) -> tuple[MemberStatus, ...]:
        """Return the members as one node sees them."""
        return (await self.status()).members

    async def add_member(self, node_id: str, peer_address: str) -> str:
        """Admit a node; returns what the cluster says about it.

        Raises:
            MembershipRefused: not now, or not this node.
        """
        return await self._change(CLUSTER, AddMember(NodeId(node_id), peer_address))

    async def remove_member(self, node_id: str) -> str:
        """Retire a node id for ever; returns what the cluster says about it.

        Raises:
            MembershipRefused: not now, or no voter would be left.
        """
        return await self._change(CLUSTER, RemoveMember(NodeId(node_id)))

    async def transfer_leadership(self, group: str, target: str) -> str:
        """Hand the leadership of ``group`` to the node ``target``."""
        operation = TransferLeadership(GroupId(group), NodeId(target))
        return await self._change(operation.group, operation)

    async def ping(self) -> float:
        """Return the seconds that a node took to answer."""
        started = now()
        await self.status()
        return now() - started

    async def _change(self, group: GroupId, operation: Operation) -> str:
        answer = await self._admin(group, operation)
        assert isinstance(answer, Accepted)
        return answer.message

    async def _admin(self, group: GroupId, operation: Operation) -> NodeStatus | Accepted:
        request = AdminRequest(group, checked(operation), now() + self._timeout_s)
        self._open.pool.router.send(request)
        answer: AdminAnswer = await request.future
        assert isinstance(answer.body, NodeStatus | Accepted)
        return answer.body


def connect(
    url: str | Iterable[str] | None = None, **options: Unpack[ConnectOptions]
) -> AsyncSynaxis:
    """Return a client for ``async with``; ``url`` may name several nodes (``SYNAXIS_URL``).

    Raises:
        InvalidArgument: a URL or an option is malformed.
    """
    return AsyncSynaxis(url, **options)


def _positive(seconds: float, what: str) -> float:
    if not seconds > 0:
        raise InvalidArgument(f"{what} must be more than 0 seconds, not {seconds!r}")
    return seconds
