"""Which member should own which partition: sticky, and even over all shards of a topic.

Each shard assigns its own partitions, knowing nothing of the others but how many partitions they
hold. Members are counted off in one circle: a shard whose partitions have the ranks r, r+1, ...
gives each member as many as fall to it in that circle. So the shards' shares add up to an even
distribution (they differ by at most one) as soon as all know the same members. Which partition a
member gets does not follow the circle: it keeps what it has, up to its share.

Sources: KIP-848 (sticky, uniform assignors); facts only.
"""

from collections.abc import Mapping, Sequence

__all__ = ["assign"]


def assign(members: Sequence[int], present: Mapping[int, int], first_rank: int) -> dict[int, int]:
    """Return the target member of each partition; 0 when there are no members.

    Args:
        members: numbers, sorted.
        present: partition -> present target, 0 or a former member if none.
        first_rank: partitions of the topic in earlier shards.
    """
    if not members:
        return dict.fromkeys(present, 0)
    share = dict.fromkeys(members, len(present) // len(members))
    for extra in range(len(present) % len(members)):
        share[members[(first_rank + extra) % len(members)]] += 1
    targets: dict[int, int] = {}
    for partition in sorted(present):
        wanted = present[partition]
        if share.get(wanted, 0) > 0:
            targets[partition] = wanted
            share[wanted] -= 1
    free = iter([member for member in members for _ in range(share[member])])
    for partition in sorted(present):
        if partition not in targets:
            targets[partition] = next(free)
    return targets
