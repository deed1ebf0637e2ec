"""Majorities, also of the two halves of a joint configuration.

Invariant: two quorums of one configuration share a voter; so do a quorum of a joint
configuration and a quorum of either of its halves.

Sources: Ongaro, thesis 3.5 (commitment), 4.3 (joint consensus).
"""

from collections.abc import Callable, Mapping
from enum import Enum

from synaxis.effects import Members
from synaxis.ids import NodeId

__all__ = ["Verdict", "acknowledged", "majority", "verdict"]


class Verdict(Enum):
    """What the votes that were counted so far amount to."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(count: int) -> int:
    """Return how many of ``count`` voters are more than half."""
    return count // 2 + 1


def acknowledged(members: Members, value_of: Callable[[NodeId], int]) -> int:
    """Return the largest value that a quorum has reached.

    Serves log indexes, confirmation rounds and times alike. A configuration without voters has
    no quorum: the answer is 0.
    """
    value = _acknowledged_by_half(members.voters, value_of)
    if members.outgoing:
        value = min(value, _acknowledged_by_half(members.outgoing, value_of))
    return value


def _acknowledged_by_half(voters: tuple[NodeId, ...], value_of: Callable[[NodeId], int]) -> int:
    if not voters:
        return 0
    values = sorted(map(value_of, voters))
    return values[len(values) - majority(len(values))]


def verdict(members: Members, votes: Mapping[NodeId, bool]) -> Verdict:
    """Judge an election; votes of anyone but the voters are not counted."""
    halves = [_verdict_of_half(members.voters, votes)]
    if members.outgoing:
        halves.append(_verdict_of_half(members.outgoing, votes))
    if Verdict.LOST in halves:
        return Verdict.LOST
    return Verdict.PENDING if Verdict.PENDING in halves else Verdict.WON


def _verdict_of_half(voters: tuple[NodeId, ...], votes: Mapping[NodeId, bool]) -> Verdict:
    if not voters:
        return Verdict.PENDING
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    needed = majority(len(voters))
    if granted >= needed:
        return Verdict.WON
    return Verdict.LOST if len(voters) - refused < needed else Verdict.PENDING
