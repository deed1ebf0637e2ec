"""A link dials for as long as it lives, whatever the other side does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from synaxis.caches.bus import Inv
from synaxis.communication.bus_queue import MESSAGE_BYTES
from synaxis.communication.message_bus import BusEvents
from synaxis.communication.peer_link import LinkConfig, PeerLink
from synaxis.ids import GroupId, NodeId
from synaxis.observability.counters import LinkCounters
from synaxis.wire.peer import (
    PROTOCOL_VERSION,
    PeerFrame,
    PeerHello,
    PeerRefusal,
    PeerWelcome,
    SegmentPart,
    ToAgent,
)

TARGET = NodeId("n2")
WELCOME = msgspec.msgpack.encode(PeerWelcome(TARGET, "disk"))
Behaviour = Callable[[web.WebSocketResponse], Any]


async def hang_up(socket: web.WebSocketResponse) -> None:
    await socket.close()


async def talk_text(socket: web.WebSocketResponse) -> None:
    await socket.send_str("welcome")


async def talk_gibberish(socket: web.WebSocketResponse) -> None:
    await socket.send_bytes(b"\xc1")


async def be_somebody_else(socket: web.WebSocketResponse) -> None:
    await socket.send_bytes(msgspec.msgpack.encode(PeerWelcome(NodeId("n3"), "disk")))


async def refuse(socket: web.WebSocketResponse) -> None:
    await socket.send_bytes(msgspec.msgpack.encode(PeerRefusal("not_found", "later", False)))


@asynccontextmanager
async def peer(first: Behaviour) -> AsyncIterator[str]:
    """A node that behaves badly to its first caller and well to all others."""
    behaviours = [first]

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        if behaviours:
            await behaviours.pop()(socket)
            return socket
        await socket.send_bytes(WELCOME)
        await socket.receive()
        return socket

    application = web.Application()
    application.router.add_get("/v1/peer", serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def news(up: asyncio.Event, proven: Callable[..., bool] = lambda *_: True) -> BusEvents:
    def no_one(_hello: PeerHello, _certificate: Mapping[str, Any] | None) -> None:
        return None

    return BusEvents(
        admit=no_one,
        is_proven=proven,
        received=lambda *_: None,
        up=lambda *_: up.set(),
        down=lambda _: None,
        refused=lambda *_: None,
    )


def link_to(address: str, events: BusEvents, **limits: int) -> PeerLink:
    config = LinkConfig(redial_s_min=0.001, redial_s_max=0.01, handshake_s=0.5)
    config = msgspec.structs.replace(config, **limits)
    hello = PeerHello(PROTOCOL_VERSION, "c", NodeId("n1"), "disk 1", TARGET)
    return PeerLink(TARGET, address, lambda _: hello, config, events, LinkCounters())


@asynccontextmanager
async def running(link: PeerLink) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as session:
        task = asyncio.get_running_loop().create_task(link.run(session))
        try:
            yield
            assert not task.done(), "a link never gives up"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("first", [hang_up, talk_text, talk_gibberish, be_somebody_else, refuse])
async def test_a_conversation_that_fails_is_begun_again(first: Behaviour) -> None:
    """A peer that closed instead of answering ended the link for ever."""
    up = asyncio.Event()
    async with peer(first) as address, running(link_to(address, news(up))):
        await asyncio.wait_for(up.wait(), 5)


async def test_a_peer_that_cannot_prove_its_id_hears_nothing() -> None:
    up, tries = asyncio.Event(), iter([False, False, True])
    events = news(up, lambda *_: next(tries))
    async with peer(refuse) as address, running(link_to(address, events)):
        await asyncio.wait_for(up.wait(), 5)
    assert next(tries, None) is None


async def test_an_address_that_cannot_be_dialled_does_not_end_the_link() -> None:
    async with running(link_to("host:99999999", news(asyncio.Event()))):
        await asyncio.sleep(0.02)


async def test_bulk_leaves_one_part_per_frame_and_is_dropped_beyond_a_limit() -> None:
    frames: list[PeerFrame] = []
    ended = asyncio.Event()

    async def listen(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(WELCOME)
        async for message in socket:
            frames.append(msgspec.msgpack.decode(message.data, type=PeerFrame))
            if len(frames) == LinkConfig().segments_max:
                ended.set()

    up = asyncio.Event()
    async with peer(listen) as address:
        link = link_to(address, news(up))
        part = SegmentPart(GroupId("queues/0"), 1, 0, b"part")
        link.send_segment(part)
        async with running(link):
            await asyncio.wait_for(up.wait(), 5)
            for _ in range(1000):
                link.send_segment(part)
            await asyncio.wait_for(ended.wait(), 5)
    assert all(frame.segments == [part] for frame in frames)


async def test_what_caches_say_leaves_in_order_and_in_portions() -> None:
    frames: list[PeerFrame] = []
    ended = asyncio.Event()
    messages = [ToAgent(GroupId("caches/0"), 1, Inv("c/k", number)) for number in range(100)]

    async def listen(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(WELCOME)
        async for message in socket:
            frames.append(msgspec.msgpack.decode(message.data, type=PeerFrame))
            if sum(len(frame.bus) for frame in frames) == len(messages):
                ended.set()

    up = asyncio.Event()
    async with peer(listen) as address:
        link = link_to(address, news(up), bus_messages_max=100, bus_frame_bytes=30 * MESSAGE_BYTES)
        assert not link.send_bus(messages[0])
        async with running(link):
            await asyncio.wait_for(up.wait(), 5)
            assert all(link.send_bus(message) for message in messages)
            assert not link.send_bus(messages[0])
            await asyncio.wait_for(ended.wait(), 5)
    assert [message for frame in frames for message in frame.bus] == messages
    assert max(len(frame.bus) for frame in frames) == 30
