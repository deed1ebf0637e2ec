"""Which configuration is in force, and which change of it is allowed.

A configuration is in force as soon as its entry is in the log, committed or not (thesis 4.1), and
no longer when that entry is truncated. Every change of the voters goes through joint consensus
(4.3): majorities of the old and of the new voters are needed until the leader has committed the
joint entry and appends the one that leaves it.

Invariant: a leader that has committed an entry of its term has at most one configuration above
its commit index.

Sources: Ongaro, thesis 4.1-4.3; the single-server bug he reported on raft-dev (no change before
an entry of the leader's own term is committed).
"""

from collections.abc import Sequence

import msgspec

from synaxis.effects import Entry, EntryKind, Members
from synaxis.errors import MembershipRefused, ProtocolViolation
from synaxis.ids import LogIndex, NodeId

__all__ = [
    "Membership",
    "decode_members",
    "encode_members",
    "leave_joint",
    "next_members",
]


def encode_members(members: Members) -> bytes:
    """Return the payload of a MEMBERS entry."""
    return msgspec.msgpack.encode(members)


def decode_members(entry: Entry) -> Members:
    """Read the payload of a MEMBERS entry.

    Raises:
        ProtocolViolation: it is none.
    """
    try:
        return msgspec.msgpack.decode(entry.payload, type=Members)
    except msgspec.DecodeError as error:
        raise ProtocolViolation(f"entry {entry.index} holds no configuration") from error


def next_members(current: Members, voters: Sequence[NodeId], learners: Sequence[NodeId]) -> Members:
    """Return the configuration that starts the move from ``current`` to these members.

    Raises:
        MembershipRefused: the request is malformed, changes nothing, or makes a voter of a node
            that is no learner yet (thesis 4.2.1).
    """
    new_voters, new_learners = _checked(voters), _checked(learners)
    if not new_voters:
        raise MembershipRefused("a group needs at least one voter")
    if both := sorted(set(new_voters) & set(new_learners)):
        raise MembershipRefused(f"{both[0]} cannot be voter and learner at once")
    if (new_voters, new_learners) == (current.voters, current.learners):
        raise MembershipRefused("these are the members already")
    if strangers := sorted(set(new_voters) - set(current.voters) - set(current.learners)):
        raise MembershipRefused(f"{strangers[0]} must first be added as a learner")
    outgoing = current.voters if new_voters != current.voters else ()
    return Members(new_voters, outgoing, new_learners)


def _checked(nodes: Sequence[NodeId]) -> tuple[NodeId, ...]:
    unique = tuple(sorted(set(nodes)))
    if len(unique) != len(nodes) or not all(unique):
        raise MembershipRefused("a member is named twice, or has no name")
    return unique


def leave_joint(members: Members) -> Members:
    """Return the configuration that ends the joint one."""
    return Members(members.voters, (), members.learners)


class Membership:
    """The configurations of the log, newest last."""

    __slots__ = ("_history", "current", "current_index", "nodes")

    def __init__(self, index: LogIndex, members: Members) -> None:
        self.reset(index, members)

    def reset(self, index: LogIndex, members: Members) -> None:
        """Start from what a snapshot, or the first start of the group, says."""
        self._history: list[tuple[LogIndex, Members]] = [(index, members)]
        self._refresh()

    def append(self, entry: Entry) -> None:
        """Take a MEMBERS entry that was appended: it is in force from now on."""
        assert entry.kind is EntryKind.MEMBERS
        self._history.append((entry.index, decode_members(entry)))
        self._refresh()

    def truncate(self, first: LogIndex) -> None:
        """Go back to the configuration before ``first``."""
        while len(self._history) > 1 and self._history[-1][0] >= first:
            self._history.pop()
        self._refresh()

    def compact(self, index: LogIndex) -> None:
        """Forget configurations that were replaced at or before ``index``."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            self._history.pop(0)

    def at(self, index: LogIndex) -> Members:
        """Return the configuration in force at ``index``, which must not be compacted away."""
        for start, members in reversed(self._history):
            if start <= index:
                return members
        raise LookupError(f"the configuration at {index} was compacted away")

    def _refresh(self) -> None:
        self.current_index, self.current = self._history[-1]
        self.nodes = _nodes_of(self.current)
        """Everyone that takes part now: voters of both halves and learners, sorted."""

    @property
    def is_joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.current.outgoing)

    def is_voter(self, node: NodeId) -> bool:
        """Return whether ``node`` has a vote, in either half."""
        return node in self.current.voters or node in self.current.outgoing

    def may_campaign(self, node: NodeId, commit_index: LogIndex) -> bool:
        """Return whether ``node`` has a vote, or had one before an uncommitted change.

        The latter may be the only one with the entry that removes it, and then has to lead
        until that entry is committed (thesis 4.2.2, Figure 4.6).
        """
        if self.is_voter(node):
            return True
        if self.current_index <= commit_index or len(self._history) < 2:
            return False
        previous = self._history[-2][1]
        return node in previous.voters or node in previous.outgoing

    def is_change_pending(self, commit_index: LogIndex) -> bool:
        """Return whether the last change is uncommitted or only half done."""
        return self.current_index > commit_index or self.is_joint

    def audience(self, commit_index: LogIndex) -> tuple[NodeId, ...]:
        """Return whom a leader replicates to, sorted.

        A node that is being removed is included until its removal is committed, so that it
        learns of it.
        """
        if self.current_index <= commit_index or len(self._history) < 2:
            return self.nodes
        return tuple(sorted({*self.nodes, *_nodes_of(self._history[-2][1])}))

    def check_invariants(self, leader_commit_index: LogIndex | None) -> None:
        """Assert the shape of the history and of the configurations.

        The commit index is given by a leader that knows it; any other may lag behind two changes.
        """
        indexes = [index for index, _ in self._history]
        assert indexes == sorted(set(indexes)), indexes
        if leader_commit_index is not None:
            assert sum(1 for index in indexes if index > leader_commit_index) <= 1, indexes
        for _, members in self._history:
            for group in (members.voters, members.outgoing, members.learners):
                assert list(group) == sorted(set(group)), group
            assert not set(members.voters) & set(members.learners), members


def _nodes_of(members: Members) -> tuple[NodeId, ...]:
    return tuple(sorted({*members.voters, *members.outgoing, *members.learners}))
