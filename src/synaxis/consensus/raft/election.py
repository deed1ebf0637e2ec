"""Elections: who may vote, who may campaign, when.

::

                    timeout             quorum of pre-votes        quorum of votes
       +----------+ -------> +---------------+ -----> +-----------+ -----> +--------+
       | follower |          | pre-candidate |        | candidate |        | leader |
       +----------+ <------- +---------------+ <----- +-----------+        +--------+
            ^   leader heard, refused   |     timeout       | leader heard, refused  |
            +---------------------------+-------------------+------------------------+
                                 higher term; leader: no quorum heard

PreVote, leader stickiness and CheckQuorum work together: a node that cannot win does not
disturb (its term stays), a node that hears its leader does not help to depose it, and a leader
that hears no quorum gives up. Without any one of them there are link faults that keep a cluster
without a leader for ever.

Invariants: one vote per term, durable before it leaves; votes are counted by voter.

Sources: Ongaro, thesis 3.4, 3.6.1, 4.2.3, 9.6; 3.10 (elections that a leader asked for).
"""

from synaxis.consensus.quorum import Verdict, verdict
from synaxis.consensus.raft.messages import Forgot, KnownMembers, RequestVote, VoteReply
from synaxis.consensus.raft.state import RaftState, Role
from synaxis.ids import Instant, NodeId, Term

__all__ = ["Election"]


