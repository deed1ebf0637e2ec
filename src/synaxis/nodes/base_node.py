"""One node: its groups, its links, its view of the cluster.

``BaseNode`` joins what the other modules hold: replicas on a driver, a bus to the peers, the
failure detector, the rebalancer and the watches. ``api`` puts it in front of clients.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from aiohttp import web

from synaxis.backends.backing_store import BackingStore
from synaxis.cluster.commands import NodeRecord, RegisterNode
from synaxis.cluster.failure_detector import FailureDetector
from synaxis.cluster.machine import ClusterMachine
from synaxis.cluster.placement import CLUSTER_GROUP
from synaxis.communication.message_bus import BusEvents, MessageBus
from synaxis.communication.peer_link import TrafficCounters
from synaxis.consensus.commands import Proposal
from synaxis.effects import Refused, Reply, SnapshotMeta
from synaxis.errors import (
    ClientError,
    NotLeader,
    StorageError,
    SynaxisError,
    error_from_wire,
)
from synaxis.ids import GroupId, Instant, LogIndex, LogTime, NodeId, Sequence, SessionId, Term
from synaxis.nodes.admission import Admission, check_frame
from synaxis.nodes.disk_watch import DiskWatch, NodeDisk
from synaxis.nodes.driver import Durability, NodeDriver
from synaxis.nodes.gatherer import Gatherer
from synaxis.nodes.groups import build_groups
from synaxis.nodes.node_caches import NodeCaches
from synaxis.nodes.node_config import NodeConfig
from synaxis.nodes.rebalancer import Rebalancer
from synaxis.nodes.topic_keeper import TopicKeeper
from synaxis.nodes.watches import WatchHub
from synaxis.ports import RecoveredGroup
from synaxis.storage.message_store import MessageStore
from synaxis.topics import TopicRecord
from synaxis.wire.client import Route
from synaxis.wire.peer import Heartbeat, PeerFrame, PeerRefusal, PeerWelcome

__all__ = ["BaseNode", "NodeListener", "NodeStores"]

_NODE_ITSELF = SessionId(0)
log = structlog.stdlib.get_logger("synaxis.node")


class NodeListener(Protocol):
    """What the shell around a node wants to hear."""

    @property
    def traffic(self) -> TrafficCounters:
        """Counts the frames between nodes."""
        ...

    def events(
        self, group: GroupId, events: list[tuple[LogIndex, int, LogTime, msgspec.Struct]]
    ) -> None:
        """Events of applied entries, on every replica."""
        ...

    def leadership(self, group: GroupId) -> None:
        """``group`` changed hands."""
        ...

    def fatal(self, error: SynaxisError) -> None:
        """The node cannot go on."""
        ...


class NodeStores(NamedTuple):
    """Where groups keep what their logs do not."""

    messages: MessageStore
    backing: BackingStore | None
    """Behind the caches."""


class BaseNode:
    """Must be created and used inside the running loop."""

    def __init__(
        self,
        config: NodeConfig,
        recovered: dict[GroupId, RecoveredGroup],
        durability: Durability,
        disk: NodeDisk,
        listener: NodeListener,
        stores: NodeStores,
    ) -> None:
        self.config = config
        self.listener = listener
        self.started_at = asyncio.get_running_loop().time()
        bootstrap = config.bootstrap
        self.cluster = ClusterMachine(
            bootstrap.records(),
            bootstrap.lock_groups,
            bootstrap.replication_factor,
            bootstrap.queue_groups,
            bootstrap.queues.topics,
        )
        now = Instant(int(asyncio.get_running_loop().time() * 1000))
        groups = build_groups(config, self.cluster, recovered, now)
        for group in groups.damaged:
            log.error("disk log damaged: neither voting nor leading until repaired", group=group)
        if groups.forgotten:
            log.info("caches begin empty and are filled by their leaders", groups=groups.forgotten)
        self.replicas, self.dispatchers = groups.replicas, groups.dispatchers
        self.homes = groups.homes
        self.store = stores.messages
        self.watches = WatchHub(bootstrap.groups, config.history_events_max, config.watchers_max)
        self.detector = FailureDetector(config.beat_ms)
        self._admission = Admission(config, self.cluster, disk.remember_peer)
        self.bus = MessageBus(
            PeerWelcome(config.node_id, config.disk_id),
            self._admission.hello,
            BusEvents(
                admit=self._admission.admit,
                is_proven=self._admission.is_proven,
                received=self._received,
                up=self._up,
                down=self._down,
                refused=self._refused,
            ),
            config.link,
            listener.traffic,
        )
        self._gatherer = Gatherer(config.node_id, self.replicas, self.store, self.bus, self)
        self.driver = NodeDriver(
            self.replicas, durability, self.bus, self, self.store, self._gatherer
        )
        self.caches = NodeCaches(config, self.driver, groups, self.bus, self, stores.backing)
        self._rebalancer = Rebalancer(
            config.node_id, self.replicas, self.cluster, bootstrap.replication_factor
        )
        self._topics = TopicKeeper(self.cluster, self.replicas, self._propose)
        self._disk_watch = DiskWatch(disk, config.disk_reserve_bytes, self.replicas.values())
        self._durability = durability
        self._beats = 0
        self._registering: set[NodeId] = set()
        self._ever_up = False

    # --- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to talk to the peers."""
        await self.bus.start()
        self._follow_members()
        self.driver.start()

    async def beat_forever(self) -> None:
        """Send heartbeats, follow the list of members and rebalance, until cancelled."""
        while True:
            self._beat()
            await asyncio.sleep(self.config.beat_ms / 1000)

    async def leave_gracefully(self, seconds: float) -> None:
        """Bring home what only the caches of this node know, then hand over every leadership.

        Takes at most ``seconds`` for the handing over, and as much for the caches.
        """
        await self.caches.leave(seconds)
        now = self.driver.now()
        for group, replica in self.replicas.items():
            status = replica.status()
            others = [node for node in status.members.voters if node in self.bus.connected]
            if not replica.log.ready or not others:
                continue
            best = max(others, key=lambda node: (status.match.get(node, 0), node))
            try:
                replica.log.transfer_leadership(best, now)
            except SynaxisError:
                continue
            self.driver.touch(group)
        give_up_at = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < give_up_at:
            if all(
                replica.log.leading is None or len(replica.status().members.voters) == 1
                for replica in self.replicas.values()
            ):
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Fall silent."""
        self.caches.stop()
        self.driver.stop()
        await self._gatherer.aclose()
        await self.bus.aclose()

    def peer_application(self) -> web.Application:
        """Return the application of the peer listener."""
        application = web.Application()
        application.router.add_get("/v1/peer", self.bus.serve)
        return application

    # --- what the bus says ------------------------------------------------------------------

    def _received(self, sender: NodeId, frame: PeerFrame) -> None:
        check_frame(sender, frame, self._term_of, self._era_of)
        if frame.heartbeat is not None:
            self.detector.heard(sender, self.driver.now())
            self._register(frame.heartbeat.record)
            self._answer_stranger(frame.heartbeat.record)
        if frame.envelopes:
            self.driver.deliver(sender, frame)
        for message in frame.segments:
            self._gatherer.received(sender, message)
        for said in frame.bus:
            self.caches.received(sender, said)

    def _term_of(self, group: GroupId) -> Term:
        replica = self.replicas.get(group)
        return Term(0) if replica is None else replica.status().term

    def _era_of(self, group: GroupId) -> int | None:
        replica = self.replicas.get(group)
        return None if replica is None else replica.log.era

    def _up(self, node: NodeId, welcome: PeerWelcome) -> None:
        del welcome
        self._ever_up = True
        log.info("peer connected", peer=node)

    def _down(self, node: NodeId) -> None:
        log.info("peer disconnected", peer=node)
        self.driver.peer_unreachable(node)
        self.caches.down(node)

    def _refused(self, node: NodeId, refusal: PeerRefusal) -> None:
        log.warning("peer refused us", peer=node, code=refusal.code, reason=refusal.message)
        gone = refusal.code == "membership_refused"
        if refusal.fatal and (gone or not self._ever_up):
            error = error_from_wire(refusal.code, f"{node} says: {refusal.message}", {})
            self.listener.fatal(error)

    # --- heartbeat --------------------------------------------------------------------------

    def _beat(self) -> None:
        self._beats += 1
        record = self.record()
        self.bus.beat(Heartbeat(self._beats, record))
        self._register(record)
        for group in self._rebalancer.step(self.driver.now()):
            self.driver.touch(group)
        self._topics.step()
        self._disk_watch.look()
        self.caches.losses.look()
        pinning = self._durability.pinning_group
        if pinning is not None:
            self.replicas[pinning].snapshot_soon()
            self.driver.touch(pinning)

    def record(self) -> NodeRecord:
        """Return how this node describes itself."""
        config = self.config
        return NodeRecord(
            config.node_id, config.peer_address, config.api_url, config.disk_id, config.version
        )

    def _register(self, record: NodeRecord) -> None:
        """As leader of the cluster group, record what changed about a node."""
        replica = self.replicas[CLUSTER_GROUP]
        if not replica.log.ready or record.node_id in self._registering:
            return
        known = self.cluster.find(record.node_id)
        if known is None or known.removed or known == record:
            return
        self._registering.add(record.node_id)
        command = RegisterNode(
            record.node_id, record.peer_address, record.api_url, record.disk_id, record.version
        )
        self._propose(CLUSTER_GROUP, command, partial(self._registered, record.node_id))

    def _answer_stranger(self, record: NodeRecord) -> None:
        """Dial a caller that our list of nodes does not name yet.

        A node that joins knows the founders only; the leader may be none of them, and without
        a link back the joiner could never acknowledge what would tell it so.
        """
        if self.cluster.find(record.node_id) is None:
            self.bus.connect(record.node_id, record.peer_address)

    def _registered(self, node: NodeId, reply: Reply) -> None:
        self._registering.discard(node)
        if isinstance(reply.body, Refused) and reply.index:
            log.error("node refused", node=node, reason=reply.body.message)

    def _propose(
        self, group: GroupId, command: msgspec.Struct, done: Callable[[Reply], None]
    ) -> None:
        proposal = Proposal(_NODE_ITSELF, Sequence(0), Sequence(0), command)
        self.driver.propose(group, proposal, (lambda _, reply: done(reply), 0))

    async def change_cluster(self, command: msgspec.Struct) -> NodeRecord | TopicRecord:
        """Execute a change of nodes or topics through the log.

        Raises:
            NotLeader: ask the leader of the cluster group.
            SynaxisError: what the cluster machine refused.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply.body)

        self._propose(CLUSTER_GROUP, command, done)
        body = await future
        if isinstance(body, Refused):
            raise error_from_wire(body.code, body.message, body.details)
        assert isinstance(body, NodeRecord | TopicRecord)
        return body

    def transfer(self, group: GroupId, target: NodeId) -> None:
        """Hand ``group`` to ``target``.

        Raises:
            NotLeader, MembershipRefused: see ``ReplicatedLog.transfer_leadership``.
            ClientError: no such group.
        """
        replica = self.replicas.get(group)
        if replica is None:
            raise ClientError(f"no group {group}; there are {', '.join(self.replicas)}")
        replica.log.transfer_leadership(target, self.driver.now())
        self.driver.touch(group)

    # --- gatherer.GathererHost --------------------------------------------------------------

    def gathered(self, group: GroupId, meta: SnapshotMeta, complete: bool) -> None:
        """Tell ``group`` what became of the attachments of a leader's snapshot."""
        self.driver.gathered(group, meta, complete)

    def touch(self, group: GroupId) -> None:
        """Drain ``group`` soon."""
        self.driver.touch(group)

    # --- driver.Observer --------------------------------------------------------------------

    def publish(
        self, group: GroupId, events: list[tuple[LogIndex, int, LogTime, msgspec.Struct]]
    ) -> None:
        """Hand events to watchers and to the listener."""
        self.watches.publish(group, events)
        self.listener.events(group, events)
        if group == CLUSTER_GROUP:
            self._follow_members()
            self._topics.step()

    def reset(self, group: GroupId, index: LogIndex) -> None:
        """A snapshot was installed."""
        self.watches.reset(group, index)
        if group == CLUSTER_GROUP:
            self._follow_members()

    def leadership(self, group: GroupId) -> None:
        """Tell the listener who leads ``group``."""
        status = self.replicas[group].status()
        log.info("leadership", group=group, leader=status.leader, term=status.term)
        self.listener.leadership(group)
        self.caches.leadership(group)
        if group in self.dispatchers:
            self._topics.step()

    def broken(self, error: Exception) -> None:
        """Stop: a rule of this node failed."""
        log.critical("a rule failed; the node stops", exc_info=error)
        if not isinstance(error, StorageError):
            error = SynaxisError(f"internal error: {error!r}")
        self.listener.fatal(error)

    def _follow_members(self) -> None:
        """Keep links to exactly the present members."""
        now = self.driver.now()
        for node in self.cluster.nodes:
            if node.node_id == self.config.node_id:
                continue
            if node.removed:
                self.bus.expel(node.node_id)
                self.detector.forget(node.node_id)
            else:
                self.bus.connect(node.node_id, node.peer_address)
                self.detector.watch(node.node_id, now)

    # --- what clients ask -------------------------------------------------------------------

    def routes(self) -> tuple[Route, ...]:
        """Return who leads each group, as far as this node knows."""
        return tuple(self.route(group) for group in self.replicas)

    def route(self, group: GroupId) -> Route:
        """Return who leads ``group``."""
        status = self.replicas[group].status()
        leader = self.cluster.find(status.leader) if status.leader is not None else None
        return Route(group, status.leader, leader.api_url if leader else "", status.term)

    def urls(self) -> tuple[str, ...]:
        """Return the API URLs of the present members."""
        return tuple(n.api_url for n in self.cluster.nodes if n.api_url and not n.removed)

    def not_leader(self, group: GroupId) -> NotLeader:
        """Return the error that leads a client on."""
        route = self.route(group)
        return NotLeader(
            "this node does not lead the group",
            leader=route.leader,
            url=route.url,
            term=route.term,
        )
