"""A client of caches that speaks the wire itself: calls, questions, delegates, and real agents."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import aiohttp
import msgspec

from support.cluster_process import NodeProcess
from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import AgentMessage, Detached, HomeMessage
from synaxis.caches.commands import (
    Add,
    AgentId,
    AgentKind,
    Backing,
    Counted,
    Item,
    Lookup,
    Put,
    Reading,
    Readings,
    Remove,
    Removed,
    Stored,
)
from synaxis.caches.placement import cache_group
from synaxis.consensus.commands import OpenSession
from synaxis.effects import Refused
from synaxis.errors import ConnectionFailed, error_from_wire
from synaxis.ids import GroupId, Instant, Sequence, SessionId
from synaxis.wire.client import (
    Answer,
    Bus,
    Call,
    Delegate,
    Failure,
    Hello,
    Query,
    Said,
    ServerMessage,
    Submission,
    Welcome,
)

__all__ = ["CacheClient", "Near", "cache_client"]

_DECODER = msgspec.msgpack.Decoder(list[ServerMessage])


class CacheClient:
    """One connection to one node, which need not lead anything but for ``put`` and ``look_up``."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.said: dict[int, list[HomeMessage]] = {}
        """What homes said, by stream."""
        self.nears: dict[int, Near] = {}
        self.shards = 0
        self.welcomed = asyncio.Event()
        self._socket = socket
        self._numbers = count(1)
        self._sequences = count(1)
        self._sessions: dict[GroupId, SessionId] = {}
        self._open: dict[int, asyncio.Future[msgspec.Struct]] = {}

    async def listen(self) -> None:
        """Take what the node says until it hangs up."""
        try:
            async for message in self._socket:
                for each in _DECODER.decode(message.data):
                    self._take(each)
        finally:
            for future in self._open.values():
                if not future.done():
                    future.set_exception(ConnectionFailed("the node hung up"))

    def _take(self, message: ServerMessage) -> None:
        if isinstance(message, Welcome):
            self.shards = message.cache_groups
            self.welcomed.set()
        elif isinstance(message, Said):
            self.said.setdefault(message.stream, []).append(message.message)
            if message.stream in self.nears:
                self.nears[message.stream].heard(message.message)
        elif isinstance(message, Answer | Failure):
            future = self._open.pop(message.id, None)
            if future is None or future.done():
                return
            body: Any = message if isinstance(message, Failure) else message.body
            if isinstance(body, Failure | Refused):
                future.set_exception(error_from_wire(body.code, body.message, body.details))
            else:
                future.set_result(body)

    async def say(self, *messages: msgspec.Struct) -> None:
        """Send one frame."""
        await self._socket.send_bytes(msgspec.msgpack.encode(messages))

    async def _ask(self, number: int, message: msgspec.Struct, timeout_s: float = 15) -> Any:
        future = self._open[number] = asyncio.get_running_loop().create_future()
        await self.say(message)
        async with asyncio.timeout(timeout_s):
            return await future

    # --- delegates --------------------------------------------------------------------------

    async def do(self, command: Lookup | Put | Add | Remove, *, back: bool = False) -> Any:
        """Have the node's agent do it."""
        number = next(self._numbers)
        return await self._ask(number, Delegate(number, command, back))

    async def get(self, key: str, *, load: bool = False) -> Reading | None:
        found = await self.do(Lookup((key,), load))
        assert isinstance(found, Readings)
        return found.readings[0]

    async def value(self, key: str) -> bytes | None:
        reading = await self.get(key)
        return None if reading is None else reading.value

    async def set(
        self,
        key: str,
        value: bytes,
        *,
        back: bool = False,
        backing: Backing = Backing.NONE,
        **options: Any,
    ) -> Stored:
        put = Put((Item(key, value, **options),), backing)
        stored = await self.do(put, back=back)
        assert isinstance(stored, Stored)
        return stored

    async def add(self, key: str, delta: int = 1, *, back: bool = False) -> int:
        counted = await self.do(Add(key, delta), back=back)
        assert isinstance(counted, Counted)
        return counted.value

    async def remove(self, key: str) -> int:
        removed = await self.do(Remove((key,)))
        assert isinstance(removed, Removed)
        return removed.count

    # --- the leader itself ------------------------------------------------------------------

    def group(self, key: str) -> GroupId:
        return cache_group(key, self.shards)

    async def look_up(self, key: str, *, stale: bool = False, load: bool = False) -> bytes | None:
        """Ask the leader, which this node must be unless ``stale``."""
        number = next(self._numbers)
        query = Query(number, self.group(key), Lookup((key,), load), stale)
        (reading,) = (await self._ask(number, query)).readings
        return None if reading is None else reading.value

    async def put(
        self, key: str, value: bytes, *, backing: Backing = Backing.NONE, **options: Any
    ) -> Stored:
        """Put it into the log of the leader, which this node must be."""
        found = await self.call(self.group(key), Put((Item(key, value, **options),), backing))
        assert isinstance(found, Stored)
        return found

    async def call(self, group: GroupId, command: Any) -> Any:
        """Put any command into the log of ``group``."""
        session = self._sessions.get(group)
        if session is None:
            session = self._sessions[group] = SessionId(random.randrange(1, 1 << 62))
            await self._submit(group, session, Sequence(0), OpenSession(60_000, "test"))
        return await self._submit(group, session, Sequence(next(self._sequences)), command)

    async def _submit(
        self, group: GroupId, session: SessionId, sequence: Sequence, command: Any
    ) -> Any:
        number = next(self._numbers)
        submission = Submission(session, sequence, Sequence(0), command)
        return await self._ask(number, Call(number, group, submission))

    # --- agents -----------------------------------------------------------------------------

    async def near(self, group: GroupId, kind: AgentKind = AgentKind.SHARER) -> "Near":
        """Attach a near cache; the node must lead ``group``."""
        stream = next(self._numbers)
        near = self.nears[stream] = Near(self, group, stream, kind)
        await near.flush()
        async with asyncio.timeout(10):
            await near.answered.wait()
        return near


