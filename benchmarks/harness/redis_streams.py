"""Redis Streams, the queue that most Python programs use, through redis-py's asyncio client.

hiredis, as many connections as help, pipelines and group reads of a hundred. The stream keeps
what was consumed, so that every run reads the same messages with a group of its own; that spares
Redis the deletions.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import redis.asyncio

from benchmarks.harness.load import side_by_side
from benchmarks.harness.processes import (
    ServerProcess,
    free_ports,
    listens,
    scratch_directory,
    wait_until,
)
from benchmarks.harness.systems import BATCH, IN_FLIGHT, MESSAGE_BYTES, QueueClient
from benchmarks.harness.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RedisStreams"]

_BLOCK_MS = 200
_CONNECTIONS = 64
"""Shared by all publishers: 16 and 1,000 were slower."""
_PAYLOAD = bytes(MESSAGE_BYTES)
_PATIENCE_S = 30.0
_STREAM = "bench"
_group_numbers = count(1)


class RedisStreams:
    """One redis-server that syncs its append-only file before it answers, and redis-py."""

    name = "redis"
    durability = "fsync, one node"

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._server: ServerProcess | None = None
        self._port = 0

    def unavailable(self) -> str | None:
        """See System."""
        if shutil.which("redis-server"):
            return None
        return "redis-server is not installed (Debian: redis-server)"

    def start(self) -> None:
        """See System."""
        self._directory = scratch_directory("redis")
        [self._port] = free_ports(1)
        arguments = ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1"]
        arguments += ["--dir", str(self._directory), "--save", ""]
        arguments += ["--appendonly", "yes", "--appendfsync", "always"]
        self._server = ServerProcess(arguments, self._directory / "redis.log")
        self._server.start()
        wait_until(lambda: listens(self._port), "Redis serves", processes=[self._server])

    def stop(self) -> None:
        """See System."""
        if self._server is not None:
            self._server.terminate()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def server_pids(self) -> list[int]:
        """See System."""
        assert self._server is not None
        return [self._server.pid]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[QueueClient]:
        """Open a pool of connections."""
        pool = redis.asyncio.BlockingConnectionPool(
            host="127.0.0.1", port=self._port, max_connections=_CONNECTIONS, timeout=None
        )
        async with redis.asyncio.Redis.from_pool(pool) as client:
            yield RedisQueue(client)


class RedisQueue:
    """One stream, and a consumer group for every run."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def empty(self) -> None:
        """See QueueClient."""
        await self._client.unlink(_STREAM)

    async def stock(self, messages: int) -> None:
        """See QueueClient."""
        missing = messages - await self._client.xlen(_STREAM)
        await self.publish_in_batches(Tally(_PATIENCE_S, missing))

    async def publish(self, payload: bytes) -> None:
        """See QueueClient."""
        await self._client.xadd(_STREAM, {b"body": payload})

    async def publish_one_by_one(self, tally: Tally) -> None:
        """See QueueClient."""

        async def publisher() -> None:
            while not tally.over:
                await self._client.xadd(_STREAM, {b"body": _PAYLOAD})
                tally.confirm()

        await side_by_side(publisher, IN_FLIGHT)

    async def publish_in_batches(self, tally: Tally) -> None:
        """Keep ten pipelines of a hundred on their way; longer ones were not faster."""

        async def publisher() -> None:
            while not tally.over:
                await self._publish_batch()
                tally.confirm(BATCH)

        await side_by_side(publisher, IN_FLIGHT // BATCH)

    async def consume_one_by_one(self, tally: Tally) -> None:
        """Read a hundred at a time, and acknowledge each with a command of its own."""
        group = await self._new_group()
        while not tally.over:
            for identifier, _ in await self._read(group, "reader"):
                await self._client.xack(_STREAM, group, identifier)
                tally.confirm()

    async def consume_in_batches(self, tally: Tally, readers: int, size: int) -> None:
        """See QueueClient."""
        group = await self._new_group()
        names = count(1)

        async def reader() -> None:
            name = f"reader{next(names)}"
            while not tally.over:
                messages = await self._read(group, name, size)
                if messages:
                    await self._client.xack(_STREAM, group, *[one for one, _ in messages])
                    tally.confirm(len(messages))

        await side_by_side(reader, readers)

    @asynccontextmanager
    async def listening(self, arrived: Callable[[bytes], None]) -> AsyncIterator[None]:
        """See QueueClient. Told to stop rather than cancelled: redis-py may swallow that."""
        group = await self._new_group()
        stopping = asyncio.Event()

        async def listen() -> None:
            while not stopping.is_set():
                for identifier, fields in await self._read(group, "reader"):
                    arrived(fields[b"body"])
                    await self._client.xack(_STREAM, group, identifier)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            try:
                yield
            finally:
                stopping.set()

    async def _publish_batch(self) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for _ in range(BATCH):
                _ = pipeline.xadd(_STREAM, {b"body": _PAYLOAD})
            await pipeline.execute()

    async def _new_group(self) -> str:
        group = f"group{next(_group_numbers)}"
        await self._client.xgroup_create(_STREAM, group, id="0", mkstream=True)
        return group

    async def _read(self, group: str, name: str, size: int = BATCH) -> list[Any]:
        """Return up to ``size`` (identifier, fields); none when there was none for a moment."""
        found: Any = await self._client.xreadgroup(
            group, name, {_STREAM: ">"}, count=size, block=_BLOCK_MS
        )
        return found[0][1] if found else []
