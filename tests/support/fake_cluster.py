"""A cluster in one process that speaks the client protocol and can be told to misbehave.

``FakeCluster`` is what a real cluster's log would agree on: sessions, replies by sequence, and the
state machine. ``FakeNode`` is a door to it: only the leader's door lets commands in. A test may
make a node swallow, delay or refuse messages, and kill its connections.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, Unpack

import msgspec
from aiohttp import WSMsgType, web

import synaxis
from support.fake_caches import FakeCaches
from support.fake_queues import FakeQueues
from synaxis.caches.bus import Detached
from synaxis.caches.commands import Add, Clear, Lookup, Put, Remove
from synaxis.client.cluster import ConnectOptions
from synaxis.cluster.commands import CreateTopic, DeleteTopic, UpdateTopic
from synaxis.consensus.commands import CloseSession, OpenSession, SessionClosed, SessionOpened
from synaxis.effects import Refused
from synaxis.errors import ClientError
from synaxis.ids import FencingToken, GroupId, LogIndex, LogTime, NodeId, Sequence, SessionId
from synaxis.locks.machine import LockMachine
from synaxis.wire import client as wire

DECODER = msgspec.msgpack.Decoder(list[wire.ClientMessage])
ENCODER = msgspec.msgpack.Encoder()
EXPIRED = Refused("session_expired", "the session has ended", {})

TICK_S = 0.005
LOCKS = GroupId("locks/0")

Asker = tuple["Door", int]
Interceptor = Callable[["FakeNode", wire.ClientMessage], bool]
"""Called with each message before it is handled; True swallows it."""


@dataclass
class FakeSession:
    ttl_ms: int
    replies: dict[Sequence, msgspec.Struct | None] = field(default_factory=dict)
    keep_alives: int = 0


class FakeCluster:
    """Nodes ``n1`` ... over one state; ``n1`` leads until told otherwise."""

    def __init__(
        self,
        size: int = 1,
        lock_groups: int = 1,
        ssl: SSLContext | None = None,
        queue_groups: int = 2,
        cache_groups: int = 4,
    ) -> None:
        self.ssl = ssl
        self.machine = LockMachine()
        self.sessions: dict[SessionId, FakeSession] = {}
        self.waiting: dict[tuple[SessionId, Sequence], Asker] = {}
        self.applied: list[wire.Submission] = []
        self.leader: NodeId | None = NodeId("n1")
        self.term = 1
        self.lock_groups = lock_groups
        self.queues = FakeQueues(queue_groups)
        self.caches = FakeCaches(cache_groups)
        self.frame_bytes_max = 1024 * 1024
        self.index = 0
        self.time_ms = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.nodes = {NodeId(f"n{n}"): FakeNode(self, NodeId(f"n{n}")) for n in range(1, size + 1)}

    async def __aenter__(self) -> Self:
        for node in self.nodes.values():
            await node.start()
        self.spawn(self._tick())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for node in self.nodes.values():
            await node.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _tick(self) -> None:
        """Let log time follow real time."""
        while True:
            await asyncio.sleep(TICK_S)
            self.advance(round(TICK_S * 1000))

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes.values())

    def client(self, **options: Unpack[ConnectOptions]) -> synaxis.AsyncSynaxis:
        """Return a client that knows all nodes and does not wait long."""
        options.setdefault("timeout", 2.0)
        return synaxis.connect(self.url, **options)

    async def seen(self, *kinds: type[msgspec.Struct]) -> None:
        """Wait until exactly these types of commands were applied so far."""
        await self.until(lambda: tuple(type(command) for command in self.commands) == kinds)

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until ``happened()`` is true."""
        async with asyncio.timeout(5):
            while not happened():  # noqa: ASYNC110  # anything may be asked for
                await asyncio.sleep(TICK_S)

    @property
    def now(self) -> LogTime:
        return LogTime(self.time_ms)

    def __getitem__(self, node_id: str) -> "FakeNode":
        return self.nodes[NodeId(node_id)]

    @property
    def groups(self) -> list[GroupId]:
        locks = [GroupId(f"locks/{n}") for n in range(self.lock_groups)]
        return [GroupId("cluster"), *locks, *self.queues.shards, *self.caches.shards]

    @property
    def commands(self) -> list[msgspec.Struct]:
        return [submission.command for submission in self.applied]

    def routes(self) -> tuple[wire.Route, ...]:
        url = self.nodes[self.leader].url if self.leader else ""
        return tuple(wire.Route(group, self.leader, url, self.term) for group in self.groups)

    def elect(self, leader: str | None) -> None:
        """Change the leader and tell every connected client."""
        self.leader = NodeId(leader) if leader else None
        self.term += 1
        self.queues.every("fail_over", LogTime(self.time_ms))
        self.caches.fail_over()
        for node in self.nodes.values():
            node.push(wire.Routes(self.routes(), ()))

    # --- the log ----------------------------------------------------------------------------

    def apply(self, submission: wire.Submission, asker: Asker, group: GroupId = LOCKS) -> None:
        self.index += 1
        self.machine.advance(LogTime(self.time_ms))
        body = self._reply(submission, asker, group)
        if body is not None:
            self.answer(asker, body)
        self._deliver_outcomes()
        self.queues.every("pump", LogTime(self.time_ms))

    def _reply(
        self, submission: wire.Submission, asker: Asker, group: GroupId
    ) -> msgspec.Struct | None:
        number, sequence, command = submission.session, submission.sequence, submission.command
        if isinstance(command, OpenSession):
            self.sessions.setdefault(number, FakeSession(command.ttl_ms))
            return SessionOpened(command.ttl_ms)
        session = self.sessions.get(number)
        if session is None:
            return EXPIRED
        if isinstance(command, CloseSession):
            self.expire(number)
            return SessionClosed()
        if sequence in session.replies:
            if session.replies[sequence] is None:
                self.waiting[number, sequence] = asker
            return session.replies[sequence]
        self.applied.append(submission)
        now = LogTime(self.time_ms)
        shard = self.queues.shards.get(group)
        body: msgspec.Struct | None
        if isinstance(command, Put | Add | Remove | Clear):
            body = self._cache(submission, group)
        elif shard is not None:
            body = shard.apply(number, command, now)
        else:
            body = self.machine.apply(number, sequence, command, now)
        session.replies[sequence] = body
        if body is None:
            self.waiting[number, sequence] = asker
        return body

    def _cache(self, submission: wire.Submission, group: GroupId) -> msgspec.Struct | None:
        """Return the reply; None if it comes later, and is given to whoever asked last then."""
        number, sequence = submission.session, submission.sequence
        early: list[msgspec.Struct] = []
        late = False

        def reply(body: msgspec.Struct) -> None:
            if not late:
                early.append(body)
                return
            session = self.sessions.get(number)
            if session is not None:
                session.replies[sequence] = body
            asker = self.waiting.pop((number, sequence), None)
            if asker is not None:
                self.answer(asker, body)

        command = submission.command
        assert isinstance(command, Put | Add | Remove | Clear)
        self.caches.shards[group].apply(command, reply)
        late = True
        return early[0] if early else None

    def expire(self, number: SessionId) -> None:
        """End a session, as after its TTL."""
        del self.sessions[number]
        self.machine.end_session(number, LogTime(self.time_ms))
        for shard in self.queues.shards.values():
            shard.machine.end_session(number, LogTime(self.time_ms))
        for key in [key for key in self.waiting if key[0] == number]:
            self.answer(self.waiting.pop(key), EXPIRED)
        self._deliver_outcomes()

    def _deliver_outcomes(self) -> None:
        for outcome in self.machine.take_outcomes():
            session = self.sessions.get(outcome.session)
            if session is not None:
                session.replies[outcome.sequence] = outcome.reply
            asker = self.waiting.pop((outcome.session, outcome.sequence), None)
            if asker is not None:
                self.answer(asker, outcome.reply)
        for rank, event in enumerate(self.machine.take_events()):
            for node in self.nodes.values():
                node.notice(LogIndex(self.index), rank, LogTime(self.time_ms), event)

    def advance(self, milliseconds: int) -> None:
        """Let log time pass."""
        self.time_ms += milliseconds
        self.index += 1
        self.machine.advance(LogTime(self.time_ms))
        self._deliver_outcomes()
        self.queues.every("pump", LogTime(self.time_ms))
        self.caches.tick(self.time_ms)
        for node in self.nodes.values():
            for door in node.doors:
                node.flush_soon(door)

    def answer(self, asker: Asker, body: msgspec.Struct) -> None:
        door, number = asker
        door.write(wire.Answer(number, LogIndex(self.index), 0, body))  # type: ignore[arg-type]

    def ask(self, message: wire.Query) -> msgspec.Struct:
        now, shard = LogTime(self.time_ms), self.queues.shards.get(message.group)
        if shard is not None:
            return shard.query(message.query, now)
        if isinstance(message.query, Lookup):
            return self.caches.shards[message.group].look(message.query, stale=message.stale)
        body = self.queues.describe(message.query, self.lock_groups)
        return self.machine.query(message.query, now) if body is None else body

    def demand(self, door: "Door", message: wire.Member) -> None:
        shard = self.queues.shards[message.group]
        shard.demand(door, message)
        shard.pump(LogTime(self.time_ms))

    def heard(self, message: wire.KeepAlive) -> None:
        shard = self.queues.shards.get(message.group)
        if shard is not None:
            shard.dispatcher.heard(message.session)

    def lose(self, session: int, token: int, reason: str) -> None:
        """Push the news of a forced loss to all connections."""
        lost = wire.Lost(GroupId("locks/0"), SessionId(session), FencingToken(token), reason)
        for node in self.nodes.values():
            node.push(lost)


