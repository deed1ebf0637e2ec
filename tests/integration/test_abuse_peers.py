"""Hostile peers against real nodes: refused, and the cluster goes on."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import orjson
import pytest
import trustme

from support.abuse import lock_round_trip, memory_bytes, poll
from support.cluster_process import ClusterProcesses, NodeProcess
from synaxis.cluster.commands import NodeRecord
from synaxis.consensus.raft.messages import AppendEntries, InstallSnapshot, RequestVote
from synaxis.effects import Members, SnapshotMeta
from synaxis.ids import GroupId, LogIndex, NodeId, Term
from synaxis.security import tls
from synaxis.wire.peer import (
    PROTOCOL_VERSION,
    Envelope,
    Heartbeat,
    PeerFrame,
    PeerHello,
    PeerRefusal,
    PeerWelcome,
    SegmentAsk,
    SegmentPart,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Start = Callable[..., ClusterProcesses]
LOCKS = GroupId("locks/0")
_ANSWER = msgspec.msgpack.Decoder(PeerWelcome | PeerRefusal)
_encode = msgspec.msgpack.encode


def identity(node: NodeProcess) -> dict[str, str]:
    found: dict[str, str] = orjson.loads((node.data_dir / "identity.json").read_bytes())
    return found


def hello_of(node: NodeProcess, callee: str, **changes: object) -> PeerHello:
    """What the real ``node`` would say to ``callee``."""
    who = identity(node)
    hello = PeerHello(
        PROTOCOL_VERSION, who["cluster_id"], NodeId(node.node_id), who["disk_id"], NodeId(callee)
    )
    return msgspec.structs.replace(hello, **changes)


@asynccontextmanager
async def dialled(
    node: NodeProcess, tls_context: ssl.SSLContext | None = None
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    scheme = "http" if tls_context is None else "https"
    url = f"{scheme}://127.0.0.1:{node.peer_port}/v1/peer"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, compress=0, ssl=tls_context or True) as link,
    ):
        yield link


async def greet(link: aiohttp.ClientWebSocketResponse, hello: PeerHello) -> object:
    await link.send_bytes(_encode(hello))
    return _ANSWER.decode(await link.receive_bytes(timeout=5))


async def ends(link: aiohttp.ClientWebSocketResponse) -> bool:
    async with asyncio.timeout(8):
        return (await link.receive()).type is not aiohttp.WSMsgType.BINARY


async def test_a_caller_that_is_not_who_it_must_be_is_refused(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    victim, other = nodes["n1"], nodes["n2"]
    wrong: dict[str, dict[str, object]] = {
        "protocol_violation": {"version": 0},
        "identity_mismatch": {"cluster_id": "0123456789abcdef"},
        "not_found": {"node_id": NodeId("stranger")},
    }
    for code, changes in wrong.items():
        async with dialled(victim) as link:
            refusal = await greet(link, hello_of(other, "n1", **changes))
            assert isinstance(refusal, PeerRefusal), changes
            assert refusal.code == code, changes
            assert await ends(link)
    more: list[tuple[dict[str, object], str]] = [
        ({"target": NodeId("n3")}, "not_found"),
        ({"disk_id": "a wiped disk"}, "identity_mismatch"),
        ({"node_id": NodeId("n1"), "disk_id": "another"}, "identity_mismatch"),
    ]
    for changed, code in more:
        async with dialled(victim) as link:
            refusal = await greet(link, hello_of(other, "n1", **changed))
            assert isinstance(refusal, PeerRefusal), changed
            assert refusal.code == code, changed
    await lock_round_trip(nodes)


async def test_gibberish_on_the_peer_port_closes_the_link_only(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3, peer_frame_bytes_max=4 * 1024 * 1024)
    victim, other = nodes["n1"], nodes["n2"]
    deep = b"\x91" * 100_000
    frames = [
        b"",
        b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        deep,
        b"\x93\x90\xc0" + deep,
        b"\x92\x91\x92\xa1",
    ]
    for frame in frames:
        async with dialled(victim) as link:
            await link.send_bytes(frame)
            assert await ends(link), frame[:9]
        async with dialled(victim) as link:
            assert isinstance(await greet(link, hello_of(other, "n1")), PeerWelcome)
            await link.send_bytes(frame)
            assert await ends(link), frame[:9]
    async with dialled(victim) as link:
        assert isinstance(await greet(link, hello_of(other, "n1")), PeerWelcome)
        with contextlib.suppress(ConnectionError):  # it may hang up in the middle
            await link.send_bytes(b"x" * (5 * 1024 * 1024))
        assert await ends(link), "a frame above the limit"
    assert "Traceback" not in victim.log()
    await lock_round_trip(nodes)


def said(message: object, group: str = LOCKS) -> bytes:
    return _encode(PeerFrame([Envelope(GroupId(group), message)]))  # type: ignore[arg-type]


async def test_a_member_that_speaks_nonsense_does_not_wedge_the_cluster(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    leader = await asyncio.to_thread(nodes.leader)
    follower, forged = [node for node in nodes.nodes.values() if node is not leader]
    vote = RequestVote(Term(2**62), LogIndex(2**62), Term(2**62))
    meta = SnapshotMeta(LogIndex(10**9), Term(1), Members((NodeId("n1"),)), 2**50, 1)
    lies = [
        said(vote),  # sticky: whoever hears a leader does not even look at it
        said(RequestVote(Term(2**62), LogIndex(2**62), Term(2**62), True)),
        said(RequestVote(Term(2**64 - 1), LogIndex(1), Term(1))),
        said(RequestVote(Term(-5), LogIndex(-1), Term(-1))),
        said(AppendEntries(Term(2**64 - 1), LogIndex(0), Term(0), LogIndex(0), 0)),
        said(AppendEntries(Term(0), LogIndex(2**63), Term(0), LogIndex(2**63), 0)),
        said(InstallSnapshot(Term(2**64 - 1), meta, 0, b"", 0)),
        said(vote, "no/such/group"),
        _encode(PeerFrame([], Heartbeat(1, NodeRecord(NodeId(leader.node_id), "h:1", "u")))),
        _encode(PeerFrame([], None, [SegmentAsk(GroupId("queues/0"), 1, -1, 2**40)])),
        _encode(PeerFrame([], None, [SegmentAsk(GroupId("../wal"), 1, 0, 2**10)])),
        _encode(PeerFrame([], None, [SegmentPart(GroupId("queues/0"), 1, 0, b"lie", True)])),
    ]
    for lie in lies:
        for victim in (leader, follower):
            async with dialled(victim) as link:
                hello = hello_of(forged, victim.node_id)
                assert isinstance(await greet(link, hello), PeerWelcome)
                await link.send_bytes(lie)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await link.receive()
    await lock_round_trip(nodes)


async def test_a_forged_high_term_costs_an_election_and_no_more(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    leader = await asyncio.to_thread(nodes.leader)
    forged = next(node for node in nodes.nodes.values() if node is not leader)
    meta = SnapshotMeta(LogIndex(10**9), Term(1), Members((NodeId("n1"),)), 2**50, 1)
    async with dialled(leader) as link:
        assert isinstance(await greet(link, hello_of(forged, leader.node_id)), PeerWelcome)
        await link.send_bytes(said(InstallSnapshot(Term(2**40), meta, 0, b"x", 0)))
        await link.send_bytes(
            said(AppendEntries(Term(2**40), LogIndex(5), Term(1), LogIndex(9), 0))
        )
        await lock_round_trip(nodes)
    for name in ("n1", "n2", "n3"):
        await asyncio.to_thread(nodes[name].kill)
    for name in ("n1", "n2", "n3"):
        nodes[name].start()
    await asyncio.to_thread(nodes.wait_ready)
    await lock_round_trip(nodes)


async def test_a_flood_of_peer_links_leaves_one_per_peer(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    victim, other = nodes["n1"], nodes["n2"]
    before = memory_bytes(victim)
    async with contextlib.AsyncExitStack() as stack:
        links = []
        for _ in range(50):
            link = await stack.enter_async_context(dialled(victim))
            await greet(link, hello_of(other, "n1"))
            links.append(link)
        for link in links[:-1]:
            assert await ends(link)
    with contextlib.ExitStack() as sockets:
        for _ in range(1_500):
            with contextlib.suppress(OSError):
                dial = socket.create_connection(("127.0.0.1", victim.peer_port), timeout=2)
                sockets.enter_context(dial).sendall(b"GET /v1/peer HTTP/1.1\r\nHo")
        await lock_round_trip(nodes)
        assert memory_bytes(victim) - before < 100 * 1024 * 1024


# --- TLS --------------------------------------------------------------------------------------


class Authority:
    """A cluster's CA, and certificates that name node ids."""

    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.path = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.path))

    def issue(self, name: str) -> tuple[Path, Path]:
        certificate = self.ca.issue_cert(name)
        paths = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.cert_chain_pems[0].write_to_path(str(paths[0]))
        certificate.private_key_pem.write_to_path(str(paths[1]))
        return paths

    def settings(self, name: str) -> dict[str, object]:
        certificate, key = self.issue(name)
        return {"peer_ca": self.path, "peer_cert": certificate, "peer_key": key}


