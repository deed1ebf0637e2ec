"""One WebSocket to one node, shared by everything that the client has to say to it.

All messages of one loop turn leave as one frame; a frame that arrives is decoded once and
dispatched to the futures that wait. Two tasks per connection, none per request.

Invariant: a request that was sent and not settled is in ``open``, in the order of sending.
"""

import asyncio
import logging
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Protocol

import msgspec
from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSMsgType,
    WSServerHandshakeError,
)

from synaxis.client.clock import now
from synaxis.client.endpoints import socket_url
from synaxis.client.requests import Request
from synaxis.errors import (
    AuthenticationRequired,
    ConnectionFailed,
    PermissionDenied,
    ProtocolViolation,
    SynaxisError,
    error_from_wire,
)
from synaxis.wire.client import (
    CLIENT_PROTOCOL_VERSION,
    AdminAnswer,
    Answer,
    Assigned,
    ClientMessage,
    Delivered,
    Failure,
    Hello,
    KeptAlive,
    Lost,
    Notice,
    Routes,
    Said,
    ServerMessage,
    Welcome,
)

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connection", "ConnectionOwner"]

log = logging.getLogger(__name__)

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Largest frame accepted from a node (a page of a large lock list)."""
FRAME_MESSAGES_MAX = 2048
"""Messages per frame sent, so that a burst stays below the frame limit of a node."""
DIAL_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 0.2
PING_AFTER_S = 1.0
"""Silence after which a connection with open requests is asked whether it is there."""
PATIENCE_S = 2.0
"""How long it may take to say so, before the node is given up: it may be stopped, and others may
have taken over."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[ServerMessage])


class ConnectionOwner(Protocol):
    """Who is told what a connection itself cannot settle."""

    def refused(self, request: Request, failure: Failure) -> None:
        """Take a request that the node did not execute."""
        ...

    def routes_changed(self, routes: Routes) -> None:
        """Take the news of who leads."""
        ...

    def grant_lost(self, lost: Lost) -> None:
        """Take the news that the cluster took a grant back."""
        ...


