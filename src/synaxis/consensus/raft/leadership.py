"""What a leader does: proposes, commits, confirms that it leads, changes members, hands over.

Invariants: only entries of the leader's own term are committed by counting; there is no read
and no membership change before the first of them is committed; the leader's own copy counts
only once it is durable.

Sources: Ongaro, thesis 3.5, 3.6.2, 3.10, 4.1-4.3, 6.2, 6.4, 10.2.1.
"""

from collections.abc import Sequence

from synaxis.consensus.raft.membership import encode_members, leave_joint, next_members
from synaxis.consensus.raft.messages import TimeoutNow
from synaxis.consensus.raft.read_index import ReadIndex
from synaxis.consensus.raft.replication import Replication
from synaxis.consensus.raft.state import RaftState, Role
from synaxis.consensus.raft.transfer import Transfer
from synaxis.effects import Entry, EntryKind, Members
from synaxis.errors import MembershipRefused, NotLeader, Overloaded
from synaxis.ids import Instant, LogIndex, NodeId, Term

__all__ = ["Leadership"]


class Leadership:
    """One node's time as leader, term after term."""

    __slots__ = (
        "_first_index",
        "_grace_given",
        "_heartbeat_at",
        "_is_heartbeat_due",
        "_notice_at",
        "_notice_index",
        "_state",
        "confirmed_reads",
        "failed_reads",
        "reads",
        "replication",
        "transfer",
    )

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self.replication = Replication(state)
        self.reads = ReadIndex()
        self.transfer = Transfer()
        self.confirmed_reads: list[tuple[int, LogIndex]] = []
        self.failed_reads: list[int] = []
        self._first_index = LogIndex(0)
        self._heartbeat_at = Instant(0)
        self._is_heartbeat_due = False
        self._notice_at: Instant | None = None
        self._notice_index = LogIndex(0)
        """By ``_notice_at`` every peer is told that this much is committed."""
        self._grace_given = False

    @property
    def is_ready(self) -> bool:
        """Whether an entry of this term is committed: only then is the commit index known."""
        return self._state.role is Role.LEADER and self._state.log.commit_index >= self._first_index

    def begin(self, now: Instant) -> None:
        """Start to lead (3.4): announce it with the term's no-op, which commits the past."""
        state = self._state
        assert state.role is Role.CANDIDATE
        state.role = Role.LEADER
        state.leader = state.node_id
        self._grace_given = False
        self._heartbeat_at = Instant(now + state.config.heartbeat_ms)
        self.replication.reset(now)
        self._first_index = self._append_first().index

    def _append_first(self) -> Entry:
        """Append what commits the past.

        In an empty log of a volatile group it says who the members are: they come from an earlier
        era, and not everybody may know the same.
        """
        state = self._state
        if state.is_blank:
            return self._append(EntryKind.MEMBERS, encode_members(state.membership.current))
        return self._append(EntryKind.NOOP, b"")

    def end(self) -> None:
        """Stop to lead. What waited for a confirmation will not get it."""
        self.failed_reads.extend(self.reads.fail())
        self.transfer.clear()
        self.replication.dismiss()
        self._is_heartbeat_due = False
        self._notice_at = None

    def deadline(self) -> Instant:
        """Return when ``tick`` must be called next."""
        due = self._heartbeat_at
        if self._notice_at is not None:
            due = min(due, self._notice_at)
        if self.transfer.target is not None:
            due = min(due, self.transfer.deadline)
        return due

    def tick(self, now: Instant) -> bool:
        """Let timers fire. Returns False if no quorum was heard for too long (6.2)."""
        if self._notice_at is not None and now >= self._notice_at:
            self._give_notice(now)
        if self.transfer.target is not None and now >= self.transfer.deadline:
            self.transfer.clear()
            self._leave_joint_if_due(now)
        if now < self._heartbeat_at:
            return True
        late_ms = now - self._heartbeat_at
        self._heartbeat_at = Instant(now + self._state.config.heartbeat_ms)
        self._is_heartbeat_due = True
        return self._hears_quorum(now, late_ms)

    def _plan_notice(self, now: Instant) -> None:
        self._notice_at = Instant(now + self._state.config.commit_notice_ms)
        self._notice_index = self._state.log.commit_index

    def _give_notice(self, now: Instant) -> None:
        # Under load the next append has long carried the news, and this sends nothing.
        self._notice_at = None
        if self.replication.is_news(self._notice_index):
            self._is_heartbeat_due = True
        elif self.replication.is_news(self._state.log.commit_index):
            self._plan_notice(now)

    def _hears_quorum(self, now: Instant, late_ms: int) -> bool:
        silence_max = self._state.config.election_timeout_max_ms
        if now - self.replication.quorum_contact(now) < silence_max:
            self._grace_given = False
            return True
        if late_ms > self._state.config.heartbeat_ms and not self._grace_given:
            # We were asleep, so the answers may lie unread: look again after a heartbeat.
            self._grace_given = True
            return True
        return False

    def is_trusted(self, now: Instant) -> bool:
        """Return whether a quorum was heard within the shortest election timeout (4.2.3)."""
        silence_max = self._state.config.election_timeout_min_ms
        return now - self.replication.quorum_contact(now) < silence_max

    def propose(self, payload: bytes) -> tuple[LogIndex, Term]:
        """Append a COMMANDS entry.

        Raises:
            NotLeader, Overloaded
        """
        state = self._state
        if state.role is not Role.LEADER:
            raise NotLeader("this node does not lead", leader=state.leader)
        if self.transfer.target is not None:
            raise NotLeader("leadership is being handed over", leader=self.transfer.target)
        pending = state.log.uncommitted_bytes
        if pending and pending + len(payload) > state.config.uncommitted_bytes_max:
            raise Overloaded(f"{pending} bytes wait for a quorum")
        return self._append(EntryKind.COMMANDS, payload).index, state.term

    def _append(self, kind: EntryKind, payload: bytes) -> Entry:
        state = self._state
        entry = Entry(LogIndex(state.log.last_index + 1), state.term, kind, payload)
        state.append((entry,))
        return entry

    def read(self) -> int:
        """Ask for a linearizable read point; returns its ticket.

        Raises:
            NotLeader: also when nothing of this term is committed yet.
        """
        state = self._state
        if not self.is_ready:
            raise NotLeader("this node does not lead, or not yet", leader=state.leader)
        return self.reads.register(state.log.commit_index)

    def change_members(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId], now: Instant
    ) -> None:
        """Append the configuration that starts the change.

        Raises:
            NotLeader, MembershipRefused
        """
        state = self._state
        if state.role is not Role.LEADER:
            raise NotLeader("this node does not lead", leader=state.leader)
        if self.transfer.target is not None:
            raise NotLeader("leadership is being handed over", leader=self.transfer.target)
        if not self.is_ready:
            raise MembershipRefused("the leader has not committed anything in its term yet")
        if state.membership.is_change_pending(state.log.commit_index):
            raise MembershipRefused("another change of members is under way")
        members = next_members(state.membership.current, voters, learners)
        self._check_caught_up(members)
        self._append_members(members, now)

    def _check_caught_up(self, members: Members) -> None:
        current, log = self._state.membership.current, self._state.log
        for node in members.voters:
            if node in current.voters:
                continue
            lag = log.commit_index - self.replication.peers[node].match
            if lag > self._state.config.promotion_lag_max:
                raise MembershipRefused(f"{node} is {lag} entries behind", lag=lag)

    def _append_members(self, members: Members, now: Instant) -> None:
        self._append(EntryKind.MEMBERS, encode_members(members))
        self.replication.follow_membership(now)

    def transfer_leadership(self, target: NodeId, now: Instant) -> None:
        """Start to hand over to ``target``.

        Raises:
            NotLeader, MembershipRefused
        """
        state = self._state
        if state.role is not Role.LEADER:
            raise NotLeader("this node does not lead", leader=state.leader)
        if target == state.node_id or target not in state.membership.current.voters:
            raise MembershipRefused(f"{target} is not another voter")
        if self.transfer.target == target:
            return
        if self.transfer.target is not None:
            raise MembershipRefused(f"a transfer to {self.transfer.target} is under way")
        deadline = Instant(now + state.config.election_timeout_max_ms)
        self.transfer.start(target, deadline)

    def advance_commit(self, now: Instant) -> None:
        """Commit what a quorum holds durably, if it is of this term (3.6.2, Figure 3.7)."""
        state = self._state
        index = self.replication.quorum_match()
        if index <= state.log.commit_index or state.log.term_at(index) != state.term:
            return
        change_was_open = state.membership.current_index > state.log.commit_index
        state.log.commit_to(index)
        if self._notice_at is None:
            self._plan_notice(now)
        if change_was_open and state.membership.current_index <= index:
            self._dismiss_removed(now)
        self._leave_joint_if_due(now)

    def _dismiss_removed(self, now: Instant) -> None:
        # Tell those who just left that their removal is committed, and forget them.
        self.replication.flush(self.reads.round, everyone=True)
        self.replication.follow_membership(now)

    def _leave_joint_if_due(self, now: Instant) -> None:
        # Done once: the configuration that it appends is in force at once, and not joint.
        # Not during a transfer, whose target must have the whole log.
        membership = self._state.membership
        if not membership.is_joint or not self.is_ready or self.transfer.target is not None:
            return
        if membership.current_index <= self._state.log.commit_index:
            self._append_members(leave_joint(membership.current), now)

    def is_finished(self) -> bool:
        """Return whether the committed configuration leaves this leader out (4.2.2)."""
        membership, log = self._state.membership, self._state.log
        if membership.is_voter(self._state.node_id) or membership.is_joint:
            return False
        return membership.current_index <= log.commit_index and self.is_ready

    def appoint_successor(self) -> None:
        """Ask the best voter to campaign, so that nobody has to wait for a timeout."""
        successor = self.replication.most_advanced_voter()
        if successor is not None:
            self._state.send_now(successor, TimeoutNow(self._state.term))

    def flush(self) -> None:
        """Send what is due, and answer the reads that are confirmed."""
        state = self._state
        everyone = self._is_heartbeat_due or self.reads.has_waiting
        if everyone:
            self._is_heartbeat_due = False
            self.reads.begin_round()
        self.replication.flush(self.reads.round, everyone=everyone)
        if self.reads.has_begun:
            confirmed = self.replication.quorum_round(self.reads.round)
            self.confirmed_reads.extend(self.reads.confirm(confirmed))
        self._ask_transfer_target()
        assert state.role is Role.LEADER

    def _ask_transfer_target(self) -> None:
        target = self.transfer.target
        if target is None or self.transfer.is_asked:
            return
        progress = self.replication.peers.get(target)
        if progress is not None and progress.match == self._state.log.last_index:
            self.transfer.is_asked = True
            self._state.send_now(target, TimeoutNow(self._state.term))
