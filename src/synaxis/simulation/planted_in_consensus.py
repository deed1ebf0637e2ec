"""Planted bugs of elections, replication, membership, reads, the replica and its sessions.

Most of them were shipped by somebody: see the table in reference/consensus.md 2.3.
"""

# The replacements touch what is private to the machines, which is their whole purpose.
# ruff: noqa: SLF001

from collections.abc import Callable, Sequence

import msgspec

from synaxis.consensus.commands import Batch, Proposal
from synaxis.consensus.quorum import acknowledged, majority
from synaxis.consensus.raft import leadership, membership, replication
from synaxis.consensus.raft.durability import Durability
from synaxis.consensus.raft.election import Election
from synaxis.consensus.raft.follower import Follower
from synaxis.consensus.raft.leadership import Leadership
from synaxis.consensus.raft.log import RaftLog
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.raft.membership import Membership
from synaxis.consensus.raft.messages import AppendEntries, AppendReply, RequestVote, VoteReply
from synaxis.consensus.raft.replication import Replication
from synaxis.consensus.raft.state import RaftState, Role
from synaxis.consensus.replica import Replica
from synaxis.consensus.sessions import CachedReply, LeaseKeeper, Session, SessionTable
from synaxis.effects import Entry, HardState, Members, Persist
from synaxis.ids import Instant, LogIndex, LogTime, NodeId, SessionId, Term
from synaxis.ids import Sequence as Sequence_
from synaxis.simulation.planting import DISORDER, DUPLICATES, LOSS, Patch, planted

Patches = Sequence[Patch]


# --- elections ---------------------------------------------------------------------------------


@planted("vote-not-on-disk", "the vote is not part of what is persisted", "crash", "power_cut")
def _vote_not_on_disk() -> Patches:
    emit = Durability.emit

    def without_vote(self: Durability, log: RaftLog, hard_state: HardState) -> Persist | None:
        persist = emit(self, log, hard_state)
        if persist is None or persist.hard_state is None:
            return persist
        return msgspec.structs.replace(persist, hard_state=HardState(hard_state.term, None))

    return [(Durability, "emit", without_vote)]


@planted("promise-before-fsync", "votes and acknowledgements leave before the disk has them")
def _promise_before_fsync() -> Patches:
    def send_at_once(self: RaftState, peer: NodeId, message: msgspec.Struct) -> None:
        self.send_now_outbox.append((peer, message))

    return [(RaftState, "send_after", send_at_once)]


@planted("two-votes-in-a-term", "a second candidate of a term gets the vote too", "partition")
def _two_votes() -> Patches:
    def generous(self: Election, _: NodeId, request: RequestVote) -> bool:
        return self._state.log.is_outdated_by(request.last_index, request.last_term)

    def any_vote(self: RaftState, candidate: NodeId) -> None:
        self.set_hard_state(HardState(self.term, candidate))

    return [(Election, "_deserves_vote", generous), (RaftState, "vote_for", any_vote)]


@planted("vote-counted-twice", "a vote that arrives twice counts as two", DUPLICATES, "crash")
def _vote_counted_twice() -> Patches:
    count = Election.count

    def per_message(self: Election, sender: NodeId, reply: VoteReply, now: Instant) -> bool:
        if reply.granted and not reply.pre and self._votes.get(sender):
            voters = self._state.membership.current.voters
            silent = [voter for voter in voters if voter not in self._votes]
            sender = silent[0] if silent else sender
        return count(self, sender, reply, now)

    return [(Election, "count", per_message)]


@planted("any-log-may-win", "a candidate with an outdated log gets votes", "crash", "partition")
def _any_log_may_win() -> Patches:
    return [(RaftLog, "is_outdated_by", lambda *_: True)]


@planted("no-check-quorum", "a leader that hears no quorum goes on leading", "partition")
def _no_check_quorum() -> Patches:
    return [(Leadership, "_hears_quorum", lambda *_: True)]


@planted("elections-disturb", "a node that hears no leader deposes the one that others hear")
def _elections_disturb() -> Patches:
    # Either pre-votes or stickiness alone would prevent it.
    def at_once(self: Election, now: Instant) -> bool:
        return self.is_eligible() and self.start(now)

    return [(Election, "campaign", at_once), (Raft, "_trusts_a_leader", lambda *_: False)]


# --- replication -------------------------------------------------------------------------------


@planted(
    "old-term-by-counting",
    "a new leader commits entries of earlier terms by counting copies",
    "crash",
    "partition",
    "snapshot",
)
def _old_term_by_counting() -> Patches:
    advance = Leadership.advance_commit

    def any_term(self: Leadership, now: Instant) -> None:
        index = self.replication.quorum_match()
        log = self._state.log
        if index > log.commit_index and log.term_at(index) != self._state.term:
            log.commit_to(index)
        advance(self, now)

    return [(Leadership, "advance_commit", any_term)]