class Connection:
    """See the module. Life: ``open``, then ``run`` until it returns; it is never reused."""

    __slots__ = (
        "_asked_at",
        "_last_id",
        "_nearest",
        "_outgoing",
        "_owner",
        "_ping_due",
        "_reader",
        "_wake",
        "_weight",
        "_ws",
        "closed",
        "heard_at",
        "open",
        "url",
        "welcome",
    )

    def __init__(self, url: str, owner: ConnectionOwner) -> None:
        self.url = url
        self.open: dict[int, Request] = {}
        self.heard_at = now()
        self.closed = False
        self.welcome: Welcome
        self._owner = owner
        self._ws: ClientWebSocketResponse
        self._last_id = 0
        self._nearest = inf
        self._outgoing: list[ClientMessage] = []
        self._weight = 0
        self._wake: asyncio.Future[None] | None = None
        self._ping_due = False
        self._asked_at = -inf
        self._reader: asyncio.Task[None]

    # --- life -------------------------------------------------------------------------------

    async def dial(self, http: ClientSession, hello: Hello, ssl: "SSLContext | None") -> Welcome:
        """Connect and exchange greetings.

        Raises:
            ConnectionFailed: the node cannot be reached or is no Synaxis node.
            AuthenticationRequired, PermissionDenied: it does not want us.
            ProtocolViolation: it speaks another version.
        """
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                self._ws = await _connect(http, self.url, ssl)
                try:
                    await self._ws.send_bytes(_ENCODER.encode([hello]))
                    self.welcome = await self._receive_welcome()
                except BaseException:
                    await self._ws.close()
                    raise
        except TimeoutError as error:
            raise ConnectionFailed(f"{self.url} did not answer in time") from error
        self.heard_at = now()
        return self.welcome

    async def _receive_welcome(self) -> Welcome:
        frame = await self._ws.receive()
        if not isinstance(frame.data, bytes):
            raise ConnectionFailed(f"{self.url} closed the connection instead of a greeting")
        try:
            first, *rest = _DECODER.decode(frame.data)
        except (msgspec.DecodeError, ValueError) as error:
            raise ProtocolViolation(f"{self.url} did not answer with a greeting") from error
        if isinstance(first, Failure):
            raise error_from_wire(first.code, first.message, first.details)
        if not isinstance(first, Welcome) or first.version != CLIENT_PROTOCOL_VERSION:
            raise ProtocolViolation(f"{self.url} speaks another version of the client protocol")
        self._dispatch(rest)
        return first

    async def run(self) -> None:
        """Carry messages both ways until the connection ends, for whatever reason."""
        create_task = asyncio.get_running_loop().create_task
        self._reader = create_task(self._read(), name=f"synaxis-read {self.url}")
        writer = create_task(self._write(), name=f"synaxis-write {self.url}")
        both = {self._reader, writer}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.closed = True
            for task in both:
                task.cancel()
            for outcome in await asyncio.gather(*both, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.debug("connection to %s ended", self.url, exc_info=outcome)

    def abort(self) -> None:
        """Stop carrying messages; ``run`` returns soon."""
        self.closed = True
        self._reader.cancel()

    async def close(self) -> None:
        """Say good-bye, without waiting long for an answer."""
        await self._ws.close()

    # --- sending ----------------------------------------------------------------------------

    def send(self, request: Request) -> None:
        """Send ``request`` with the next frame."""
        self._last_id = number = self._last_id + 1
        request.connection = self
        request.id = number
        request.attempts += 1
        self._nearest = min(self._nearest, request.deadline)
        self._weight += request.weight
        self.open[number] = request
        self.write(request.message(number))

    def write(self, message: ClientMessage) -> None:
        """Send a message that expects no answer with the next frame."""
        self._outgoing.append(message)
        if self._wake is not None:
            self._wake_writer()

    @property
    def unsent(self) -> int:
        """Messages that wait for the next frame."""
        return len(self._outgoing)

    def _wake_writer(self) -> None:
        wake, self._wake = self._wake, None
        # The writer may have been cancelled: what is open then goes to another node.
        if wake is not None and not wake.done():
            wake.set_result(None)

    async def _write(self) -> None:
        create_future = asyncio.get_running_loop().create_future
        send_bytes = self._ws.send_bytes
        while True:
            if not self._outgoing and not self._ping_due:
                self._wake = create_future()
                await self._wake
            batch, self._outgoing = self._outgoing, []
            weight, self._weight = self._weight, 0
            if self._ping_due:
                self._ping_due = False
                await self._ws.ping()
            # As many frames as keep each well below the limit if the weight is spread evenly.
            frames = max(1, -(-2 * weight // self.welcome.frame_bytes_max))
            step = min(FRAME_MESSAGES_MAX, -(-len(batch) // frames))
            for start in range(0, len(batch), step or 1):
                for frame in self._frames(batch[start : start + step]):
                    await send_bytes(frame)

    def _frames(self, batch: list[ClientMessage]) -> Iterator[bytes]:
        """Yield frames that the node accepts; a message that is too long alone goes alone."""
        frame = _ENCODER.encode(batch)
        if len(frame) <= self.welcome.frame_bytes_max or len(batch) == 1:
            yield frame
            return
        middle = len(batch) // 2
        yield from self._frames(batch[:middle])
        yield from self._frames(batch[middle:])

    # --- receiving --------------------------------------------------------------------------

    async def _read(self) -> None:
        receive, decode, dispatch = self._ws.receive, _DECODER.decode, self._dispatch
        while True:
            frame = await receive()
            self.heard_at = now()
            data = frame.data
            if frame.type == WSMsgType.BINARY:
                try:
                    messages = decode(data)
                except msgspec.DecodeError:
                    log.exception("node %s broke the protocol", self.url)
                    return
                dispatch(messages)
            elif frame.type == WSMsgType.PING:
                await self._ws.pong(data)
            elif frame.type != WSMsgType.PONG:
                return

    def _dispatch(self, messages: list[ServerMessage]) -> None:
        take = self.open.pop
        for message in messages:
            if type(message) is Answer:
                request = take(message.id, None)
                if request is not None:
                    request.answered(message)
            elif type(message) is Said:
                request = self.open.get(message.stream)
                if request is not None:
                    request.said(message)
            else:
                self._dispatch_rare(message)

    def _dispatch_rare(self, message: ServerMessage) -> None:
        match message:
            case Delivered() | Assigned() | Notice():
                self._dispatch_streamed(message)
            case KeptAlive() | AdminAnswer():
                request = self.open.pop(message.id, None)
                if request is not None:
                    request.answered(message)
            case Failure():
                request = self.open.pop(message.id, None)
                if request is not None:
                    self._owner.refused(request, message)
            case Routes():
                self._owner.routes_changed(message)
            case Lost():
                self._owner.grant_lost(message)
            case Welcome() | Answer() | Said():
                pass

    def _dispatch_streamed(self, message: Delivered | Assigned | Notice) -> None:
        request = self.open.get(message.id)
        if request is None:
            return
        if isinstance(message, Notice):
            request.noticed(message)
        else:
            request.streamed(message)

    # --- the sweep --------------------------------------------------------------------------

    def sweep(self, moment: float) -> None:
        """Settle requests whose deadline has passed."""
        if moment < self._nearest:
            return
        for number, request in list(self.open.items()):
            if request.deadline <= moment and request.expire():
                self.open.pop(number, None)
        self._nearest = min((request.deadline for request in self.open.values()), default=inf)

    def probe(self, moment: float) -> None:
        """Ask a silent node whether it is there, and give up one that does not say so.

        The patience counts from the question: a connection may have been idle for long before.
        """
        silence = moment - self.heard_at
        if not self.open or silence < PING_AFTER_S:
            return
        if self._asked_at <= self.heard_at:
            self._asked_at = moment
            self._ping_due = True
            self._wake_writer()
        elif moment - self._asked_at > PATIENCE_S:
            log.warning("node %s has been silent for %.1f s; trying others", self.url, silence)
            self.abort()

    def listened(self, moment: float) -> None:
        """Forgive the silence up to now: it was us who did not listen."""
        self.heard_at = moment


async def _connect(
    http: ClientSession, url: str, ssl: "SSLContext | None"
) -> ClientWebSocketResponse:
    try:
        return await http.ws_connect(
            socket_url(url),
            autoping=False,
            max_msg_size=FRAME_BYTES_MAX,
            timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
            ssl=True if ssl is None else ssl,
        )
    except WSServerHandshakeError as error:
        raise _handshake_error(url, error.status) from error
    except (ClientError, OSError) as error:
        raise ConnectionFailed(f"{url} cannot be reached: {error}") from error


def _handshake_error(url: str, status: int) -> SynaxisError:
    if status == 401:
        return AuthenticationRequired(f"{url} wants valid credentials")
    if status == 403:
        return PermissionDenied(f"{url} does not allow these credentials to connect")
    return ConnectionFailed(f"{url} answered {status} instead of opening the client protocol")
