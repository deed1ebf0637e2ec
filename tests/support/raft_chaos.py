"""Random faults for ``raft_network``, and a judge that remembers what was ever promised.

Everything comes from one seed. Packets are lost, repeated and reordered; disks confirm late;
nodes crash with half-written disks, restart, compact, hand over and change members.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import msgspec

from support.raft_network import Network, Node, Packet
from synaxis.consensus.quorum import acknowledged
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import RaftMessage, RequestVote, VoteReply
from synaxis.effects import Entry, EntryKind, Persist
from synaxis.errors import ClusterError
from synaxis.ids import Instant, LogIndex, NodeId

__all__ = ["SMALL", "Chaos", "Judge"]

SMALL = RaftConfig(
    append_bytes_max=200,
    inflight_messages_max=4,
    inflight_bytes_max=400,
    uncommitted_bytes_max=600,
    snapshot_chunk_bytes=40,
    suffix_entries_max=3,
    apply_bytes_max=200,
)
"""Limits so low that every one of them is hit."""
FORGETFUL = replace(SMALL, suffix_entries_max=0)
"""A node that missed anything before a snapshot needs the snapshot."""


class Judge:
    """The invariants of Figure 3.2, checked against the whole history of a run."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.committed: dict[int, Entry] = {}
        self.entries: dict[tuple[int, int], tuple[int, bytes, int]] = {}
        """(index, term) -> kind, payload and term of the entry before it."""
        self.leaders: dict[int, NodeId] = {}
        self.votes: dict[tuple[int, NodeId], NodeId] = {}
        self.reads: dict[tuple[NodeId, int], int] = {}

    def sent(self, packet: Packet) -> None:
        """Term and vote must be durable before anyone hears of them (3.8)."""
        message = cast("RaftMessage", packet.message)
        disk = self.network.nodes[packet.sender].disk.hard_state
        is_hypothetical = getattr(message, "pre", False)
        if not is_hypothetical:
            assert disk.term >= message.term, (packet, disk)
        if isinstance(message, VoteReply) and message.granted and not message.pre:
            self._voted(message.term, packet.sender, packet.target)
        if isinstance(message, RequestVote) and not message.pre:
            self._voted(message.term, packet.sender, packet.sender)

    def _voted(self, term: int, voter: NodeId, candidate: NodeId) -> None:
        assert self.votes.setdefault((term, voter), candidate) == candidate, (term, voter)

    def check(self, node: Node) -> None:
        """Judge a node after it was drained."""
        state = node.raft._state
        state_log = state.log
        if node.role == "leader":
            assert self.leaders.setdefault(state.term, node.id) == node.id, "election safety"
            self._check_completeness(node)
        before = state_log.base_term
        for each in state_log.between(state_log.base_index, state_log.last_index):
            known = self.entries.setdefault(
                (each.index, each.term), (each.kind, each.payload, before)
            )
            assert known == (each.kind, each.payload, before), ("log matching", node.id, each)
            before = each.term
        first = max(state_log.base_index, state_log.snapshot_index)
        for each in state_log.between(first, state_log.commit_index):
            if each.index not in self.committed:
                self._check_quorum_holds(node, each)
            assert self.committed.setdefault(each.index, each) == each, ("safety", node.id)
        self._check_state(node)

    def _check_completeness(self, node: Node) -> None:
        log = node.raft._state.log
        for index, each in self.committed.items():
            if index > log.base_index and each.term < node.raft._state.term:
                assert log.holds(LogIndex(index), each.term), ("leader completeness", each)

    def _check_quorum_holds(self, node: Node, each: Entry) -> None:
        def durable(voter: NodeId) -> int:
            disk = self.network.nodes[voter].disk
            is_behind = disk.snapshot is not None and disk.snapshot.meta.index >= each.index
            return int(is_behind or disk.entries.get(each.index) == each)

        group = node.raft._state.membership.current
        assert acknowledged(group, durable) == 1, ("committed but not durable", each)

    def _check_state(self, node: Node) -> None:
        commands = [
            self.committed[index].payload
            for index in range(1, node.applied_index + 1)
            if self.committed[index].kind is EntryKind.COMMANDS
        ]
        assert node.state == commands, ("state", node.id)

    def asked(self, node: Node, ticket: int) -> None:
        """A read must see all that was committed anywhere when it was asked for."""
        self.reads[node.id, ticket] = max(self.committed, default=0)

    def answered(self, node: Node) -> None:
        for ticket, index in node.reads:
            assert index >= self.reads.pop((node.id, ticket)), ("stale read", node.id)
        node.reads.clear()
        node.failed_reads.clear()