@planted(
    "match-is-log-length",
    "a follower acknowledges its whole log, not what matched",
    "partition",
    "crash",
    LOSS,
)
def _match_is_log_length() -> Patches:
    def overstate(self: Follower, sender: NodeId, message: AppendEntries) -> None:
        state = self._state
        previous = message.prev_index
        if previous > state.log.commit_index and not state.log.holds(previous, message.prev_term):
            self._refuse(sender, message)
            return
        self._store(message)
        matched = LogIndex(previous + len(message.entries))
        state.log.commit_to(min(message.commit_index, matched))
        reply = AppendReply(state.term, True, state.log.last_index, state.term, message.round)
        state.send_after(sender, reply)

    return [(Follower, "on_append", overstate)]


@planted(
    "commit-past-what-matched",
    "a follower commits up to the end of its log instead of the last entry that matched",
    "partition",
    "crash",
)
def _commit_past_what_matched() -> Patches:
    on_append = Follower.on_append

    def hasty(self: Follower, sender: NodeId, message: AppendEntries) -> None:
        on_append(self, sender, message)
        self._state.log.commit_to(min(message.commit_index, self._state.log.last_index))

    return [(Follower, "on_append", hasty)]


@planted(
    "shorter-message-truncates",
    "a late, shorter append cuts off acknowledged entries",
    DISORDER,
    DUPLICATES,
)
def _shorter_message_truncates() -> Patches:
    store = Follower._store

    def cutting(self: Follower, message: AppendEntries) -> None:
        store(self, message)
        end = LogIndex(message.prev_index + len(message.entries))
        if message.entries and end < self._state.log.last_index:
            self._state.truncate(LogIndex(end + 1))

    return [(Follower, "_store", cutting)]


@planted("position-not-checked", "a follower appends without comparing what precedes", "partition")
def _position_not_checked() -> Patches:
    holds = RaftLog.holds

    def by_index_alone(self: RaftLog, index: LogIndex, term: Term) -> bool:
        return holds(self, index, term) or self.base_index <= index <= self.last_index

    return [(RaftLog, "holds", by_index_alone)]


@planted("commit-without-quorum", "the leader's own disk is enough to commit", "crash")
def _commit_without_quorum() -> Patches:
    def alone(self: Replication) -> LogIndex:
        return self._state.durability.stable_index

    return [(Replication, "quorum_match", alone)]


@planted("own-copy-before-fsync", "the leader counts its own copy before it is durable")
def _own_copy_before_fsync() -> Patches:
    def by_memory(self: Replication) -> LogIndex:
        own = self._state.log.last_index
        me = self._state.node_id
        members = self._state.membership.current
        return LogIndex(
            acknowledged(members, lambda node: own if node == me else self._match_of(node))
        )

    return [(Replication, "quorum_match", by_memory)]


@planted("apply-order-swapped", "two entries that commit together are applied in the wrong order")
def _apply_order_swapped() -> Patches:
    take = RaftLog.take_committed

    def swapped(self: RaftLog, bytes_max: int) -> list[Entry]:
        entries = take(self, bytes_max)
        if len(entries) > 1:
            entries[-2:] = entries[:-3:-1]
        return entries

    return [(RaftLog, "take_committed", swapped)]


# --- membership --------------------------------------------------------------------------------


@planted("learner-votes", "a learner's copy counts towards the quorum", "replace", "rotate")
def _learner_votes() -> Patches:
    def with_learners(self: Replication) -> LogIndex:
        members = self._state.membership.current
        own = self._state.durability.stable_index
        matches = sorted(
            own if node == self._state.node_id else self._match_of(node)
            for node in (*members.voters, *members.learners)
        )
        return LogIndex(matches[-majority(len(members.voters))])

    return [(Replication, "quorum_match", with_learners)]


@planted("no-joint-consensus", "voters are replaced in a single step", "rotate", "replace")
def _no_joint_consensus() -> Patches:
    next_members = membership.next_members

    def at_once(current: Members, voters: Sequence[NodeId], learners: Sequence[NodeId]) -> Members:
        members = next_members(current, voters, learners)
        return Members(members.voters, (), members.learners)

    return [(leadership, "next_members", at_once)]


@planted("old-half-ignored", "a joint configuration needs the new majority only", "rotate")
def _old_half_ignored() -> Patches:
    def new_half(members: Members, value_of: Callable[[NodeId], int]) -> int:
        return acknowledged(Members(members.voters), value_of)

    return [(replication, "acknowledged", new_half)]


@planted(
    "members-survive-truncation",
    "a configuration stays in force after its entry was truncated",
    "rotate",
    "partition",
    "crash",
)
def _members_survive_truncation() -> Patches:
    return [(Membership, "truncate", lambda *_: None)]


