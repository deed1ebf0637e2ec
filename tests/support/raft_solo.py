"""One Raft node whose peers are played by the test: what it is told, what it answers."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from support.raft_network import Network, entry, is_busy, members
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import AppendEntries, AppendReply, RequestVote, VoteReply
from synaxis.effects import HardState, Snapshot
from synaxis.ids import Instant, LogIndex, NodeId, Term
from synaxis.ports import LogStatus, RecoveredGroup

__all__ = ["Solo", "append", "of_type", "stored", "vote"]

Kind = TypeVar("Kind")


def stored(
    *terms: int,
    term: int = 0,
    voted_for: str | None = None,
    snapshot: Snapshot | None = None,
    damaged: bool = False,
) -> RecoveredGroup:
    """What a disk holds: entries of ``terms`` (behind the snapshot), term and vote."""
    first = snapshot.meta.index + 1 if snapshot else 1
    entries = [entry(first + i, each, b"old") for i, each in enumerate(terms)]
    vote = NodeId(voted_for) if voted_for else None
    return RecoveredGroup(HardState(Term(max(term, *terms, 0)), vote), snapshot, entries, damaged)


class Solo:
    """The node ``a``, alone with a test."""

    def __init__(
        self,
        voters: str = "abc",
        learners: str = "",
        *,
        recovered: RecoveredGroup | None = None,
        config: RaftConfig | None = None,
    ) -> None:
        self.network = Network("", config=config)
        self.network.group = members(voters, learners)
        self.node = self.network.add("a", recovered)
        self.raft = self.node.raft
        self.drain()

    def drain(self) -> list[tuple[str, msgspec.Struct]]:
        """Drain until nothing comes; returns the messages in the order of their leaving."""
        messages: list[tuple[str, msgspec.Struct]] = []
        while True:
            effects = self.node.drain()
            messages += [*effects.send_now, *effects.send_after]
            if not is_busy(effects):
                return messages

    def say(self, sender: str, *messages: msgspec.Struct) -> list[tuple[str, msgspec.Struct]]:
        """Let the node hear ``messages`` of a peer; returns what it sends."""
        for message in messages:
            self.raft.handle(NodeId(sender), message, self.network.now)
        return self.drain()

    def wait(self, milliseconds: int) -> list[tuple[str, msgspec.Struct]]:
        """Let time pass, timer by timer; returns what was sent."""
        messages = []
        end = self.network.now + milliseconds
        while True:
            self.network.now = Instant(min(max(self.raft.deadline(), self.network.now), end))
            if self.raft.deadline() <= self.network.now:
                self.raft.tick(self.network.now)
                messages += self.drain()
            if self.network.now >= end:
                return messages

    def time_out(self) -> list[tuple[str, msgspec.Struct]]:
        """Wait for the election timeout."""
        self.network.now = max(self.network.now, self.raft.deadline())
        self.raft.tick(self.network.now)
        return self.drain()

    def become_candidate(self) -> list[tuple[str, msgspec.Struct]]:
        """Time out and be given all pre-votes; returns the requests for votes."""
        self.time_out()
        messages: list[tuple[str, msgspec.Struct]] = []
        for peer in self.peers():
            reply = VoteReply(Term(self.status.term + 1), granted=True, pre=True)
            messages += self.say(peer, reply)
        return [each for each in messages if isinstance(each[1], RequestVote)]

    def become_leader(self) -> list[tuple[str, msgspec.Struct]]:
        """Win an election with every vote; returns the first appends."""
        self.become_candidate()
        messages: list[tuple[str, msgspec.Struct]] = []
        for peer in self.peers():
            messages += self.say(peer, VoteReply(self.status.term, granted=True))
        return messages

    def commit_all(self) -> list[tuple[str, msgspec.Struct]]:
        """Let every peer acknowledge the whole log."""
        messages: list[tuple[str, msgspec.Struct]] = []
        for peer in self.peers():
            messages += self.say(peer, self.matched(self.status.last_index))
        return messages

    def matched(self, index: int, *, confirmed: int = 0) -> AppendReply:
        """The answer of a peer that holds everything up to ``index``."""
        term = self.status.term
        return AppendReply(term, True, LogIndex(index), term, confirmed)

    def peers(self) -> list[str]:
        group = self.status.members
        everyone = sorted({*group.voters, *group.outgoing, *group.learners})
        return [str(peer) for peer in everyone if peer != self.node.id]

    def propose(self, payload: bytes = b"x") -> list[tuple[str, msgspec.Struct]]:
        self.raft.propose(payload, self.network.now)
        return self.drain()

    @property
    def status(self) -> LogStatus:
        return self.raft.status()

    @property
    def terms(self) -> list[int]:
        """Terms of the entries in memory."""
        return [term for _, term in self.node.log]


def append(
    term: int,
    after: int = 0,
    after_term: int = 0,
    *terms: int,
    commit: int = 0,
    confirmation_round: int = 0,
) -> AppendEntries:
    """An AppendEntries with entries of these terms behind ``after``."""
    entries = tuple(entry(after + 1 + i, each, b"new") for i, each in enumerate(terms))
    return AppendEntries(
        Term(term),
        LogIndex(after),
        Term(after_term),
        LogIndex(commit),
        confirmation_round,
        entries,
    )


def vote(
    term: int, last: int = 0, last_term: int = 0, *, pre: bool = False, transfer: bool = False
) -> RequestVote:
    """A request of a candidate whose log ends with ``last``."""
    return RequestVote(Term(term), LogIndex(last), Term(last_term), pre, transfer)


def of_type(
    messages: Iterable[tuple[str, msgspec.Struct]], kind: type[Kind]
) -> list[tuple[str, Kind]]:
    """Those of ``messages`` that are of one type."""
    return [(target, each) for target, each in messages if isinstance(each, kind)]
