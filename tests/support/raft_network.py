"""A few Raft nodes in one thread: messages wait until they are delivered, disks are instant.

Nothing happens by itself. ``settle`` delivers until nobody has anything to say; ``advance``
lets time pass. Faults are switches: ``cut`` (one-way), ``drop`` (a predicate), ``hold_disk``
(writes are taken but not confirmed), ``restart`` (keeps exactly what was durable).
"""

import random
from collections.abc import Callable, Iterable, Sequence

import google_crc32c
import msgspec

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.machine import Raft
from synaxis.effects import (
    Attachment,
    Effects,
    Entry,
    EntryKind,
    HardState,
    Members,
    Persist,
    Snapshot,
    SnapshotMeta,
)
from synaxis.ids import Instant, LogIndex, NodeId, Term
from synaxis.ports import LogStatus, RecoveredGroup

__all__ = [
    "Disk",
    "Network",
    "Node",
    "Packet",
    "entry",
    "make_snapshot",
    "members",
]


def members(voters: str, learners: str = "", outgoing: str = "") -> Members:
    """``members("abc", "d")``: one letter per node."""
    return Members(*(tuple(NodeId(c) for c in text) for text in (voters, outgoing, learners)))


def entry(
    index: int, term: int, payload: bytes = b"", kind: EntryKind = EntryKind.COMMANDS
) -> Entry:
    return Entry(LogIndex(index), Term(term), kind, payload)


def make_snapshot(
    index: int, term: int, group: Members, data: bytes, *, attached: bool = False
) -> Snapshot:
    """``attached``: with an attachment, the same on every node at this index."""
    meta = SnapshotMeta(
        LogIndex(index),
        Term(term),
        group,
        len(data),
        google_crc32c.value(data),
        (Attachment(1, index, index),) if attached else (),
    )
    return Snapshot(meta, data)


class Disk:
    """What a node would find after a crash."""

    def __init__(self) -> None:
        self.hard_state = HardState(Term(0), None)
        self.snapshot: Snapshot | None = None
        self.entries: dict[int, Entry] = {}

    def write(self, persist: Persist) -> None:
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state
        if persist.snapshot is not None:
            self.snapshot = persist.snapshot
            for index in [i for i in self.entries if i <= persist.snapshot.meta.index]:
                del self.entries[index]
        for each in persist.entries:
            for index in [i for i in self.entries if i >= each.index]:
                del self.entries[index]
            self.entries[each.index] = each
        for index in [i for i in self.entries if i > persist.mark.index]:
            del self.entries[index]

    def recover(self) -> RecoveredGroup:
        first = self.snapshot.meta.index + 1 if self.snapshot else 1
        entries = [self.entries[i] for i in sorted(self.entries) if i >= first]
        return RecoveredGroup(self.hard_state, self.snapshot, entries)


class Packet(msgspec.Struct):
    """A message on its way."""

    sender: NodeId
    target: NodeId
    message: msgspec.Struct


