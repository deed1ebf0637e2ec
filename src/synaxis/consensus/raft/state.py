"""What every part of a Raft node reads and writes: Figure 3.1's "State", and the outbox.

Sources: Ongaro, thesis Figure 3.1, 3.8.
"""

from collections.abc import Sequence
from enum import Enum

import msgspec

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.durability import Durability, HardStateDurability
from synaxis.consensus.raft.log import RaftLog
from synaxis.consensus.raft.membership import Membership
from synaxis.consensus.raft.messages import era_of, first_term
from synaxis.effects import Configuration, Entry, EntryKind, HardState, Members, Snapshot
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
        "bootstrap",
        "config",
        "durability",
        "era_begun",
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
        "volatile",
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
        self.bootstrap = bootstrap
        self.volatile = config.volatile
        self.era_begun: int | None = None
        """Waits for the next ``Effects``."""
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
        self._recover(recovered)

    def _recover(self, recovered: RecoveredGroup) -> None:
        self.hard_state = recovered.hard_state
        self.term = recovered.hard_state.term
        if self.volatile:
            self._recover_volatile(recovered)
            return
        if recovered.snapshot is None:
            self.log = RaftLog(LogIndex(0), Term(0), recovered.entries)
            self.membership = Membership(LogIndex(0), self.bootstrap)
        else:
            meta = recovered.snapshot.meta
            self.log = RaftLog(meta.index, meta.term, recovered.entries)
            self.membership = Membership(meta.index, meta.members)
        for entry in recovered.entries:
            if entry.kind is EntryKind.MEMBERS:
                self.membership.append(entry)
        self.durability = Durability(recovered.hard_state, self.log.last_index)
        if recovered.damaged:
            self._leap()
        elif self.term < self.log.last_term:
            self._replace_hard_state(term=self.log.last_term, voted_for=None)

    def _recover_volatile(self, recovered: RecoveredGroup) -> None:
        self.snapshot = None
        self.log = RaftLog(LogIndex(0), Term(0), ())
        self.membership = Membership(LogIndex(0), self.configuration.members)
        self.durability = HardStateDurability(recovered.hard_state, self.log.last_index)
        if recovered.damaged:
            self._leap()
        elif self.term > 0:
            self._begin_quarantine()

    def _begin_quarantine(self) -> None:
        # Entries are lost, but no term and no vote: one term is far enough.
        self._replace_hard_state(term=Term(self.term + 1), voted_for=None, repair_after=self.term)

    def _leap(self) -> None:
        # Terms that are far apart make every promise forgotten with the lost records
        # irrelevant: DESIGN.md, "A damaged disk".
        leap = Term(max(self.term, self.log.last_term) + self.config.damaged_term_leap)
        self._replace_hard_state(term=leap, voted_for=None, repair_after=leap)

    @property
    def voted_for(self) -> NodeId | None:
        """Whom this node voted for in its term."""
        return self.hard_state.voted_for

    @property
    def is_damaged(self) -> bool:
        """Whether acknowledged entries may be missing: no vote and no candidacy."""
        return self.hard_state.repair_after > 0

    @property
    def has_forgotten(self) -> bool:
        """Whether this node of a volatile group lost the log and was not repaired yet."""
        return self.volatile and self.is_damaged

    @property
    def era(self) -> int:
        """Which era this node is in; 0 for ever if the log is on disk."""
        return era_of(self.term)

    @property
    def configuration(self) -> Configuration:
        """The newest configuration that a volatile group's log ever held here."""
        known = self.hard_state.configuration
        return Configuration(Term(0), LogIndex(0), self.bootstrap) if known is None else known

    @property
    def position(self) -> tuple[Term, LogIndex]:
        """How up to date this node is (3.6.1).

        With a log that a new era has emptied it is as its configuration is: elections must not
        go back behind a change of members that others know of.
        """
        log = self.log
        if self.is_blank:
            return self.configuration.position
        return log.last_term, log.last_index

    def is_outdated_by(self, last_index: LogIndex, last_term: Term) -> bool:
        """Return whether a candidate whose log ends so is at least as up to date (3.6.1)."""
        if self.is_blank:
            return (last_term, last_index) >= self.position
        return self.log.is_outdated_by(last_index, last_term)

    def set_hard_state(self, hard_state: HardState) -> None:
        """Replace term and vote; the next ``Persist`` holds them."""
        assert hard_state.term >= self.term, (hard_state, self.term)
        assert self.volatile or era_of(hard_state.term) == 0, "only volatile groups have eras"
        self.hard_state = hard_state
        self.term = hard_state.term

    def enter_term(self, term: Term, voted_for: NodeId | None = None) -> None:
        """Move to a higher term, in which this node votes as given."""
        assert term > self.term, (term, self.term)
        assert era_of(term) == self.era, "an era begins with its first term: begin_era"
        self._replace_hard_state(term=term, voted_for=voted_for)

    def _replace_hard_state(self, **changes: object) -> None:
        self.set_hard_state(msgspec.structs.replace(self.hard_state, **changes))

    def begin_era(self, era: int, configuration: Configuration) -> None:
        """Forget everything but the members: the group begins anew (``eras``)."""
        assert era > self.era, (era, self.era)
        self._forget(era, configuration)
        self.set_hard_state(HardState(first_term(era), None, Term(0), configuration))

    def forget(self) -> None:
        """Do what a restart would do: lose the log, and go into quarantine."""
        self._forget(self.era, self.configuration)
        self._begin_quarantine()

    def _forget(self, era: int, configuration: Configuration) -> None:
        assert self.volatile, "the log is on disk: nothing of it may be forgotten"
        self.log.forget()
        self.membership.reset(LogIndex(0), configuration.members)
        self.durability.truncate(LogIndex(1))
        self.snapshot = self.restore = self.gather = None
        # What was to be said, a log has said that is no more.
        self.send_now_outbox, self.send_after_outbox = [], []
        self.era_begun = era

    @property
    def is_blank(self) -> bool:
        """Whether a volatile group's log is empty here: the hard state says who the members are."""
        return self.volatile and self.log.last_index == 0

    def learn(self, configuration: Configuration) -> bool:
        """Take up a newer configuration that somebody's log has held. Returns whether it is.

        As sound as having had that log: elections and eras only ask for what is newest.
        """
        if not self.is_blank or configuration.position <= self.configuration.position:
            return False
        self.membership.reset(LogIndex(0), configuration.members)
        self._replace_hard_state(configuration=configuration)
        return True

    def remember_configuration(self) -> None:
        """Let the hard state of a volatile group know the members that the log has by now.

        Before anything is acknowledged, so that of the voters that every majority needs one
        knows them still when all have forgotten the log. Never goes back: what a node that
        catches up has read so far may be older than what it once knew.
        """
        log, membership = self.log, self.membership
        if not self.volatile or log.last_index == 0:
            return
        if (log.last_term, membership.current_index) > self.configuration.position:
            self._replace_hard_state(
                configuration=Configuration(
                    log.last_term, membership.current_index, membership.current
                )
            )

    def vote_for(self, candidate: NodeId) -> None:
        """Cast the vote of this term (3.4); a second one must be equal."""
        assert self.voted_for in (None, candidate), (self.voted_for, candidate)
        if self.voted_for is None:
            self._replace_hard_state(voted_for=candidate)

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
        self.snapshot = None if self.volatile else snapshot
        self.restore = snapshot

    def check_repaired(self) -> None:
        """End the quarantine of a damaged node once it durably holds a late enough entry."""
        stable = self.durability.stable_index
        if not self.is_damaged or stable < self.log.base_index:
            return
        if self.log.term_at(stable) > self.hard_state.repair_after:
            self._replace_hard_state(repair_after=Term(0))
