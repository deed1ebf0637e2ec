"""What a topic is: the noun that the cluster group keeps and the queue shards obey.

Durations are milliseconds.
"""

from enum import IntEnum

import msgspec

from synaxis.errors import InvalidArgument

__all__ = ["Retention", "TopicConfig", "TopicLimits", "TopicRecord", "check_name"]

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class TopicLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of topics; equal on all nodes, because ``apply`` obeys them."""

    name_bytes_max: int = 200
    """Length of the name of a topic or consumer group: keys in memory, snapshots, metrics."""
    topics_max: int = 10_000
    """Topics of the cluster; every shard knows all that have partitions in it."""
    partitions_max: int = 4_096
    """Partitions of one topic."""
    visibility_ms_min: int = 1_000
    """Shorter leases would run out from ordinary scheduling hiccups."""
    visibility_ms_max: int = 12 * 3_600_000
    """Longest time for which a silent member may keep a message."""
    deliveries_max: int = 1_000
    """Highest ``max_deliveries``."""


def check_name(name: str, what: str, limits: TopicLimits) -> None:
    """Refuse names that would be ambiguous in files, metrics and shells.

    Raises:
        InvalidArgument: says what is allowed.
    """
    if not 0 < len(name) <= limits.name_bytes_max or not NAME_CHARACTERS.issuperset(name):
        raise InvalidArgument(
            f"the name of a {what} is 1 to {limits.name_bytes_max} letters, digits, '.', '_' or "
            f"'-', not {name!r}"
        )


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
