"""A consumer group in one shard: its members, how far it is, and who owns what.

A member is bound to a session and ends with it. In EXCLUSIVE mode each local partition has an
owner; a change of members changes the *targets*, and a partition changes hands only when its owner
has yielded it (or was removed, or the leader revoked it): release before assign. The epoch of an
ownership grows each time it begins.

Sources: KIP-848 (server-side assignment, release before assign); ``assignment.py``.
"""

from typing import TYPE_CHECKING

import msgspec

from synaxis.ids import SessionId
from synaxis.queues.assignment import assign
from synaxis.queues.commands import GroupMode

if TYPE_CHECKING:
    from synaxis.queues.progress import Progress

__all__ = ["Group", "Member", "Ownership"]


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A member of a group."""

    number: int
    session: SessionId
    name: str
    visibility_ms: int
    auto_extend: bool
    announces: bool = False


class Ownership(msgspec.Struct, array_like=True):
    """EXCLUSIVE: who has a partition (0: nobody), and who should."""

    owner: int = 0
    target: int = 0
    epoch: int = 0


class Group:
    """See the module."""

    __slots__ = (
        "acked",
        "dead_lettered",
        "epoch",
        "first_rank",
        "members",
        "mode",
        "name",
        "owners",
        "progress",
        "redelivered",
    )

    def __init__(self, name: str, mode: GroupMode, first_rank: int) -> None:
        self.name = name
        self.mode = mode
        self.first_rank = first_rank
        """How many partitions of the topic are in shards before this one; see ``assign``."""
        self.epoch = 0
        self.members: dict[int, Member] = {}
        """In order of joining."""
        self.progress: dict[int, Progress] = {}
        self.owners: dict[int, Ownership] = {}
        """EXCLUSIVE only: by local partition."""
        self.acked = 0
        self.redelivered = 0
        self.dead_lettered = 0

    def join(self, member: Member) -> None:
        """Add a member, or replace what is known of it."""
        self.members[member.number] = member
        self.epoch += 1
        self._retarget()

    def leave(self, number: int) -> Member | None:
        """Remove a member; what it owns is free at once."""
        member = self.members.pop(number, None)
        if member is not None:
            self.epoch += 1
            for ownership in self.owners.values():
                if ownership.owner == number:
                    ownership.owner = 0
            self._retarget()
        return member

    def give_up(self, partition: int) -> None:
        """The owner of ``partition`` yields it, or is made to."""
        self.owners[partition].owner = 0
        self._hand_over()

    def _retarget(self) -> None:
        if self.mode is not GroupMode.EXCLUSIVE:
            return
        present = {partition: each.target for partition, each in self.owners.items()}
        targets = assign(sorted(self.members), present, self.first_rank)
        for partition, target in targets.items():
            self.owners[partition].target = target
        self._hand_over()

    def _hand_over(self) -> None:
        for ownership in self.owners.values():
            if ownership.owner == 0 and ownership.target:
                ownership.owner = ownership.target
                ownership.epoch += 1

    def owned_by(self, number: int) -> tuple[list[int], list[int]]:
        """Return the partitions that a member owns, and those of them that it has to yield."""
        owned = [p for p, each in self.owners.items() if each.owner == number]
        return owned, [p for p in owned if self.owners[p].target != number]

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        for ownership in self.owners.values():
            assert ownership.owner == 0 or ownership.owner in self.members
            assert ownership.target == 0 or ownership.target in self.members
            assert bool(ownership.target) == bool(self.members)
            assert ownership.owner or not ownership.target, "a free partition is handed over"
