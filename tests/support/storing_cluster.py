"""Nodes in one process whose state lies in message stores: everything real but sockets and disks.

Raft, replica, driver, log, store and gatherer are those of a node; frames are encoded and decoded
and travel through ``StoringCluster.deliver``.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import msgspec

from support.faulty_directory import FaultyDirectory
from support.log_script import CLUSTER_ID
from support.stored_units import QUEUES, StoredMachine
from synaxis.consensus.commands import Proposal
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.replica import Replica
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import Attachment, Members, Outcome, Persist, SnapshotMeta, StoreOperation
from synaxis.ids import GroupId, Instant, LogIndex, LogTime, NodeId, Sequence, SessionId
from synaxis.nodes.driver import NodeDriver
from synaxis.nodes.gatherer import Gatherer, GathererConfig
from synaxis.ports import RecoveredGroup
from synaxis.storage.message_store import InlineExecutor, MessageStore, StoreLimits
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog
from synaxis.wire.peer import Envelope, PeerFrame, SegmentMessage

__all__ = ["StoringCluster", "StoringNode"]

RAFT = RaftConfig(
    heartbeat_ms=10,
    election_timeout_min_ms=100,
    election_timeout_max_ms=200,
    suffix_entries_max=0,
    snapshot_chunk_bytes=1000,
)
QUICK = GathererConfig(ask_timeout_s=0.05, retry_s=0.005)
NODES = (NodeId("a"), NodeId("b"), NodeId("c"))


class Put(msgspec.Struct, frozen=True, array_like=True, tag=20):
    payload: bytes


class StoringReplicaMachine:
    """``StoredMachine`` behind the port ``StoringMachine``."""

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Put,)
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Put,)
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Put,)

    def __init__(self) -> None:
        self.inner = StoredMachine()
        self.operations: list[StoreOperation] = []

    def validate(self, command: msgspec.Struct) -> None: ...

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct:
        assert isinstance(command, Put)
        self.operations += self.inner.apply(command.payload)
        return command

    def end_session(self, session: SessionId, now: LogTime) -> None: ...

    def advance(self, now: LogTime) -> None: ...

    def deadline(self) -> LogTime | None:
        return None

    def take_outcomes(self) -> list[Outcome]:
        return []

    def take_events(self) -> list[msgspec.Struct]:
        return []

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        return query

    def snapshot(self) -> bytes:
        return self.inner.save()

    def restore(self, data: bytes) -> None:
        self.inner = StoredMachine(data)
        self.operations = []

    def check_invariants(self) -> None: ...

    def take_store(self) -> list[StoreOperation]:
        taken, self.operations = self.operations, []
        return taken

    def attachments(self) -> tuple[Attachment, ...]:
        return self.inner.attachments()


class StoringNode:
    """One life of a node; ``outlet`` is the cluster."""

    pinning_group = None

    def __init__(self, cluster: "StoringCluster", node: NodeId, disk: FaultyDirectory) -> None:
        self.cluster = cluster
        self.node = node
        self.disk = disk
        self.loop = asyncio.get_running_loop()
        self.store = MessageStore(disk, StoreLimits(flush_bytes=500), InlineExecutor())
        self.log, recovered = WriteAheadLog.open(
            disk, CLUSTER_ID, node, WalOptions(segment_bytes_max=2048), self.store
        )
        self.recovered = recovered.get(QUEUES, RecoveredGroup())
        now = Instant(int(self.loop.time() * 1000))
        members = Members(voters=NODES)
        raft = Raft(node, RAFT, self.recovered, members, random.Random(node), now)
        self.machine = StoringReplicaMachine()
        config = ReplicaConfig()
        snapshot = self.recovered.snapshot
        self.replica = Replica(QUEUES, raft, self.machine, config, snapshot, now)
        replicas = {QUEUES: self.replica}
        self.gatherer = Gatherer(node, replicas, self.store, self, self, QUICK)
        self.driver = NodeDriver(replicas, self, self, self, self.store, self.gatherer)
        self.gathered_so_far: list[bool] = []
        self.driver.start()

    async def stop(self) -> None:
        self.driver.stop()
        await self.gatherer.aclose()

    def has_everything(self) -> bool:
        """Whether the store holds what the state says."""
        inner = self.machine.inner
        return self.store.read_blocking(QUEUES, inner.ranges()) == inner.stored()

    # driver.Durability

    def submit(self, group: GroupId, persist: Persist, done: Callable[[], None]) -> None:
        self.loop.call_soon(self._write, group, persist, done)

    def _write(self, group: GroupId, persist: Persist, done: Callable[[], None]) -> None:
        if self.cluster.nodes.get(self.node) is self:
            self.log.append(group, persist)
            batch = self.log.take()
            assert batch is not None
            self.log.write(batch)
            done()

    # driver.Outlet and gatherer.SegmentOutlet

    @property
    def connected(self) -> list[NodeId]:
        return [node for node in self.cluster.nodes if node != self.node]

    def send(self, node: NodeId, group: GroupId, message: msgspec.Struct) -> None:
        frame = PeerFrame([Envelope(group, message)])  # type: ignore[arg-type]  # as Raft sends it
        self.cluster.deliver(self, node, frame)

    def send_segment(self, node: NodeId, message: SegmentMessage) -> None:
        self.cluster.deliver(self, node, PeerFrame([], None, [message]))

    def received(self, sender: NodeId, frame: PeerFrame) -> None:
        self.driver.deliver(sender, frame)
        for message in frame.segments:
            self.gatherer.received(sender, message)

    # driver.Observer and gatherer.GathererHost

    def gathered(self, group: GroupId, meta: SnapshotMeta, complete: bool) -> None:
        self.gathered_so_far.append(complete)
        self.driver.gathered(group, meta, complete)

    def touch(self, group: GroupId) -> None:
        self.driver.touch(group)

    def publish(self, group: GroupId, events: list[Any]) -> None: ...

    def reset(self, group: GroupId, index: LogIndex) -> None: ...

    def leadership(self, group: GroupId) -> None: ...

    def broken(self, error: Exception) -> None:
        self.cluster.failures.append(error)


class StoringCluster:
    """Three nodes, and the frames between them."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, StoringNode] = {}
        self.disks = {node: FaultyDirectory() for node in NODES}
        self.failures: list[Exception] = []
        self.is_lost: Callable[[PeerFrame], bool] = lambda _: False
        self.stored = 0

    def start(self, *names: str) -> None:
        for name in names:
            node = NodeId(name)
            disk = FaultyDirectory(self.disks[node].after_kill())
            self.disks[node] = disk
            self.nodes[node] = StoringNode(self, node, disk)

    async def kill(self, *names: str) -> None:
        for name in names:
            await self.nodes.pop(NodeId(name)).stop()

    def __getitem__(self, name: str) -> StoringNode:
        return self.nodes[NodeId(name)]

    def deliver(self, sender: StoringNode, target: NodeId, frame: PeerFrame) -> None:
        decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=PeerFrame)
        receiver = self.nodes.get(target)
        if receiver is not None and not self.is_lost(decoded):
            asyncio.get_running_loop().call_soon(receiver.received, sender.node, decoded)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true; every wait has an end."""
        async with asyncio.timeout(15):
            while not condition():
                assert not self.failures, self.failures
                await asyncio.sleep(0.005)

    def leader(self) -> StoringNode | None:
        ready = [node for node in self.nodes.values() if node.replica.log.ready]
        return max(ready, key=lambda node: node.replica.status().term, default=None)

    async def store_some(self, count: int) -> None:
        """Let the leader store ``count`` batches, one entry each."""
        await self.until(lambda: self.leader() is not None)
        leader = self.leader()
        assert leader is not None
        for _ in range(count):
            self.stored += 1
            command = Put(b"%d" % self.stored)
            proposal = Proposal(SessionId(0), Sequence(0), Sequence(0), command)
            done = asyncio.Event()
            handle = partial(_set, done), None
            leader.driver.propose(QUEUES, proposal, handle)
            async with asyncio.timeout(15):
                await done.wait()

    async def compact(self, *names: str) -> None:
        """Let nodes (all, if none is named) take a snapshot of what the leader has applied."""
        leader = self.leader()
        assert leader is not None
        index = leader.replica.applied_index
        nodes = [self[name] for name in names or tuple(self.nodes)]
        await self.until(lambda: all(node.replica.applied_index >= index for node in nodes))
        for node in nodes:
            node.replica.snapshot_soon()
            node.driver.touch(QUEUES)
        await self.until(
            lambda: all(node.replica.status().snapshot_index >= index for node in nodes)
        )

    async def agreed(self) -> None:
        """Wait until every running node has applied the same, and holds every unit of it."""

        def are_equal() -> bool:
            states = {node.replica.state() for node in self.nodes.values()}
            return (
                len(states) == 1
                and len({n.replica.applied_index for n in self.nodes.values()}) == 1
            )

        await self.until(are_equal)
        for node in self.nodes.values():
            assert node.has_everything(), node.node


def _set(event: asyncio.Event, *_: object) -> None:
    event.set()
