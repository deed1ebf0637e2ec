"""All clients of one node, and what the node tells them unasked."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec
import structlog
from aiohttp import web

from synaxis.api.cache_census import CacheCensusTaker
from synaxis.api.connection import ClientConnection
from synaxis.api.queue_census import QueueCensus
from synaxis.consensus.commands import CloseSession, OpenSession
from synaxis.errors import SynaxisError
from synaxis.ids import GroupId, LogIndex, LogTime, SessionId
from synaxis.locks.commands import LockEvent, LockEventType
from synaxis.nodes.base_node import BaseNode
from synaxis.observability.counters import LinkCounters, NodeCounters
from synaxis.wire.client import (
    CLIENT_PROTOCOL_VERSION,
    GroupStatus,
    Lost,
    MemberStatus,
    NodeStatus,
    Routes,
    Welcome,
)

__all__ = ["Gateway", "GatewayConfig"]

SPEAKERS_SLACK = 10_000
"""Ended sessions whose connections may be remembered before they are looked for."""

log = structlog.stdlib.get_logger("synaxis.gateway")

_TAKEN_AWAY = (LockEventType.EXPIRED, LockEventType.FORCE_RELEASED)


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits towards clients."""

    connections_max: int = 10_000
    frame_bytes_max: int = 4 * 1024 * 1024
    handshake_s: float = 5.0


