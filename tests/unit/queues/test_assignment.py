"""Members keep what they have, and get as much as the others, over all shards together."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from synaxis.queues.assignment import assign
from synaxis.queues.placement import local_partitions, rank_of_first

numbers = st.integers(1, 2**63 - 1)
members = st.lists(numbers, min_size=1, max_size=12, unique=True).map(sorted)


@given(members, st.integers(1, 64), st.integers(1, 8), st.text("abc", min_size=1, max_size=3))
def test_shards_that_know_the_same_members_share_evenly_together(
    members: list[int], partitions: int, shards: int, topic: str
) -> None:
    total = Counter(dict.fromkeys(members, 0))
    for shard in range(shards):
        local = local_partitions(topic, partitions, shard, shards)
        rank = rank_of_first(topic, partitions, shard, shards)
        total.update(assign(members, dict.fromkeys(local, 0), rank).values())
    assert sum(total.values()) == partitions
    assert max(total.values()) - min(total.values()) <= 1


@given(members, st.integers(1, 32), st.integers(0, 100), st.data())
def test_whoever_joins_takes_only_what_is_beyond_the_share_of_others(
    members: list[int], partitions: int, rank: int, data: st.DataObject
) -> None:
    before = assign(members, dict.fromkeys(range(partitions), 0), rank)
    newcomer = data.draw(numbers.filter(lambda number: number not in members))
    after = assign(sorted([*members, newcomer]), before, rank)
    moved = {partition for partition in before if before[partition] != after[partition]}
    shares = Counter(after.values())
    kept = Counter(after[partition] for partition in before if partition not in moved)
    for member in members:
        had = Counter(before.values())[member]
        assert kept[member] == min(had, shares[member])


@given(members, st.integers(1, 32), st.integers(0, 100))
def test_nothing_moves_when_nothing_changes(members: list[int], partitions: int, rank: int) -> None:
    once = assign(members, dict.fromkeys(range(partitions), 0), rank)
    assert assign(members, once, rank) == once


def test_what_a_member_leaves_goes_to_the_others() -> None:
    after = assign([2, 3], {0: 1, 1: 2, 2: 3, 3: 1}, 0)
    assert (after[1], after[2]) == (2, 3)
    assert Counter(after.values()) == {2: 2, 3: 2}


def test_nobody_has_anything_when_nobody_is_there() -> None:
    assert assign([], {0: 1, 1: 2}, 0) == {0: 0, 1: 0}
