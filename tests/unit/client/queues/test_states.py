"""Answers of shards, put together."""

from synaxis.client.queues.states import topic_state
from synaxis.ids import SessionId
from synaxis.queues.commands import GroupMode
from synaxis.queues.questions import (
    GroupInfo,
    GroupPartitionInfo,
    MemberInfo,
    PartitionInfo,
    TopicInfo,
)
from synaxis.topics import TopicConfig, TopicRecord


def info(shard: int, version: int = 1, *, attached: bool = True) -> TopicInfo:
    record = TopicRecord("t", 1, version, TopicConfig(partitions=4, paused=version > 1))
    partitions = (shard, shard + 2)
    return TopicInfo(
        record,
        tuple(PartitionInfo(each, 0, 10, 5, 100) for each in partitions),
        (
            GroupInfo(
                "g",
                GroupMode.EXCLUSIVE,
                3,
                (MemberInfo(7, "me", SessionId(shard + 1), attached, 2, 8, (shard,)),),
                tuple(
                    GroupPartitionInfo(each, 4, 6, 1, 2, 1, 0, 500 * (each + 1), 7)
                    for each in partitions
                ),
                20,
                3,
                1,
            ),
        ),
    )


def test_totals_are_sums_over_all_shards() -> None:
    state = topic_state([info(1), info(0)])
    assert [each.partition for each in state.partitions] == [0, 1, 2, 3]
    assert (state.messages, state.size) == (20, 400)
    group = state.group("g")
    assert group is not None
    assert (group.mode, group.lag, group.in_flight, group.delayed, group.dead) == (
        "exclusive",
        24,
        4,
        8,
        4,
    )
    assert (group.acked, group.redelivered, group.dead_lettered) == (40, 6, 2)
    assert group.oldest_age == 2.0
    assert group.partitions[0].owner == "0000000000000007"
    assert state.group("another") is None


def test_a_member_is_one_however_many_shards_know_it() -> None:
    (member,) = topic_state([info(0), info(1, attached=False)]).groups[0].members
    assert (member.member, member.name, member.attached) == ("0000000000000007", "me", False)
    assert (member.in_flight, member.credit, member.partitions) == (4, 16, (0, 1))


def test_the_newest_configuration_counts() -> None:
    assert topic_state([info(0, version=2), info(1)]).paused