async def test_a_peer_certificate_serves_for_the_node_that_it_names_only(
    tmp_path: Path,
) -> None:
    ours, foreign = Authority(tmp_path / "ca"), Authority(tmp_path / "foreign")
    nodes = ClusterProcesses(tmp_path / "nodes", 3)
    for node in nodes.nodes.values():
        node.settings = ours.settings(node.node_id)
    with nodes:
        await lock_round_trip(nodes)
        victim, other = nodes["n1"], nodes["n2"]
        right = tls.client_side(ours.path, *ours.issue("n2"))
        stolen = tls.client_side(ours.path, *ours.issue("n9"))
        async with dialled(victim, stolen) as link:
            refusal = await greet(link, hello_of(other, "n1"))
            assert isinstance(refusal, PeerRefusal)
            assert refusal.code == "identity_mismatch"
            assert "certificate" in refusal.message
        async with dialled(victim, right) as link:
            assert isinstance(await greet(link, hello_of(other, "n1")), PeerWelcome)
        strangers = tls.client_side(ours.path, *foreign.issue("n2"))
        for _ in range(100):
            with pytest.raises((aiohttp.ClientError, OSError)):
                async with dialled(victim, strangers) as link:
                    await greet(link, hello_of(other, "n1"))
        with pytest.raises((aiohttp.ClientError, OSError)):
            async with dialled(victim):
                pass
        await lock_round_trip(nodes)
        assert len(victim.log()) < 20_000
        assert victim.log().count("Traceback") <= 20


async def test_a_node_does_not_talk_to_one_with_a_certificate_of_another_name(
    tmp_path: Path,
) -> None:
    ours = Authority(tmp_path / "ca")
    nodes = ClusterProcesses(tmp_path / "nodes", 3)
    for node in nodes.nodes.values():
        node.settings = ours.settings("impostor" if node.node_id == "n3" else node.node_id)
    try:
        for node in nodes.nodes.values():
            node.start()
        await asyncio.to_thread(nodes.wait_ready, "n1", "n2")
        await poll(lambda: not nodes["n3"].running, "the impostor ends", 15)
        assert nodes["n3"].process is not None
        assert nodes["n3"].process.returncode == 78
        assert "certificate" in nodes["n3"].log()
    finally:
        nodes.close()
