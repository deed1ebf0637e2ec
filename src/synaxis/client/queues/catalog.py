"""What this client knows of topics, and which shards have them."""

import asyncio
from random import Random

from synaxis.client.caller import Caller
from synaxis.client.clock import now
from synaxis.cluster.commands import ListTopics, TopicList
from synaxis.errors import NotFound, RequestTimeout
from synaxis.ids import GroupId
from synaxis.queues.placement import partition_group
from synaxis.queues.questions import DescribeTopic, TopicInfo
from synaxis.topics import TopicRecord

__all__ = ["CLUSTER", "Catalog"]

CLUSTER = GroupId("cluster")
LEARN_PAUSE_S = 0.01
"""Between two questions whether a shard has learned of a change; it takes milliseconds."""


class Catalog:
    """Records of topics. The number of partitions of a record never changes."""

    def __init__(self, caller: Caller, random: Random) -> None:
        self._caller = caller
        self._random = random
        self._known: dict[str, TopicRecord] = {}

    def forget(self, name: str) -> None:
        """Ask again before the next use: a shard contradicted what we know."""
        self._known.pop(name, None)

    async def record(self, name: str) -> TopicRecord:
        """Return what is known of a topic, from memory if possible.

        Raises:
            NotFound: there is no such topic.
            SynaxisError: no answer in time.
        """
        known = self._known.get(name)
        if known is not None:
            return known
        # Any node may answer; one that is behind does not know the topic yet.
        return await self.look_up(name, stale=True) or await self.latest(name)

    async def latest(self, name: str) -> TopicRecord:
        """Return the record as of now.

        Raises:
            NotFound: there is no such topic.
            SynaxisError: no answer in time.
        """
        found = await self.look_up(name)
        if found is None:
            raise NotFound(f"there is no topic {name!r}; create it first", topic=name)
        return found

    async def look_up(self, name: str, *, stale: bool = False) -> TopicRecord | None:
        """Return the record; with ``stale`` as some node knows it."""
        answer = await self._caller.query(CLUSTER, ListTopics(name=name), stale=stale)
        assert isinstance(answer.body, TopicList)
        for record in answer.body.topics:
            if record.name == name:
                self._known[name] = record
                return record
        self._known.pop(name, None)
        return None

    # --- shards -----------------------------------------------------------------------------

    def group_of(self, topic: str, partition: int) -> GroupId:
        """Return the shard of a partition."""
        return partition_group(topic, partition, self._caller.pool.router.queue_groups)

    def groups_of(self, record: TopicRecord) -> dict[GroupId, list[int]]:
        """Return the shards of a topic, with the partitions that each of them has."""
        found: dict[GroupId, list[int]] = {}
        for partition in range(record.config.partitions):
            found.setdefault(self.group_of(record.name, partition), []).append(partition)
        return found

    async def describe(self, name: str) -> list[TopicInfo]:
        """Return what each shard of a topic knows of it.

        Raises:
            NotFound: there is no such topic.
            SynaxisError: a shard did not answer in time.
        """
        record = await self.record(name)
        groups = self.groups_of(record)
        answers = await asyncio.gather(
            *(self._caller.query(group, DescribeTopic(name)) for group in groups)
        )
        return [answer.body for answer in answers if isinstance(answer.body, TopicInfo)]

    async def settled(self, record: TopicRecord) -> None:
        """Wait until every shard knows this version of the topic.

        Raises:
            RequestTimeout: one did not learn of it in time.
            SynaxisError: one did not answer in time.
        """
        self._known[record.name] = record
        deadline = now() + self._caller.timeout_s
        await asyncio.gather(
            *(self._learned(group, record, deadline) for group in self.groups_of(record))
        )

    async def _learned(self, group: GroupId, record: TopicRecord, deadline: float) -> None:
        while not await self._knows(group, record):
            if now() > deadline:
                raise RequestTimeout(f"{group} has not heard of topic {record.name!r} in time")
            await asyncio.sleep(LEARN_PAUSE_S * self._random.uniform(0.5, 1.5))

    async def _knows(self, group: GroupId, record: TopicRecord) -> bool:
        try:
            answer = await self._caller.query(group, DescribeTopic(record.name))
        except NotFound:
            return False
        assert isinstance(answer.body, TopicInfo)
        found = answer.body.record
        return found.topic_id > record.topic_id or (
            found.topic_id == record.topic_id and found.version >= record.version
        )
