"""Partitions and keys have a place that every process finds alike."""

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from synaxis.queues.placement import (
    hash_of_key,
    local_partitions,
    partition_group,
    partition_of_key,
    rank_of_first,
    shard_of,
)

topics = st.text("abc", min_size=1, max_size=4)


@given(topics, st.integers(1, 64), st.integers(1, 9))
def test_every_partition_is_in_exactly_one_shard(topic: str, partitions: int, shards: int) -> None:
    where = {
        partition: shard
        for shard in range(shards)
        for partition in local_partitions(topic, partitions, shard, shards)
    }
    assert where == {p: shard_of(topic, p, shards) for p in range(partitions)}
    sizes = [len(local_partitions(topic, partitions, s, shards)) for s in range(shards)]
    assert max(sizes) - min(sizes) <= 1


@given(topics, st.integers(1, 64), st.integers(1, 9))
def test_ranks_count_the_partitions_in_earlier_shards(
    topic: str, partitions: int, shards: int
) -> None:
    order = sorted(range(shards), key=lambda shard: (shard - crc32(topic.encode())) % shards)
    ranks = [rank_of_first(topic, partitions, shard, shards) for shard in order]
    sizes = [len(local_partitions(topic, partitions, shard, shards)) for shard in order]
    assert ranks == [sum(sizes[:at]) for at in range(shards)]


def test_the_places_are_those_of_every_other_process() -> None:
    """Written down: a change of these numbers would lose what is stored."""
    assert partition_of_key(b"user-1", 16) == 4
    assert shard_of("orders", 0, 32) == 14
    assert partition_group("orders", 7, 32) == "queues/21"


def test_a_key_has_a_number_and_none_is_0() -> None:
    assert hash_of_key(b"user-1") == crc32(b"user-1")
    assert hash_of_key(b"") == 1
