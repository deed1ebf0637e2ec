"""What a topic is: the noun that the cluster group keeps and the queue shards obey.

Durations are milliseconds.
"""

from enum import IntEnum

import msgspec

__all__ = ["Retention", "TopicConfig", "TopicRecord"]


class Retention(IntEnum):
    """When a message may be forgotten."""

    WORK = 0
    """When every group has finished it. Without any group it stays."""
    LOG = 1
    """When it is too old or the partition too large; finished ones stay readable till then."""


class TopicConfig(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What the owner of a topic decides. Everything but ``partitions`` may be changed later."""

    partitions: int = 16
    retention: Retention = Retention.WORK
    visibility_ms: int = 30_000
    """How long a member may keep a message without a sign of life before others get it."""
    max_deliveries: int = 5
    """Failed deliveries (nack, lost lease, lost session) that make a dead letter."""
    backoff_first_ms: int = 1_000
    """Pause before the second delivery; it doubles with each failure, with 20 % jitter."""
    backoff_max_ms: int = 60_000
    retention_ms: int = 0
    """``LOG``: age at which messages go; ``WORK``: the same for what nobody finished. 0: never."""
    partition_bytes_max: int = 0
    """Stored bytes of one partition. ``LOG``: the oldest go; ``WORK``: publishing is refused as
    overloaded. 0: only the limits of the shard count."""
    dedup_window_ms: int = 120_000
    """How long a ``message_id`` is remembered."""
    expired_to_dead: bool = False
    """Whether a message whose ttl is over becomes a dead letter of each group instead of going."""
    paused: bool = False
    """Deliver nothing; publishing goes on."""


class TopicRecord(msgspec.Struct, frozen=True, array_like=True, tag=75):
    """A topic as the ``cluster`` group knows it."""

    name: str
    topic_id: int
    """Log-wide unique: a topic that was removed and created again is another topic."""
    version: int
    """Grows with every change of ``config``."""
    config: TopicConfig
    removed: bool = False
