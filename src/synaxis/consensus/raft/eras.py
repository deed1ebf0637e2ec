"""Eras: how a volatile group begins anew when too many voters have forgotten its log.

The high bits of a term are its era. A voter that has forgotten is in quarantine: it neither votes
nor campaigns (DESIGN.md, "Volatile groups"). While it hears no leader it says so to its fellow
voters, and each such word promises that it takes part in no earlier term. Once voters that every
majority needs have said so *in the same term*, no leader of that term or a later one of this era
can ever be elected, and none of an earlier term can commit: the era is over, and whoever knows it
begins the next one.

Invariants: nobody leaves an era while a majority of its voters may remember it; the configuration
that a new era begins with is at least as new as any that was committed before.

Sources: Ongaro, thesis 3.6.1 and 3.8, from whose proofs this is derived; no published protocol.
"""

from synaxis.consensus.quorum import majority
from synaxis.consensus.raft.messages import Forgot
from synaxis.consensus.raft.state import RaftState
from synaxis.effects import Configuration, Members
from synaxis.ids import LogIndex, NodeId, Term

__all__ = ["Forgetting", "is_majority_lost"]


GIVE_UP_TIMEOUTS = 4
"""Election timeouts after which a node gives up a configuration that nobody can win in."""


def is_majority_lost(members: Members, forgotten: set[NodeId]) -> bool:
    """Return whether those who may remember are no majority, in both halves if joint."""
    halves = _halves(members)
    return bool(halves) and all(_is_lost(half, forgotten) for half in halves)


def _halves(members: Members) -> list[tuple[NodeId, ...]]:
    return [half for half in (members.voters, members.outgoing) if half]


def _is_lost(half: tuple[NodeId, ...], forgotten: set[NodeId]) -> bool:
    return len(half) - len(forgotten.intersection(half)) < majority(len(half))


class Forgetting:
    """Who has said in the present term that it has forgotten, and what it knew of the members."""

    __slots__ = ("_heard", "_hopeless_timeouts", "_learned", "_state", "_term")

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self._heard: dict[NodeId, Configuration] = {}
        self._hopeless_timeouts = 0
        self._learned = state.configuration
        self._term = Term(0)

    def hear(self, sender: NodeId, message: Forgot) -> None:
        """Note the word of ``sender``, which is of the present term."""
        self._forget_other_terms()
        self._heard[sender] = message.configuration

    def learn(self, configuration: Configuration) -> None:
        """Note what somebody who has not forgotten, or is no voter any more, knows of the members.

        As sound as having had that log: eras and elections only ask what is newest.
        """
        self._learned = max(self._learned, configuration, key=_position)

    def tell(self) -> None:
        """Say to the fellow voters that this node has forgotten, once that is durable."""
        state = self._state
        newest = self.newest()
        if not _is_voter(newest.members, state.node_id):
            return
        known = {*newest.members.voters, *newest.members.outgoing}
        known.update(state.membership.current.voters)
        for peer in sorted(known - {state.node_id}):
            state.send_after(peer, Forgot(state.term, state.configuration))

    def is_era_over(self) -> bool:
        """Return whether this node knows that nobody can lead this era any more."""
        state = self._state
        if not state.has_forgotten:
            return False
        members = self.newest().members
        forgotten = {state.node_id, *self._heard}
        return _is_voter(members, state.node_id) and is_majority_lost(members, forgotten)

    def gives_up(self) -> bool:
        """Take note of an election timeout of a node that remembers. Returns whether to forget.

        In a joint configuration one half alone may be lost. Then nobody who knows it can win, and
        the others may be too few; but whether the era is over cannot be known as long as somebody
        might lead without it. A node may forget at any time, as a restart would do; so it waits,
        and then does that, also if it knows one half only and the others who have forgotten both.
        """
        self._forget_other_terms()
        is_hopeless = any(
            _is_lost(half, set(self._heard)) for half in _halves(self._state.membership.current)
        )
        self._hopeless_timeouts = self._hopeless_timeouts + 1 if is_hopeless else 0
        return self._hopeless_timeouts >= GIVE_UP_TIMEOUTS

    def newest(self) -> Configuration:
        """Return the newest configuration that this node or one of those heard has known."""
        self._forget_other_terms()
        return max(self._state.configuration, self._learned, *self._heard.values(), key=_position)

    def _forget_other_terms(self) -> None:
        if self._term != self._state.term:
            self._term = self._state.term
            self._heard = {}


def _position(configuration: Configuration) -> tuple[Term, LogIndex]:
    return configuration.position


def _is_voter(members: Members, node: NodeId) -> bool:
    return node in members.voters or node in members.outgoing
