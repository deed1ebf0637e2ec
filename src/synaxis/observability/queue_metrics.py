"""The queue service in the Prometheus exposition format.

Everything is told by the leader of the shard that it is about, so that sums over the nodes hold;
``synaxis_queue_members`` and the oldest age are the exception, which a maximum joins: a member is
in every shard of its topic. The memory of indexes and the disk are told by every node.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from synaxis.queues.shard import Tally

__all__ = ["ConsumerSample", "QueueSample", "ShardSample", "TopicSample", "queue_metrics"]


class TopicSample(NamedTuple):
    """What the shards that this node leads store of a topic."""

    topic: str
    messages: int
    stored_bytes: int


class ConsumerSample(NamedTuple):
    """How far a consumer group is in the shards that this node leads."""

    topic: str
    group: str
    lag: int
    """Unfinished messages."""
    oldest_age_s: float
    in_flight: int
    delayed: int
    dead_letters: int
    members: int


class ShardSample(NamedTuple):
    """A shard on this node, led or not."""

    shard: str
    index_bytes: int
    stored_bytes: int


class QueueSample(NamedTuple):
    """Everything about queues at the moment of a scrape."""

    topics: Sequence[TopicSample] = ()
    consumers: Sequence[ConsumerSample] = ()
    shards: Sequence[ShardSample] = ()
    counted: Mapping[str, tuple[int, ...]] = {}
    """Topic -> the fields of a ``Tally``; see ``LedCounts``."""
    delivered: int = 0
    unflushed_bytes: int = 0
    refusing: bool = False


_TOPIC_COUNTERS = {
    "published": ("messages_published", "Messages stored."),
    "duplicates": ("duplicates", "Messages recognised as published before, and not stored again."),
    "acked": ("messages_acked", "Messages acknowledged, once for each consumer group."),
    "redelivered": ("redelivered", "Failed deliveries that led to another one."),
    "dead_lettered": ("dead_lettered", "Messages that became dead letters."),
    "expired": ("expired", "Messages whose ttl ended unfinished, once for each consumer group."),
}
"""Field of ``Tally`` -> end of the metric's name, and its help."""

_TOPIC_GAUGES: tuple[tuple[str, str, Callable[[TopicSample], float]], ...] = (
    ("size", "Messages stored in a topic.", attrgetter("messages")),
    ("stored_bytes", "Bytes of the messages stored in a topic.", attrgetter("stored_bytes")),
)
_CONSUMER_GAUGES: tuple[tuple[str, str, Callable[[ConsumerSample], float]], ...] = (
    ("consumer_lag", "Messages that a consumer group has not finished.", attrgetter("lag")),
    (
        "oldest_unacked_age_seconds",
        "Age of the oldest message that a consumer group has not finished; take the maximum.",
        attrgetter("oldest_age_s"),
    ),
    ("in_flight", "Messages in the hands of members.", attrgetter("in_flight")),
    (
        "delayed",
        "Messages, or keys, that wait for a back-off or for their delivery time.",
        attrgetter("delayed"),
    ),
    ("dead_letters", "Dead letters of a consumer group.", attrgetter("dead_letters")),
    (
        "members",
        "Members of a consumer group; each is in every shard, so take the maximum.",
        attrgetter("members"),
    ),
)
_SHARD_GAUGES: tuple[tuple[str, str, Callable[[ShardSample], float]], ...] = (
    ("index_bytes", "Memory of a shard's indexes on this node.", attrgetter("index_bytes")),
    (
        "shard_stored_bytes",
        "Bytes of stored messages that a shard still needs, on this node.",
        attrgetter("stored_bytes"),
    ),
)


def queue_metrics(sample: QueueSample) -> Iterator[Metric]:
    """Yield every metric of the queue service."""
    yield from _counters(sample)
    for name, help_text, read_topic in _TOPIC_GAUGES:
        family = _gauge(name, help_text, "topic")
        for topic in sample.topics:
            family.add_metric([topic.topic], read_topic(topic))
        yield family
    for name, help_text, read_consumer in _CONSUMER_GAUGES:
        family = _gauge(name, help_text, "topic", "group")
        for each in sample.consumers:
            family.add_metric([each.topic, each.group], read_consumer(each))
        yield family
    for name, help_text, read_shard in _SHARD_GAUGES:
        family = _gauge(name, help_text, "shard")
        for shard in sample.shards:
            family.add_metric([shard.shard], read_shard(shard))
        yield family
    yield GaugeMetricFamily(
        "synaxis_queue_unflushed_bytes",
        "Message bytes in the log that are in no segment file yet.",
        sample.unflushed_bytes,
    )
    yield GaugeMetricFamily(
        "synaxis_queue_refusing",
        "1 while this node, as a leader, takes no messages because its disk is nearly full.",
        float(sample.refusing),
    )


def _counters(sample: QueueSample) -> Iterator[Metric]:
    for position, field in enumerate(Tally.__struct_fields__):
        name, help_text = _TOPIC_COUNTERS[field]
        family = CounterMetricFamily(f"synaxis_queue_{name}", help_text, labels=["topic"])
        for topic, numbers in sample.counted.items():
            family.add_metric([topic], numbers[position])
        yield family
    yield CounterMetricFamily(
        "synaxis_queue_messages_delivered",
        "Messages handed to members, redeliveries included.",
        sample.delivered,
    )


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"synaxis_queue_{name}", help_text, labels=labels)
