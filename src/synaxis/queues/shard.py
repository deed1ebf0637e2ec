"""The replicated state of a queue shard, and what every rule does with it: find, free, count."""

from heapq import heapify, heappush

import msgspec

from synaxis.errors import NotFound
from synaxis.ids import LogTime
from synaxis.queues.limits import QueueLimits
from synaxis.queues.observer import Observer, Unobserved
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Weight
from synaxis.queues.segments import Segments
from synaxis.queues.topic import Topic

__all__ = ["Shard", "Tally"]

_EXPIRIES_SLACK = 1_024
"""Entries beyond twice the messages that can still expire before the plan is cleaned."""


class Tally(msgspec.Struct, array_like=True):
    """What happened to the messages of a topic in this shard, since it was created."""

    published: int = 0
    duplicates: int = 0
    acked: int = 0
    redelivered: int = 0
    """Failures that led to another delivery."""
    dead_lettered: int = 0
    expired: int = 0
    """Not finished when their ttl was over, once for each group (once without any); those that
    became dead letters count there."""


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
        """What the indexes of the partitions take up in memory."""
        self.fates = Weight()
        self.observer: Observer = Unobserved()
        self.expiries: list[tuple[LogTime, str, int, int]] = []
        """Heap of (when, topic, partition, offset). An entry may be out of date."""
        self._expiries_max = _EXPIRIES_SLACK
        self.ages: list[tuple[LogTime, str, int]] = []
        """Heap of (when, topic, partition): the oldest batch may be too old then. An entry counts
        if ``planned`` says the same."""
        self.planned: dict[tuple[str, int], LogTime] = {}

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

    def watch_expiry(self, at: LogTime, topic: Topic, partition: Partition, offset: int) -> None:
        """Plan when a message will expire."""
        heappush(self.expiries, (at, topic.record.name, partition.number, offset))
        if len(self.expiries) > self._expiries_max:
            # Most were consumed long before their time.
            self.expiries = [
                (at, name, number, offset)
                for at, name, number, offset in self.expiries
                if name in self.topics and self.topics[name].expires_at(number, offset) == at
            ]
            heapify(self.expiries)
            self._expiries_max = 2 * len(self.expiries) + _EXPIRIES_SLACK

    def watch_age(self, topic: Topic, partition: Partition) -> None:
        """Plan when the oldest batch that retention has not let go yet will be too old."""
        age_ms, index = topic.record.config.retention_ms, partition.index
        row = index.find(partition.aged)
        if not age_ms or row not in index.rows:
            return
        key, due = (topic.record.name, partition.number), LogTime(index.published_at(row) + age_ms)
        if due < self.planned.get(key, due + 1):
            self.planned[key] = due
            heappush(self.ages, (due, *key))

    def let_go(self, topic: Topic, partition: Partition, last: int) -> None:
        """Retention ends the life of everything up to ``last``, the end of a batch."""
        first = partition.aged
        partition.age(last)
        self.mark_gone(topic, partition, first, last)

    def rebuild(self) -> None:
        """Derive after a restore what no snapshot holds."""
        self.index_bytes = 0
        self.ages = []
        self.planned = {}
        self.expiries = []
        for name, topic in self.topics.items():
            for number, partition in topic.partitions.items():
                partition.accounted_bytes = 0
                self.account(partition)
                self.watch_age(topic, partition)
                for offset in partition.specials:
                    expires_at = partition.expires_at(offset)
                    if expires_at:
                        self.expiries.append((expires_at, name, number, offset))
        heapify(self.expiries)
        self._expiries_max = 2 * len(self.expiries) + _EXPIRIES_SLACK

    def check_invariants(self) -> None:
        """Assert what must always hold of counts and plans."""
        assert self.tallies.keys() == self.topics.keys()
        partitions = {
            (name, number): (topic, partition)
            for name, topic in self.topics.items()
            for number, partition in topic.partitions.items()
        }
        assert self.index_bytes == sum(each.accounted_bytes for _, each in partitions.values())
        assert self.fates.bytes == sum(
            progress.memory_bytes()
            for topic in self.topics.values()
            for group in topic.groups.values()
            for progress in group.progress.values()
        )
        assert self.segments.stored_bytes == sum(each.size for _, each in partitions.values())
        assert self.planned.keys() <= partitions.keys()
        plans = set(self.ages)
        assert all((due, *key) in plans for key, due in self.planned.items())
        expiries = set(self.expiries)
        for (name, number), (topic, partition) in partitions.items():
            row, age_ms = partition.index.find(partition.aged), topic.record.config.retention_ms
            if age_ms and row in partition.index.rows:
                due = partition.index.published_at(row) + age_ms
                assert self.planned[name, number] <= due, "too old, and nobody will look"
            for offset in partition.specials:
                expires_at = partition.expires_at(offset)
                assert not expires_at or (expires_at, name, number, offset) in expiries
