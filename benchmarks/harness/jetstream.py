"""NATS JetStream, the replicated queue that a user would pick instead, through nats-py.

In its fastest documented form: the publisher and the consumer talk to the nodes that lead, and
messages are pushed to a callback. The stream keeps what was consumed, so that every run reads the
same messages with a consumer of its own; that spares JetStream the deletions.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import nats
from nats.aio.client import Client as NatsConnection
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, PubAck, StorageType

from benchmarks.harness.load import side_by_side
from benchmarks.harness.processes import (
    ServerProcess,
    free_ports,
    listens,
    scratch_directory,
    wait_until,
)
from benchmarks.harness.systems import IN_FLIGHT, MESSAGE_BYTES, QueueClient
from benchmarks.harness.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JetStream"]

_NODES = 3
_PAYLOAD = bytes(MESSAGE_BYTES)
_PATIENCE_S = 30.0
_POLL_S = 0.002
_STREAM = "bench"
_consumer_numbers = count(1)

_CONFIGURATION = """\
server_name: n{index}
listen: "127.0.0.1:{port}"
jetstream {{
  store_dir: "{directory}"
  {sync}
}}
cluster {{
  name: bench
  listen: "127.0.0.1:{route_port}"
  routes: [{routes}]
}}
"""


class JetStream:
    """Three nats-server nodes, a stream with three replicas in files, and nats-py."""

    name = "jetstream"
    durability = "majority of 3 in page cache, fsync every 2 min"

    def __init__(self, *, sync_always: bool = False) -> None:
        self._sync = "sync_interval: always" if sync_always else ""
        if sync_always:
            self.name = "jetstream-sync"
            self.durability = "fsync on majority of 3"
        self._directory: Path | None = None
        self._nodes: list[ServerProcess] = []
        self._ports: list[int] = []

    def unavailable(self) -> str | None:
        """See System."""
        if not shutil.which("nats-server"):
            return "nats-server is not installed (Debian: nats-server)"
        if self._sync and _nats_version() < (2, 10):
            return "this nats-server cannot fsync each message (sync_interval: always, 2.10)"
        return None

    def start(self) -> None:
        """See System."""
        self._directory = scratch_directory("nats")
        ports = free_ports(2 * _NODES)
        self._ports, route_ports = ports[:_NODES], ports[_NODES:]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in route_ports)
        self._nodes = []
        for index, (port, route_port) in enumerate(zip(self._ports, route_ports, strict=True)):
            configuration = self._directory / f"n{index}.conf"
            configuration.write_text(
                _CONFIGURATION.format(
                    index=index,
                    port=port,
                    directory=self._directory / f"n{index}",
                    sync=self._sync,
                    route_port=route_port,
                    routes=routes,
                )
            )
            arguments = ["nats-server", "--config", str(configuration)]
            self._nodes.append(ServerProcess(arguments, self._directory / f"n{index}.log"))
        for node in self._nodes:
            node.start()
        wait_until(lambda: all(map(listens, self._ports)), "NATS serves", processes=self._nodes)

    def stop(self) -> None:
        """See System."""
        for node in self._nodes:
            node.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def server_pids(self) -> list[int]:
        """See System."""
        return [node.pid for node in self._nodes if node.alive]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[QueueClient]:
        """Create the stream, which waits for a leader of the cluster, and connect to its leader."""
        async with self._connection(0) as any_node:
            leader = await _stream_leader(any_node)
        async with self._connection(leader) as connection:
            yield JetStreamQueue(connection, self._connection)

    @asynccontextmanager
    async def _connection(self, node: int) -> AsyncIterator[NatsConnection]:
        connection = await nats.connect(f"nats://127.0.0.1:{self._ports[node]}")
        try:
            yield connection
        finally:
            await connection.close()


class JetStreamQueue:
    """One stream; every consumer is durable and has the stream's three replicas."""

    def __init__(
        self,
        connection: NatsConnection,
        connection_to: Callable[[int], AbstractAsyncContextManager[NatsConnection]],
    ) -> None:
        self._connection_to = connection_to
        self._stream = _context(connection)

    async def empty(self) -> None:
        """See QueueClient."""
        await self._stream.purge_stream(_STREAM)

    async def stock(self, messages: int) -> None:
        """See QueueClient."""
        missing = messages - (await self._stream.stream_info(_STREAM)).state.messages
        await self.publish_in_batches(Tally(_PATIENCE_S, missing))

    async def publish(self, payload: bytes) -> None:
        """See QueueClient."""
        await self._stream.publish(_STREAM, payload)

    async def publish_one_by_one(self, tally: Tally) -> None:
        """See QueueClient."""

        async def publisher() -> None:
            while not tally.over:
                await self._stream.publish(_STREAM, _PAYLOAD)
                tally.confirm()

        await side_by_side(publisher, IN_FLIGHT)

    async def publish_in_batches(self, tally: Tally) -> None:
        """Publish asynchronously, nats-py keeps the window; a larger one was not faster."""

        def confirmed(answer: asyncio.Future[PubAck]) -> None:
            answer.result()
            tally.confirm()

        while not tally.over:
            answer = await self._stream.publish_async(_STREAM, _PAYLOAD)
            answer.add_done_callback(confirmed)
        await self._stream.publish_async_completed()

    async def consume_one_by_one(self, tally: Tally) -> None:
        """Be pushed to, and acknowledge in the callback: three times faster than ``async for``."""
        done = asyncio.Event()

        async def handle(message: Msg) -> None:
            if done.is_set():
                return
            await message.ack()
            tally.confirm()
            if tally.over:
                done.set()

        async with self._consumer(push=True) as (stream, created):
            subscription = await stream.subscribe_bind(
                _STREAM, created.config, created.name, cb=handle, manual_ack=True
            )
            await done.wait()
            await _acknowledged(stream, created.name)
            tally.settle()
            await subscription.unsubscribe()

    async def consume_in_batches(self, tally: Tally, readers: int, size: int) -> None:
        """See QueueClient. Messages are acknowledged one by one: there is no other way."""
        async with self._consumer(push=False) as (stream, created):

            async def reader() -> None:
                subscription = await stream.pull_subscribe_bind(created.name, _STREAM)
                while not tally.over:
                    messages = await subscription.fetch(size)
                    for message in messages:
                        await message.ack()
                    tally.confirm(len(messages))

            await side_by_side(reader, readers)
            await _acknowledged(stream, created.name)
            tally.settle()

    @asynccontextmanager
    async def listening(self, arrived: Callable[[bytes], None]) -> AsyncIterator[None]:
        """See QueueClient."""

        async def handle(message: Msg) -> None:
            arrived(message.data)
            await message.ack()

        async with self._consumer(push=True) as (stream, created):
            await stream.subscribe_bind(
                _STREAM, created.config, created.name, cb=handle, manual_ack=True
            )
            yield

    @asynccontextmanager
    async def _consumer(
        self, *, push: bool
    ) -> AsyncIterator[tuple[JetStreamContext, ConsumerInfo]]:
        """Create a consumer with a connection to the node that leads it."""
        name = f"consumer{next(_consumer_numbers)}"
        configuration = ConsumerConfig(
            durable_name=name,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_PATIENCE_S,
            max_ack_pending=10 * IN_FLIGHT,
            deliver_subject=f"deliver.{name}" if push else None,
        )
        created = await self._stream.add_consumer(_STREAM, configuration)
        while created.cluster is None or not created.cluster.leader:
            await asyncio.sleep(_POLL_S)
            created = await self._stream.consumer_info(_STREAM, name)
        async with self._connection_to(_node_of(created.cluster.leader)) as connection:
            yield _context(connection), created
        await self._stream.delete_consumer(_STREAM, name)