class Door:
    """One client connection to one node."""

    def __init__(self, node: "FakeNode", ws: web.WebSocketResponse) -> None:
        self.node = node
        self.ws = ws
        self.watches: dict[int, wire.Watch] = {}
        self.outgoing: list[wire.ServerMessage] = []

    def write(self, message: wire.ServerMessage) -> None:
        if not self.ws.closed and not self.node.mute:
            self.outgoing.append(message)

    async def flush(self) -> None:
        batch, self.outgoing = self.outgoing, []
        if batch and not self.ws.closed:
            self.node.frames_sent.append(batch)
            await self.ws.send_bytes(ENCODER.encode(batch))

    def abort(self) -> None:
        request = self.ws._req
        if request is not None and request.transport is not None:
            request.transport.abort()


class FakeNode:
    """One node; see the module."""

    def __init__(self, cluster: FakeCluster, node_id: NodeId) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.url = ""
        self.mute = False
        """Read everything, answer nothing: a node that was stopped."""
        self.intercept: Interceptor | None = None
        self.frames: list[list[wire.ClientMessage]] = []
        self.frames_sent: list[list[wire.ServerMessage]] = []
        self.hellos: list[wire.Hello] = []
        self.doors: list[Door] = []
        self.api_key = ""
        self._runner: web.AppRunner | None = None
        self._port = 0

    # --- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/client", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self.cluster.ssl)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"{'https' if self.cluster.ssl else 'http'}://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Die: refuse new connections and break the open ones."""
        self.break_connections()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def freeze(self) -> None:
        """Stop reading and writing without closing anything, like a stopped process."""
        self.mute = True
        for door in self.doors:
            request = door.ws._req
            if request is not None and isinstance(request.transport, asyncio.ReadTransport):
                request.transport.pause_reading()

    def break_connections(self) -> None:
        for door in self.doors:
            door.abort()
        self.doors.clear()

    @property
    def messages(self) -> list[wire.ClientMessage]:
        return [message for frame in self.frames for message in frame]

    # --- serving ----------------------------------------------------------------------------

    def push(self, message: wire.ServerMessage) -> None:
        for door in self.doors:
            door.write(message)
            self.flush_soon(door)

    def notice(self, index: LogIndex, rank: int, at: LogTime, event: Any) -> None:
        for door in self.doors:
            for number, watch in door.watches.items():
                if event.name.startswith(watch.prefix) and event.kind == watch.kind:
                    door.write(wire.Notice(number, index, rank, at, event))
            self.flush_soon(door)

    def flush_soon(self, door: Door) -> None:
        if door.outgoing:
            self.cluster.spawn(door.flush())

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        door = Door(self, ws)
        self.doors.append(door)
        async for frame in ws:
            if frame.type is not WSMsgType.BINARY:
                continue
            messages = DECODER.decode(frame.data)
            self.frames.append(messages)
            for message in messages:
                if self.intercept is None or not self.intercept(self, message):
                    self._handle(door, message)
            for node in self.cluster.nodes.values():
                for each in list(node.doors):
                    await each.flush()
        self.cluster.queues.every("disconnected", door)
        return ws

    def _handle(self, door: Door, message: wire.ClientMessage) -> None:
        match message:
            case wire.Hello():
                self._welcome(door, message)
            case wire.Watch():
                door.watches[message.id] = message
                index = LogIndex(self.cluster.index)
                door.write(wire.Notice(message.id, index, 0, LogTime(self.cluster.time_ms)))
            case wire.Cancel():
                door.watches.pop(message.id, None)
            case wire.Admin():
                self._administer(door, message)
            case wire.Delegate() | wire.Query(stale=True):
                self._do_without_leading(door, message)
            case wire.Bus():
                self._pass_on(door, message)
            case _ if self.cluster.leader != self.node_id:
                door.write(self.not_leader(message.id))
            case _:
                self._lead(door, message)

    def _lead(self, door: Door, message: wire.ClientMessage) -> None:
        match message:
            case wire.Call():
                self.cluster.apply(message.submission, (door, message.id), message.group)
            case wire.KeepAlive():
                session = self.cluster.sessions.get(message.session)
                if session is not None:
                    session.keep_alives += 1
                    self.cluster.heard(message)
                door.write(wire.KeptAlive(message.id, session is not None))
            case wire.Member() | wire.Query():
                self._take_question(door, message)
            case _:
                raise AssertionError(message)

    def _do_without_leading(self, door: Door, message: wire.Delegate | wire.Query) -> None:
        asker = door, message.id
        if isinstance(message, wire.Query):
            self.cluster.answer(asker, self.cluster.ask(message))
        else:
            answer = partial(self.cluster.answer, asker)
            self.cluster.caches.delegate(message.command, answer)

    def _pass_on(self, door: Door, message: wire.Bus) -> None:
        if self.cluster.leader != self.node_id:
            door.write(wire.Said(message.stream, Detached("this node does not lead the shard")))
        else:
            self.cluster.caches.shards[message.group].hear(door, message)

    def _take_question(self, door: Door, message: wire.Member | wire.Query) -> None:
        match message:
            case wire.Member():
                self.cluster.demand(door, message)
            case wire.Query():
                self.cluster.answer((door, message.id), self.cluster.ask(message))

    def _welcome(self, door: Door, hello: wire.Hello) -> None:
        self.hellos.append(hello)
        if hello.api_key != self.api_key:
            door.write(wire.Failure(0, "authentication_required", "no valid key"))
            return
        cluster = self.cluster
        urls = tuple(node.url for node in cluster.nodes.values())
        door.write(
            wire.Welcome(
                1,
                "cluster-1",
                self.node_id,
                cluster.routes(),
                urls,
                cluster.lock_groups,
                100,
                10**9,
                len(cluster.queues.shards),
                cluster.frame_bytes_max,
                len(cluster.caches.shards),
            )
        )

    def not_leader(self, number: int) -> wire.Failure:
        leader = self.cluster.leader
        return wire.Failure(number, "not_leader", "not me", {"leader": leader} if leader else {})

    def _administer(self, door: Door, message: wire.Admin) -> None:
        operation = message.operation
        if isinstance(operation, wire.StatusRequest):
            status = wire.NodeStatus("cluster-1", self.node_id, "test", 1.0, (), ())
            door.write(wire.AdminAnswer(message.id, status))
        elif self.cluster.leader != self.node_id:
            door.write(self.not_leader(message.id))
        elif isinstance(operation, CreateTopic | UpdateTopic | DeleteTopic):
            now = LogTime(self.cluster.time_ms)
            try:
                record = self.cluster.queues.administer(operation, now)
            except ClientError as error:
                door.write(wire.Failure(message.id, error.code, error.message, error.details))
            else:
                door.write(wire.AdminAnswer(message.id, record))
        else:
            done = wire.Accepted(type(operation).__name__)
            door.write(wire.AdminAnswer(message.id, done))