class Near:
    """A client's near cache of one shard; it answers probes at once unless it is ``deaf``."""

    def __init__(self, client: CacheClient, group: GroupId, stream: int, kind: AgentKind) -> None:
        self.client = client
        self.group = group
        self.agent = Agent(AgentId(random.randrange(1, 1 << 62)), kind, "near", AgentConfig())
        self.agent.attached_to(stream, self._now())
        self.answered = asyncio.Event()
        self.ended: str | None = None
        """Why its stream is over."""
        self.deaf = False
        self._stream = stream
        self._tasks: set[asyncio.Task[None]] = set()

    def _now(self) -> Instant:
        return Instant(int(asyncio.get_running_loop().time() * 1000))

    def heard(self, message: HomeMessage) -> None:
        if self.deaf:
            return
        if isinstance(message, Detached):
            self.ended = message.reason
        self.answered.set()
        self.agent.receive(self._stream, message, self._now())
        task = asyncio.create_task(self.flush())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        messages: list[AgentMessage] = self.agent.take_messages()
        await self.client.say(*(Bus(self._stream, self.group, each) for each in messages))
        for future, outcome in self.agent.take_answers():
            if not future.done():
                future.set_result(outcome)

    async def get(self, key: str) -> bytes | None:
        """Read through it."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.agent.call(Lookup((key,)), future, self._now())
        await self.flush()
        async with asyncio.timeout(15):
            outcome = await future
        assert isinstance(outcome, Readings), outcome
        (reading,) = outcome.readings
        return None if reading is None else reading.value

    def holds(self, key: str) -> bool:
        """Whether a copy of ``key`` is here."""
        return key in self.agent.lines


@asynccontextmanager
async def cache_client(node: NodeProcess) -> AsyncIterator[CacheClient]:
    """Connect to ``node``."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{node.url}/v1/client", compress=0, max_msg_size=0) as socket,
    ):
        client = CacheClient(socket)
        await client.say(Hello(1, "test"))
        listener = asyncio.create_task(client.listen())
        try:
            async with asyncio.timeout(10):
                await client.welcomed.wait()
            yield client
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
