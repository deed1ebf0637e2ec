"""The settings of queues; a part of ``Settings``."""

import msgspec
from pydantic_settings import BaseSettings

from synaxis.config.setting import setting
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.storage.message_store import StoreLimits

__all__ = ["QueueSettings"]

# The machines state their own defaults; a setting repeats none of them.
_QUEUES = QueueLimits()
_DELIVERY = DeliveryLimits()
_STORE = StoreLimits()


class QueueSettings(BaseSettings):
    """See the module."""

    queue_record_bytes_max: int = setting(
        "Queues",
        _QUEUES.record_bytes_max,
        "One message with key and headers; less than `frame_bytes_max`. Equal on all nodes.",
        ge=1_024,
        le=33_554_432,
    )
    queue_shard_bytes_max: int = setting(
        "Queues",
        _QUEUES.shard_bytes_max,
        "Stored messages of one shard; beyond it publishing is refused with overloaded. Equal on "
        "all nodes.",
        ge=1_048_576,
    )
    queue_index_bytes_max: int = setting(
        "Queues",
        _QUEUES.shard_index_bytes_max,
        "Memory for the index of one shard; beyond it publishing is refused with overloaded. A "
        "batch costs 36 bytes, a keyed message 4, one with delay, priority or ttl about 200. "
        "Equal on all nodes.",
        ge=1_048_576,
    )
    queue_segment_bytes_max: int = setting(
        "Queues",
        _QUEUES.segment_bytes_max,
        "Size of a file of stored messages. Smaller gives disk space back sooner. Equal on all "
        "nodes.",
        ge=65_536,
        le=1 << 31,
    )
    queue_dead_letters_max: int = setting(
        "Queues",
        _QUEUES.dead_letters_per_group_max,
        "Dead letters of one group in one shard; beyond it the oldest are dropped. Equal on all "
        "nodes.",
        ge=1,
    )
    queue_producers_max: int = setting(
        "Queues",
        _QUEUES.producers_per_partition_max,
        "Producers whose last batches a partition remembers, so that nothing is stored twice; the "
        "longest unused is forgotten. Equal on all nodes.",
        ge=1,
    )
    queue_member_bytes_max: int = setting(
        "Queues",
        _DELIVERY.member_bytes_max,
        "Bytes that one consumer may hold unsettled; it gets no more until it settles some.",
        ge=1_024,
    )
    queue_delivery_bytes_max: int = setting(
        "Queues",
        _DELIVERY.delivery_bytes_max,
        "Bytes in one delivery; at least one message is delivered.",
        ge=1_024,
    )
    queue_yield_ms: int = setting(
        "Queues",
        _DELIVERY.yield_ms,
        "How long a consumer in exclusive mode may take to hand over a partition that is "
        "assigned to another one.",
        ge=100,
    )
    queue_recent_bytes_max: int = setting(
        "Queues",
        _STORE.recent_bytes_max,
        "Messages kept in memory after they were written, so that consumers who keep up cause no "
        "reading.",
        ge=0,
    )
    queue_snapshot_bytes_min: int = setting(
        "Queues",
        8 * 1024 * 1024,
        "Log written by one shard since its last snapshot before the next one. The log is held in "
        "memory till then.",
        ge=1_024,
    )
    disk_reserve_bytes: int = setting(
        "Queues",
        256 * 1024 * 1024,
        "Free disk space below which a leader takes no more messages; acknowledgements go on.",
        ge=0,
    )

    def queue_replica_config(self, replica: ReplicaConfig, wall_offset_ms: int) -> ReplicaConfig:
        """Return ``replica`` as it is for queue shards, whose log time follows the wall clock."""
        return msgspec.structs.replace(
            replica,
            snapshot_bytes_min=self.queue_snapshot_bytes_min,
            snapshot_ratio=1.0,
            wall_offset_ms=wall_offset_ms,
        )

    def queue_limits(self) -> QueueLimits:
        """Return the limits of every queue shard."""
        return QueueLimits(
            record_bytes_max=self.queue_record_bytes_max,
            shard_bytes_max=self.queue_shard_bytes_max,
            shard_index_bytes_max=self.queue_index_bytes_max,
            segment_bytes_max=self.queue_segment_bytes_max,
            dead_letters_per_group_max=self.queue_dead_letters_max,
            producers_per_partition_max=self.queue_producers_max,
        )

    def delivery_limits(self) -> DeliveryLimits:
        """Return what this node allows itself as the leader of a queue shard."""
        return DeliveryLimits(
            member_bytes_max=self.queue_member_bytes_max,
            delivery_bytes_max=self.queue_delivery_bytes_max,
            yield_ms=self.queue_yield_ms,
        )

    def store_limits(self) -> StoreLimits:
        """Return how much of the message store is kept in memory."""
        return StoreLimits(recent_bytes_max=self.queue_recent_bytes_max)
