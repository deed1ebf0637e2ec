"""The node's voice and ear among its peers."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import web

from synaxis.communication.peer_link import LinkConfig, PeerLink, TrafficCounters
from synaxis.errors import ProtocolViolation
from synaxis.ids import GroupId, NodeId
from synaxis.wire.peer import (
    BusMessage,
    Envelope,
    Heartbeat,
    PeerFrame,
    PeerHello,
    PeerRefusal,
    PeerWelcome,
    SegmentMessage,
)

__all__ = ["BusEvents", "MessageBus"]

log = structlog.stdlib.get_logger("synaxis.bus")

_ENCODER = msgspec.msgpack.Encoder()
_HELLO = msgspec.msgpack.Decoder(PeerHello)
_FRAME = msgspec.msgpack.Decoder(PeerFrame)
_GIBBERISH = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
HELLO_BYTES_MAX = 4096
CLOSE_S = 1.0


class BusEvents(msgspec.Struct, frozen=True):
    """What the node does about news from the bus."""

    admit: Callable[[PeerHello, Mapping[str, Any] | None], PeerRefusal | None]
    """Decides about a caller and its certificate; None admits it."""
    is_proven: Callable[[NodeId, Mapping[str, Any] | None], bool]
    """Whether a certificate was made for the node that was dialled."""
    received: Callable[[NodeId, PeerFrame], None]
    up: Callable[[NodeId, PeerWelcome], None]
    down: Callable[[NodeId], None]
    refused: Callable[[NodeId, PeerRefusal], None]


class MessageBus:
    """Links to all peers, and the handler for their links to us."""

    def __init__(
        self,
        welcome: PeerWelcome,
        hello: Callable[[NodeId], PeerHello],
        events: BusEvents,
        config: LinkConfig,
        counters: TrafficCounters,
    ) -> None:
        self._counters = counters
        self._welcome = welcome
        self._hello = hello
        self._events = events
        self._config = config
        self._links: dict[NodeId, PeerLink] = {}
        self._tasks: dict[NodeId, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._inbound: dict[NodeId, tuple[web.WebSocketResponse, asyncio.Transport]] = {}
        """One link per peer: a new one takes the place of one that has died unnoticed."""

    async def start(self) -> None:
        """Open the client side; must run inside the loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )

    async def aclose(self) -> None:
        """Close every link."""
        for node in list(self._links):
            self.drop(node)
        going_away = aiohttp.WSCloseCode.GOING_AWAY
        sockets = [socket for socket, _ in self._inbound.values()]
        await asyncio.gather(*(_close(socket, going_away) for socket in sockets))
        if self._session is not None:
            await self._session.close()

    def connect(self, node: NodeId, address: str) -> None:
        """Keep a link to ``node`` at ``address``; a changed address is dialled anew."""
        assert self._session is not None, "start() comes first"
        known = self._links.get(node)
        if known is not None and known.address == address:
            return
        self.drop(node)
        link = self._links[node] = PeerLink(
            node, address, self._hello, self._config, self._events, self._counters
        )
        loop = asyncio.get_running_loop()
        self._tasks[node] = loop.create_task(link.run(self._session), name=f"link to {node}")

    def drop(self, node: NodeId) -> None:
        """End the link to ``node``."""
        self._links.pop(node, None)
        task = self._tasks.pop(node, None)
        if task is not None:
            task.cancel()

    def expel(self, node: NodeId) -> None:
        """End both links with ``node``; when it dials again it is told why."""
        self.drop(node)
        inbound = self._inbound.pop(node, None)
        if inbound is not None:
            inbound[1].abort()

    def send(self, node: NodeId, group: GroupId, message: msgspec.Struct) -> None:
        """Say ``message`` to ``node`` in this turn's frame, if it is connected."""
        link = self._links.get(node)
        if link is not None:
            link.send(Envelope(group, message))  # type: ignore[arg-type]  # checked by the log

    def send_segment(self, node: NodeId, message: SegmentMessage) -> None:
        """Say ``message`` to ``node`` in one of the next frames, if it is connected."""
        link = self._links.get(node)
        if link is not None:
            link.send_segment(message)

    def send_bus(self, node: NodeId, message: BusMessage) -> bool:
        """Say ``message`` to ``node`` in order; False if that cannot be: see ``PeerLink``."""
        link = self._links.get(node)
        return link is not None and link.send_bus(message)

    def beat(self, heartbeat: Heartbeat) -> None:
        """Send ``heartbeat`` to everybody."""
        for link in self._links.values():
            link.beat(heartbeat)

    @property
    def connected(self) -> list[NodeId]:
        """Peers that we can speak to now."""
        return [node for node, link in self._links.items() if link.connected]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle the incoming link of a peer (GET /v1/peer)."""
        socket = web.WebSocketResponse(
            max_msg_size=self._config.frame_bytes_max, compress=False, autoping=True
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        certificate = transport.get_extra_info("peercert")
        sender: NodeId | None = None
        try:
            async with asyncio.timeout(self._config.handshake_s):
                sender = await self._receive_hello(socket, certificate)
            if sender is not None:
                self._replace(sender, socket, transport)
                await self._listen(socket, sender)
        except (*_GIBBERISH, TimeoutError, ConnectionError, ProtocolViolation) as error:
            log.warning("peer link closed", remote=request.remote, reason=str(error))
            await _close(socket, aiohttp.WSCloseCode.PROTOCOL_ERROR)
        finally:
            if sender is not None and self._inbound.get(sender) == (socket, transport):
                del self._inbound[sender]
        return socket

    async def _receive_hello(
        self, socket: web.WebSocketResponse, certificate: Mapping[str, Any] | None
    ) -> NodeId | None:
        first = await socket.receive()
        if first.type is not aiohttp.WSMsgType.BINARY or len(first.data) > HELLO_BYTES_MAX:
            return None
        hello = _HELLO.decode(first.data)
        refusal = self._events.admit(hello, certificate)
        await socket.send_bytes(_ENCODER.encode(refusal or self._welcome))
        return hello.node_id if refusal is None else None

    def _replace(
        self, sender: NodeId, socket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> None:
        former = self._inbound.get(sender)
        self._inbound[sender] = socket, transport
        if former is not None:
            former[1].abort()

    async def _listen(self, socket: web.WebSocketResponse, sender: NodeId) -> None:
        received, binary = self._events.received, aiohttp.WSMsgType.BINARY
        async for message in socket:
            if message.type is binary:
                self._counters.received(len(message.data))
                received(sender, _FRAME.decode(message.data))


async def _close(socket: web.WebSocketResponse, code: int) -> None:
    """Say goodbye to a peer, which may not be there any more."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(CLOSE_S):
            await socket.close(code=code)
