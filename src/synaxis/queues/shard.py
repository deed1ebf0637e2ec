"""The replicated state of a queue shard, and what every rule does with it: find, free, count."""

from heapq import heapify, heappush

import msgspec

from synaxis.errors import NotFound
from synaxis.ids import LogTime
from synaxis.queues.limits import QueueLimits
from synaxis.queues.observer import Observer, Unobserved
from synaxis.queues.partition import Partition
from synaxis.queues.segments import Segments
from synaxis.queues.topic import Topic

__all__ = ["Shard", "Tally"]


class Tally(msgspec.Struct, array_like=True):
    """What happened to the messages of a topic in this shard, since it was created."""

    published: int = 0
    duplicates: int = 0
    acked: int = 0
    redelivered: int = 0
    """Failures that led to another delivery."""
    dead_lettered: int = 0
    expired: int = 0


class Shard:
    """See the module."""

    def __init__(self, number: int, shards: int, limits: QueueLimits) -> None:
        self.number = number
        self.shards = shards
        self.limits = limits
        self.topics: dict[str, Topic] = {}
        self.tallies: dict[str, Tally] = {}
        self.segments = Segments(limits.segment_bytes_max, limits.segment_live_percent_min)
        self.index_bytes = 0
        self.observer: Observer = Unobserved()
        self.expiries: list[tuple[LogTime, str, int, int]] = []
        """Heap of (when, topic, partition, offset). An entry may be out of date."""
        self.ages: list[tuple[LogTime, str, int]] = []
        """Heap of (when, topic, partition): the oldest batch may be too old then. At most one
        entry per partition is needed; one too many does no harm."""

    def topic(self, name: str) -> Topic:
        """Return a topic.

        Raises:
            NotFound: it does not exist, or this shard has not heard of it yet.
        """
        found = self.topics.get(name)
        if found is None:
            raise NotFound(f"there is no topic {name!r}; create it first", topic=name)
        return found

    def account(self, partition: Partition) -> None:
        """Count anew what ``partition`` takes up in memory."""
        taken = partition.memory_bytes()
        self.index_bytes += taken - partition.accounted_bytes
        partition.accounted_bytes = taken

    def reclaim(self, topic: Topic, partition: Partition, first: int, last: int) -> None:
        """Forget the batches that overlap the range and that nobody needs any more."""
        index, freed = partition.index, False
        for at in index.alive(first, last):
            if not topic.is_needed(partition, *index.bounds(at)):
                self.segments.free(*partition.forget(at))
                freed = True
        if freed:
            index.trim()
            self.account(partition)

    def reclaim_all(self, topic: Topic) -> None:
        """The same for everything that the topic stores here."""
        for partition in topic.partitions.values():
            self.reclaim(topic, partition, 0, partition.next_offset)

    def mark_gone(self, topic: Topic, partition: Partition, first: int, last: int) -> None:
        """No group will see these messages any more; dead letters among them stay."""
        if first > last:
            return
        partition.gone.add(first, last)
        for group in topic.groups.values():
            progress = group.progress[partition.number]
            if progress.finish(first, last):
                self.observer.finished(topic, group, progress, first, last)
        self.reclaim(topic, partition, first, last)

    def watch_age(self, topic: Topic, partition: Partition) -> None:
        """Plan when the oldest batch of a partition will be too old."""
        age_ms = topic.record.config.retention_ms
        oldest = partition.index.oldest_at()
        if age_ms and oldest is not None:
            due = LogTime(oldest + age_ms)
            heappush(self.ages, (due, topic.record.name, partition.number))

    def rebuild(self) -> None:
        """Derive after a restore what no snapshot holds."""
        self.index_bytes = 0
        self.ages = []
        self.expiries = []
        for name, topic in self.topics.items():
            for number, partition in topic.partitions.items():
                partition.accounted_bytes = 0
                self.account(partition)
                self.watch_age(topic, partition)
                for offset, special in partition.specials.items():
                    if special.expires_at:
                        self.expiries.append((special.expires_at, name, number, offset))
        heapify(self.expiries)
