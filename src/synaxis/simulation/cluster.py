"""A whole simulated cluster: nodes, clients, the network between them, and an operator.

Everything about a run follows from its seed: how many nodes, how small the limits of log,
snapshots and segments are (small limits reach rare branches soon), what clients do, which faults
exist. The operator restarts what crashed and replaces what lost its disk, as people would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import Members
from synaxis.errors import ClusterError
from synaxis.ids import NodeId
from synaxis.locks.limits import LockLimits, VictimPolicy
from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.disk import DiskFaults, SimulatedDirectory
from synaxis.simulation.faults import FaultMix, Nemesis
from synaxis.simulation.invariants import Monitor
from synaxis.simulation.kernel import MICROSECONDS_PER_SECOND as SECOND
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.network import Network, partition_pairs
from synaxis.simulation.process import NodeConfig, SimulatedNode, Surroundings
from synaxis.storage.write_ahead_log import WalOptions

__all__ = ["Cluster", "ClusterShape", "NodeFactory", "Workload", "draw_shape"]

OPERATOR_INTERVAL = 200_000
SUCCESSOR_DELAY = 500_000
BROKEN_LINK_NOTICE = 2_000


@dataclass(slots=True)
class ClusterShape:
    """What a seed draws besides faults."""

    nodes: int
    clients: int
    reader: bool
    """Whether one more client only asks questions."""
    node: NodeConfig
    client: ClientConfig
    locks: LockLimits


class Workload(Protocol):
    """What the clients of a run do."""

    stopping: bool
    """Set when they shall come to an end."""

    def wants_more(self) -> bool:
        """Return whether a client that comes now would have anything to do."""
        ...

    def enlist(self, name: str, site: ClientSite, config: ClientConfig, *, reader: bool) -> Client:
        """Return a new client, at work."""
        ...


NodeFactory = Callable[[Surroundings, str, Members, SimulatedDirectory], SimulatedNode]


def draw_shape(random: Random) -> ClusterShape:
    """Draw sizes and limits."""
    append_bytes_max = random.choice((400, 4_000, 1_000_000))
    raft = RaftConfig(
        heartbeat_ms=random.choice((50, 100, 100)),
        append_bytes_max=append_bytes_max,
        inflight_messages_max=random.choice((1, 4, 64)),
        inflight_bytes_max=append_bytes_max * random.choice((1, 3, 8)),
        snapshot_chunk_bytes=random.choice((200, 2_000, 500_000)),
        suffix_entries_max=random.choice((1, 20, 5_000)),
        apply_bytes_max=random.choice((500, 1_000_000)),
        commit_notice_ms=random.choice((0, 5, 5)),
    )
    replica = ReplicaConfig(
        snapshot_bytes_min=random.choice((1_000, 8_000, 60_000, 2_000_000)),
        snapshot_ratio=random.choice((1.0, 4.0)),
    )
    locks = LockLimits(victim_policy=random.choice(list(VictimPolicy)))
    node = NodeConfig(
        raft,
        replica,
        WalOptions(segment_bytes_max=random.choice((2_048, 16_384, 1_048_576))),
        turn=random.choice((0, 50, 200, 2_000)),
        sync_max=random.choice((500, 3_000, 15_000)),
        encode=random.random() < 0.25,
    )
    client = ClientConfig(
        ttl_ms=random.choice((2_000, 3_000, 6_000)),
        think_max=random.choice((100_000, 300_000, 300_000, 1_000_000)),
        hold_max=random.choice((20_000, 150_000, 600_000)),
    )
    nodes = random.choice((3, 3, 3, 3, 5, 5, 1))
    clients, reader = random.randrange(4, 11), random.random() < 0.5
    return ClusterShape(nodes, clients, reader, node, client, locks)


class Cluster:
    """The world of one run."""

    def __init__(
        self,
        kernel: Kernel,
        shape: ClusterShape,
        mix: FaultMix,
        make_node: NodeFactory,
        workload: Workload,
        monitor: Callable[[Kernel, Coverage, Members], Monitor] = Monitor,
    ) -> None:
        self.kernel = kernel
        self.mix = mix
        self.shape = shape
        self.random = kernel.stream("cluster")
        self.coverage = Coverage()
        first = [f"n{number}" for number in range(1, shape.nodes + 1)]
        bootstrap = Members(voters=tuple(NodeId(name) for name in first))
        self.monitor = monitor(kernel, self.coverage, bootstrap)
        self.network = Network(kernel, self.coverage, mix.links)
        self.history = self.monitor.history
        self.workload = workload
        self._make_node = make_node
        self.clients: list[Client] = []
        self.nodes: dict[str, SimulatedNode] = {}
        self.node_ids: list[str] = []
        """Current members, shared with the clients."""
        self.wounded: str | None = None
        """At most one node at a time has lost what it had promised to keep."""
        self._successor: str | None = None
        self._site = ClientSite(
            kernel,
            self.network,
            self.coverage,
            self.node_ids,
            self.history,
            self.monitor.trusted,
        )
        self._around = Surroundings(
            kernel, self.network, self.coverage, self.monitor, shape.node, self._connection_lost
        )
        for name in first:
            self._add_node(name, bootstrap)
        for _ in range(shape.clients):
            self._add_client()
        if shape.reader:
            self._add_client(reader=True)
        self.nemesis = Nemesis(kernel, mix, self._actions())
        kernel.after(OPERATOR_INTERVAL, self._operate)

    def _actions(self) -> dict[str, Callable[[], None]]:
        return {
            "crash": self.crash_one,
            "power_cut": self.cut_power,
            "pause": self.pause_one,
            "partition": self.partition,
            "slow_disk": self.slow_down_disk,
            "bad_disk": self.spoil_disk,
            "drift": self.drift,
            "transfer": self.transfer,
            "replace": self.replace,
            "rotate": self.rotate,
            "damage": self.damage,
            "client_death": self.kill_client,
            "client_pause": self.pause_client,
            "snapshot": self.take_snapshot,
        }

    # --- building --------------------------------------------------------------------------

    def _add_node(self, name: str, bootstrap: Members) -> None:
        disk = SimulatedDirectory(self.kernel.stream(f"disk/{name}"), self.coverage, DiskFaults())
        node = self._make_node(self._around, name, bootstrap, disk)
        self.nodes[name] = node
        self.node_ids.append(name)
        drift = self.mix.drift_max
        if drift:
            node.clock.set_rate(1 + self.random.uniform(-drift, drift))
            self.coverage.hit("clock.drifted")
        self.kernel.after(self.random.randrange(50_000), node.boot)

    def _add_client(self, *, reader: bool = False) -> None:
        if self.workload.wants_more():
            name = f"c{len(self.clients) + 1}"
            config = self.shape.client
            self.clients.append(self.workload.enlist(name, self._site, config, reader=reader))

    # --- looking ---------------------------------------------------------------------------

    def running(self) -> list[SimulatedNode]:
        """Return the nodes whose process is up, paused or not."""
        return [node for node in self.nodes.values() if node.running]

    def leader(self) -> SimulatedNode | None:
        """Return the running node with the highest term of those that lead and can serve."""
        leaders = [
            (node.log.leading, node.id)
            for node in self.running()
            if node.log is not None and node.log.ready and node.log.leading is not None
        ]
        return self.nodes[max(leaders)[1]] if leaders else None

    def live_clients(self) -> list[Client]:
        """Return the clients that have not died."""
        return [client for client in self.clients if not client.dead]

    def _pick(self) -> SimulatedNode | None:
        running = [node for node in self.running() if not node.retired]
        return self.random.choice(running) if running else None

    # --- faults ----------------------------------------------------------------------------

    def _restart_later(self, node: SimulatedNode) -> None:
        self.kernel.after(int(self.random.expovariate(1 / 900_000)) + 1_000, node.boot)

    def _connection_lost(self, name: str) -> None:
        for node in self.running():
            if self.random.random() < 0.7:
                self.kernel.after(BROKEN_LINK_NOTICE, self._tell_unreachable, node, name)

    def _tell_unreachable(self, node: SimulatedNode, name: str) -> None:
        node.call(lambda replica, now: replica.peer_unreachable(NodeId(name), now))

    def crash_one(self) -> None:
        """Kill one process, with or without its machine."""
        node = self._pick()
        if node is not None:
            self.coverage.hit("process.crashed")
            choice = self.random.random()
            if choice < 0.4:
                node.lose_power_while_writing()
                return
            if choice < 0.5:
                self.coverage.hit("process.stopped")
                node.stop()
            else:
                node.crash(power=choice < 0.8)
            self._restart_later(node)

    def cut_power(self) -> None:
        """Every machine loses power at the same moment."""
        self.coverage.hit("process.power_cut")
        for node in self.nodes.values():
            node.crash(power=True)
            self._restart_later(node)

    def pause_one(self) -> None:
        """Stop a process for longer than any timeout, often the leader."""
        node = self.leader() if self.random.random() < 0.5 else self._pick()
        if node is not None:
            node.pause(int(self.random.choice((0.3, 2.0, 8.0)) * self.random.random() * SECOND))

    def partition(self) -> None:
        """Cut the network for a while."""
        kind = self.random.choice(self.mix.partitions)
        self.coverage.hit(f"network.partition.{kind}")
        leader = self.leader() if self.random.random() < 0.5 else None
        lone = leader.id if leader is not None else None
        pairs = partition_pairs(kind, self.node_ids, self.random, lone)
        self.kernel.note("network", kind, sorted(pairs))
        self.network.cut(pairs)
        self.kernel.after(int(self.random.uniform(0.2, 6.0) * SECOND), self._end_partition, pairs)

    def _end_partition(self, pairs: set[tuple[str, str]]) -> None:
        if self.network.partition is pairs:
            self.network.cut(set())

    def slow_down_disk(self) -> None:
        """Let a disk take up to seconds per write for a while."""
        node = self._pick()
        if node is not None:
            node.slowness = self.random.choice((10.0, 100.0, 1_000.0))
            self.kernel.after(self.random.randrange(4 * SECOND), self._mend_disk, node)

    def spoil_disk(self) -> None:
        """Let a disk fail now and then for a while; its node stops at each failure."""
        node = self._pick()
        if node is not None:
            node.disk.faults = self.mix.disk
            self.kernel.after(self.random.randrange(6 * SECOND), self._mend_disk, node)

    def _mend_disk(self, node: SimulatedNode) -> None:
        node.slowness = 1.0
        node.disk.faults = DiskFaults()

    def drift(self) -> None:
        """Let a clock run at another speed from now on."""
        node = self._pick()
        if node is not None and self.mix.drift_max:
            drift = self.mix.drift_max
            node.clock.set_rate(1 + self.random.uniform(-drift, drift))
            self.coverage.hit("clock.drifted")

    def transfer(self) -> None:
        """Ask the leader to hand over to somebody."""
        leader = self.leader()
        target = NodeId(self.random.choice(self.node_ids))
        if leader is None or leader.log is None or leader.paused:
            return
        try:
            leader.call(lambda replica, now: replica.log.transfer_leadership(target, now))
        except ClusterError:
            return
        self.coverage.hit("raft.transfer")

    def take_snapshot(self) -> None:
        """Make a node compact its log now."""
        node = self._pick()
        if node is not None:
            node.call(lambda replica, _: replica.snapshot_soon())

    def endure(self) -> str | None:
        """Cut some links for good, but none that every quorum needs; return what was done.

        Source: the outage in which one faulty switch port kept a cluster electing for six hours
        (reference/reliability.md, N1).
        """
        if len(self.node_ids) < 3 or self.wounded is not None or self._is_anybody_repaired():
            return None
        kind = self.random.choice((None, "isolate", "one_way", "bridge"))
        if kind is not None:
            leader = self.leader() if self.random.random() < 0.5 else None
            lone = leader.id if leader is not None else None
            pairs = partition_pairs(kind, self.node_ids, self.random, lone)
            self.kernel.note("network", kind, "for good", sorted(pairs))
            self.network.cut(pairs)
            self.coverage.hit(f"network.endured.{kind}")
        return kind

    def _is_anybody_repaired(self) -> bool:
        """Whether a node still has to get back what its disk or its memory has lost."""
        return any(node.log is not None and node.log.quarantined for node in self.running())

    # --- lost disks ------------------------------------------------------------------------

    def replace(self) -> None:
        """Lose a disk for ever; the operator brings in a new node under a new id."""
        node = self._pick()
        if node is None or self.wounded is not None or len(self.node_ids) < 3:
            return
        self.wounded = node.id
        node.crash(power=True)
        node.disk.wipe()
        node.retired = True
        self.node_ids.remove(node.id)
        self._successor = f"n{len(self.nodes) + 1}"
        self.kernel.note("operator", "replaces", node.id, "by", self._successor)
        self._add_node(self._successor, Members())

    def rotate(self) -> None:
        """Let a new node take the place of one that works."""
        if self.wounded is None and len(self.node_ids) >= 3:
            self.wounded = self.random.choice(self.node_ids)
            self._successor = f"n{len(self.nodes) + 1}"
            self.kernel.note("operator", "rotates", self.wounded, "out for", self._successor)
            self._add_node(self._successor, Members())

    def damage(self) -> None:
        """Crash a node and flip one bit of what it has on disk."""
        node = self._pick()
        if node is None or self.wounded is not None or len(self.node_ids) < 3:
            return
        node.crash(power=True)
        names = [name for name in node.disk.names() if node.disk.durable_size(name)]
        if names:
            name = self.random.choice(names)
            offset = self.random.randrange(node.disk.durable_size(name))
            node.disk.flip_bit(name, offset, self.random.randrange(8))
            self.wounded = node.id
            self.monitor.allow_damage(node.id)
            self.coverage.hit("disk.bit_flipped")
            self.kernel.note("disk", node.id, "bit flipped in", name, offset)
        self._restart_later(node)

    def _operate(self) -> None:
        self.kernel.after(OPERATOR_INTERVAL, self._operate)
        if self._successor is not None:
            self._move_members()
        elif self.wounded is not None:
            log = self.nodes[self.wounded].log
            if log is not None and not log.quarantined:
                self.monitor.end_damage(self.wounded)
                self.wounded = None

    def _move_members(self) -> None:
        leader = self.leader()
        if leader is None or leader.paused or leader.log is None:
            return
        status = leader.log.status()
        if status.change_pending:
            return
        members = status.members
        new, old = NodeId(self._successor or ""), NodeId(self.wounded or "")
        if new in members.voters:
            self._finish_replacement(old)
            return
        voters, learners = members.voters, (*members.learners, new)
        if new in members.learners:
            voters = tuple(sorted({*(one for one in voters if one != old), new}))
            learners = tuple(one for one in members.learners if one != new)
        try:
            leader.call(lambda replica, now: replica.log.change_members(voters, learners, now))
        except ClusterError:
            return  # not caught up, or another change runs: the next round tries again

    def _finish_replacement(self, old: NodeId) -> None:
        node = self.nodes[old]
        self.coverage.hit("process.rotated" if not node.retired else "process.replaced")
        node.retired = True
        if old in self.node_ids:
            self.node_ids.remove(old)
        # It may not have heard that it was removed, and goes on asking for votes for a while.
        self.kernel.after(self.random.randrange(2 * SECOND), lambda: node.crash(power=True))
        self._successor = self.wounded = None

    # --- clients ---------------------------------------------------------------------------

    def kill_client(self) -> None:
        """Let a client vanish; another one comes."""
        alive = [client for client in self.live_clients() if not client.finished]
        if alive:
            self.lose_client(self.random.choice(alive))

    def lose_client(self, client: Client) -> None:
        """Let this client vanish; another one comes."""
        self.kernel.note("client", client.name, "dies")
        client.die()
        self.kernel.after(SUCCESSOR_DELAY, self._add_client)

    def pause_client(self) -> None:
        """Stop a client, often for longer than its session lives."""
        alive = self.live_clients()
        if alive:
            client = self.random.choice(alive)
            ttl_us = self.shape.client.ttl_ms * 1_000
            client.pause(int(ttl_us * self.random.choice((0.5, 1.5, 3.0))))

    # --- healing ---------------------------------------------------------------------------

    def heal(self) -> None:
        """End all faults and bring every node back."""
        self.kernel.note("operator", "heals everything")
        self.nemesis.stop()
        self.network.heal()
        for node in self.nodes.values():
            self._mend_disk(node)
            node.disk.put_out_fuse()
            node.resume()
            if not node.retired:
                self.kernel.after(self.random.randrange(100_000), node.boot)
