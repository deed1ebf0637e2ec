"""Synaxis' queues as their users meet them: the public SDK, three nodes, default settings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import synaxis
from benchmarks.harness.load import side_by_side
from benchmarks.harness.synaxis_cluster import SynaxisCluster
from benchmarks.harness.systems import BATCH, IN_FLIGHT, MESSAGE_BYTES, QueueClient
from benchmarks.harness.tally import Tally

__all__ = ["SynaxisQueue", "SynaxisQueues"]

_GROUP = "bench"
_LISTS = 4
_NODES = 3
_PARTITIONS = 16
_PAYLOAD = bytes(MESSAGE_BYTES)
_STOCK_BATCH = 1_000
_TOPIC = "bench"
_SHORT_WAIT_S = 0.1
_WAIT_S = 1.0


class SynaxisQueues:
    """Three node processes and one topic with three replicas, synced before the reply."""

    durability = f"fsync on majority of {_NODES}"

    def __init__(self, name: str = "synaxis") -> None:
        self.name = name
        self.cluster = SynaxisCluster(_NODES)

    def unavailable(self) -> str | None:
        """See System."""
        return self.cluster.unavailable()

    def start(self) -> None:
        """See System."""
        self.cluster.start()

    def stop(self) -> None:
        """See System."""
        self.cluster.stop()

    def server_pids(self) -> list[int]:
        """See System."""
        return self.cluster.server_pids()

    @asynccontextmanager
    async def queue(self) -> AsyncIterator["SynaxisQueue"]:
        """Open one client and create the topic if need be.

        Consumed messages are removed: the peers, which read the same ones again, need not.
        """
        async with synaxis.connect(self.cluster.urls) as cluster:
            await cluster.topics.create(
                _TOPIC,
                partitions=_PARTITIONS,
                replication=_NODES,
                retention="work",
                durability="fsync",
            )
            yield SynaxisQueue(cluster)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[QueueClient]:
        """See QueueSystem."""
        async with self.queue() as queue:
            yield queue


class SynaxisQueue:
    """One topic and one consumer group."""

    def __init__(self, cluster: synaxis.AsyncSynaxis) -> None:
        self._topic = cluster.topic(_TOPIC)

    async def empty(self) -> None:
        """See QueueClient."""
        await self._topic.purge()

    async def stock(self, messages: int) -> None:
        """See QueueClient."""
        await self.empty()
        await self.add(messages)

    async def add(self, messages: int) -> None:
        """Publish so many in large batches."""
        for first in range(0, messages, _STOCK_BATCH):
            count = min(_STOCK_BATCH, messages - first)
            await self._topic.publish_many([_PAYLOAD] * count)

    async def publish(self, payload: bytes) -> None:
        """See QueueClient."""
        await self._topic.publish(payload)

    async def publish_one_by_one(self, tally: Tally) -> None:
        """See QueueClient."""

        async def publisher() -> None:
            while not tally.over:
                await self._topic.publish(_PAYLOAD)
                tally.confirm()

        await side_by_side(publisher, IN_FLIGHT)

    async def publish_in_batches(self, tally: Tally) -> None:
        """Keep four lists of a thousand on their way."""
        await self._publish_lists(tally, IN_FLIGHT, _LISTS)

    async def publish_in_small_batches(self, tally: Tally) -> None:
        """Keep ten lists of a hundred on their way."""
        await self._publish_lists(tally, BATCH, IN_FLIGHT // BATCH)

    async def _publish_lists(self, tally: Tally, size: int, lists: int) -> None:
        messages = [_PAYLOAD] * size

        async def publisher() -> None:
            while not tally.over:
                await self._topic.publish_many(messages)
                tally.confirm(size)

        await side_by_side(publisher, lists)

    async def take(self, messages: int) -> int:
        """Fetch up to so many and acknowledge them; return how many there were."""
        batch = await self._topic.fetch(group=_GROUP, max_messages=messages, wait=_WAIT_S)
        await batch.ack()
        return len(batch)

    async def backlog(self) -> int:
        """Return how many messages the group has not finished."""
        return (await self._topic.groups.info(_GROUP)).lag

    async def consume_one_by_one(self, tally: Tally) -> None:
        """See QueueClient. Who leaves the ``async with`` of a message does not wait."""
        await self._consume(tally, self._topic.consume(_GROUP, prefetch=IN_FLIGHT))

    async def consume_by_default(self, tally: Tally) -> None:
        """Consume with default options, which let few messages wait in the client."""
        await self._consume(tally, self._topic.consume(_GROUP))

    async def _consume(self, tally: Tally, consumer: synaxis.Consumer) -> None:
        async with consumer:
            async for message in consumer:
                async with message:
                    pass
                tally.confirm()
                if tally.over:
                    break
            await consumer.drain()
            tally.settle()

    async def consume_in_batches(self, tally: Tally, readers: int, size: int) -> None:
        """Fetch the next batch while the last one is being acknowledged."""

        async def reader() -> None:
            while not tally.over:
                batch = await self._topic.fetch(_GROUP, max_messages=size, wait=_SHORT_WAIT_S)
                if batch:
                    batch.ack().add_done_callback(partial(_confirmed, tally, len(batch)))

        await side_by_side(reader, readers)

    @asynccontextmanager
    async def listening(self, arrived: Callable[[bytes], None]) -> AsyncIterator[None]:
        """See QueueClient."""

        async def listen(messages: AsyncIterator[synaxis.Message]) -> None:
            async for message in messages:
                arrived(message.payload)
                await message.ack()

        async with self._topic.consume(_GROUP) as messages:
            listener = asyncio.ensure_future(listen(messages))
            try:
                yield
            finally:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)


def _confirmed(tally: Tally, messages: int, acknowledgement: asyncio.Future[None]) -> None:
    acknowledgement.result()
    tally.confirm(messages)
