"""One client on one WebSocket: requests in, answers out, one frame per loop turn each way.

Costs per request are what counts here: no task, no future, no log line, one appended struct.
A client that breaks the protocol is told so and disconnected; one that does not read its answers
is not read either, and cut off when too much waits for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from aiohttp import web

from synaxis.api.member_streams import MemberStreams
from synaxis.api.payloads import Payloads
from synaxis.caches.bus import Detached, Grant, HomeMessage
from synaxis.caches.commands import AgentKind, Lookup
from synaxis.caches.validation import check_question
from synaxis.cluster.commands import (
    AddNode,
    CreateTopic,
    DeleteTopic,
    NodeRecord,
    RemoveNode,
    UpdateTopic,
)
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
from synaxis.ids import GroupId, Instant, SessionId
from synaxis.nodes.bus_checks import check_said
from synaxis.queues.questions import Page
from synaxis.topics import TopicRecord
from synaxis.wire.client import (
    CLIENT_PROTOCOL_VERSION,
    Accepted,
    AddMember,
    Admin,
    AdminAnswer,
    Answer,
    Bus,
    Call,
    Cancel,
    ClientMessage,
    Delegate,
    Failure,
    Hello,
    KeepAlive,
    KeptAlive,
    Member,
    NodeStatus,
    Notice,
    Query,
    RemoveMember,
    Said,
    ServerMessage,
    StatusRequest,
    Submission,
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
OPEN_QUERIES_MAX = 256
"""Unanswered queries of one connection: an answer may have thousands of rows."""
ADMINS_OPEN_MAX = 16
"""Operations of one connection on the cluster that are under way."""
OUTBOX_MESSAGES_MAX = 100_000
"""Answers that a client does not read; more and it is cut off."""
RARE_PER_TURN = 32
"""Requests that may cost a long look which are taken in one loop turn."""
LOOKUP_KEYS_QUICK = 100
"""A read of more records counts as a long look."""
NUMBER_MAX = 2**63 - 1
"""Largest session and sequence (``ids``)."""
OWNER_BYTES_MAX = 512
ACKED_ABOVE_MAX = 20_000
"""As many as a session may have unacknowledged replies by default."""
CLOSE_S = 2.0
"""How long a client may take to say goodbye."""


class ClientConnection:
    """Serves one socket until it closes."""

    def __init__(
        self, gateway: "Gateway", socket: web.WebSocketResponse, cut: Callable[[], None]
    ) -> None:
        self.client = ""
        self.sessions: set[SessionId] = set()
        """Sessions that last spoke here; kept by the gateway."""
        self._gateway = gateway
        self._node = gateway.node
        self._driver = gateway.node.driver
        self._socket = socket
        self._cut = cut
        self._gone = False
        self._outbox: list[ServerMessage] = []
        self._wake: asyncio.Future[None] | None = None
        self._written: asyncio.Future[None] | None = None
        """Set while a frame does not fit into the socket: nothing is read until it does."""
        self._open_requests = 0
        self._open_queries = 0
        self._open_admins = 0
        self._rare = 0
        payloads = Payloads(gateway.node.store, self._spawn, gateway.fatal)
        self._streams = MemberStreams(gateway.node, payloads, self.push)
        self._agents = gateway.node.caches.streams(self._say_to_agent, AgentKind.SHARER)
        self._counters = gateway.counters
        self._now = gateway.node.driver.now
        self._answer = self._deliver
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Greet, then serve until either side closes."""
        first = await self._greet()
        if first is None:
            return
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            writer = tasks.create_task(self._write())
            try:
                await self._dispatch(first)
                await self._read()
            except ProtocolViolation as error:
                await self._refuse(error)
            finally:
                self._gone = True
                self._streams.close()
                self._agents.close()
                self._node.caches.agents.cancel(self._answer)
                writer.cancel()

    async def _greet(self) -> list[ClientMessage] | None:
        """Return what came in one frame with the hello; None when the client may not enter."""
        async with asyncio.timeout(self._gateway.handshake_s):
            first = await self._socket.receive()
        try:
            messages = _decode(first, HELLO_BYTES_MAX)
            hello = messages[0] if messages else None
            if not isinstance(hello, Hello):
                raise ProtocolViolation("hello comes first")
            if hello.version != CLIENT_PROTOCOL_VERSION:
                raise ProtocolViolation(
                    f"this node speaks client protocol {CLIENT_PROTOCOL_VERSION}, "
                    f"not {hello.version}"
                )
            if not self._gateway.may_enter(hello.api_key):
                raise AuthenticationRequired("a valid API key is needed (SYNAXIS_API_KEY)")
        except SynaxisError as error:
            await self._refuse(error)
            return None
        self.client = hello.client
        await self._socket.send_bytes(_ENCODER.encode([self._gateway.welcome()]))
        return messages[1:]

    async def _refuse(self, error: SynaxisError) -> None:
        """Say why, and close."""
        failure = Failure(0, error.code, error.message, error.details)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.send_bytes(_ENCODER.encode([failure]))
                await self._socket.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION)

    # --- in ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        counters = self._counters.clients
        async for message in self._socket:
            requests = _decode(message)
            counters.received(len(message.data))
            await self._dispatch(requests)
            if self._written is not None:
                await self._written

    async def _dispatch(self, requests: list[ClientMessage]) -> None:
        arrived = self._now()
        for request in requests:
            try:
                if not self._dispatch_quick(request, arrived):
                    self._rare += 1
                    if self._rare % RARE_PER_TURN == 0:
                        await asyncio.sleep(0)  # others have their turn
                    self._dispatch_rare(request, arrived)
            except NotLeader:
                self._fail(request, self._node.not_leader(_group_of(request)))
            except SynaxisError as error:
                self._fail(request, error)
            except KeyError:
                self._fail(request, InvalidArgument(f"no group {_group_of(request)!r}"))
            if self._gone:
                return

    def _dispatch_quick(self, request: ClientMessage, arrived: Instant) -> bool:
        """Take what comes in thousands; False if it is none of that."""
        if type(request) is Call:
            self._call(request, arrived)
        elif type(request) is Query:
            return self._look_up(request, arrived)
        elif type(request) is Bus:
            self._hear_agent(request)
        elif type(request) is Delegate:
            self._delegate(request, arrived)
        elif type(request) is Member:
            self._streams.take(request)
            if request.session not in self.sessions:
                self._gateway.speaks(request.session, self)
        else:
            return False
        return True

    def _call(self, call: Call, arrived: Instant) -> None:
        submission = call.submission
        command = type(submission.command)
        if command not in self._gateway.commands[call.group]:
            # In the log it would stop every replica: none of them could decode it.
            raise InvalidArgument(f"{call.group} takes no {command.__name__}")
        session = submission.session
        if not (
            0 < session <= NUMBER_MAX
            and 0 <= submission.acked < submission.sequence <= NUMBER_MAX
            and not submission.acked_above
            and command is not OpenSession
        ):
            _check_numbers(submission)
        if self._open_requests >= OPEN_REQUESTS_MAX:
            raise _too_many(OPEN_REQUESTS_MAX, "requests")
        self._driver.propose(call.group, submission, (self._answer, (call.id, command, arrived)))
        self._open_requests += 1
        if session not in self.sessions:
            self._gateway.speaks(session, self)

    def _look_up(self, request: Query, arrived: Instant) -> bool:
        """Take a read of a few records; False if it is another question."""
        lookup = request.query
        if type(lookup) is not Lookup or len(lookup.keys) > LOOKUP_KEYS_QUICK:
            return False
        self._check_room()
        handle = (self._answer, (request.id, Lookup, arrived))
        self._driver.query(request.group, lookup, handle, stale=request.stale)
        self._open_requests += 1
        return True

    def _delegate(self, request: Delegate, arrived: Instant) -> None:
        self._check_room()
        command = request.command
        handle = (self._answer, (request.id, type(command), arrived))
        self._node.caches.agents.call(command, handle, back=request.back)
        self._open_requests += 1

    def _hear_agent(self, request: Bus) -> None:
        try:
            check_said(request.stream, request.message)
        except ProtocolViolation as error:
            self.push(Said(request.stream, Detached(error.message)))
            return
        self._agents.take(request.group, request.stream, request.message)

    def _say_to_agent(self, group: GroupId, stream: int, message: HomeMessage) -> bool:
        del group
        if type(message) is Grant:
            # Near caches of clients ask for nothing but reads.
            census = self._gateway.caches
            if message.reading is None:
                census.misses += 1
            else:
                census.hits += 1
        self.push(Said(stream, message))
        return True

    def _check_room(self) -> None:
        if self._open_requests >= OPEN_REQUESTS_MAX:
            raise _too_many(OPEN_REQUESTS_MAX, "requests")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        assert self._tasks is not None
        return self._tasks.create_task(work)

    def _dispatch_rare(self, request: ClientMessage, arrived: Instant) -> None:
        self._check_room()
        match request:
            case KeepAlive(number, group, session):
                self._driver.keep_alive(
                    group, session, (self._answer, (number, KeepAlive, arrived))
                )
                self._open_requests += 1
                self._gateway.speaks(session, self)
            case Query(number, group, query, stale):
                check_question(query, self._node.config.bootstrap.caches)
                if self._open_queries >= OPEN_QUERIES_MAX:
                    raise _too_many(OPEN_QUERIES_MAX, "queries")
                handle = (self._deliver_rows, (number, type(query), arrived, group))
                self._driver.query(group, query, handle, stale=stale)
                self._open_requests += 1
                self._open_queries += 1
            case Watch():
                applied = self._node.replicas[request.group].applied_index
                self._node.watches.open(request, applied, self.push, self)
            case Cancel(number):
                self._node.watches.close(self, number)
            case Admin():
                if self._open_admins >= ADMINS_OPEN_MAX:
                    raise _too_many(ADMINS_OPEN_MAX, "operations on the cluster")
                assert self._tasks is not None
                self._open_admins += 1
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
        finally:
            self._open_admins -= 1

    async def _execute(self, request: Admin) -> NodeStatus | Accepted | TopicRecord:
        operation = request.operation
        match operation:
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
            case CreateTopic() | UpdateTopic() | DeleteTopic():
                topic = await self._node.change_cluster(operation)
                assert isinstance(topic, TopicRecord)
                return topic

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

    def _deliver_rows(self, reminder: tuple[int, type, Instant, GroupId], reply: Reply) -> None:
        self._open_queries -= 1
        number, kind, arrived, group = reminder
        if type(reply.body) is Page:
            answer = partial(self._deliver, (number, kind, arrived))
            self._streams.complete(group, reply, answer)
        else:
            self._deliver((number, kind, arrived), reply)

    def _fail(self, request: ClientMessage, error: SynaxisError) -> None:
        number = getattr(request, "id", 0)
        self.push(Failure(number, error.code, error.message, error.details))

    def push(self, message: ServerMessage | Notice) -> None:
        """Say ``message`` in the next frame."""
        if self._gone:
            return
        outbox = self._outbox
        outbox.append(message)
        if len(outbox) == 1:
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)
        elif len(outbox) > OUTBOX_MESSAGES_MAX:
            # It does not read. What it misses it will ask for again on its next connection.
            self._cut_off()

    def _cut_off(self) -> None:
        self._gone = True
        self._outbox = []
        self._cut()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        counters = self._counters.clients
        while not self._socket.closed:
            if not self._outbox:
                self._wake = loop.create_future()
                await self._wake
            frame, self._outbox = _ENCODER.encode(self._outbox), []
            counters.sent(len(frame))
            self._written = loop.create_future()
            try:
                await self._socket.send_bytes(frame)
            except ConnectionError:
                return
            finally:
                if not self._written.done():
                    self._written.set_result(None)
                self._written = None

    async def close(self) -> None:
        """Close politely: the node is going away. Whoever does not listen is cut off."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
        except TimeoutError:
            self._cut_off()


def _decode(message: aiohttp.WSMessage, bytes_max: int | None = None) -> list[ClientMessage]:
    """Return the messages of a frame.

    Raises:
        ProtocolViolation: it is no frame of this protocol.
    """
    if message.type is not aiohttp.WSMsgType.BINARY:
        raise ProtocolViolation("frames are binary")
    if bytes_max is not None and len(message.data) > bytes_max:
        raise ProtocolViolation(f"the first frame has more than {bytes_max} bytes")
    try:
        return _DECODER.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation(f"malformed frame: {error}") from None


def _check_numbers(submission: Submission) -> None:
    """Check what a client counts, and the name that it gives itself.

    Raises:
        InvalidArgument: says what is allowed.
    """
    command, sequence, above = submission.command, submission.sequence, submission.acked_above
    first = 0 if isinstance(command, OpenSession | CloseSession) else 1
    if not 1 <= submission.session <= NUMBER_MAX or not first <= sequence <= NUMBER_MAX:
        raise InvalidArgument("sessions and sequences are numbered from 1 to 2**63 - 1")
    if not 0 <= submission.acked < max(sequence, 1) or (above and max(above) >= sequence):
        raise InvalidArgument("only earlier sequences can have been acknowledged")
    if len(above) > ACKED_ABOVE_MAX:
        raise InvalidArgument(f"acked_above has more than {ACKED_ABOVE_MAX} sequences")
    if isinstance(command, OpenSession) and len(command.owner.encode()) > OWNER_BYTES_MAX:
        raise InvalidArgument(f"owner has more than {OWNER_BYTES_MAX} bytes")


def _too_many(maximum: int, what: str) -> Overloaded:
    return Overloaded(f"{maximum} {what} of this connection are unanswered", retry_after=0.1)


def _group_of(request: ClientMessage) -> GroupId:
    return getattr(request, "group", GroupId("cluster"))


def _said(record: NodeRecord | TopicRecord, what: str) -> str:
    assert isinstance(record, NodeRecord)
    return f"node {record.node_id} at {record.peer_address} {what}"
