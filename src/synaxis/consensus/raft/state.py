"""What every part of a Raft node reads and writes: Figure 3.1's "State", and the outbox.

Sources: Ongaro, thesis Figure 3.1, 3.8.
"""

from collections.abc import Sequence
from enum import Enum

import msgspec

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.durability import Durability
from synaxis.consensus.raft.log import RaftLog
from synaxis.consensus.raft.membership import Membership
from synaxis.effects import Entry, EntryKind, HardState, Members, Snapshot
from synaxis.ids import LogIndex, NodeId, Term
from synaxis.ports import RandomSource, RecoveredGroup

__all__ = ["RaftState", "Role"]


class Role(Enum):
    """Figure 3.3, with the pre-candidate of 9.6."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class RaftState:
    """Term, vote, log, configuration, and the messages that wait to leave."""

    __slots__ = (
        "config",
        "durability",
        "gather",
        "hard_state",
        "leader",
        "log",
        "membership",
        "node_id",
        "random",
        "restore",
        "role",
        "send_after_outbox",
        "send_now_outbox",
        "snapshot",
        "term",
    )

    def __init__(
        self,
        node_id: NodeId,
        config: RaftConfig,
        recovered: RecoveredGroup,
        bootstrap: Members,
        random: RandomSource,
    ) -> None:
        self.node_id = node_id
        self.config = config
        self.random = random
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.snapshot = recovered.snapshot
        """The latest one, kept to be sent to followers that are too far behind."""
        self.restore: Snapshot | None = None
        """Came from a leader and waits for the next ``Effects``."""
        self.gather: Snapshot | None = None
        """The same, but its attachments are missing."""
        self.send_now_outbox: list[tuple[NodeId, msgspec.Struct]] = []
        self.send_after_outbox: list[tuple[NodeId, msgspec.Struct]] = []
        if recovered.snapshot is None:
            self.log = RaftLog(LogIndex(0), Term(0), recovered.entries)
            self.membership = Membership(LogIndex(0), bootstrap)
        else:
            meta = recovered.snapshot.meta
            self.log = RaftLog(meta.index, meta.term, recovered.entries)
            self.membership = Membership(meta.index, meta.members)
        for entry in recovered.entries:
            if entry.kind is EntryKind.MEMBERS:
                self.membership.append(entry)
        self.hard_state = recovered.hard_state
        self.term = recovered.hard_state.term
        self.durability = Durability(recovered.hard_state, self.log.last_index)
        if recovered.damaged:
            # Terms that are far apart make every promise forgotten with the lost records
            # irrelevant: DESIGN.md, "A damaged disk".
            leap = Term(max(self.term, self.log.last_term) + config.damaged_term_leap)
            self.set_hard_state(HardState(leap, None, repair_after=leap))
        elif self.term < self.log.last_term:
            self.set_hard_state(HardState(self.log.last_term, None, self.hard_state.repair_after))

    @property
    def voted_for(self) -> NodeId | None:
        """Whom this node voted for in its term."""
        return self.hard_state.voted_for

    @property
    def is_damaged(self) -> bool:
        """Whether acknowledged entries may be missing: no vote and no candidacy."""
        return self.hard_state.repair_after > 0

    def set_hard_state(self, hard_state: HardState) -> None:
        """Replace term and vote; the next ``Persist`` holds them."""
        assert hard_state.term >= self.term, (hard_state, self.term)
        self.hard_state = hard_state
        self.term = hard_state.term

    def enter_term(self, term: Term, voted_for: NodeId | None = None) -> None:
        """Move to a higher term, in which this node votes as given."""
        assert term > self.term, (term, self.term)
        self.set_hard_state(HardState(term, voted_for, self.hard_state.repair_after))

    def vote_for(self, candidate: NodeId) -> None:
        """Cast the vote of this term (3.4); a second one must be equal."""
        assert self.voted_for in (None, candidate), (self.voted_for, candidate)
        if self.voted_for is None:
            self.set_hard_state(HardState(self.term, candidate, self.hard_state.repair_after))

    def send_now(self, peer: NodeId, message: msgspec.Struct) -> None:
        """Send what promises nothing about the disk, but for the term it carries.

        A term that is not durable yet holds the message back: after a crash the same term
        could be entered again, and two different leaders' words would carry it.
        """
        if self.durability.is_hard_state_durable(self.hard_state):
            self.send_now_outbox.append((peer, message))
        else:
            self.send_after_outbox.append((peer, message))

    def send_after(self, peer: NodeId, message: msgspec.Struct) -> None:
        """Send a promise, once all that was stored so far is durable."""
        self.send_after_outbox.append((peer, message))

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries behind the end of the log; configurations come into force."""
        for entry in entries:
            if entry.kind is EntryKind.MEMBERS:
                self.membership.append(entry)  # first, because it refuses what it cannot read
            self.log.append(entry)

    def truncate(self, first: LogIndex) -> None:
        """Drop the entries at and after ``first``; their configurations go out of force."""
        self.log.truncate(first)
        self.membership.truncate(first)
        self.durability.truncate(first)

    def install(self, snapshot: Snapshot) -> None:
        """Replace log, configuration and state by a leader's snapshot (5.2)."""
        meta = snapshot.meta
        self.log.reset(meta.index, meta.term)
        self.membership.reset(meta.index, meta.members)
        self.durability.reset(snapshot)
        self.snapshot = snapshot
        self.restore = snapshot

    def check_repaired(self) -> None:
        """End the quarantine of a damaged node once it durably holds a late enough entry."""
        stable = self.durability.stable_index
        if not self.is_damaged or stable < self.log.base_index:
            return
        if self.log.term_at(stable) > self.hard_state.repair_after:
            self.set_hard_state(HardState(self.term, self.voted_for))
