"""One node of a Raft group, as a pure machine behind the ``ReplicatedLog`` port.

``Raft`` only directs: it sorts messages by term, decides which role they concern, and turns
what the parts have left in the outbox into one batch of ``Effects``. The rules are in
``election``, ``follower``, ``leadership`` and ``replication``; the memory they share is
``state``. DESIGN.md in this folder is the map.

Sources: Ongaro, "Consensus: Bridging Theory and Practice" (Stanford, 2014).
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.election import Election
from synaxis.consensus.raft.eras import Forgetting
from synaxis.consensus.raft.follower import Follower
from synaxis.consensus.raft.leadership import Leadership
from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Forgot,
    InstallSnapshot,
    KnownMembers,
    RaftMessage,
    RequestVote,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    era_of,
)
from synaxis.consensus.raft.state import RaftState, Role
from synaxis.effects import (
    Configuration,
    Effects,
    Members,
    PersistMark,
    Snapshot,
    SnapshotMeta,
)
from synaxis.errors import ProtocolViolation
from synaxis.ids import Instant, LogIndex, NodeId, Term
from synaxis.ports import LogStatus, RandomSource, RecoveredGroup

__all__ = ["Raft"]

_REPLIES = (AppendReply, SnapshotReply, VoteReply)
_SENDING_LOG_FACTOR = 8
"""See ``RaftConfig.volatile_log_bytes_max``."""


class Raft:
    """A voter or learner of one group; implements ``ports.ReplicatedLog``.

    ``bootstrap`` is the configuration of a group that starts for the first time and must be
    equal on its first nodes; empty on a node that is to be added to a running group. What the
    disk says overrides it.
    """

    __slots__ = (
        "_election",
        "_follower",
        "_forgetting",
        "_handlers",
        "_leadership",
        "_now",
        "_state",
    )

    def __init__(
        self,
        node_id: NodeId,
        config: RaftConfig,
        recovered: RecoveredGroup,
        bootstrap: Members,
        random: RandomSource,
        now: Instant,
    ) -> None:
        self._now = now
        self._state = RaftState(node_id, config, recovered, bootstrap, random)
        self._election = Election(self._state, now)
        self._follower = Follower(self._state)
        self._leadership = Leadership(self._state)
        self._forgetting = Forgetting(self._state)
        self._handlers: dict[type, Callable[[NodeId, Any, Instant], None]] = {
            AppendEntries: self._on_append,
            AppendReply: self._on_append_reply,
            Forgot: self._on_forgot,
            InstallSnapshot: self._on_snapshot,
            KnownMembers: self._on_known_members,
            RequestVote: self._election.answer,
            SnapshotReply: self._on_snapshot_reply,
            TimeoutNow: self._on_timeout_now,
            VoteReply: self._on_vote_reply,
        }

    @property
    def leading(self) -> Term | None:
        """The term that this replica leads in; None while it does not lead."""
        return self._state.term if self._state.role is Role.LEADER else None

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this replica knows."""
        return self._state.leader

    @property
    def ready(self) -> bool:
        """Whether this replica leads and has committed an entry of its own term."""
        return self._leadership.is_ready

    @property
    def damaged(self) -> bool:
        """Whether acknowledged entries may still be missing; it takes no part in elections."""
        return self._state.is_damaged

    @property
    def era(self) -> int | None:
        """Which life of a volatile group this is; None for a group whose log is on disk."""
        return self._state.era if self._state.volatile else None

    @property
    def wants_snapshot(self) -> bool:
        """Whether a peer lacks what the log of this volatile group has dropped."""
        return self._leadership.replication.is_snapshot_wanted

    # Inputs

    def handle(self, sender: NodeId, message: msgspec.Struct, now: Instant) -> None:
        """Take a message of a peer.

        Raises:
            ProtocolViolation: not a Raft message, or proof of two leaders in one term.
        """
        self._now = now
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ProtocolViolation(f"{type(message).__name__} is not a Raft message")
        known = cast("RaftMessage", message)
        if sender != self._state.node_id and self._is_admitted(sender, known, now):
            handler(sender, message, now)

    def tick(self, now: Instant) -> None:
        """Let timers fire; call it at or after ``deadline()``."""
        self._now = now
        if self._state.role is Role.LEADER:
            if not self._leadership.tick(now):
                self._step_down(now)
        elif now >= self._election.deadline:
            self._complain(now)
            if self._election.campaign(now):
                self._leadership.begin(now)

    def deadline(self) -> Instant:
        """Return when ``tick`` must be called next."""
        log = self._state.log
        if log.applied_index < log.commit_index:
            return self._now  # more to apply than one batch may hold
        if self._state.role is Role.LEADER:
            return self._leadership.deadline()
        return self._election.deadline

    def propose(self, payload: bytes, now: Instant) -> tuple[LogIndex, Term]:
        """Append a COMMANDS entry.

        Raises:
            NotLeader: this replica does not lead, or is handing leadership over.
            Overloaded: too many bytes are uncommitted.
        """
        self._now = now
        return self._leadership.propose(payload)

    def read(self, now: Instant) -> int:
        """Ask for a linearizable read point; the ticket comes back in ``Effects.reads``.

        Raises:
            NotLeader: this replica does not lead, or has not committed in its term yet.
        """
        self._now = now
        return self._leadership.read()

    def change_members(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId], now: Instant
    ) -> None:
        """Start moving to this configuration.

        Raises:
            NotLeader: this replica does not lead, or is handing leadership over.
            MembershipRefused: another change runs, or this one is not allowed.
        """
        self._now = now
        self._leadership.change_members(voters, learners, now)

    def transfer_leadership(self, target: NodeId, now: Instant) -> None:
        """Hand leadership to a voter.

        Raises:
            NotLeader: this replica does not lead.
            MembershipRefused: ``target`` cannot lead, or another transfer runs.
        """
        self._now = now
        self._leadership.transfer_leadership(target, now)

    def peer_unreachable(self, peer: NodeId, now: Instant) -> None:
        """Take a hint that the link to ``peer`` broke."""
        self._now = now
        progress = self._leadership.replication.peers.get(peer)
        if progress is not None:
            progress.probe()
        elif peer == self._state.leader and self._state.role is not Role.LEADER:
            self._election.lose_leader(now)

    def persisted(self, mark: PersistMark, now: Instant) -> None:
        """Take the news that a ``Persist``, and with it every earlier one, is durable."""
        self._now = now
        self._state.durability.persisted(mark)
        self._state.check_repaired()
        if self._state.role is Role.LEADER:
            self._advance_commit(now)

    def gathered(self, meta: SnapshotMeta, *, complete: bool, now: Instant) -> None:
        """Take the news about the attachments of the snapshot in ``Effects.gather``."""
        self._now = now
        self._follower.gathered(meta, complete=complete)

    def compact(self, snapshot: Snapshot) -> None:
        """Forget entries that ``snapshot`` contains; ignored if a later one is known."""
        state = self._state
        meta = snapshot.meta
        if meta.index <= state.log.snapshot_index:
            return
        assert state.log.term_at(meta.index) == meta.term, meta
        config = state.config
        state.log.compact(meta.index, config.suffix_entries_max, config.suffix_bytes_max)
        state.membership.compact(meta.index)
        state.snapshot = snapshot
        state.durability.snapshot = snapshot

    def offer(self, snapshot: Snapshot) -> None:
        """Take a snapshot of the applied state for the peers that want one; kept no longer."""
        assert self._state.volatile, "snapshots of a log on disk are kept: compact"
        assert self._state.log.term_at(snapshot.meta.index) == snapshot.meta.term, snapshot.meta
        self._leadership.replication.is_snapshot_wanted = False
        self._state.snapshot = snapshot

    # Outputs

    def take_effects(self) -> Effects:
        """Drain everything that the inputs so far demand."""
        state = self._state
        leadership = self._leadership
        effects = Effects()
        if state.volatile:
            self._settle_volatile()
        if state.role is Role.LEADER:
            leadership.flush()
        if leadership.confirmed_reads:
            effects.reads, leadership.confirmed_reads = leadership.confirmed_reads, []
        if leadership.failed_reads:
            effects.failed_reads, leadership.failed_reads = leadership.failed_reads, []
        if state.send_now_outbox:
            effects.send_now, state.send_now_outbox = state.send_now_outbox, []
        if state.send_after_outbox:
            effects.send_after, state.send_after_outbox = state.send_after_outbox, []
        effects.persist = state.durability.emit(state.log, state.hard_state)
        if state.volatile and not leadership.replication.is_sending_snapshot:
            state.snapshot = None  # nobody needs it any more
        effects.era, state.era_begun = state.era_begun, None
        effects.restore, state.restore = state.restore, None
        effects.apply = state.log.take_committed(state.config.apply_bytes_max)
        effects.gather, state.gather = state.gather, None
        return effects

    def _settle_volatile(self) -> None:
        """Do for a log in memory what the disk's answer and snapshots do for one on disk."""
        state, log = self._state, self._state.log
        state.remember_configuration()
        if state.durability.settle(log, state.hard_state):
            state.check_repaired()
            if state.role is Role.LEADER:
                self._advance_commit(self._now)
        is_sending = self._leadership.replication.is_sending_snapshot
        limit = state.config.volatile_log_bytes_max * (_SENDING_LOG_FACTOR if is_sending else 1)
        if log.log_bytes > limit and log.applied_index > log.snapshot_index:
            config = state.config
            log.compact(log.applied_index, config.suffix_entries_max, config.suffix_bytes_max)
            state.membership.compact(log.snapshot_index)

    @property
    def is_member(self) -> bool:
        """Whether this node belongs to the group, as far as it knows."""
        return self._state.node_id in self._state.membership.nodes

    def members_at(self, index: LogIndex) -> Members:
        """Return the configuration in force at ``index`` (for building a snapshot)."""
        return self._state.membership.at(index)

    def term_at(self, index: LogIndex) -> Term:
        """Return the term of the entry at ``index``.

        Raises:
            LookupError: the entry was compacted away or does not exist yet.
        """
        return self._state.log.term_at(index)

    def status(self) -> LogStatus:
        """Return a summary for people and metrics."""
        state = self._state
        log = state.log
        peers = self._leadership.replication.peers
        return LogStatus(
            role=self._role_name(),
            term=state.term,
            leader=state.leader,
            commit_index=log.commit_index,
            last_index=log.last_index,
            stable_index=state.durability.stable_index,
            snapshot_index=log.snapshot_index,
            members=state.membership.current,
            ready=self._leadership.is_ready,
            match={peer: progress.match for peer, progress in peers.items()},
            log_bytes=log.log_bytes,
            change_pending=state.membership.is_change_pending(log.commit_index),
            transferring=self._leadership.transfer.target,
        )

    def check_invariants(self) -> None:
        """Assert what must always hold; the simulator calls it after every step."""
        state = self._state
        state.log.check_invariants()
        state.durability.check_invariants(state.log)
        leads = state.role is Role.LEADER
        state.membership.check_invariants(state.log.commit_index if self.ready else None)
        self._leadership.replication.check_invariants()
        assert state.term >= state.log.last_term
        assert leads == (state.leader == state.node_id)
        assert leads or not self._leadership.replication.peers
        assert not (leads and state.is_damaged)

    # Terms and roles

    def _is_admitted(self, sender: NodeId, message: RaftMessage, now: Instant) -> bool:
        """Sort a message by its term (3.3); returns whether it is to be looked at."""
        state = self._state
        if era_of(message.term) > state.era:
            self._follow_era(era_of(message.term), now)
        if message.term == state.term:
            return True
        if message.term < state.term:
            self._answer_the_past(sender, message)
            return isinstance(message, KnownMembers)  # knowledge does not grow old
        if isinstance(message, RequestVote) and not message.transfer:
            if self._trusts_a_leader(now):
                return False  # 4.2.3: a node that cannot hear the leader must not depose it
        elif isinstance(message, _REPLIES) and sender not in state.membership.nodes:
            return False  # may have been removed long ago
        if not _is_hypothetical(message):
            self._step_down(now)
            state.enter_term(message.term)
        return True

    def _answer_the_past(self, sender: NodeId, message: RaftMessage) -> None:
        """Tell a sender with a lower term about ours, where that helps it on."""
        term = self._state.term
        match message:
            case RequestVote():
                self._state.send_now(sender, VoteReply(term, False, message.pre))
            case AppendEntries() | InstallSnapshot():
                # A leader that this node has outrun (a candidacy that failed) would otherwise
                # never be able to reach it.
                reply = AppendReply(term, False, LogIndex(0), Term(0), 0)
                self._state.send_now(sender, reply)
            case Forgot():
                # As a refusal it moves the sender to our term, and to our era.
                self._state.send_now(sender, VoteReply(term, False, pre=True))
            case _:
                pass

    def _trusts_a_leader(self, now: Instant) -> bool:
        if self._state.role is Role.LEADER:
            return self._leadership.is_trusted(now)
        return self._election.trusts_leader(now)

    def _step_down(self, now: Instant) -> None:
        if self._state.role is Role.LEADER:
            self._leadership.end()
        self._election.follow(now)

    def _hear_leader(self, sender: NodeId, now: Instant) -> None:
        state = self._state
        if state.role is Role.LEADER or state.leader not in (None, sender):
            raise ProtocolViolation(
                f"{sender} and {state.leader} both lead term {state.term}", term=state.term
            )
        self._election.hear_leader(sender, now)

    # Eras of a volatile group

    def _complain(self, now: Instant) -> None:
        """Hearing no leader, and having forgotten, tell the others; perhaps all have."""
        state = self._state
        if state.has_forgotten:
            self._forgetting.tell()
            self._end_era_if_over(now)
        elif state.volatile and self._forgetting.gives_up():
            self._step_down(now)
            self._follower.forget()
            state.forget()

    def _on_forgot(self, sender: NodeId, message: Forgot, now: Instant) -> None:
        state = self._state
        if message.configuration.position < state.configuration.position:
            state.send_now(sender, KnownMembers(state.term, state.configuration))
        state.learn(message.configuration)
        self._forgetting.hear(sender, message)
        self._end_era_if_over(now)

    def _on_known_members(self, _: NodeId, message: KnownMembers, now: Instant) -> None:
        self._forgetting.learn(message.configuration)
        if self._state.learn(message.configuration):
            self._election.follow(now)
        self._end_era_if_over(now)

    def _end_era_if_over(self, now: Instant) -> None:
        if self._forgetting.is_era_over():
            newest = self._forgetting.newest()
            self._begin_era(self._state.era + 1, newest, now)
            self._election.hasten(now)

    def _follow_era(self, era: int, now: Instant) -> None:
        """Take the word of anyone who is in a later era: it proves that this one is over."""
        if not self._state.volatile:
            raise ProtocolViolation(f"era {era} of a group whose log is on disk")
        self._begin_era(era, self._state.configuration, now)

    def _begin_era(self, era: int, configuration: Configuration, now: Instant) -> None:
        self._step_down(now)
        leadership = self._leadership
        leadership.failed_reads += [ticket for ticket, _ in leadership.confirmed_reads]
        leadership.confirmed_reads = []
        self._follower.forget()
        self._state.begin_era(era, configuration)

    # Messages of the current term

    def _on_append(self, sender: NodeId, message: AppendEntries, now: Instant) -> None:
        self._hear_leader(sender, now)
        self._follower.on_append(sender, message)

    def _on_snapshot(self, sender: NodeId, message: InstallSnapshot, now: Instant) -> None:
        self._hear_leader(sender, now)
        self._follower.on_snapshot(sender, message)

    def _on_append_reply(self, sender: NodeId, reply: AppendReply, now: Instant) -> None:
        if self._leadership.replication.on_append_reply(sender, reply, now):
            self._advance_commit(now)

    def _on_snapshot_reply(self, sender: NodeId, reply: SnapshotReply, now: Instant) -> None:
        if self._leadership.replication.on_snapshot_reply(sender, reply, now):
            self._advance_commit(now)

    def _on_vote_reply(self, sender: NodeId, reply: VoteReply, now: Instant) -> None:
        if self._election.count(sender, reply, now):
            self._leadership.begin(now)

    def _on_timeout_now(self, sender: NodeId, _: TimeoutNow, now: Instant) -> None:
        state = self._state
        if state.role is Role.LEADER or state.leader not in (None, sender):
            return
        if self._election.is_eligible() and self._election.start(now, transfer=True):
            self._leadership.begin(now)

    def _advance_commit(self, now: Instant) -> None:
        self._leadership.advance_commit(now)
        if self._leadership.is_finished():
            self._leadership.appoint_successor()
            self._step_down(now)

    def _role_name(self) -> str:
        state = self._state
        is_learner = state.role is Role.FOLLOWER and not state.membership.is_voter(state.node_id)
        return "learner" if is_learner else state.role.value


def _is_hypothetical(message: RaftMessage) -> bool:
    """Return whether the term is one that nobody may ever enter: a pre-vote's, or its echo."""
    if isinstance(message, RequestVote):
        return message.pre
    return isinstance(message, VoteReply) and message.pre and message.granted
