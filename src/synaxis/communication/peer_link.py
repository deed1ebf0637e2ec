"""The outgoing half of the conversation with one peer.

The link dials, says hello, and then writes: everything that was handed to ``send`` since the
last write goes out as one frame. Nothing is queued while there is no connection, because Raft
repeats what matters and old messages only hurt; caches are told when the link ends. Whatever ends
a conversation, the link dials again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Any, Protocol

import aiohttp
import msgspec
import structlog

from synaxis.communication.bus_queue import BusQueue
from synaxis.errors import ProtocolViolation
from synaxis.ids import NodeId
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

__all__ = ["LinkConfig", "LinkNews", "PeerLink", "TrafficCounters"]

log = structlog.stdlib.get_logger("synaxis.bus")

_ENCODER = msgspec.msgpack.Encoder()
_HANDSHAKE = msgspec.msgpack.Decoder(PeerWelcome | PeerRefusal)
# The peer is down, hangs up in mid-sentence, is somebody else or no node at all. A ValueError is
# an address that cannot be dialled, a type error a frame that is none (it closed instead).
_FAILED_CONVERSATION = (
    aiohttp.ClientError,
    aiohttp.WSMessageTypeError,
    OSError,
    TimeoutError,
    ValueError,
    msgspec.DecodeError,
    ProtocolViolation,
)


class LinkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of links between nodes."""

    redial_s_min: float = 0.05
    redial_s_max: float = 1.0
    """Dialling pauses double from min to max while a peer cannot be reached."""
    handshake_s: float = 5.0
    ping_s: float = 10.0
    """A link whose peer does not answer a ping is dialled anew: after a partition TCP alone
    would wait for minutes."""
    frame_bytes_max: int = 64 * 1024 * 1024
    """Largest frame accepted from a peer."""
    envelopes_max: int = 10_000
    """Messages waiting for one peer; more are dropped (Raft repeats them)."""
    segments_max: int = 64
    """Messages about segments waiting for one peer, 32 MiB at most; more are dropped."""
    bus_messages_max: int = 100_000
    """Messages between caches waiting for one peer; one more is refused."""
    bus_bytes_max: int = 64 * 1024 * 1024
    """The same in bytes."""
    bus_frame_bytes: int = 1024 * 1024
    """They are put into a frame until they have so many bytes."""
    ssl: SSLContext | None = None


class TrafficCounters(Protocol):
    """Who counts frames and links."""

    opened: int
    closed: int

    def sent(self, size: int) -> None:
        """Count a frame sent."""
        ...

    def received(self, size: int) -> None:
        """Count a frame received."""
        ...


class LinkNews(Protocol):
    """Who hears how links fare."""

    @property
    def up(self) -> Callable[[NodeId, PeerWelcome], None]:
        """The peer welcomed us."""
        ...

    @property
    def is_proven(self) -> Callable[[NodeId, Mapping[str, Any] | None], bool]:
        """Whether the certificate of the other side was made for the node."""
        ...

    @property
    def down(self) -> Callable[[NodeId], None]:
        """An established link broke."""
        ...

    @property
    def refused(self) -> Callable[[NodeId, PeerRefusal], None]:
        """The peer refused us."""
        ...


class PeerLink:
    """Dials ``target`` for as long as ``run`` runs."""

    def __init__(
        self,
        target: NodeId,
        address: str,
        hello: Callable[[NodeId], PeerHello],
        config: LinkConfig,
        news: LinkNews,
        counters: TrafficCounters,
    ) -> None:
        self.target = target
        self.address = address
        self.connected = False
        self._hello = hello
        self._config = config
        self._news = news
        self._counters = counters
        self._outbox: list[Envelope] = []
        self._heartbeat: Heartbeat | None = None
        self._segments: deque[SegmentMessage] = deque()
        self._bus = BusQueue(config.bus_messages_max, config.bus_bytes_max)
        self._wake: asyncio.Future[None] | None = None

    def send(self, envelope: Envelope) -> None:
        """Say ``envelope`` in the next frame, if the peer is connected."""
        if self.connected and len(self._outbox) < self._config.envelopes_max:
            self._outbox.append(envelope)
            self._wake_writer()

    def beat(self, heartbeat: Heartbeat) -> None:
        """Put ``heartbeat`` on the next frame."""
        if self.connected:
            self._heartbeat = heartbeat
            self._wake_writer()

    def send_segment(self, message: SegmentMessage) -> None:
        """Say ``message`` in one of the next frames, if the peer is connected."""
        if self.connected and len(self._segments) < self._config.segments_max:
            self._segments.append(message)
            self._wake_writer()

    def send_bus(self, message: BusMessage) -> bool:
        """Say ``message`` after all that this method took before.

        False: it is not sent, and what is to be said after it would not be understood. True: it
        arrives, unless the link ends; then ``LinkNews.down`` is called.
        """
        if not self.connected or not self._bus.put(message):
            return False
        self._wake_writer()
        return True

    def _wake_writer(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Keep the link up until cancelled."""
        pause = self._config.redial_s_min
        while True:
            try:
                if await self._converse(session):
                    pause = self._config.redial_s_min
            except _FAILED_CONVERSATION as error:
                if isinstance(error, ProtocolViolation):
                    log.warning("peer cannot be used", peer=self.target, reason=error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._config.redial_s_max)

    async def _converse(self, session: aiohttp.ClientSession) -> bool:
        """Return True when the link had been up, False when it was refused."""
        scheme = "https" if self._config.ssl is not None else "http"
        async with asyncio.timeout(self._config.handshake_s):
            socket = await session.ws_connect(
                f"{scheme}://{self.address}/v1/peer",
                max_msg_size=self._config.frame_bytes_max,
                compress=0,
                heartbeat=self._config.ping_s,
                ssl=self._config.ssl if self._config.ssl is not None else True,
            )
        async with socket:
            if not self._news.is_proven(self.target, socket.get_extra_info("peercert")):
                raise ProtocolViolation(
                    f"the certificate of {self.address} was not made for node {self.target}"
                )
            await socket.send_bytes(_ENCODER.encode(self._hello(self.target)))
            async with asyncio.timeout(self._config.handshake_s):
                answer = _HANDSHAKE.decode(await socket.receive_bytes())
            if isinstance(answer, PeerRefusal):
                self._news.refused(self.target, answer)
                return False
            if answer.node_id != self.target:
                raise ProtocolViolation(
                    f"{self.address} is node {answer.node_id}, not {self.target}"
                )
            await self._write_while_open(socket, answer)
        return True

    async def _write_while_open(
        self, socket: aiohttp.ClientWebSocketResponse, welcome: PeerWelcome
    ) -> None:
        self._outbox = []
        self._segments.clear()
        self._bus.clear()
        self.connected = True
        self._counters.opened += 1
        writer = asyncio.get_running_loop().create_task(self._write(socket))
        self._news.up(self.target, welcome)
        try:
            # Nothing is ever received here: this returns when the peer is gone.
            await socket.receive()
        finally:
            self.connected = False
            self._counters.closed += 1
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._news.down(self.target)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not (self._outbox or self._heartbeat or self._segments or self._bus):
                self._wake = loop.create_future()
                await self._wake
            segments = [self._segments.popleft()] if self._segments else []
            bus = self._bus.take(self._config.bus_frame_bytes)
            frame = PeerFrame(self._outbox, self._heartbeat, segments, bus)
            self._outbox, self._heartbeat = [], None
            data = _ENCODER.encode(frame)
            self._counters.sent(len(data))
            await socket.send_bytes(data)