class Node:
    """A Raft with its disk; collects everything that it ever emitted."""

    def __init__(self, network: "Network", node_id: NodeId, recovered: RecoveredGroup) -> None:
        self.network = network
        self.id = node_id
        self.disk = Disk()
        self.disk.hard_state = recovered.hard_state
        self.disk.snapshot = recovered.snapshot
        self.disk.entries = {each.index: each for each in recovered.entries}
        self.is_disk_held = False
        self.is_down = False
        self._start(recovered)

    def _start(self, recovered: RecoveredGroup) -> None:
        network = self.network
        self.raft = Raft(
            self.id,
            network.config,
            recovered,
            network.bootstrap_of(self.id),
            random.Random(f"{network.seed}/{self.id}"),
            network.now,
        )
        base = recovered.snapshot
        self.state: list[bytes] = decode_state(base.data) if base else []
        """Payloads of the COMMANDS entries applied so far: the whole state machine."""
        self.applied: list[Entry] = []
        """Entries applied since the start."""
        self.eras: list[int] = []
        """Eras that began since the start."""
        self.reads: list[tuple[int, LogIndex]] = []
        self.failed_reads: list[int] = []
        self.unwritten: list[Effects] = []
        self.history: list[Effects] = []
        self.applied_index = base.meta.index if base else LogIndex(0)
        self.gathering: SnapshotMeta | None = None
        """Whose attachments somebody should fetch."""

    # Shorthands

    @property
    def status(self) -> LogStatus:
        return self.raft.status()

    @property
    def role(self) -> str:
        return self.status.role

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term) of every entry in memory."""
        state = self.raft._state
        entries = state.log.between(state.log.base_index, state.log.last_index)
        return [(each.index, each.term) for each in entries]

    def drain(self) -> Effects:
        """Take the effects and carry them out, as far as the disk allows."""
        if self.raft.wants_snapshot:
            self.raft.offer(self.make_snapshot())
        effects = self.raft.take_effects()
        self.history.append(effects)
        for observe in self.network.observers:
            observe(self, effects)
        for target, message in effects.send_now:
            self.network.post(self.id, target, message)
        self.unwritten.append(effects)
        if not self.is_disk_held:
            self.sync_disk()
        self._apply(effects)
        if effects.gather is not None:
            self.gathering = effects.gather.meta
            if self.network.gathers_at_once:
                self.gathered()
        if self.network.checks:
            self.raft.check_invariants()
        return effects

    def gathered(self, *, complete: bool = True) -> None:
        """Report what became of the attachments that were to be fetched."""
        meta, self.gathering = self.gathering, None
        assert meta is not None
        self.raft.gathered(meta, complete=complete, now=self.network.now)

    def sync_disk(self) -> None:
        """Make every pending write durable, oldest first."""
        unwritten, self.unwritten = self.unwritten, []
        for effects in unwritten:
            if effects.persist is not None:
                self.disk.write(effects.persist)
            for target, message in effects.send_after:
                self.network.post(self.id, target, message)
            if effects.persist is not None:
                self.raft.persisted(effects.persist.mark, self.network.now)

    def _apply(self, effects: Effects) -> None:
        if effects.era is not None:
            self.state, self.applied_index = [], LogIndex(0)
            self.eras.append(effects.era)
        if effects.restore is not None:
            self.state = decode_state(effects.restore.data)
            self.applied_index = effects.restore.meta.index
        for each in effects.apply:
            assert each.index == self.applied_index + 1, (self.id, each, self.applied_index)
            self.applied_index = each.index
            self.applied.append(each)
            if each.kind is EntryKind.COMMANDS:
                self.state.append(each.payload)
        self.reads.extend(effects.reads)
        self.failed_reads.extend(effects.failed_reads)

    def compact(self, *, attached: bool = False) -> Snapshot:
        """Take a snapshot of the applied state and drop the log behind it."""
        snapshot = self.make_snapshot(attached=attached)
        self.raft.compact(snapshot)
        self.drain()
        return snapshot

    def make_snapshot(self, *, attached: bool = False) -> Snapshot:
        index = self.applied_index
        term, group = self.raft.term_at(index), self.raft.members_at(index)
        return make_snapshot(index, term, group, encode_state(self.state), attached=attached)


def is_busy(effects: Effects) -> bool:
    """Return whether a drain may be followed by another one."""
    return effects.persist is not None or effects.gather is not None or bool(effects.apply)


def encode_state(state: Sequence[bytes]) -> bytes:
    return msgspec.msgpack.encode(list(state))


def decode_state(data: bytes) -> list[bytes]:
    return msgspec.msgpack.decode(data, type=list[bytes])


class Network:
    """Nodes named by letters, and the packets between them."""

    def __init__(
        self,
        voters: str = "abc",
        learners: str = "",
        *,
        config: RaftConfig | None = None,
        recovered: dict[str, RecoveredGroup] | None = None,
        seed: int = 1,
    ) -> None:
        self.config = config or RaftConfig()
        self.seed = seed
        self.now = Instant(1_000_000)
        self.checks = True
        self.gathers_at_once = False
        self.packets: list[Packet] = []
        self.delivered: list[Packet] = []
        self.observers: list[Callable[[Node, Effects], None]] = []
        self.drops: list[Callable[[Packet], bool]] = []
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self.group = members(voters, learners)
        self.nodes: dict[NodeId, Node] = {}
        for name in voters + learners:
            self.add(name, (recovered or {}).get(name))

    def __getitem__(self, name: str) -> Node:
        return self.nodes[NodeId(name)]

    def bootstrap_of(self, node: NodeId) -> Members:
        known = {*self.group.voters, *self.group.learners}
        return self.group if node in known else Members()

    def add(self, name: str, recovered: RecoveredGroup | None = None) -> Node:
        """Start a node; one that is not of the first configuration knows nobody."""
        node_id = NodeId(name)
        self.nodes[node_id] = Node(self, node_id, recovered or RecoveredGroup())
        return self.nodes[node_id]

    # Faults

    def cut(self, *names: str) -> None:
        """Isolate the named group from the others, both ways."""
        inside = {NodeId(c) for name in names for c in name}
        for one in self.nodes:
            for other in self.nodes:
                if (one in inside) != (other in inside):
                    self.cuts.add((one, other))

    def heal(self) -> None:
        self.cuts.clear()
        self.drops.clear()

    def drop(self, *types: type) -> None:
        """Lose every message of these types until ``heal``."""
        self.drops.append(lambda packet: isinstance(packet.message, types))

    def crash(self, name: str) -> None:
        """Stop a node; what was not durable is gone."""
        node = self[name]
        node.is_down = True
        self.packets = [packet for packet in self.packets if packet.target != node.id]

    def restart(self, name: str, *, damaged: bool = False) -> Node:
        """Start a node from its disk."""
        node = self[name]
        node.is_down = False
        node.is_disk_held = False
        recovered = node.disk.recover()
        recovered.damaged = damaged
        node._start(recovered)
        return node

    # Time and messages

    def post(self, sender: NodeId, target: NodeId, message: msgspec.Struct) -> None:
        packet = Packet(sender, target, message)
        is_lost = (sender, target) in self.cuts or any(drop(packet) for drop in self.drops)
        if target in self.nodes and not is_lost:
            self.packets.append(packet)

    def deliver(self, packet: Packet) -> None:
        target = self.nodes[packet.target]
        self.delivered.append(packet)
        if not target.is_down:
            target.raft.handle(packet.sender, packet.message, self.now)
            target.drain()

    def settle(self, limit: int = 10_000) -> None:
        """Drain and deliver until nothing moves."""
        for _ in range(limit):
            drained = [node.drain() for node in self.alive()]
            is_quiet = not any(map(is_busy, drained))
            if self.packets:
                self.deliver(self.packets.pop(0))
            elif is_quiet:
                return
        raise AssertionError("the network does not settle")

    def alive(self) -> Iterable[Node]:
        return [node for node in self.nodes.values() if not node.is_down]

    def advance(self, milliseconds: int, *, settle: bool = True) -> None:
        """Let time pass, timer by timer."""
        end = self.now + milliseconds
        while True:
            due = min((node.raft.deadline() for node in self.alive()), default=end)
            self.now = Instant(min(max(due, self.now), end))
            for node in self.alive():
                if node.raft.deadline() <= self.now:
                    node.raft.tick(self.now)
                    node.drain()
            if settle:
                self.settle()
            if self.now >= end:
                return

    # Whole-cluster steps

    def time_out(self, name: str) -> None:
        """Let the election timer of one node fire, for nobody else does time pass."""
        node = self[name]
        node.raft.tick(max(self.now, node.raft.deadline()))
        node.drain()

    def campaign(self, name: str) -> None:
        """The same, everyone having lost their leader before."""
        for node in self.alive():
            leader = node.raft.leader
            if leader is not None and leader != node.id:
                node.raft.peer_unreachable(leader, self.now)
        self.time_out(name)

    def elect(self, name: str) -> Node:
        """Make a node leader, by fair means."""
        for _ in range(10):
            for node in self.alive():
                if node.role == "leader" and node.id != name and self._reaches(node.id, name):
                    node.raft.transfer_leadership(NodeId(name), self.now)
            self.settle()
            if self[name].role != "leader":
                self.campaign(name)
                self.settle()
            if self[name].role == "leader":
                return self[name]
        raise AssertionError(f"{name} cannot be elected: {self.roles()}")

    def _reaches(self, sender: str, target: str) -> bool:
        return (NodeId(sender), NodeId(target)) not in self.cuts

    def leader(self) -> Node:
        leaders = [node for node in self.alive() if node.role == "leader"]
        return max(leaders, key=lambda node: node.status.term)

    def roles(self) -> dict[str, str]:
        return {str(node.id): node.role for node in self.alive()}

    def propose(self, name: str, payload: bytes = b"x", *, settle: bool = True) -> LogIndex:
        index, _ = self[name].raft.propose(payload, self.now)
        if settle:
            self.settle()
        return index
