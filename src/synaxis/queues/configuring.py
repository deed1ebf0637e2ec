"""What a shard does when the cluster tells it of a topic: take it up, change it, drop it."""

from synaxis.queues.commands import ConfigureTopic, RemoveTopic
from synaxis.queues.shard import Shard, Tally
from synaxis.queues.topic import Topic

__all__ = ["configure", "remove"]


def configure(shard: Shard, command: ConfigureTopic) -> int:
    """Become what the record says, unless it is old news; returns whether it was news.

    A record with a higher id is another topic under the same name: the former one is dropped.
    """
    record = command.record
    known = shard.topics.get(record.name)
    if known is not None and known.record.topic_id == record.topic_id:
        if record.version <= known.record.version:
            return 0
        known.record = record
    elif known is not None and known.record.topic_id > record.topic_id:
        return 0
    else:
        if known is not None:
            _drop(shard, known)
        known = Topic(record, shard.number, shard.shards, shard.limits, shard.fates)
        shard.topics[record.name] = known
        shard.tallies[record.name] = Tally()
    for partition in known.partitions.values():
        shard.watch_age(known, partition)
    shard.reclaim_all(known)
    shard.observer.configured(known)
    return 1


def remove(shard: Shard, command: RemoveTopic) -> int:
    """Drop a topic, unless it is a later one of that name; returns whether there was one."""
    known = shard.topics.get(command.name)
    if known is None or known.record.topic_id > command.topic_id:
        return 0
    _drop(shard, known)
    return 1


def _drop(shard: Shard, topic: Topic) -> None:
    shard.observer.removed(topic)
    del shard.topics[topic.record.name], shard.tallies[topic.record.name]
    for group in topic.groups.values():
        for progress in group.progress.values():
            progress.abandon()
    topic.groups.clear()
    for partition in topic.partitions.values():
        shard.mark_gone(topic, partition, 0, partition.next_offset - 1)
        shard.index_bytes -= partition.accounted_bytes
        shard.planned.pop((topic.record.name, partition.number), None)
