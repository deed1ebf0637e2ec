"""Which shard has a partition, and which partition a key belongs to: equal in every process.

The partitions of a topic go round the shards, beginning at one that the topic's name decides; so
they are spread evenly whatever their number.
"""

from zlib import crc32

from synaxis.ids import GroupId

__all__ = [
    "hash_of_key",
    "local_partitions",
    "partition_group",
    "partition_of_key",
    "rank_of_first",
    "shard_of",
]


def shard_of(topic: str, partition: int, shards: int) -> int:
    """Return the number of the shard that has ``partition``."""
    return (crc32(topic.encode()) + partition) % shards


def partition_group(topic: str, partition: int, shards: int) -> GroupId:
    """Return the group that has ``partition``."""
    return GroupId(f"queues/{shard_of(topic, partition, shards)}")


def hash_of_key(key: bytes) -> int:
    """Return the number by which keys are told apart, never 0. Two keys may share one."""
    return crc32(key) or 1


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition of a key."""
    return crc32(key) % partitions


def local_partitions(topic: str, partitions: int, shard: int, shards: int) -> range:
    """Return the partitions of the topic that ``shard`` has."""
    return range((shard - crc32(topic.encode())) % shards, partitions, shards)


def rank_of_first(topic: str, partitions: int, shard: int, shards: int) -> int:
    """Return how many partitions are in shards whose first partition is before this shard's."""
    first = (shard - crc32(topic.encode())) % shards
    return sum(len(range(each, partitions, shards)) for each in range(first))
