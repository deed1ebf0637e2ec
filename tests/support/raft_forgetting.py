"""Random faults for volatile groups, where a crash takes the memory and leaves the hard state.

The judge knows everybody's memory. A new era may begin only while those who remember are no
majority of the members; within an era everything that Raft promises must hold; and nothing of
an era may be seen once another one has answered.
"""

from collections import defaultdict
from dataclasses import replace
from typing import cast

from support.raft_chaos import SMALL, Chaos, Judge
from support.raft_network import Network, Node, Packet
from synaxis.consensus.quorum import acknowledged
from synaxis.consensus.raft.membership import decode_members
from synaxis.consensus.raft.messages import AppendReply, Forgot, RaftMessage
from synaxis.effects import Effects, Entry, EntryKind, Members
from synaxis.ids import LogIndex, NodeId

__all__ = ["ForgettingChaos"]

VOLATILE = replace(SMALL, volatile=True, volatile_log_bytes_max=300)


class EraJudge(Judge):
    """The same invariants, era by era, and those between eras."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.members = network.group
        """The newest configuration that was ever committed."""
        self.eras_seen = 0
        self.era_answering = 0
        """The last era in which anything was committed."""
        self.books: defaultdict[int, dict[int, Entry]] = defaultdict(dict)
        self.chains: defaultdict[int, dict[tuple[int, int], tuple[int, bytes, int]]] = defaultdict(
            dict
        )
        self.held: set[tuple[str, int, int]] = set()
        """(node, index, term) of everything that a node has ever held as stable."""
        self.bases: dict[tuple[str, int], int] = {}
        """(node, era) -> up to where its log was ever contained in a snapshot."""
        self.asked_in: dict[tuple[str, int], int] = {}
        network.observers.append(self.observe)

    def observe(self, node: Node, effects: Effects) -> None:
        """Look at what is applied: a log in memory may drop it at the next drain."""
        era = node.raft.era
        assert era is not None
        if effects.era is not None and era > self.eras_seen:
            self._check_era(era)
        self._note(node)
        for each in effects.apply:
            if each.index not in self.books[era]:
                self._check_quorum_holds(node, each)
            assert self.books[era].setdefault(each.index, each) == each, ("safety", node.id)
            self.era_answering = max(self.era_answering, era)

    def sent(self, packet: Packet) -> None:
        super().sent(packet)
        message = cast("RaftMessage", packet.message)
        node = self.network.nodes[packet.sender]
        disk = node.disk.hard_state
        self._note(node, message.index if isinstance(message, AppendReply) else 0)
        if isinstance(message, Forgot):
            assert disk.repair_after or disk.term > message.term, (packet, disk)
        if isinstance(message, AppendReply) and message.success and disk.term == message.term:
            assert disk.configuration is not None or message.index == 0, packet

    def check(self, node: Node) -> None:
        era = node.raft.era
        assert era is not None
        self._note(node)
        self.committed, self.entries = self.books[era], self.chains[era]
        super().check(node)
        changes = [e.index for e in self.committed.values() if e.kind is EntryKind.MEMBERS]
        if changes and era == self.eras_seen:
            self.members = decode_members(self.committed[max(changes)])

    def _note(self, node: Node, acknowledged_index: int = 0) -> None:
        """Whatever is stable now, or is being acknowledged, is held."""
        state = node.raft._state
        first = state.log.base_index
        place = (node.id, state.era)
        self.bases[place] = max(first, self.bases.get(place, 0))
        last = LogIndex(max(first, state.durability.stable_index, acknowledged_index))
        for each in state.log.between(first, last):
            self.held.add((node.id, each.index, each.term))

    def _check_era(self, era: int) -> None:
        assert era == self.eras_seen + 1
        remembering = {
            node.id
            for node in self.network.alive()
            if not node.raft.damaged and node.raft.era == self.eras_seen
        }
        assert not is_majority(self.members, remembering), (era, self.members, remembering)
        self.eras_seen = era

    def _check_quorum_holds(self, node: Node, each: Entry) -> None:
        group = node.raft._state.membership.current
        era = node.raft._state.era

        def held(voter: str) -> int:
            is_behind = self.bases.get((voter, era), 0) >= each.index
            return int(is_behind or (voter, each.index, each.term) in self.held)

        assert acknowledged(group, held), ("committed but never held by a quorum", each)

    def asked(self, node: Node, ticket: int) -> None:
        era = node.raft.era
        assert era is not None
        self.reads[node.id, ticket] = max(self.books[era], default=0)
        self.asked_in[node.id, ticket] = self.era_answering

    def answered(self, node: Node) -> None:
        for ticket, _ in node.reads:
            asked_in = self.asked_in.pop((node.id, ticket))
            assert node.raft.era is not None
            assert node.raft.era >= asked_in, ("read of an era that is over", node.id)
        super().answered(node)


def is_majority(members: Members, nodes: set[NodeId]) -> bool:
    """Whether ``nodes`` are one in each half."""
    return acknowledged(members, lambda voter: int(voter in nodes)) == 1


class ForgettingChaos(Chaos):
    """One run from a seed."""

    judge_type = EraJudge
    config = VOLATILE

    def __init__(self, seed: int, voters: str = "abc", *, grows: bool = False) -> None:
        super().__init__(seed, voters, grows=grows)
        del self.actions[self.compact], self.actions[self.gathered]
        self.actions[self.crash] = self.random.choice((0.1, 0.5, 2))
        self.actions[self.restart] = self.random.choice((3, 12))
        self.actions[self.lose_power] = self.random.choice((0, 0.1, 0.4))
        self.actions[self.usurp] = self.random.choice((0.3, 4))
        self.actions[self.propose] = 24

    def lose_power(self) -> None:
        """Everybody forgets."""
        for node in self.network.nodes.values():
            if not node.is_down:
                self._end(node)

    def restart(self) -> bool:
        known = set(self.judge.reads)
        done = super().restart()
        judge = cast("EraJudge", self.judge)
        for key in known - set(self.judge.reads):
            judge.asked_in.pop(key, None)
        return done

    @property
    def eras(self) -> int:
        """How many began."""
        return cast("EraJudge", self.judge).eras_seen
