"""One client on one WebSocket: requests in, answers out, one frame per loop turn each way.

Costs per request are what counts here: no task, no future, no log line, one appended struct.
"""

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from aiohttp import web

from synaxis.cluster.commands import AddNode, NodeRecord, RemoveNode
from synaxis.consensus.commands import CloseSession, OpenSession, SessionAlive
from synaxis.effects import Refused, Reply
from synaxis.errors import (
    AuthenticationRequired,
    InvalidArgument,
    NotLeader,
    Overloaded,
    ProtocolViolation,
    SynaxisError,
)
from synaxis.ids import GroupId, Instant
from synaxis.wire.client import (
    CLIENT_PROTOCOL_VERSION,
    Accepted,
    AddMember,
    Admin,
    AdminAnswer,
    Answer,
    Call,
    Cancel,
    ClientMessage,
    Failure,
    Hello,
    KeepAlive,
    KeptAlive,
    NodeStatus,
    Notice,
    Query,
    RemoveMember,
    ServerMessage,
    StatusRequest,
    TransferLeadership,
    Watch,
)

if TYPE_CHECKING:
    from synaxis.api.gateway import Gateway

__all__ = ["ClientConnection"]

_DECODER = msgspec.msgpack.Decoder(list[ClientMessage])
_ENCODER = msgspec.msgpack.Encoder()
HELLO_BYTES_MAX = 4096
OPEN_REQUESTS_MAX = 50_000
"""Unanswered requests of one connection; more are refused as overloaded."""
OUTBOX_MESSAGES_MAX = 200_000
"""Answers that a client does not read; more and it is disconnected."""