class Election:
    """The election timer and the votes of this node's own candidacy."""

    __slots__ = ("_contact_at", "_state", "_votes", "deadline")

    def __init__(self, state: RaftState, now: Instant) -> None:
        self._state = state
        self._votes: dict[NodeId, bool] = {}
        self._contact_at = now
        """When the leader was last heard; meaningful while ``state.leader`` is set."""
        self.deadline = now
        """When to campaign, unless a leader is heard before."""
        if state.membership.current.voters != (state.node_id,):
            self.reset_timer(now)

    def reset_timer(self, now: Instant) -> None:
        """Draw a new election timeout (3.4)."""
        config = self._state.config
        low, high = config.election_timeout_min_ms, config.election_timeout_max_ms
        self.deadline = Instant(now + int(self._state.random.uniform(low, high)))

    def hasten(self, now: Instant) -> None:
        """Campaign soon; the jitter keeps nodes that noticed the same thing apart."""
        jitter = self._state.random.uniform(0, self._state.config.election_timeout_min_ms / 2)
        self.deadline = min(self.deadline, Instant(now + int(jitter)))

    def hear_leader(self, leader: NodeId, now: Instant) -> None:
        """Take a sign of life of this term's leader; ends any candidacy (3.4)."""
        state = self._state
        state.role = Role.FOLLOWER
        state.leader = leader
        self._contact_at = now
        self.reset_timer(now)

    def lose_leader(self, now: Instant) -> None:
        """Take the hint that the leader's link broke: trust it no longer, look around soon.

        Harmless if it is wrong: a pre-vote needs a majority that lost the leader too.
        """
        self._state.leader = None
        self.hasten(now)

    def follow(self, now: Instant) -> None:
        """Give up a candidacy or leadership; nobody leads as far as we know."""
        if self._state.role is not Role.FOLLOWER:
            self.reset_timer(now)
        self._state.role = Role.FOLLOWER
        self._state.leader = None

    def trusts_leader(self, now: Instant) -> bool:
        """Return whether a leader was heard so recently that elections are ignored (4.2.3)."""
        silence_max = self._state.config.election_timeout_min_ms
        return self._state.leader is not None and now - self._contact_at < silence_max

    def campaign(self, now: Instant) -> bool:
        """Act on a timeout: ask for pre-votes (9.6). Returns whether leadership was won."""
        state = self._state
        self.reset_timer(now)
        state.leader = None
        if not self.is_eligible():
            state.role = Role.FOLLOWER
            return False
        state.role = Role.PRE_CANDIDATE
        self._votes = {state.node_id: True}
        if self._verdict() is Verdict.WON:
            return self.start(now)
        self._ask(Term(state.term + 1), pre=True)
        return False

    def start(self, now: Instant, *, transfer: bool = False) -> bool:
        """Become candidate of the next term (3.4). Returns whether leadership was won.

        The requests leave only when the own vote is durable, so a vote can come back only
        then; a sole voter wins here and is held to the same by ``RaftState.send_now``.
        """
        state = self._state
        self.reset_timer(now)
        state.role = Role.CANDIDATE
        state.leader = None
        state.enter_term(Term(state.term + 1), voted_for=state.node_id)
        self._votes = {state.node_id: True}
        if self._verdict() is Verdict.WON:
            return True
        self._ask(state.term, transfer=transfer)
        return False

    def is_eligible(self) -> bool:
        """Return whether this node may campaign: a voter with nothing missing."""
        state = self._state
        if state.is_damaged:
            return False
        return state.membership.may_campaign(state.node_id, state.log.commit_index)

    def _ask(self, term: Term, *, pre: bool = False, transfer: bool = False) -> None:
        state = self._state
        last_term, last_index = state.position
        request = RequestVote(term, last_index, last_term, pre, transfer)
        send = state.send_now if pre else state.send_after
        for peer in state.membership.nodes:
            if peer != state.node_id and state.membership.is_voter(peer):
                send(peer, request)

    def _verdict(self) -> Verdict:
        return verdict(self._state.membership.current, self._votes)

    def answer(self, sender: NodeId, request: RequestVote, now: Instant) -> None:
        """Answer a request of this term, or a pre-vote for a higher one.

        Everyone answers, whatever its own configuration says: it may not know yet that it
        has become a voter (4.2.1).
        """
        state = self._state
        granted = self._deserves_vote(sender, request)
        if state.has_forgotten:
            # It may not know that it is a voter, and whom to tell: ``eras``.
            state.send_after(sender, Forgot(state.term, state.configuration))
        if not granted and state.is_blank:
            self._tell_members(sender, request)
        if request.pre:
            # A granted pre-vote echoes the term asked about, which is not ours.
            term = request.term if granted else state.term
            state.send_now(sender, VoteReply(term, granted, pre=True))
            return
        if granted:
            state.vote_for(sender)
            state.role = Role.FOLLOWER if state.role is Role.PRE_CANDIDATE else state.role
            self.reset_timer(now)
        state.send_after(sender, VoteReply(state.term, granted))

    def _tell_members(self, sender: NodeId, request: RequestVote) -> None:
        """Let a candidate know of a newer configuration, which may be what it needs to win."""
        state = self._state
        if not state.is_outdated_by(request.last_index, request.last_term):
            state.send_now(sender, KnownMembers(state.term, state.configuration))

    def _deserves_vote(self, sender: NodeId, request: RequestVote) -> bool:
        state = self._state
        if state.is_damaged:
            return False
        if not state.is_outdated_by(request.last_index, request.last_term):
            return False
        if request.pre and request.term > state.term:
            return True
        return state.voted_for == sender or (state.voted_for is None and state.leader is None)

    def count(self, sender: NodeId, reply: VoteReply, now: Instant) -> bool:
        """Count an answer to our own candidacy. Returns whether leadership was won."""
        state = self._state
        expected = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        if state.role is not expected or not state.membership.is_voter(sender):
            return False
        if reply.pre and reply.granted and reply.term != state.term + 1:
            return False
        self._votes.setdefault(sender, reply.granted)
        outcome = self._verdict()
        if outcome is Verdict.WON:
            return self.start(now) if reply.pre else True
        if outcome is Verdict.LOST:
            state.role = Role.FOLLOWER
            if not reply.pre:
                # The vote was split: nobody can win this term, so waiting it out is useless.
                self.hasten(now)
        return False
