"""A client that knows the wire but none of its rules, for tests that attack real nodes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

import synaxis
from support.cluster_process import ClusterProcesses, NodeProcess
from synaxis.consensus.commands import OpenSession
from synaxis.ids import GroupId, Sequence, SessionId
from synaxis.wire.client import Call, Failure, Hello, ServerMessage, Submission, Welcome

__all__ = [
    "LOCKS",
    "Attacker",
    "attacker",
    "encode",
    "lock_round_trip",
    "memory_bytes",
    "open_session",
    "poll",
]

LOCKS = GroupId("locks/0")
_DECODER = msgspec.msgpack.Decoder(list[ServerMessage])


def encode(*messages: object) -> bytes:
    """Return a frame with these messages, whatever they are."""
    return msgspec.msgpack.encode(list(messages))


def open_session(number: int = 1, owner: str = "", group: GroupId = LOCKS) -> Call:
    """Return the request that opens session ``number``."""
    command = OpenSession(10_000, owner)
    return Call(number, group, Submission(SessionId(number), Sequence(0), Sequence(0), command))


class Attacker:
    """One WebSocket on which anything may be said."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, *messages: object) -> None:
        """Send one frame."""
        await self.socket.send_bytes(encode(*messages))

    async def hear(self, count: int = 1, timeout_s: float = 10) -> list[ServerMessage]:
        """Return at least ``count`` messages, or what came before the node closed."""
        heard: list[ServerMessage] = []
        async with asyncio.timeout(timeout_s):
            while len(heard) < count:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                heard += _DECODER.decode(message.data)
        return heard

    async def answer_to(self, *messages: object) -> ServerMessage:
        """Send one frame and return the first message that is no news."""
        await self.say(*messages)
        (first, *_) = await self.hear()
        return first

    async def last_words(self, timeout_s: float = 10) -> tuple[list[str], bool]:
        """Return the codes of all failures heard until the end, and whether it came."""
        codes: list[str] = []
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await self.socket.receive()
                    if message.type is not aiohttp.WSMsgType.BINARY:
                        return codes, True
                    heard = _DECODER.decode(message.data)
                    codes += [each.code for each in heard if isinstance(each, Failure)]
        except TimeoutError:
            return codes, False


@asynccontextmanager
async def attacker(node: NodeProcess, *, hello: bool = True) -> AsyncIterator[Attacker]:
    """Connect to ``node``; with ``hello`` the greeting is done already."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{node.url}/v1/client", compress=0, max_msg_size=0) as socket,
    ):
        found = Attacker(socket)
        if hello:
            welcome = await found.answer_to(Hello(1, "attacker"))
            assert isinstance(welcome, Welcome), welcome
        yield found


async def lock_round_trip(cluster: ClusterProcesses, name: str = "witness") -> None:
    """Prove that others are still served."""
    for node in cluster.nodes.values():
        assert node.running, f"{node.node_id} ended\n{cluster.last_words()}"
    async with synaxis.connect(cluster.urls) as client, client.lock(name, wait=10) as grant:
        assert grant.token > 0


def memory_bytes(node: NodeProcess) -> int:
    """Return the resident set of the node's process."""
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def poll(condition: Callable[[], bool], what: str, timeout_s: float = 10) -> None:
    """Wait until ``condition`` holds."""
    give_up = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)