def _context(connection: NatsConnection) -> JetStreamContext:
    return connection.jetstream(timeout=_PATIENCE_S, publish_async_max_pending=IN_FLIGHT)


async def _stream_leader(connection: NatsConnection) -> int:
    """Create the stream if need be; return the node that leads it."""
    context = connection.jetstream(timeout=1)
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                stream = await context.add_stream(
                    name=_STREAM, subjects=[_STREAM], num_replicas=_NODES, storage=StorageType.FILE
                )
            except (NatsError, TimeoutError):  # the nodes have not found each other yet
                await asyncio.sleep(_POLL_S)
                continue
            if stream.cluster is not None and stream.cluster.leader:
                return _node_of(stream.cluster.leader)


async def _acknowledged(stream: JetStreamContext, consumer: str) -> None:
    """Wait until the servers have worked off the acknowledgements, which nobody awaits."""
    floor = -1
    while True:
        found = await stream.consumer_info(_STREAM, consumer)
        assert found.ack_floor is not None
        if found.ack_floor.stream_seq == floor:
            return
        floor = found.ack_floor.stream_seq
        await asyncio.sleep(_POLL_S)


def _node_of(server_name: str) -> int:
    return int(server_name.removeprefix("n"))


def _nats_version() -> tuple[int, ...]:
    printed = subprocess.run(
        ["nats-server", "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"(\d+)\.(\d+)", printed)
    return tuple(map(int, found.groups())) if found else (0,)
