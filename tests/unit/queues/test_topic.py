"""A topic in a shard: its partitions, its groups, and what of it is needed."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, SHARED
from synaxis.errors import InvalidArgument, LimitExceeded, NotFound
from synaxis.ids import LogTime
from synaxis.queues.commands import ABSENT
from synaxis.queues.limits import QueueLimits
from synaxis.queues.offsets import OffsetSet
from synaxis.queues.placement import local_partitions
from synaxis.queues.progress import Dead
from synaxis.queues.topic import Topic
from synaxis.topics import Retention, TopicConfig, TopicRecord

LIMITS = QueueLimits(groups_per_topic_max=2)


def topic(shard: int = 0, shards: int = 1, **config: object) -> Topic:
    made = TopicConfig(**{"partitions": 2, **config})  # type: ignore[arg-type]
    return Topic(TopicRecord("t", 1, 1, made), shard, shards, LIMITS)


def test_it_has_the_partitions_of_its_shard_only() -> None:
    made = topic(1, 3, partitions=8)
    local = list(local_partitions("t", 8, 1, 3))
    assert list(made.partitions) == local
    assert [each.number for each in made.chosen(ABSENT)] == local
    elsewhere = next(number for number in range(8) if number not in local)
    with pytest.raises(NotFound, match="partitions 0 to 7"):
        made.partition(elsewhere)


def test_a_group_is_made_once_and_keeps_its_mode() -> None:
    made = topic()
    first = made.group_for("g", KEYED, from_end=False)
    assert made.group_for("g", KEYED, from_end=True) is first
    assert made.group("g") is first
    with pytest.raises(InvalidArgument, match="is keyed"):
        made.group_for("g", SHARED, from_end=False)
    with pytest.raises(NotFound):
        made.group("h")


def test_groups_are_limited() -> None:
    made = topic()
    made.group_for("g", SHARED, from_end=False)
    made.group_for("h", EXCLUSIVE, from_end=False)
    with pytest.raises(LimitExceeded):
        made.group_for("i", SHARED, from_end=False)


def test_only_exclusive_groups_have_owners() -> None:
    made = topic()
    assert list(made.group_for("g", EXCLUSIVE, from_end=False).owners) == [0, 1]
    assert made.group_for("h", KEYED, from_end=False).owners == {}


def test_a_group_that_begins_does_not_see_what_is_gone() -> None:
    made = topic()
    made.partitions[0].next_offset = 5
    made.partitions[0].gone = OffsetSet(2)
    assert made.group_for("g", SHARED, from_end=False).progress[0].done == OffsetSet(2)
    assert made.group_for("h", SHARED, from_end=True).progress[0].done == OffsetSet(5)


def needed(made: Topic) -> bool:
    made.partitions[0].next_offset = 5
    return made.is_needed(made.partitions[0], 2, 4)


def test_work_is_needed_until_every_group_has_finished_all_of_a_batch() -> None:
    made = topic()
    assert needed(made)
    groups = [made.group_for(name, SHARED, from_end=False) for name in "gh"]
    for group in groups:
        assert needed(made)
        group.progress[0].done.add(2, 3)
        assert needed(made)
        group.progress[0].done.add(4, 4)
    assert not needed(made)


def test_a_log_is_needed_until_retention_has_let_it_go() -> None:
    made = topic(retention=Retention.LOG)
    made.group_for("g", SHARED, from_end=True).progress[0].done.add(0, 4)
    assert needed(made)
    made.partitions[0].gone.add(0, 4)
    assert not needed(made)


def test_a_dead_letter_is_needed_whatever_else_is_gone() -> None:
    made = topic()
    made.partitions[0].gone.add(0, 4)
    group = made.group_for("g", SHARED, from_end=False)
    assert not needed(made)
    group.progress[0].dead[3] = Dead("rejected", 1, LogTime(0), LogTime(0), "")
    assert needed(made)


@pytest.mark.parametrize("retention", Retention)
def test_what_was_redriven_after_retention_is_needed_by_groups_alone(
    retention: Retention,
) -> None:
    made = topic(retention=retention)
    group = made.group_for("g", SHARED, from_end=False)
    made.partitions[0].gone.add(0, 4)
    made.partitions[0].aged = 5
    made.partitions[0].gone.remove(3)
    assert needed(made)
    group.progress[0].done.add(0, 4)
    assert not needed(made)
    del made.groups["g"]
    assert not needed(made)
