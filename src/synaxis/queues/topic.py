"""A topic in one shard: the partitions that live here, and the groups that consume them."""

from typing import TYPE_CHECKING

from synaxis.errors import InvalidArgument, LimitExceeded, NotFound
from synaxis.ids import LogTime
from synaxis.queues.commands import ABSENT, GroupMode
from synaxis.queues.group import Group, Ownership
from synaxis.queues.limits import QueueLimits
from synaxis.queues.partition import Partition
from synaxis.queues.placement import local_partitions, rank_of_first
from synaxis.queues.progress import Progress, Weight
from synaxis.topics import Retention, TopicRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Topic"]


class Topic:
    """See the module."""

    __slots__ = ("_fates", "_limits", "groups", "partitions", "rank", "record")

    def __init__(
        self,
        record: TopicRecord,
        shard: int,
        shards: int,
        limits: QueueLimits,
        fates: Weight | None = None,
    ) -> None:
        self._limits = limits
        self._fates = fates
        self.record = record
        name, count = record.name, record.config.partitions
        self.partitions = {
            number: Partition(number, limits)
            for number in local_partitions(name, count, shard, shards)
        }
        self.rank = rank_of_first(name, count, shard, shards)
        self.groups: dict[str, Group] = {}

    def partition(self, number: int) -> Partition:
        """Return a partition of this shard.

        Raises:
            NotFound: there is no such partition, or another shard has it.
        """
        found = self.partitions.get(number)
        if found is None:
            count = self.record.config.partitions
            raise NotFound(
                f"partition {number} of {self.record.name!r} is not here: the topic has "
                f"partitions 0 to {count - 1}, and each belongs to one shard"
            )
        return found

    def chosen(self, number: int) -> "Iterable[Partition]":
        """Return one partition, or with ABSENT all of this shard."""
        return self.partitions.values() if number == ABSENT else (self.partition(number),)

    def expires_at(self, number: int, offset: int) -> LogTime:
        """Return ``Partition.expires_at``; 0 as well if there is no such partition here."""
        partition = self.partitions.get(number)
        return LogTime(0) if partition is None else partition.expires_at(offset)

    def group(self, name: str) -> Group:
        """Return a group.

        Raises:
            NotFound: nobody has joined it yet.
        """
        found = self.groups.get(name)
        if found is None:
            raise NotFound(f"topic {self.record.name!r} has no consumer group {name!r}")
        return found

    def group_for(self, name: str, mode: GroupMode, *, from_end: bool) -> Group:
        """Return the group that somebody joins, making it if it is new.

        Raises:
            InvalidArgument: it has another mode.
            LimitExceeded: too many groups.
        """
        found = self.groups.get(name)
        if found is not None:
            if found.mode is not mode:
                raise InvalidArgument(
                    f"group {name!r} of topic {self.record.name!r} is {found.mode.name.lower()}: "
                    f"it cannot be joined as {mode.name.lower()}; delete the group or take "
                    "another name"
                )
            return found
        if len(self.groups) >= self._limits.groups_per_topic_max:
            maximum = self._limits.groups_per_topic_max
            raise LimitExceeded(
                f"a topic has at most {maximum} groups",
                limit="groups_per_topic_max",
                maximum=maximum,
            )
        made = self.groups[name] = Group(name, mode, self.rank)
        for number, partition in self.partitions.items():
            done = partition.gone.copy()
            if from_end and partition.next_offset:
                done.add(0, partition.next_offset - 1)
            made.progress[number] = Progress(number, done, self._fates)
            if mode is GroupMode.EXCLUSIVE:
                made.owners[number] = Ownership()
        return made

    def is_needed(self, partition: Partition, first: int, last: int) -> bool:
        """Return whether somebody may still want messages of this range (of one batch)."""
        number = partition.number
        if not partition.gone.covers(first, last):
            is_log = self.record.config.retention is Retention.LOG
            if last >= partition.aged and (is_log or not self.groups):
                return True
            # Redriven after retention had let them go, messages of a log wait for groups only.
            for group in self.groups.values():
                if not group.progress[number].done.covers(first, last):
                    return True
        for group in self.groups.values():
            dead = group.progress[number].dead
            if dead and any(offset in dead for offset in range(first, last + 1)):
                return True
        return False

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        for number, partition in self.partitions.items():
            partition.check_invariants()
            for at in partition.index.rows:
                if partition.index.is_alive(at):
                    assert self.is_needed(partition, *partition.index.bounds(at)), (number, at)
        for group in self.groups.values():
            assert group.progress.keys() == self.partitions.keys()
            group.check_invariants()
            for number, progress in group.progress.items():
                progress.check_invariants(self.partitions[number].next_offset)
