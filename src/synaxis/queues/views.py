"""Answers to questions about a shard. Nothing is changed here."""

from heapq import nsmallest

import msgspec

from synaxis.errors import InvalidArgument
from synaxis.ids import LogTime
from synaxis.queues.commands import ABSENT
from synaxis.queues.group import Group
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress
from synaxis.queues.questions import (
    Browse,
    BrowseDead,
    DeadLetter,
    DescribeTopic,
    GroupInfo,
    GroupPartitionInfo,
    MemberInfo,
    Page,
    PartitionInfo,
    TopicInfo,
)
from synaxis.queues.shard import Shard
from synaxis.queues.slices import slices_of
from synaxis.queues.topic import Topic
from synaxis.queues.validation import check_question

__all__ = ["PAGE_BYTES_MAX", "answer", "oldest_age_ms", "topic_info"]

PAGE_BYTES_MAX = 1024 * 1024
"""Bytes of one page of a browse; at least one message is in it."""


def answer(shard: Shard, question: msgspec.Struct, now: LogTime) -> msgspec.Struct:
    """Return the answer.

    Raises:
        NotFound: no such topic, group or partition.
        InvalidArgument: a limit of the question.
    """
    check_question(question, shard.limits)
    match question:
        case DescribeTopic(name):
            return topic_info(shard, shard.topic(name), now)
        case Browse():
            return _browse(shard, question)
        case BrowseDead():
            return _browse_dead(shard, question)
        case _:
            raise InvalidArgument(f"no question for a queue: {type(question).__name__}")


def topic_info(shard: Shard, topic: Topic, now: LogTime) -> TopicInfo:
    """Return what this shard knows of a topic."""
    partitions = tuple(
        PartitionInfo(number, each.first_offset, each.next_offset, each.messages, each.size)
        for number, each in topic.partitions.items()
    )
    groups = tuple(_group_info(shard, topic, group, now) for group in topic.groups.values())
    return TopicInfo(topic.record, partitions, groups)


def _group_info(shard: Shard, topic: Topic, group: Group, now: LogTime) -> GroupInfo:
    name = topic.record.name
    members = []
    for each in group.members.values():
        attached, held, credit = shard.observer.member(name, group.name, each.number)
        owned = tuple(group.owned_by(each.number)[0])
        members.append(
            MemberInfo(each.number, each.name, each.session, attached, held, credit, owned)
        )
    return GroupInfo(
        group.name,
        group.mode,
        group.epoch,
        tuple(members),
        tuple(
            _progress_info(shard, topic, group, progress, now)
            for progress in group.progress.values()
        ),
        group.acked,
        group.redelivered,
        group.dead_lettered,
    )


def _progress_info(
    shard: Shard, topic: Topic, group: Group, progress: Progress, now: LogTime
) -> GroupPartitionInfo:
    partition = topic.partitions[progress.partition]
    counts = shard.observer.in_flight(topic.record.name, group.name, partition.number)
    in_flight, delayed, blocked = counts
    ownership = group.owners.get(partition.number)
    return GroupPartitionInfo(
        partition.number,
        progress.done.floor,
        progress.done.count_missing(partition.next_offset),
        in_flight,
        delayed,
        len(progress.dead),
        blocked,
        oldest_age_ms(partition, progress, now),
        ownership.owner if ownership is not None else 0,
    )


def oldest_age_ms(partition: Partition, progress: Progress, now: LogTime) -> int:
    """Return the age of the oldest unfinished message, 0 without one."""
    floor = progress.done.floor
    if floor >= partition.next_offset:
        return 0
    at = next(partition.index.alive(floor, partition.next_offset - 1), None)
    return 0 if at is None else max(0, now - partition.index.row(at).at)


def _browse(shard: Shard, question: Browse) -> Page:
    partition = shard.topic(question.topic).partition(question.partition)
    left, room, following = question.limit, PAGE_BYTES_MAX, ABSENT
    ranges: list[tuple[int, int]] = []
    for at in partition.index.alive(question.offset, partition.next_offset):
        batch = partition.index.row(at)
        first = max(batch.first, question.offset)
        each = -(-batch.length // batch.messages)
        count = min(left, max(room // each, 0 if ranges else 1), batch.last - first + 1)
        if count > 0:
            ranges.append((first, first + count - 1))
        if first + count <= batch.last:
            following = first + max(count, 0)
            break
        left -= count
        room -= count * each
    return Page(tuple(slices_of(partition, ranges)), (), following)


def _browse_dead(shard: Shard, question: BrowseDead) -> Page:
    topic = shard.topic(question.topic)
    partition = topic.partition(question.partition)
    letters = topic.group(question.group).progress[partition.number].dead
    later = (offset for offset in letters if offset >= question.offset)
    offsets = nsmallest(question.limit + 1, later)
    shown = _within(partition, offsets[: question.limit])
    following = offsets[len(shown)] if len(offsets) > len(shown) else ABSENT
    offsets = shown
    dead = tuple(
        DeadLetter(
            partition.number,
            offset,
            letters[offset].reason,
            letters[offset].failures,
            letters[offset].first_failed_at,
            letters[offset].dead_at,
            letters[offset].error,
        )
        for offset in offsets
    )
    slices = slices_of(partition, [(offset, offset) for offset in offsets])
    return Page(tuple(slices), dead, following)


def _within(partition: Partition, offsets: list[int]) -> list[int]:
    """Return the first of these messages, as many as a page has room for."""
    room = PAGE_BYTES_MAX
    for position, offset in enumerate(offsets):
        batch = partition.index.row(partition.index.find(offset))
        room -= -(-batch.length // batch.messages)
        if room < 0 < position:
            return offsets[:position]
    return offsets
