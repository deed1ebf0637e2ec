"""Which node a request goes to, and what happens when that node is gone.

The router keeps one connection per node, on demand: in calm times to the leaders only. A request
whose leader is unknown or unreachable is parked; it leaves again when a node tells who leads, and
at the latest when the retry timer (jittered, backing off) has found somebody to ask.

Sources: Ongaro, thesis 6.2 (finding the leader); Brooker, "Exponential Backoff and Jitter" (2015).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from synaxis.client.clock import now
from synaxis.client.connection import Connection
from synaxis.client.endpoints import normalized
from synaxis.client.requests import ANY_NODE, Carrier, Request
from synaxis.errors import (
    AuthenticationRequired,
    ConnectionFailed,
    InvalidArgument,
    OutcomeUnknown,
    PermissionDenied,
    SynaxisError,
    error_from_wire,
)
from synaxis.ids import GroupId, NodeId
from synaxis.wire.client import Failure, Hello, Lost, Route, Routes, Welcome

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["RETRIED_CODES", "Router"]

log = logging.getLogger(__name__)

RETRIED_CODES = frozenset(
    ("not_leader", "no_quorum", "overloaded", "outcome_unknown", "connection_failed")
)
"""Failures that the SDK deals with itself until the request's deadline."""

RETRY_FIRST_S = 0.02
RETRY_MAX_S = 0.5
RETRY_FACTOR = 1.6
FRAME_BYTES_DEFAULT = 64 * 1024 * 1024
"""Until a node says what it accepts."""
URLS_MAX = 64
"""Node URLs remembered; more than a cluster has members."""


