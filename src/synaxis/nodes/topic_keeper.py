"""Tells the queue shards that this node leads what the cluster knows of their topics.

The cluster group decides which topics exist; a shard obeys what its own log says. Whoever leads a
shard compares the two and proposes what is missing, so a shard that was away, or whose leader died
in the middle, catches up by itself.
"""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from synaxis.cluster.machine import ClusterMachine
from synaxis.consensus.replica import Replica
from synaxis.effects import Reply
from synaxis.errors import ClusterError
from synaxis.ids import GroupId
from synaxis.queues.commands import ConfigureTopic, RemoveTopic
from synaxis.queues.machine import QueueMachine
from synaxis.queues.placement import local_partitions
from synaxis.topics import TopicRecord

__all__ = ["TopicKeeper"]

Propose = Callable[[GroupId, msgspec.Struct, Callable[[Reply], None]], None]


class TopicKeeper:
    """See the module."""

    def __init__(
        self, cluster: ClusterMachine, replicas: Mapping[GroupId, Replica], propose: Propose
    ) -> None:
        self._cluster = cluster
        self._shards = [
            (group, replica, replica.machine)
            for group, replica in replicas.items()
            if isinstance(replica.machine, QueueMachine)
        ]
        self._propose = propose
        self._under_way: set[tuple[GroupId, int, int]] = set()
        """(group, topic id, version)."""

    def step(self) -> None:
        """Propose whatever a led shard does not know yet."""
        for group, replica, machine in self._shards:
            if not replica.log.ready:
                continue
            for record in self._cluster.topics.records:
                self._compare(group, machine, record)

    def _compare(self, group: GroupId, machine: QueueMachine, record: TopicRecord) -> None:
        shard = machine.shard
        known = shard.topics.get(record.name)
        if record.removed:
            is_news = known is not None and known.record.topic_id <= record.topic_id
        else:
            mark = (known.record.topic_id, known.record.version) if known is not None else (0, 0)
            is_news = mark < (record.topic_id, record.version)
        if not is_news:
            return
        count = record.config.partitions
        if not local_partitions(record.name, count, shard.number, shard.shards):
            return
        news = group, record.topic_id, record.version
        if news in self._under_way:
            return
        command: msgspec.Struct = ConfigureTopic(record)
        if record.removed:
            command = RemoveTopic(record.name, record.topic_id)
        try:
            self._propose(group, command, partial(self._done, news))
        except ClusterError:
            return  # the next step tries again
        self._under_way.add(news)

    def _done(self, news: tuple[GroupId, int, int], reply: Reply) -> None:
        del reply
        self._under_way.discard(news)