class Chaos:
    """One run from a seed."""

    judge_type = Judge
    config = SMALL

    def __init__(
        self, seed: int, voters: str = "abc", *, grows: bool = False, attached: bool = False
    ) -> None:
        self.random = random.Random(seed)
        config = FORGETFUL if attached else self.config
        self.network = _WatchedNetwork(voters, config=config, seed=seed)
        self.judge = self.judge_type(self.network)
        self.network.judge = self.judge
        self.counts: Counter[str] = Counter()
        self.attached = attached
        """Whether snapshots have attachments."""
        if grows:
            for name in "xy":
                self.network.add(name)
        self.actions = {
            self.deliver: 60,
            self.tick: 8,
            self.propose: 12,
            self.sync: 10,
            self.hold: 4,
            self.lose: 4,
            self.repeat: 3,
            self.read: 4,
            self.crash: 1,
            self.restart: 3,
            self.compact: 20 if attached else 2,
            self.cut: 0.5,
            self.heal: 1.5,
            self.transfer: 0.5,
            self.unreachable: 0.5,
            self.usurp: 4,
            self.change_members: 6 if grows else 0,
            self.gathered: 6 if attached else 0,
        }

    def run(self, steps: int) -> None:
        """Do ``steps`` random things, then demand progress."""
        actions, weights = list(self.actions), list(self.actions.values())
        for action in self.random.choices(actions, weights, k=steps):
            self.counts[action.__name__] += action() is not False
        self.recover()

    def some_node(self) -> Node:
        return self.random.choice(list(self.network.nodes.values()))

    def drain(self, node: Node) -> None:
        if node.is_down:
            return
        node.drain()
        self.judge.check(node)
        self.judge.answered(node)

    def deliver(self) -> bool:
        if not self.network.packets:
            return False
        # Mostly in order, as a link is, but not always.
        last = len(self.network.packets) - 1
        position = 0 if self.random.random() < 0.7 else self.random.randint(0, last)
        packet = self.network.packets.pop(position)
        node = self.network.nodes[packet.target]
        if not node.is_down:
            node.raft.handle(packet.sender, packet.message, self.network.now)
            self.drain(node)
        return True

    def tick(self) -> None:
        self.network.now = Instant(self.network.now + self.random.choice((1, 5, 20, 60, 150)))
        for node in self.network.alive():
            if node.raft.deadline() <= self.network.now:
                node.raft.tick(self.network.now)
            self.drain(node)

    def leader(self) -> Node | None:
        leaders = [node for node in self.network.alive() if node.role == "leader"]
        return self.random.choice(leaders) if leaders else None

    def propose(self) -> bool:
        node = self.leader()
        if node is None:
            return False
        payload = self.random.randbytes(self.random.choice((0, 8, 60, 250)))
        return self._try(node, lambda: node.raft.propose(payload, self.network.now))

    def _try(self, node: Node, call: Callable[[], object]) -> bool:
        try:
            call()
        except ClusterError:
            return False
        if self.random.random() < 0.8:
            self.drain(node)
        return True

    def read(self) -> bool:
        node = self.leader()
        if node is None:
            return False
        return self._try(node, lambda: self.judge.asked(node, node.raft.read(self.network.now)))

    def hold(self) -> None:
        self.some_node().is_disk_held = True

    def sync(self) -> bool:
        waiting = [node for node in self.network.alive() if node.is_disk_held]
        if not waiting:
            return False
        node = self.random.choice(waiting)
        node.is_disk_held = False
        node.sync_disk()
        self.drain(node)
        return True

    def lose(self) -> bool:
        if not self.network.packets:
            return False
        self.network.packets.pop(self.random.randrange(len(self.network.packets)))
        return True

    def repeat(self) -> bool:
        if not self.network.packets:
            return False
        self.network.packets.append(self.random.choice(self.network.packets))
        return True

    def crash(self) -> bool:
        node = self.some_node()
        if node.is_down:
            return False
        self._end(node)
        return True

    def _end(self, node: Node) -> None:
        written = self.random.randint(0, len(node.unwritten))
        for effects in node.unwritten[:written]:
            if effects.persist is not None:
                node.disk.write(effects.persist)
        for effects in node.unwritten[written : written + 1]:
            if effects.persist is not None:
                self._tear(node, effects.persist)
        node.unwritten = []
        self.network.crash(node.id)

    def _tear(self, node: Node, persist: Persist) -> None:
        # A write is a sequence of records; any prefix of it may have reached the disk.
        if self.random.random() < 0.5:
            return
        count = self.random.randint(0, len(persist.entries))
        entries = persist.entries[:count]
        last = entries[-1].index if entries else max(node.disk.entries, default=0)
        mark = msgspec.structs.replace(persist.mark, index=max(last, persist.mark.snapshot_index))
        node.disk.write(msgspec.structs.replace(persist, entries=entries, mark=mark))

    def restart(self) -> bool:
        down = [node for node in self.network.nodes.values() if node.is_down]
        if not down:
            return False
        node = self.random.choice(down)
        self.judge.reads = {k: v for k, v in self.judge.reads.items() if k[0] != node.id}
        self.network.restart(node.id)
        return True

    def compact(self) -> bool:
        node = self.some_node()
        if node.is_down or node.applied_index <= node.status.snapshot_index:
            return False
        node.compact(attached=self.attached)
        self.drain(node)
        return True

    def gathered(self) -> bool:
        """Attachments have come, or cannot be had."""
        waiting = [node for node in self.network.alive() if node.gathering is not None]
        if not waiting:
            return False
        node = self.random.choice(waiting)
        node.gathered(complete=self.random.random() < 0.7)
        self.drain(node)
        return True

    def cut(self) -> None:
        names = [str(name) for name in self.network.nodes]
        self.network.cut("".join(self.random.sample(names, self.random.randint(1, len(names)))))

    def heal(self) -> None:
        self.network.heal()

    def transfer(self) -> bool:
        node = self.leader()
        if node is None:
            return False
        target = self.some_node().id
        return self._try(node, lambda: node.raft.transfer_leadership(target, self.network.now))

    def unreachable(self) -> None:
        node, peer = self.some_node(), self.some_node()
        if not node.is_down:
            node.raft.peer_unreachable(peer.id, self.network.now)
            self.drain(node)

    def usurp(self) -> bool:
        """Let a node campaign while the others have lost sight of their leader."""
        node = self.some_node()
        if node.is_down or node.role == "leader":
            return False
        self.network.campaign(node.id)
        self.drain(node)
        return True

    def change_members(self) -> bool:
        node = self.leader()
        if node is None:
            return False
        current = node.status.members
        names = sorted(self.network.nodes)
        known = [name for name in names if name in {*current.voters, *current.learners}]
        voters = self.random.sample(known, self.random.randint(1, len(known)))
        rest = [name for name in names if name not in voters]
        learners = self.random.sample(rest, self.random.randint(0, len(rest)))
        return self._try(node, lambda: node.raft.change_members(voters, learners, self.network.now))

    def recover(self) -> None:
        """Heal everything; the cluster must then serve, and all members agree."""
        network = self.network
        network.heal()
        for node in network.nodes.values():
            if node.is_down:
                network.restart(node.id)
            elif node.unwritten:
                node.is_disk_held = False
                node.sync_disk()
            node.is_disk_held = False
            if node.gathering is not None:
                node.gathered(complete=False)
        network.gathers_at_once = True
        network.advance(10_000)
        leader = network.leader()
        network.propose(leader.id, b"the end")
        network.advance(1_000)
        for name in leader.raft._state.membership.nodes:
            node = network.nodes[name]
            self.judge.check(node)
            assert node.state == leader.state, ("converged", name)
        assert leader.state[-1] == b"the end"


class _WatchedNetwork(Network):
    judge: Judge | None = None

    def post(self, sender: NodeId, target: NodeId, message: msgspec.Struct) -> None:
        if self.judge is not None:
            self.judge.sent(Packet(sender, target, message))
        super().post(sender, target, message)