class Gateway:
    """Accepts client connections; attach the node before serving."""

    node: BaseNode
    queues: QueueCensus
    caches: CacheCensusTaker

    def __init__(
        self,
        config: GatewayConfig,
        counters: NodeCounters,
        may_enter: Callable[[str], bool],
        on_fatal: Callable[[SynaxisError], None],
    ) -> None:
        self.counters = counters
        self.may_enter = may_enter
        self.handshake_s = config.handshake_s
        self.draining = False
        self.speakers: dict[SessionId, ClientConnection] = {}
        self.commands: dict[GroupId, frozenset[type]] = {}
        """What clients may put into the log of each group."""
        self._speakers_max = SPEAKERS_SLACK
        self._config = config
        self._on_fatal = on_fatal
        self._connections: set[ClientConnection] = set()
        self._announce_at: asyncio.Handle | None = None

    @property
    def traffic(self) -> LinkCounters:
        """Counts the frames between nodes."""
        return self.counters.peers

    def attach(self, node: BaseNode) -> None:
        """Serve ``node``."""
        self.node = node
        self.queues = QueueCensus(node)
        self.caches = CacheCensusTaker(node)
        for group, replica in node.replicas.items():
            types = replica.machine.client_command_types
            self.commands[group] = frozenset((OpenSession, CloseSession, *types) if types else ())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle GET /v1/client."""
        if len(self._connections) >= self._config.connections_max or self.draining:
            raise web.HTTPServiceUnavailable(
                text="too many connections or shutting down; try another node\n",
                headers={"Retry-After": "1"},
            )
        socket = web.WebSocketResponse(
            max_msg_size=self._config.frame_bytes_max, compress=False, heartbeat=30
        )
        await socket.prepare(request)
        connection = ClientConnection(self, socket, partial(_abort, request))
        self._connections.add(connection)
        self.counters.clients.opened += 1
        try:
            await connection.run()
        except (TimeoutError, ConnectionError):
            await connection.close()
        finally:
            self.counters.clients.closed += 1
            self._connections.discard(connection)
            self.node.watches.close_all(connection)
            for session in connection.sessions:
                if self.speakers.get(session) is connection:
                    del self.speakers[session]
        return socket

    def speaks(self, session: SessionId, connection: ClientConnection) -> None:
        """Note that ``session`` was last heard on ``connection``."""
        known = self.speakers.get(session)
        if known is connection:
            return
        if known is not None:
            known.sessions.discard(session)
        self.speakers[session] = connection
        connection.sessions.add(session)
        if len(self.speakers) > self._speakers_max:
            self._forget_ended_sessions()

    def _forget_ended_sessions(self) -> None:
        tables = [replica.sessions.by_id for replica in self.node.replicas.values()]
        for session in [key for key in self.speakers if not any(key in each for each in tables)]:
            self.speakers.pop(session).sessions.discard(session)
        self._speakers_max = 2 * len(self.speakers) + SPEAKERS_SLACK

    async def close(self) -> None:
        """Send every client elsewhere."""
        self.draining = True
        await asyncio.gather(*(each.close() for each in list(self._connections)))

    # --- NodeListener -----------------------------------------------------------------------

    def events(
        self, group: GroupId, events: list[tuple[LogIndex, int, LogTime, msgspec.Struct]]
    ) -> None:
        """Count what happened, and tell holders whose grants were taken away."""
        replica = self.node.replicas[group]
        # What a new leader applies to catch up was counted by the one before.
        counts_from = replica.serving_since if replica.log.ready else None
        for index, _, _, event in events:
            if not isinstance(event, LockEvent):
                continue
            if counts_from is not None and index > counts_from:
                self.counters.count_lock_event(event)
                if event.what is LockEventType.FORCE_RELEASED:
                    _audit(group, event)
            if event.what in _TAKEN_AWAY and event.token:
                speaker = self.speakers.get(event.session)
                if speaker is not None:
                    reason = str(event.details.get("reason", event.what.name.lower()))
                    speaker.push(Lost(group, event.session, event.token, reason))

    def leadership(self, group: GroupId) -> None:
        """Push the new routes at the end of this turn."""
        self.queues.leadership(group)
        self.caches.leadership(group)
        self.counters.leader_changes[group] += 1
        if self._announce_at is None and self._connections:
            self._announce_at = asyncio.get_running_loop().call_soon(self._announce)

    def fatal(self, error: SynaxisError) -> None:
        """Give up the process."""
        self._on_fatal(error)

    def _announce(self) -> None:
        self._announce_at = None
        news = Routes(self.node.routes(), self.node.urls())
        for connection in self._connections:
            connection.push(news)

    # --- facts ------------------------------------------------------------------------------

    def welcome(self) -> Welcome:
        """Return the greeting for a new client."""
        config = self.node.config
        return Welcome(
            CLIENT_PROTOCOL_VERSION,
            config.bootstrap.cluster_id,
            config.node_id,
            self.node.routes(),
            self.node.urls(),
            config.bootstrap.lock_groups,
            config.replica.session_ttl_ms_min,
            config.replica.session_ttl_ms_max,
            config.bootstrap.queue_groups,
            self._config.frame_bytes_max,
            config.bootstrap.cache_groups,
        )

    def status(self) -> NodeStatus:
        """Return what this node knows of itself and the cluster."""
        node = self.node
        return NodeStatus(
            node.config.bootstrap.cluster_id,
            node.config.node_id,
            node.config.version,
            asyncio.get_running_loop().time() - node.started_at,
            tuple(self._group(group) for group in node.replicas),
            tuple(self._members()),
        )

    def _group(self, group: GroupId) -> GroupStatus:
        replica = self.node.replicas[group]
        status = replica.status()
        return GroupStatus(
            group,
            status.role,
            status.term,
            status.leader,
            status.commit_index,
            replica.applied_index,
            status.last_index,
            status.snapshot_index,
            status.members.voters,
            status.members.outgoing,
            status.members.learners,
            {str(node): index for node, index in status.match.items()},
            len(replica.sessions.by_id),
        )

    def _members(self) -> list[MemberStatus]:
        node = self.node
        now = node.driver.now()
        rows = []
        for record in node.cluster.nodes:
            state, phi = "alive", 0.0
            if record.removed:
                state = "removed"
            elif record.node_id != node.config.node_id:
                state = node.detector.state(record.node_id, now)
                phi = round(node.detector.phi(record.node_id, now), 2)
            rows.append(
                MemberStatus(
                    record.node_id, record.peer_address, record.api_url, state, phi, record.version
                )
            )
        return rows


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _audit(group: GroupId, event: LockEvent) -> None:
    """Leave a trace of an intervention, once in the cluster: on the leader."""
    log.warning(
        "lock force-released",
        group=group,
        kind=event.kind.name.lower(),
        name=event.name,
        session=f"{event.session:016x}",
        token=event.token,
        **event.details,
    )