# --- reads and leases --------------------------------------------------------------------------


@planted(
    "read-without-quorum", "a leader serves reads without asking a quorum", "partition", "pause"
)
def _read_without_quorum() -> Patches:
    def trusting(_: Replication, own_round: int) -> int:
        return own_round

    return [(Replication, "quorum_round", trusting)]


@planted(
    "read-before-noop",
    "a new leader serves reads before it has committed anything itself",
    "crash",
    "transfer",
)
def _read_before_noop() -> Patches:
    def at_once(self: Leadership) -> bool:
        return self._state.role is Role.LEADER

    return [(Leadership, "is_ready", property(at_once))]


@planted("expiry-outside-the-log", "the leader ends silent sessions by itself", "client_pause")
def _expiry_outside_the_log() -> Patches:
    def local(self: Replica) -> None:
        for session in self.leases.expired(self._now):
            self._end_session(session, self.log_time)

    return [(Replica, "_propose_what_is_due", local)]


@planted("no-full-ttl", "a new leader gives sessions only a part of their time", "transfer")
def _no_full_ttl() -> Patches:
    start = LeaseKeeper.start

    def stingy(self: LeaseKeeper, table: SessionTable, now: Instant) -> None:
        start(self, table, now)
        for session, one in table.by_id.items():
            self._deadlines[session] -= one.ttl_ms * 3 // 4
        self._heap = sorted((deadline, session) for session, deadline in self._deadlines.items())

    return [(LeaseKeeper, "start", stingy)]


@planted("keep-alive-does-nothing", "keep-alives are answered and forgotten")
def _keep_alive_does_nothing() -> Patches:
    renew = LeaseKeeper.renew

    def first_only(self: LeaseKeeper, session: SessionId, ttl_ms: int, heard: Instant) -> None:
        if session not in self._deadlines:
            renew(self, session, ttl_ms, heard)

    return [(LeaseKeeper, "renew", first_only)]


@planted(
    "alive-while-dying",
    "a session is called alive while the log already holds its end (found by seed 153)",
    "crash",
    "slow_disk",
)
def _alive_while_dying() -> Patches:
    keep_alive = Replica.keep_alive

    def renew_late(self: Replica, session: SessionId, handle: object, now: Instant) -> None:
        deadlines = self.leases._deadlines
        before = deadlines.get(session)
        keep_alive(self, session, handle, now)
        if before is not None:
            deadlines[session] = before

    return [
        (Replica, "keep_alive", renew_late),
        (Replica, "_fate_of", lambda *_: LogIndex(0)),
    ]


# --- replica and sessions ----------------------------------------------------------------------


@planted("no-deduplication", "a repeated command is executed again", DUPLICATES)
def _no_deduplication() -> Patches:
    apply_one = Replica._apply_one

    def forgetful(self: Replica, proposal: Proposal, rank: int, now: LogTime) -> CachedReply | None:
        session = self.sessions.by_id.get(proposal.session)
        if session is not None:
            session.replies.pop(proposal.sequence, None)
        return apply_one(self, proposal, rank, now)

    return [(Replica, "_apply_one", forgetful)]


@planted("replies-dropped-early", "unacknowledged replies are forgotten", DUPLICATES, DISORDER)
def _replies_dropped_early() -> Patches:
    acknowledge = Session.acknowledge

    def careless(self: Session, floor: Sequence_, above: tuple[Sequence_, ...]) -> None:
        for sequence in [known for known, reply in self.replies.items() if reply is not None]:
            del self.replies[sequence]
        acknowledge(self, floor, above)

    return [(Session, "acknowledge", careless)]


@planted("sessions-not-in-snapshot", "a snapshot leaves the session table out", "snapshot", "crash")
def _sessions_not_in_snapshot() -> Patches:
    return [(SessionTable, "save", lambda _: [])]


@planted("time-of-the-reader", "apply uses the replica's own time instead of the entry's")
def _time_of_the_reader() -> Patches:
    apply_batch = Replica._apply_batch

    def own_time(self: Replica, batch: Batch, handles: list[object]) -> None:
        local = msgspec.structs.replace(batch, now=max(batch.now, self.stamp()))
        apply_batch(self, local, handles)

    return [(Replica, "_apply_batch", own_time)]


@planted("term-forgotten", "the term is written to disk only together with a vote", "crash")
def _term_forgotten() -> Patches:
    emit = Durability.emit

    def voters_only(self: Durability, log: RaftLog, hard_state: HardState) -> Persist | None:
        persist = emit(self, log, hard_state)
        if persist is None or persist.hard_state is None or persist.hard_state.voted_for:
            return persist
        return msgspec.structs.replace(persist, hard_state=None)

    return [(Durability, "emit", voters_only)]
