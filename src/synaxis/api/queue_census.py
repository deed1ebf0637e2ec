"""Counts the queue shards of this node for its metrics: a look at plain state for each scrape.

Cost: a few microseconds per partition and consumer group of the shards that the node leads, and
one per range of messages that were acknowledged out of order. A backlog costs nothing. With many
topics that adds up, so the event loop has its turn in between; the picture is then not of one
moment.
"""

import asyncio

from synaxis.consensus.replica import Replica
from synaxis.ids import GroupId, LogTime, Term
from synaxis.nodes.base_node import BaseNode
from synaxis.observability.queue_counts import OTHER, LabelSlots, LedCounts
from synaxis.observability.queue_metrics import (
    ConsumerSample,
    QueueSample,
    ShardSample,
    TopicSample,
)
from synaxis.queues.delivery.dispatcher import Dispatcher
from synaxis.queues.group import Group
from synaxis.queues.machine import QueueMachine
from synaxis.queues.topic import Topic
from synaxis.queues.views import oldest_age_ms

__all__ = ["QueueCensus"]

TOPIC_LABELS_MAX = 1_000
"""Topics that have series of their own; those beyond share the label ``(other)``."""
CONSUMER_LABELS_MAX = 1_000
"""The same for pairs of topic and consumer group."""

LOOKS_PER_TURN = 500
"""Positions of groups in partitions that are looked at before others get a turn: 2 or 3 ms."""

Pair = tuple[str, str]


class QueueCensus:
    """See the module."""

    def __init__(
        self,
        node: BaseNode,
        topic_labels_max: int = TOPIC_LABELS_MAX,
        consumer_labels_max: int = CONSUMER_LABELS_MAX,
    ) -> None:
        self._node = node
        self._topics: LabelSlots[str] = LabelSlots(topic_labels_max)
        self._pairs: LabelSlots[Pair] = LabelSlots(consumer_labels_max)
        self._counts = LedCounts(self._topics)
        self._led: dict[GroupId, Term] = {}

    def leadership(self, group: GroupId) -> None:
        """Take the news that the leader of ``group`` changed, or began to serve."""
        replica = self._node.replicas[group]
        machine = replica.machine
        if not isinstance(machine, QueueMachine):
            return
        led = self._led.pop(group, None)
        if led is not None:
            # A leader that slept may in one go learn that it was deposed and apply what the
            # next one has decided, and counted.
            ours = replica.log.term_at(replica.applied_index) <= led
            self._counts.end(group, machine.shard, complete=ours)
        if replica.log.ready and replica.log.leading is not None:
            self._led[group] = replica.log.leading
            self._counts.begin(group, machine.shard)

    async def sample(self) -> QueueSample:
        """Return everything as it is now, or was a moment ago."""
        self._forget_removed()
        topics: dict[str, TopicSample] = {}
        consumers: dict[Pair, ConsumerSample] = {}
        shards, refusing, looks = [], False, 0
        for group, dispatcher in self._node.dispatchers.items():
            replica = self._node.replicas[group]
            machine = replica.machine
            assert isinstance(machine, QueueMachine)
            shard = machine.shard
            shards.append(ShardSample(group, shard.index_bytes, shard.segments.stored_bytes))
            refusing = refusing or bool(machine.refusing)
            if not replica.log.ready:
                continue
            self._counts.look(group, shard)
            for topic in list(shard.topics.values()):
                self._add_topic(topics, topic)
                self._add_consumers(consumers, topic, dispatcher, replica)
                looks += len(topic.partitions) * (1 + len(topic.groups))
                if looks >= LOOKS_PER_TURN:
                    looks = 0
                    await asyncio.sleep(0)
        return QueueSample(
            tuple(topics.values()),
            tuple(consumers.values()),
            shards,
            dict(self._counts.by_topic),
            sum(each.delivered for each in self._node.dispatchers.values()),
            self._node.store.unflushed_bytes,
            refusing,
        )

    def _forget_removed(self) -> None:
        records = self._node.cluster.topics.records
        known = {record.name for record in records if not record.removed}
        self._counts.keep(known)
        groups = {
            (topic.record.name, name)
            for replica in self._node.replicas.values()
            if isinstance(replica.machine, QueueMachine)
            for topic in replica.machine.shard.topics.values()
            for name in topic.groups
        }
        self._pairs.keep(groups)

    def _add_topic(self, topics: dict[str, TopicSample], topic: Topic) -> None:
        name = topic.record.name
        label = name if self._topics.has_room_for(name) else OTHER
        known = topics.get(label) or TopicSample(label, 0, 0)
        partitions = topic.partitions.values()
        topics[label] = TopicSample(
            label,
            known.messages + sum(each.messages for each in partitions),
            known.stored_bytes + sum(each.size for each in partitions),
        )

    def _add_consumers(
        self,
        consumers: dict[Pair, ConsumerSample],
        topic: Topic,
        dispatcher: Dispatcher,
        replica: Replica,
    ) -> None:
        now = replica.stamp()
        for group in topic.groups.values():
            pair = topic.record.name, group.name
            label = pair if self._pairs.has_room_for(pair) else (OTHER, OTHER)
            here = _consumer(label, topic, group, dispatcher, now)
            known = consumers.get(label)
            consumers[label] = here if known is None else _joined(known, here)


def _consumer(
    label: Pair, topic: Topic, group: Group, dispatcher: Dispatcher, now: LogTime
) -> ConsumerSample:
    lag, oldest_ms, dead = 0, 0, 0
    for number, progress in group.progress.items():
        partition = topic.partitions[number]
        unfinished = progress.done.count_missing(partition.next_offset)
        dead += len(progress.dead)
        if unfinished:
            lag += unfinished
            oldest_ms = max(oldest_ms, oldest_age_ms(partition, progress, now))
    in_flight, delayed = dispatcher.load(topic.record.name, group.name)
    members = len(group.members)
    return ConsumerSample(*label, lag, oldest_ms / 1000, in_flight, delayed, dead, members)


def _joined(one: ConsumerSample, other: ConsumerSample) -> ConsumerSample:
    return ConsumerSample(
        one.topic,
        one.group,
        one.lag + other.lag,
        max(one.oldest_age_s, other.oldest_age_s),
        one.in_flight + other.in_flight,
        one.delayed + other.delayed,
        one.dead_letters + other.dead_letters,
        max(one.members, other.members),
    )
