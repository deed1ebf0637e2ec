"""How messages go without having been consumed, and how space comes back."""

from heapq import heappop

from synaxis.ids import LogTime
from synaxis.queues.commands import Purge
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Dead
from synaxis.queues.settling import bury
from synaxis.queues.shard import Shard
from synaxis.queues.topic import Topic

__all__ = ["compact", "due_at", "forget_due", "purge"]

EXPIRED_PER_ENTRY_MAX = 10_000
"""Messages that expire with one log entry; the rest goes with the next one, at once."""


def due_at(shard: Shard) -> LogTime | None:
    """Return when ``forget_due`` next has something to do."""
    due = None
    if shard.segments.sparse() is not None:
        return LogTime(0)
    if shard.expiries:
        due = shard.expiries[0][0]
    if shard.ages and (due is None or shard.ages[0][0] < due):
        due = shard.ages[0][0]
    return due


def forget_due(shard: Shard, now: LogTime) -> None:
    """Let everything expire that is due, and give back the space of a sparse segment."""
    compact(shard)
    while shard.ages and shard.ages[0][0] <= now:
        due, name, number = heappop(shard.ages)
        if shard.planned.get((name, number)) == due:
            del shard.planned[name, number]
            _forget_old(shard, shard.topics[name], number, now)
    budget = EXPIRED_PER_ENTRY_MAX
    while shard.expiries and shard.expiries[0][0] <= now and budget:
        expires_at, name, number, offset = heappop(shard.expiries)
        topic = shard.topics.get(name)
        if topic is not None and topic.expires_at(number, offset) == expires_at:
            _expire_one(shard, topic, topic.partitions[number], offset, now)
            budget -= 1


def _forget_old(shard: Shard, topic: Topic, number: int, now: LogTime) -> None:
    partition = topic.partitions[number]
    age_ms, index = topic.record.config.retention_ms, partition.index
    if not age_ms:
        return
    young = index.find_time(now - age_ms + 1)
    if young > index.rows.start:
        last = index.bounds(young - 1)[1]
        if last >= partition.aged:
            shard.let_go(topic, partition, last)
    shard.watch_age(topic, partition)


def _expire_one(
    shard: Shard, topic: Topic, partition: Partition, offset: int, now: LogTime
) -> None:
    tally, to_dead = shard.tallies[topic.record.name], topic.record.config.expired_to_dead
    if not topic.groups:
        tally.expired += 1
    for group in topic.groups.values():
        progress = group.progress[partition.number]
        if offset in progress.done:
            continue
        if not to_dead:
            tally.expired += 1
            continue
        failed = progress.failures.get(offset)
        count, first_at = (failed.count, failed.first_at) if failed else (0, now)
        dead = Dead("expired", count, first_at, now, "the message's ttl is over")
        bury(shard, topic, group, progress, {offset: dead})
    shard.mark_gone(topic, partition, offset, offset)


def purge(shard: Shard, command: Purge) -> int:
    """Forget everything stored in the chosen partitions; returns how many messages that was."""
    topic = shard.topic(command.topic)
    purged = 0
    for partition in topic.chosen(command.partition):
        purged += partition.messages
        for group in topic.groups.values():
            group.progress[partition.number].drop_all()
        shard.mark_gone(topic, partition, 0, partition.next_offset - 1)
        shard.reclaim(topic, partition, 0, partition.next_offset)
    return purged


def compact(shard: Shard) -> None:
    """Copy together what is left of one sparse segment, so that it can go.

    One for each entry: when much went at once, so would the copies.
    """
    number = shard.segments.sparse()
    if number is None:
        return
    for _, topic in sorted(shard.topics.items()):
        for _, partition in sorted(topic.partitions.items()):
            _move_out(shard, partition, number)


def _move_out(shard: Shard, partition: Partition, number: int) -> None:
    index, segments = partition.index, shard.segments
    for at in index.in_segment(number):
        batch = index.row(at)
        place = segments.copy(number, batch.position, batch.length, batch.checksum)
        index.move(at, *place)
        segments.free(number, batch.length)
