"""The replicated state of a shard as bytes: equal states give equal bytes.

The messages themselves are not in here: ``Segments.attachments`` names what must lie beside it.
"""

import msgspec

from synaxis.ids import LogTime
from synaxis.queues.commands import GroupMode
from synaxis.queues.deduplication import SavedProducer
from synaxis.queues.group import Group, Member, Ownership
from synaxis.queues.offsets import OffsetSet
from synaxis.queues.partition import Partition, Special
from synaxis.queues.progress import Dead, Failure, Progress, Weight
from synaxis.queues.segments import SavedSegment
from synaxis.queues.shard import Shard, Tally
from synaxis.queues.topic import Topic
from synaxis.topics import TopicRecord

__all__ = ["restore", "save"]

_Ranges = tuple[tuple[int, int], ...]


class _SavedPartition(msgspec.Struct, array_like=True):
    number: int
    next_offset: int
    gone_floor: int
    gone: _Ranges
    aged: int
    index: tuple[bytes, ...]
    keys: list[tuple[int, bytes]]
    specials: list[tuple[int, Special]]
    producers: list[SavedProducer]
    ids: list[tuple[str, int, LogTime]]


class _SavedProgress(msgspec.Struct, array_like=True):
    partition: int
    floor: int
    done: _Ranges
    failures: list[tuple[int, Failure]]
    dead: list[tuple[int, Dead]]


class _SavedGroup(msgspec.Struct, array_like=True):
    name: str
    mode: GroupMode
    epoch: int
    members: list[Member]
    progress: list[_SavedProgress]
    owners: list[tuple[int, Ownership]]
    acked: int
    redelivered: int
    dead_lettered: int


class _SavedTopic(msgspec.Struct, array_like=True):
    record: TopicRecord
    tally: Tally
    partitions: list[_SavedPartition]
    groups: list[_SavedGroup]


class _SavedShard(msgspec.Struct, array_like=True):
    topics: list[_SavedTopic]
    segments: list[SavedSegment]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_SavedShard)


def save(shard: Shard) -> bytes:
    """Return the state."""
    topics = [
        _SavedTopic(
            topic.record,
            shard.tallies[name],
            [_save_partition(each) for each in topic.partitions.values()],
            [_save_group(each) for _, each in sorted(topic.groups.items())],
        )
        for name, topic in sorted(shard.topics.items())
    ]
    return _ENCODER.encode(_SavedShard(topics, shard.segments.save()))


def _save_partition(partition: Partition) -> _SavedPartition:
    return _SavedPartition(
        partition.number,
        partition.next_offset,
        partition.gone.floor,
        partition.gone.ranges(),
        partition.aged,
        partition.index.save(),
        sorted(partition.keys.items()),
        sorted(partition.specials.items()),
        partition.producers.save(),
        partition.ids.save(),
    )


def _save_group(group: Group) -> _SavedGroup:
    progress = [
        _SavedProgress(
            each.partition,
            each.done.floor,
            each.done.ranges(),
            sorted(each.failures.items()),
            list(each.dead.items()),
        )
        for each in group.progress.values()
    ]
    return _SavedGroup(
        group.name,
        group.mode,
        group.epoch,
        list(group.members.values()),
        progress,
        sorted(group.owners.items()),
        group.acked,
        group.redelivered,
        group.dead_lettered,
    )


def restore(shard: Shard, data: bytes) -> None:
    """Make ``shard`` the state that ``save`` returned."""
    saved = _DECODER.decode(data)
    shard.topics = {}
    shard.tallies = {}
    shard.fates.bytes = 0
    for each in saved.topics:
        topic = Topic(each.record, shard.number, shard.shards, shard.limits, shard.fates)
        for partition in each.partitions:
            _load_partition(topic.partitions[partition.number], partition)
        for group in each.groups:
            topic.groups[group.name] = _load_group(group, topic.rank, shard.fates)
        shard.topics[each.record.name] = topic
        shard.tallies[each.record.name] = each.tally
    shard.segments.load(saved.segments)
    shard.rebuild()


def _load_partition(partition: Partition, saved: _SavedPartition) -> None:
    partition.next_offset = saved.next_offset
    partition.gone = OffsetSet(saved.gone_floor, saved.gone)
    partition.aged = saved.aged
    partition.index.load(saved.index)
    partition.keys = dict(saved.keys)
    partition.key_bytes = sum(len(column) for column in partition.keys.values())
    partition.specials = dict(saved.specials)
    partition.producers.load(saved.producers)
    partition.ids.load(saved.ids)
    alive = [partition.index.row(at) for at in partition.index.rows if partition.index.is_alive(at)]
    partition.messages = sum(batch.messages for batch in alive)
    partition.size = sum(batch.length for batch in alive)
    partition.kept_size = sum(batch.length for batch in alive if batch.first < saved.aged)


def _load_group(saved: _SavedGroup, rank: int, fates: Weight) -> Group:
    group = Group(saved.name, saved.mode, rank)
    group.epoch = saved.epoch
    group.members = {each.number: each for each in saved.members}
    for each in saved.progress:
        progress = Progress(each.partition, OffsetSet(each.floor, each.done), fates)
        progress.load(dict(each.failures), dict(each.dead))
        group.progress[each.partition] = progress
    group.owners = dict(saved.owners)
    group.acked = saved.acked
    group.redelivered = saved.redelivered
    group.dead_lettered = saved.dead_lettered
    return group
