"""What operators and members do to groups: join, leave, yield, seek, redrive, purge, delete."""

from heapq import merge
from itertools import islice
from operator import itemgetter

from synaxis.errors import InvalidArgument, LimitExceeded
from synaxis.ids import SessionId
from synaxis.queues.commands import (
    ABSENT,
    END,
    DeleteGroup,
    Join,
    Joined,
    Leave,
    PurgeDead,
    Redrive,
    Revoke,
    Seek,
    Yield,
)
from synaxis.queues.group import Group, Member
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress
from synaxis.queues.shard import Shard
from synaxis.queues.topic import Topic

__all__ = [
    "delete_group",
    "end_session",
    "join",
    "leave",
    "purge_dead",
    "redrive",
    "revoke",
    "seek",
    "yield_partitions",
]


def join(shard: Shard, command: Join, session: SessionId) -> Joined:
    """Add a member to a group, making the group if it is new.

    Raises:
        NotFound: no such topic.
        InvalidArgument: the group has another mode, or the member belongs to another session.
        LimitExceeded: too many groups or members.
    """
    topic = shard.topic(command.topic)
    config = topic.record.config
    is_new = command.group not in topic.groups
    group = topic.group_for(command.group, command.mode, from_end=command.from_end)
    if is_new:
        shard.reclaim_all(topic)  # a first group that begins at the end needs nothing of it
    visibility = config.visibility_ms if command.visibility_ms == ABSENT else command.visibility_ms
    member = Member(
        command.member,
        session,
        command.name,
        visibility,
        command.auto_extend,
        command.announces,
    )
    known = group.members.get(command.member)
    if known is not None and known.session != session:
        raise InvalidArgument("the member's number is taken by another session; draw another")
    if known is None and len(group.members) >= shard.limits.members_per_group_max:
        maximum = shard.limits.members_per_group_max
        raise LimitExceeded(
            f"a group has at most {maximum} members",
            limit="members_per_group_max",
            maximum=maximum,
        )
    if known != member:
        group.join(member)
        shard.observer.joined(topic, group, command.member)
    return Joined(group.epoch, visibility, config.max_deliveries)


def leave(shard: Shard, command: Leave) -> int:
    """Remove a member; returns whether there was one.

    Raises:
        NotFound: no such topic or group.
    """
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    return _remove(shard, topic, group, command.member, lost=False)


def end_session(shard: Shard, session: SessionId) -> None:
    """Remove every member of a session that ended."""
    for topic in shard.topics.values():
        for group in topic.groups.values():
            gone = [each.number for each in group.members.values() if each.session == session]
            for number in gone:
                _remove(shard, topic, group, number, lost=True)


def _remove(shard: Shard, topic: Topic, group: Group, number: int, *, lost: bool) -> int:
    if group.leave(number) is None:
        return 0
    shard.observer.left(topic, group, number, lost=lost)
    return 1


def yield_partitions(shard: Shard, command: Yield) -> int:
    """Hand partitions over to their new owners.

    Raises:
        NotFound: no such topic or group.
    """
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    yielded = 0
    for partition in command.partitions:
        ownership = group.owners.get(partition)
        if ownership is None or ownership.owner != command.member:
            continue
        if ownership.target == command.member:
            continue  # assigned to it again meanwhile
        group.give_up(partition)
        shard.observer.moved(topic, group, group.progress[partition])
        yielded += 1
    return yielded


def revoke(shard: Shard, command: Revoke) -> int:
    """Take a partition from an owner that does not yield it.

    Raises:
        NotFound: no such topic or group.
    """
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    ownership = group.owners.get(command.partition)
    if ownership is None or ownership.epoch != command.epoch:
        return 0
    if ownership.owner in (0, ownership.target):
        return 0
    group.give_up(command.partition)
    shard.observer.moved(topic, group, group.progress[command.partition])
    return 1


def seek(shard: Shard, command: Seek) -> int:
    """Move a group; returns how many messages are unfinished now in the partitions moved.

    Raises:
        NotFound: no such topic, group or partition.
    """
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    unfinished = 0
    for partition in topic.chosen(command.partition):
        progress = group.progress[partition.number]
        start = _position(partition, command)
        done = partition.gone.copy()
        if start:
            done.add(0, start - 1)
        progress.restart(done)
        unfinished += progress.done.count_missing(partition.next_offset)
        shard.observer.rewound(topic, group, progress)
        shard.reclaim(topic, partition, 0, partition.next_offset)
    return unfinished


def _position(partition: Partition, command: Seek) -> int:
    if command.offset == END:
        return partition.next_offset
    if command.offset != ABSENT:
        return min(command.offset, partition.next_offset)
    row = partition.index.find_time(command.time)
    rows = partition.index.rows
    return partition.index.bounds(row)[0] if row in rows else partition.next_offset


def redrive(shard: Shard, command: Redrive) -> int:
    """Make dead letters unfinished again; returns how many.

    Raises:
        NotFound: no such topic, group or partition.
    """
    topic, group, chosen = _dead(shard, command)
    for progress, offset in chosen:
        progress.revive(offset)
        topic.partitions[progress.partition].revive(offset)
        shard.observer.failed(topic, group, progress, offset)
    return len(chosen)


def purge_dead(shard: Shard, command: PurgeDead) -> int:
    """Forget dead letters; returns how many.

    Raises:
        NotFound: no such topic, group or partition.
    """
    topic, _, chosen = _dead(shard, command)
    for progress, offset in chosen:
        progress.drop(offset)
        shard.reclaim(topic, topic.partitions[progress.partition], offset, offset)
    return len(chosen)


def _dead(
    shard: Shard, command: Redrive | PurgeDead
) -> tuple[Topic, Group, list[tuple[Progress, int]]]:
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    wanted = frozenset(command.offsets)
    # Each partition's are in the order of dying already.
    letters = merge(
        *(group.progress[each.number].dead_letters() for each in topic.chosen(command.partition)),
        key=itemgetter(0),
    )
    found = (
        (group.progress[number], offset)
        for _, number, offset, reason in letters
        if (not wanted or offset in wanted) and command.reason in ("", reason)
    )
    limit = None if command.limit == ABSENT else command.limit
    return topic, group, list(islice(found, limit))


def delete_group(shard: Shard, command: DeleteGroup) -> int:
    """Forget a group and its dead letters.

    Raises:
        NotFound: no such topic or group.
        InvalidArgument: it has members.
    """
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    if group.members:
        raise InvalidArgument(
            f"group {command.group!r} has {len(group.members)} members; stop them first"
        )
    del topic.groups[command.group]
    for progress in group.progress.values():
        progress.abandon()
    shard.observer.group_removed(topic, group)
    shard.reclaim_all(topic)
    return 1