class Router:
    """Connections, routes and parked requests of one client.

    Invariant: a request that is not settled is open on exactly one live connection, or parked.
    """

    def __init__(
        self,
        urls: Iterable[str],
        hello: Hello,
        ssl: "SSLContext | None",
        on_lost: Callable[[Lost], None],
        random: Random,
    ) -> None:
        self.cluster_id = ""
        self.lock_groups = 0
        self.queue_groups = 0
        self.cache_groups = 0
        self.frame_bytes_max = FRAME_BYTES_DEFAULT
        """Longest frame that every node seen so far accepts."""
        self._urls = dict.fromkeys(urls)
        self._hello = hello
        self._ssl = ssl
        self._on_lost = on_lost
        self._random = random
        self._http: ClientSession | None = None
        self._connections: dict[NodeId, Connection] = {}
        self._node_urls: dict[NodeId, str] = {}
        self._nodes_by_url: dict[str, NodeId] = {}
        self._routes: dict[GroupId, Route] = {}
        self._leaders: dict[GroupId, Connection] = {}
        self._parked: dict[GroupId, list[Request]] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._carriers: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._retries = 0
        self._refusal: SynaxisError | None = None
        self._welcomed: asyncio.Future[None] | None = None
        self._swept_at = now()
        self._closing = False

    # --- life -------------------------------------------------------------------------------

    async def start(self, timeout_s: float) -> None:
        """Reach a first node, which tells the shape of the cluster.

        Raises:
            ConnectionFailed: none of the URLs answered in time.
            AuthenticationRequired, PermissionDenied: they do not want us.
        """
        self._http = ClientSession(
            connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None, sock_connect=3)
        )
        self._welcomed = asyncio.get_running_loop().create_future()
        self._seek(ANY_NODE)
        self._arm()
        try:
            async with asyncio.timeout(timeout_s):
                await self._welcomed
        except TimeoutError as error:
            reason = self._refusal or "no answer"
            urls = ", ".join(self._urls)
            raise ConnectionFailed(f"no node reached at {urls}: {reason}") from error
        finally:
            self._welcomed = None

    async def close(self) -> None:
        """Drop all connections; requests still open fail with ConnectionFailed."""
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
        for request in self.withdraw(lambda _: True):
            request.failed(ConnectionFailed("the client was closed"))
        tasks = [*self._dialling.values(), *self._carriers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    @property
    def urls(self) -> tuple[str, ...]:
        """The nodes known so far, those given at the start first."""
        return tuple(self._urls)

    # --- requests ---------------------------------------------------------------------------

    def send(self, request: Request) -> None:
        """Send ``request`` to the leader of its group, now or as soon as there is one."""
        connection = self._leaders.get(request.group)
        if connection is not None:
            connection.send(request)
            return
        self._park(request)
        self._settle(request.group)

    def send_anywhere(self, request: Request) -> None:
        """Send to the leader if it is connected, else to any node: a replica will do."""
        others = iter(self._connections.values())
        connection = self._leaders.get(request.group) or next(others, None)
        if connection is not None:
            connection.send(request)
            return
        self.send(request)

    def send_to(self, node: NodeId, request: Request) -> bool:
        """Send to this node; returns False, and sends nothing, if it is not connected."""
        connection = self._connections.get(node)
        if connection is None or connection.closed:
            return False
        connection.send(request)
        return True

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes that are connected now."""
        return tuple(self._connections)

    @property
    def unsent(self) -> int:
        """Messages that have not been given to the network yet."""
        return sum(connection.unsent for connection in self._connections.values())

    def reach_all(self) -> None:
        """Dial every known node that is not connected; returns at once."""
        for url in self._urls:
            self._dial(url)

    def leader(self, group: GroupId) -> Carrier | None:
        """Return the connection to the leader of ``group``, if there is one now."""
        return self._leaders.get(group)

    def forget(self, request: Request) -> None:
        """Take back a request that needs no answer any more."""
        connection = request.connection
        if connection is not None:
            connection.open.pop(request.id, None)
        else:
            parked = self._parked.get(request.group, [])
            if request in parked:
                parked.remove(request)

    def withdraw(self, chosen: Callable[[Request], bool]) -> list[Request]:
        """Take back all requests that are ``chosen``, in the order of sending."""
        found: list[Request] = []
        for connection in self._connections.values():
            taken = [request for request in connection.open.values() if chosen(request)]
            for request in taken:
                del connection.open[request.id]
            found += taken
        for group, parked in self._parked.items():
            found += [request for request in parked if chosen(request)]
            self._parked[group] = [request for request in parked if not chosen(request)]
        return found

    def sweep(self, moment: float) -> None:
        """Settle what is too late and drop nodes that fell silent; call it ten times a second."""
        awake = moment - self._swept_at < 1.0
        self._swept_at = moment
        for connection in list(self._connections.values()):
            connection.sweep(moment)
            if awake:
                connection.probe(moment)
            else:
                connection.listened(moment)
        for parked in self._parked.values():
            late = [request for request in parked if request.deadline <= moment]
            for request in late:
                if request.expire() and request in parked:
                    parked.remove(request)

    def _park(self, request: Request) -> None:
        request.connection = None
        self._parked.setdefault(request.group, []).append(request)
        self._arm()

    # --- what connections tell --------------------------------------------------------------

    def refused(self, request: Request, failure: Failure) -> None:
        """Send elsewhere what a node did not execute, or settle it with the node's reason."""
        connection = request.connection
        error = error_from_wire(failure.code, failure.message, failure.details)
        if failure.code not in RETRIED_CODES or not request.portable:
            request.connection = None
            request.failed(error)
            return
        request.failure = error
        # A node that lost its leadership says not_leader also of what it had put in its log.
        request.uncertain |= failure.code in ("not_leader", "outcome_unknown")
        if failure.code == "outcome_unknown" and not request.repeatable:
            request.failed(error)
            return
        if failure.code == "not_leader" and connection is not None:
            self._follow_hint(request.group, failure, connection)
        leader = self._leaders.get(request.group)
        # Two nodes that each believe in the other must not keep us running in circles.
        if leader is not None and leader is not connection and request.attempts % 4:
            leader.send(request)
        else:
            self._park(request)

    def _follow_hint(self, group: GroupId, failure: Failure, connection: Carrier) -> None:
        if self._leaders.get(group) is connection:
            del self._leaders[group]
        leader = failure.details.get("leader")
        if not leader or leader == connection.welcome.node_id:
            return
        url = failure.details.get("url") or self._node_urls.get(leader, "")
        term = failure.details.get("term", 0)
        self._learn((Route(group, NodeId(leader), url, term),), ())

    def routes_changed(self, routes: Routes) -> None:
        """Follow a change of leaders."""
        self._learn(routes.routes, routes.urls)

    def grant_lost(self, lost: Lost) -> None:
        """Pass on that the cluster took a grant back."""
        self._on_lost(lost)

    def _learn(self, routes: Iterable[Route], urls: Iterable[str]) -> None:
        for url in urls:
            if len(self._urls) < URLS_MAX and (known := _usable(url)):
                self._urls.setdefault(known)
        for route in routes:
            known_route = self._routes.get(route.group)
            if known_route is None or _is_news(route, known_route):
                self._routes[route.group] = route
                self._settle(route.group)

    def _settle(self, group: GroupId) -> None:
        """Send what is parked to the group's leader, or look for one."""
        connection = self._leader_of(group)
        if connection is None:
            self._leaders.pop(group, None)
            if self._parked.get(group):
                self._seek(group)
            return
        self._leaders[group] = connection
        for request in self._parked.pop(group, ()):
            if request.wanted():
                connection.send(request)

    def _leader_of(self, group: GroupId) -> Connection | None:
        if group == ANY_NODE:
            return next(iter(self._connections.values()), None)
        route = self._routes.get(group)
        if route is None or route.leader is None:
            return None
        return self._connections.get(route.leader)

    # --- finding nodes ----------------------------------------------------------------------

    def _seek(self, group: GroupId) -> None:
        """Dial the leader's node when it is known and was not tried in vain, else everybody."""
        route = self._routes.get(group)
        if route is not None and route.leader is not None:
            url = self._node_urls.get(route.leader) or _usable(route.url)
            if url:
                self._dial(url)
            if url and self._retries == 0:
                return
        for url in self._urls:
            self._dial(url)

    def _dial(self, url: str) -> None:
        connected = self._nodes_by_url.get(url) in self._connections
        if connected or url in self._dialling or self._closing:
            return
        loop = asyncio.get_running_loop()
        task = self._dialling[url] = loop.create_task(self._carry(url), name=f"synaxis {url}")
        self._carriers.add(task)
        task.add_done_callback(self._carrier_done)

    def _carrier_done(self, task: asyncio.Task[None]) -> None:
        self._carriers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection ended with a bug of ours", exc_info=error)

    async def _carry(self, url: str) -> None:
        """Be the life of one connection."""
        assert self._http is not None
        connection = Connection(url, self)
        try:
            welcome = await connection.dial(self._http, self._hello, self._ssl)
        except SynaxisError as error:
            self._dial_failed(error)
            return
        finally:
            del self._dialling[url]
        try:
            if self._admit(connection, welcome):
                try:
                    await connection.run()
                finally:
                    self._connection_ended(connection)
        finally:
            await connection.close()

    def _dial_failed(self, error: SynaxisError) -> None:
        self._refusal = error
        if isinstance(error, AuthenticationRequired | PermissionDenied):
            if self._welcomed is not None and not self._welcomed.done():
                self._welcomed.set_exception(error)
            return
        for parked in self._parked.values():
            for request in parked:
                request.failure = request.failure or error
        self._arm()

    def _admit(self, connection: Connection, welcome: Welcome) -> bool:
        self._nodes_by_url[connection.url] = welcome.node_id
        if self._closing or welcome.node_id in self._connections:
            return False
        if self.cluster_id not in ("", welcome.cluster_id):
            log.error("%s belongs to another cluster; it is left out", connection.url)
            self._urls.pop(connection.url, None)
            return False
        self.cluster_id = welcome.cluster_id
        self.lock_groups = welcome.lock_groups
        self.queue_groups = welcome.queue_groups
        self.cache_groups = welcome.cache_groups
        self.frame_bytes_max = min(self.frame_bytes_max, welcome.frame_bytes_max)
        self._connections[welcome.node_id] = connection
        self._node_urls[welcome.node_id] = connection.url
        self._learn(welcome.routes, welcome.urls)
        for group, route in list(self._routes.items()):
            if route.leader == welcome.node_id:
                self._settle(group)
        self._settle(ANY_NODE)
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(None)
        return True

    def _connection_ended(self, connection: Connection) -> None:
        node_id = connection.welcome.node_id
        if self._connections.get(node_id) is connection:
            del self._connections[node_id]
        for group in [key for key, leader in self._leaders.items() if leader is connection]:
            del self._leaders[group]
        requests = list(connection.open.values())
        connection.open.clear()
        gone = ConnectionFailed(f"the connection to {connection.url} broke")
        for request in requests:
            request.uncertain = True
            request.failure = gone
            request.connection = None
            request.interrupted()
            if not request.repeatable:
                request.failed(OutcomeUnknown(f"{gone}: the operation may or may not be done"))
            elif request.wanted() and not self._closing:
                self._park(request)
        if self._parked and not self._closing:
            self._retries = max(self._retries, 1)  # dial everybody: the leader's node is gone
        for group in list(self._parked):
            self._settle(group)

    # --- retrying ---------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._retry is not None or self._closing:
            return
        delay = min(RETRY_MAX_S, RETRY_FIRST_S * RETRY_FACTOR**self._retries)
        delay *= self._random.uniform(0.5, 1.5)
        self._retry = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._retries = min(self._retries + 1, 16)
        for group in [key for key, parked in self._parked.items() if parked]:
            self._settle(group)
            if self._parked.get(group):
                self._ask_anybody(group)
        waiting = any(self._parked.values()) or self._welcomed is not None
        if waiting:
            if self._welcomed is not None:
                self._seek(ANY_NODE)
            self._arm()
        else:
            self._retries = 0

    def _ask_anybody(self, group: GroupId) -> None:
        """Send one parked request to some node, whose refusal will name the leader."""
        if not self._connections:
            return
        chosen = self._random.choice(list(self._connections.values()))
        parked = self._parked[group]
        while parked:
            request = parked.pop(0)
            if request.wanted():
                chosen.send(request)
                return


def _is_news(route: Route, known: Route) -> bool:
    """Whether ``route`` should replace ``known``: nodes differ in how much they have heard."""
    if route.term < known.term and route.term != 0:
        return False
    older_or_equal = route.term <= known.term
    return route.leader is not None or known.leader is None or not older_or_equal


def _usable(url: str) -> str:
    try:
        return normalized(url)
    except InvalidArgument:
        return ""