class ClientConnection:
    """Serves one socket until it closes."""

    def __init__(self, gateway: "Gateway", socket: web.WebSocketResponse) -> None:
        self.client = ""
        self._gateway = gateway
        self._node = gateway.node
        self._driver = gateway.node.driver
        self._socket = socket
        self._outbox: list[ServerMessage] = []
        self._wake: asyncio.Future[None] | None = None
        self._open_requests = 0
        self._counters = gateway.counters
        self._now = gateway.node.driver.now
        self._answer = self._deliver
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Greet, then serve until either side closes."""
        if not await self._greet():
            return
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            writer = tasks.create_task(self._write())
            try:
                await self._read()
            finally:
                writer.cancel()

    async def _greet(self) -> bool:
        async with asyncio.timeout(self._gateway.handshake_s):
            first = await self._socket.receive()
        if first.type is not aiohttp.WSMsgType.BINARY or len(first.data) > HELLO_BYTES_MAX:
            return False
        messages = _DECODER.decode(first.data)
        hello = messages[0] if messages else None
        if not isinstance(hello, Hello):
            return False
        try:
            if hello.version != CLIENT_PROTOCOL_VERSION:
                raise ProtocolViolation(
                    f"this node speaks client protocol {CLIENT_PROTOCOL_VERSION}, "
                    f"not {hello.version}"
                )
            if not self._gateway.may_enter(hello.api_key):
                raise AuthenticationRequired("a valid API key is needed (SYNAXIS_API_KEY)")
        except SynaxisError as error:
            failure = Failure(0, error.code, error.message, error.details)
            await self._socket.send_bytes(_ENCODER.encode([failure]))
            return False
        self.client = hello.client
        await self._socket.send_bytes(_ENCODER.encode([self._gateway.welcome()]))
        self._dispatch(messages[1:])
        return True

    # --- in ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        binary = aiohttp.WSMsgType.BINARY
        counters = self._counters.clients
        async for message in self._socket:
            if message.type is not binary:
                continue
            counters.received(len(message.data))
            try:
                requests = _DECODER.decode(message.data)
            except msgspec.DecodeError as error:
                await self._refuse_frame(error)
                return
            self._dispatch(requests)

    async def _refuse_frame(self, error: msgspec.DecodeError) -> None:
        failure = Failure(0, ProtocolViolation.code, f"malformed frame: {error}")
        await self._socket.send_bytes(_ENCODER.encode([failure]))
        await self._socket.close(code=aiohttp.WSCloseCode.INVALID_TEXT)

    def _dispatch(self, requests: list[ClientMessage]) -> None:
        arrived = self._now()
        for request in requests:
            try:
                if type(request) is Call:
                    self._call(request, arrived)
                else:
                    self._dispatch_rare(request, arrived)
            except NotLeader:
                self._fail(request, self._node.not_leader(_group_of(request)))
            except SynaxisError as error:
                self._fail(request, error)
            except KeyError:
                self._fail(request, InvalidArgument(f"no group {_group_of(request)!r}"))

    def _call(self, call: Call, arrived: Instant) -> None:
        submission = call.submission
        if submission.session < 1 or (
            submission.sequence < 1
            and not isinstance(submission.command, OpenSession | CloseSession)
        ):
            raise InvalidArgument("sessions and sequences are numbered from 1")
        if self._open_requests >= OPEN_REQUESTS_MAX:
            raise Overloaded(
                f"{OPEN_REQUESTS_MAX} requests of this connection are unanswered", retry_after=0.1
            )
        reminder = (call.id, type(submission.command), arrived)
        self._driver.propose(call.group, submission, (self._answer, reminder))
        self._open_requests += 1
        self._gateway.speakers[submission.session] = self

    def _dispatch_rare(self, request: ClientMessage, arrived: Instant) -> None:
        match request:
            case KeepAlive(number, group, session):
                self._driver.keep_alive(
                    group, session, (self._answer, (number, KeepAlive, arrived))
                )
                self._open_requests += 1
                self._gateway.speakers[session] = self
            case Query(number, group, query, stale):
                handle = (self._answer, (number, type(query), arrived))
                self._driver.query(group, query, handle, stale=stale)
                self._open_requests += 1
            case Watch():
                applied = self._node.replicas[request.group].applied_index
                self._node.watches.open(request, applied, self.push, self)
            case Cancel(number):
                self._node.watches.close(self, number)
            case Admin():
                assert self._tasks is not None
                self._tasks.create_task(self._administer(request))
            case _:
                raise ProtocolViolation("hello comes once, first")

    async def _administer(self, request: Admin) -> None:
        try:
            self.push(AdminAnswer(request.id, await self._execute(request)))
        except NotLeader:
            self._fail(request, self._node.not_leader(GroupId("cluster")))
        except SynaxisError as error:
            self._fail(request, error)

    async def _execute(self, request: Admin) -> NodeStatus | Accepted:
        match request.operation:
            case StatusRequest():
                return self._gateway.status()
            case TransferLeadership(group, target):
                if group in self._node.replicas and not self._node.replicas[group].log.ready:
                    raise self._node.not_leader(group)
                self._node.transfer(group, target)
                return Accepted(f"handing {group} to {target}")
            case AddMember(node_id, peer_address):
                record = await self._node.change_cluster(AddNode(node_id, peer_address))
                return Accepted(_said(record, "was added; it will vote once it has caught up"))
            case RemoveMember(node_id):
                record = await self._node.change_cluster(RemoveNode(node_id))
                return Accepted(_said(record, "was removed; its id cannot be used again"))

    # --- out --------------------------------------------------------------------------------

    def _deliver(self, reminder: tuple[int, type, Instant], reply: Reply) -> None:
        number, kind, arrived = reminder
        self._open_requests -= 1
        body = reply.body
        counters = self._counters
        counters.requests[kind, body.code if type(body) is Refused else "ok"] += 1
        counters.request_latency.observe((self._now() - arrived) / 1000)
        if type(body) is SessionAlive:
            self.push(KeptAlive(number, body.alive))
        elif reply.index == 0 and type(body) is Refused:
            self.push(Failure(number, body.code, body.message, body.details))
        else:
            self.push(Answer(number, reply.index, reply.rank, body))  # type: ignore[arg-type]  # the wire's union

    def _fail(self, request: ClientMessage, error: SynaxisError) -> None:
        number = getattr(request, "id", 0)
        self.push(Failure(number, error.code, error.message, error.details))

    def push(self, message: ServerMessage | Notice) -> None:
        """Say ``message`` in the next frame."""
        outbox = self._outbox
        outbox.append(message)
        if len(outbox) == 1:
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)
        elif len(outbox) == OUTBOX_MESSAGES_MAX and self._tasks is not None:
            # It does not read. What it misses it will ask for again on its next connection.
            self._tasks.create_task(self.close())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        counters = self._counters.clients
        while not self._socket.closed:
            if not self._outbox:
                self._wake = loop.create_future()
                await self._wake
            frame, self._outbox = _ENCODER.encode(self._outbox), []
            counters.sent(len(frame))
            try:
                await self._socket.send_bytes(frame)
            except ConnectionError:
                return

    async def close(self) -> None:
        """Close politely: the node is going away."""
        await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)


def _group_of(request: ClientMessage) -> GroupId:
    return getattr(request, "group", GroupId("cluster"))


def _said(record: NodeRecord, what: str) -> str:
    return f"node {record.node_id} at {record.peer_address} {what}"
