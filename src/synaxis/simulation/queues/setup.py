"""What a seed draws for a world of queues: limits so small that rare branches come soon."""

from dataclasses import dataclass, field
from random import Random

from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.storage.message_store import StoreLimits
from synaxis.topics import Retention, TopicConfig, TopicLimits, TopicRecord

__all__ = ["QueueSetup", "draw_setup"]

WALL_CLOCK_MS = 1_700_000_000_000
"""What the wall clock says at the beginning of a run."""
SKEWS_MS = (0, 0, 50, 3_000, 3_000, 3_600_000)


@dataclass(slots=True)
class QueueSetup:
    """See the module."""

    limits: QueueLimits
    delivery: DeliveryLimits
    store: StoreLimits
    part_bytes: int
    """Bytes of a segment that are asked for at once."""
    wall_skew_ms: int
    """Wall clocks of nodes are off by up to this."""
    topics: dict[str, TopicRecord] = field(default_factory=dict)
    """What the cluster group would know; leaders carry it to their shard."""

    def change(self, name: str, config: TopicConfig) -> None:
        """Change a topic, as an owner would; the shard hears of it from its leader."""
        known = self.topics[name]
        self.topics[name] = TopicRecord(name, known.topic_id, known.version + 1, config)


def draw_setup(random: Random) -> QueueSetup:
    """Draw limits and topics."""
    limits = QueueLimits(
        topics=TopicLimits(visibility_ms_min=100),
        segment_bytes_max=random.choice((400, 1_500, 6_000, 1_000_000)),
        segment_live_percent_min=random.choice((25, 50, 75)),
        sequences_per_producer_max=random.choice((2, 8, 1_024)),
    )
    delivery = DeliveryLimits(
        delivery_bytes_max=random.choice((60, 300, 100_000)),
        member_bytes_max=random.choice((150, 1_000, 100_000)),
        member_messages_max=random.choice((3, 20, 1_000)),
        loaded_messages_max=random.choice((2, 8, 1_000)),
        yield_ms=random.choice((300, 2_000)),
    )
    store = StoreLimits(
        flush_bytes=random.choice((1, 500, 20_000)),
        recent_bytes_max=random.choice((0, 2_000, 1_000_000)),
        unsynced_bytes_max=random.choice((1_000, 1_000_000)),
    )
    setup = QueueSetup(
        limits, delivery, store, random.choice((50, 400, 100_000)), random.choice(SKEWS_MS)
    )
    for number in range(random.choice((1, 1, 2))):
        name = f"topic{number}"
        setup.topics[name] = TopicRecord(name, 1 + number, 1, _draw_topic(random))
    return setup


def _draw_topic(random: Random) -> TopicConfig:
    retention = random.choice((Retention.WORK, Retention.WORK, Retention.LOG))
    chance = 0.5 if retention is Retention.LOG else 0.12
    is_aging, is_small = random.random() < chance, random.random() < chance
    return TopicConfig(
        partitions=random.choice((1, 2, 4)),
        retention=retention,
        visibility_ms=random.choice((600, 1_500, 4_000)),
        max_deliveries=random.choice((1, 2, 3)),
        backoff_first_ms=random.choice((1, 50, 400)),
        backoff_max_ms=random.choice((400, 1_500)),
        retention_ms=random.choice((1_000, 6_000)) if is_aging else 0,
        partition_bytes_max=random.choice((400, 1_500)) if is_small else 0,
        dedup_window_ms=random.choice((300, 3_000, 120_000)),
        expired_to_dead=random.random() < 0.5,
    )
