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
    if shard.expiries:
        due = shard.expiries[0][0]
    if shard.ages and (due is None or shard.ages[0][0] < due):
        due = shard.ages[0][0]
    return due


def forget_due(shard: Shard, now: LogTime) -> None:
    """Let everything expire that is due."""
    while shard.ages and shard.ages[0][0] <= now:
        _, name, number = heappop(shard.ages)
        topic = shard.topics.get(name)
        if topic is not None and number in topic.partitions:
            _forget_old(shard, topic, topic.partitions[number], now)
    budget = EXPIRED_PER_ENTRY_MAX
    while shard.expiries and shard.expiries[0][0] <= now and budget:
        expires_at, name, number, offset = heappop(shard.expiries)
        topic = shard.topics.get(name)
        partition = topic.partitions.get(number) if topic is not None else None
        if topic is None or partition is None:
            continue
        special = partition.specials.get(offset)
        if special is not None and special.expires_at == expires_at:
            _expire_one(shard, topic, partition, offset, now)
            budget -= 1


def _forget_old(shard: Shard, topic: Topic, partition: Partition, now: LogTime) -> None:
    age_ms, index = topic.record.config.retention_ms, partition.index
    if not age_ms:
        return
    young = index.find_time(now - age_ms + 1)
    if young > index.rows.start:
        shard.mark_gone(topic, partition, partition.first_offset, index.bounds(young - 1)[1])
    shard.watch_age(topic, partition)


def _expire_one(
    shard: Shard, topic: Topic, partition: Partition, offset: int, now: LogTime
) -> None:
    shard.tallies[topic.record.name].expired += 1
    if topic.record.config.expired_to_dead:
        for group in topic.groups.values():
            progress = group.progress[partition.number]
            if offset not in progress.done:
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
            group.progress[partition.number].dead.clear()
        shard.mark_gone(topic, partition, 0, partition.next_offset - 1)
        shard.reclaim(topic, partition, 0, partition.next_offset)
    return purged


def compact(shard: Shard) -> None:
    """Copy together what is left of sparse segments, so that they can go."""
    while (number := shard.segments.sparse()) is not None:
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
