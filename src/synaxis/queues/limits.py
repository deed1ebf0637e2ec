"""Every bound of the queue service, with its unit, its reason and what goes wrong beyond it.

Danger: all fields of ``QueueLimits`` decide what ``apply`` answers or where it puts bytes. All
replicas of a shard must run with the same values, so they belong to the founding record of the
cluster. ``DeliveryLimits`` are the leader's own.
"""

from dataclasses import dataclass, field, fields

from synaxis.errors import ConfigError
from synaxis.topics import TopicLimits

__all__ = ["DeliveryLimits", "QueueLimits"]

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """Limits of one queue shard. See the module."""

    topics: TopicLimits = field(default_factory=TopicLimits)
    """What topics may be like."""
    groups_per_topic_max: int = 1_000
    """Consumer groups of one topic; each costs a position per partition."""
    members_per_group_max: int = 10_000
    """Members of one group."""
    record_bytes_max: int = 1 * _MIB
    """One message, with its key and headers. It must fit a frame together with the rest."""
    batch_messages_max: int = 10_000
    """Messages of one batch."""
    parts_max: int = 10_000
    """Ranges in one acknowledgement."""
    settled_messages_max: int = 100_000
    """Messages that one acknowledgement, nack or rejection may speak of."""
    shard_bytes_max: int = 64 * 1024 * _MIB
    """Stored bytes of a shard; beyond it publishing is refused as overloaded."""
    shard_index_bytes_max: int = 512 * _MIB
    """Memory that the indexes of a shard, its failures and dead letters may take, by estimate;
    beyond it publishing is refused as overloaded. Plain messages in batches cost nearly nothing."""
    segment_bytes_max: int = 16 * _MIB
    """Size of a segment of the message store. Smaller gives disk space back sooner."""
    segment_live_percent_min: int = 25
    """A segment of which less is still needed is copied together, and goes."""
    delay_ms_max: int = 366 * 24 * 3_600_000
    """Longest delay of a message."""
    ttl_ms_max: int = 366 * 24 * 3_600_000
    """Longest life of a message."""
    priority_max: int = 9
    producers_per_partition_max: int = 1_000
    """Producers whose last batches a partition remembers; the longest unused is forgotten."""
    sequences_per_producer_max: int = 1_024
    """Batches of one producer that are remembered: it may have as many unacknowledged."""
    producer_idle_ms_max: int = 3_600_000
    """A producer that published nothing for longer is forgotten with the next batch of another:
    no publish is sent again so late, and its batches take up memory."""
    message_ids_per_partition_max: int = 100_000
    """Message ids remembered; the oldest is forgotten before its window ends."""
    message_id_bytes_max: int = 256
    error_bytes_max: int = 1_024
    """What is kept of a consumer's error text."""
    dead_letters_per_group_max: int = 1_000_000
    """Dead letters of one group in one shard; beyond it the oldest is dropped for good."""
    browse_messages_max: int = 1_000
    """Messages in one page of a browse."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Refuse limits that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"{each.name} must be at least 1", field=each.name)
        if self.segment_live_percent_min > 75:
            message = "segment_live_percent_min above 75 would copy for ever"
            raise ConfigError(message, field="segment_live_percent_min")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """What the leader of a shard allows itself. Nodes may differ in these."""

    delivery_bytes_max: int = 512 * _KIB
    """Bytes in one delivery; at least one message is delivered."""
    member_bytes_max: int = 32 * _MIB
    """Bytes that one member holds unsettled; it gets no more until it settles some."""
    member_messages_max: int = 100_000
    """Credit that one member may have and messages that it may hold."""
    loaded_messages_max: int = 10_000
    """Ordered modes: unfinished messages of a partition that are looked at in search of a free
    key. One slow key blocks the others only when this many messages wait for it."""
    yield_ms: int = 30_000
    """EXCLUSIVE: how long an owner may take to yield a partition before it is taken from it."""
    stall_ms: int = 500
    """A leader that did not run for longer than this gives leases the time back."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < 1:
                raise ConfigError(f"{each.name} must be at least 1", field=each.name)
