"""Hostile clients against real nodes: typed error or closed link, and others are served on."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable

import aiohttp
import msgspec
import pytest

from support.abuse import (
    LOCKS,
    Attacker,
    attacker,
    encode,
    lock_round_trip,
    memory_bytes,
    open_session,
    poll,
)
from support.cluster_process import ClusterProcesses, NodeProcess
from synaxis.consensus.commands import OpenSession
from synaxis.ids import GroupId, NodeId, Sequence, SessionId
from synaxis.locks.commands import (
    Acquire,
    BarrierEnter,
    DescribeLock,
    ListLocks,
    LockKind,
    SetPermits,
)
from synaxis.security.api_keys import ApiKeys
from synaxis.wire.client import (
    AddMember,
    Admin,
    AdminAnswer,
    Answer,
    Call,
    Cancel,
    Failure,
    Hello,
    KeepAlive,
    Query,
    StatusRequest,
    Submission,
    TransferLeadership,
    Watch,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

Start = Callable[..., ClusterProcesses]
MIB = 1024 * 1024


def call(  # noqa: PLR0913  # a keyword for each field that may lie
    command: object = None,
    *,
    number: int = 1,
    group: str = LOCKS,
    session: int = 7,
    sequence: int = 1,
    acked: int = 0,
    above: tuple[int, ...] = (),
) -> Call:
    chosen = Acquire(("x",), 0) if command is None else command
    submission = Submission(
        SessionId(session),
        Sequence(sequence),
        Sequence(acked),
        chosen,  # type: ignore[arg-type]  # attackers do not care for types
        tuple(map(Sequence, above)),
    )
    return Call(number, GroupId(group), submission)


def code_of(answer: object) -> str:
    if isinstance(answer, Failure):
        return answer.code
    assert isinstance(answer, Answer), answer
    return getattr(answer.body, "code", "ok")


# --- frames -----------------------------------------------------------------------------------

DEEP = b"\x91" * 100_000 + b"\x01"
GARBAGE = {
    "nothing": b"",
    "nil": b"\xc0",
    "truncated": encode(open_session())[:-3],
    "something behind the end": encode(open_session()) + b"more",
    "an unknown tag": encode((99, 1)),
    "a wrong type": encode((4, "one", "locks/0", (21, "x", 0))),
    "a kind out of range": encode((4, 1, "locks/0", (21, "x", 77))),
    "a mode out of range": encode((2, 1, "locks/0", (7, 1, 0, (20, ("x",), 0, 9)))),
    "a command of the node itself": encode((2, 1, "locks/0", (7, 1, 0, (3, (1, 2))))),
    "a list of 4 G elements": b"\xdd\xff\xff\xff\xff",
    "a text of 4 GB": b"\x91\x95\x04\x01\xdb\xff\xff\xff\xff",
    "100,000 levels where a number belongs": b"\x91\x94\x02" + DEEP,
    "100,000 levels behind the last field": b"\x91\x93\x06\x01" + DEEP,
    "a text that is no UTF-8": b"\x91\x95\x04\x01\xa2\xff\xfe\x93\x15\xa1x\x00\xc2",
    "a number of 65 bits": b"\x91\x92\x06\xcf" + b"\xff" * 9,
}


async def test_a_frame_that_is_none_is_answered_and_ends_the_connection(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    for what, frame in GARBAGE.items():
        for hello in (True, False):
            async with attacker(nodes["n1"], hello=hello) as client:
                await client.socket.send_bytes(frame)
                assert await client.last_words() == (["protocol_violation"], True), what
    async with attacker(nodes["n1"]) as client:
        await client.socket.send_str("hello?")
        assert await client.last_words() == (["protocol_violation"], True)
    async with attacker(nodes["n1"]) as client:
        await client.socket.send_bytes(b"x" * (2 * MIB))
        assert (await client.last_words())[1], "a frame above the limit"
    await lock_round_trip(nodes)
    assert "Traceback" not in nodes["n1"].log()
    assert len(nodes["n1"].log()) < 5_000, "bad clients must not fill the log"


async def test_a_greeting_is_checked(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1, handshake_timeout_s=0.5)
    refused = ["protocol_violation"]
    for first in (Hello(2, "x"), Hello(1, "x" * 5000), open_session()):
        async with attacker(nodes["n1"], hello=False) as client:
            await client.say(first)
            assert await client.last_words() == (refused, True)
    async with attacker(nodes["n1"], hello=False) as client:
        assert await client.last_words() == ([], True), "silence is not waited for"
    async with attacker(nodes["n1"]) as client:
        assert code_of(await client.answer_to(Hello(1, "again"))) == "protocol_violation"
        assert code_of(await client.answer_to(open_session())) == "ok", "the link was kept"


async def test_what_comes_in_one_frame_with_the_hello_is_answered(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with attacker(nodes["n1"], hello=False) as client:
        await client.say(Hello(1, "hasty"), Admin(3, StatusRequest()))
        _, status = await client.hear(2)
        assert isinstance(status, AdminAnswer)


# --- requests ---------------------------------------------------------------------------------

WRONG = {
    "no such group": (call(group="locks/99"), "invalid_argument"),
    "session 0": (call(session=0), "invalid_argument"),
    "session -1": (call(session=-1), "invalid_argument"),
    "session 2**63": (call(session=2**63), "invalid_argument"),
    "sequence 0": (call(sequence=0), "invalid_argument"),
    "sequence -1": (call(sequence=-1), "invalid_argument"),
    "sequence 2**63": (call(sequence=2**63), "invalid_argument"),
    "acked beyond the sequence": (call(acked=1), "invalid_argument"),
    "acked -1": (call(acked=-1), "invalid_argument"),
    "acked above the sequence": (call(sequence=5, above=(9,)), "invalid_argument"),
    "100,000 acked above": (
        call(sequence=300_000, above=tuple(range(2, 200_000, 2))),
        "invalid_argument",
    ),
    "a session that is unknown": (call(session=12345), "session_expired"),
    "TTL 0": (call(OpenSession(0)), "invalid_argument"),
    "TTL -1": (call(OpenSession(-1)), "invalid_argument"),
    "TTL 1e18": (call(OpenSession(10**18)), "invalid_argument"),
    "an owner of 1 MB": (open_session(8, "o" * 1_000_000), "invalid_argument"),
    "no name": (call(Acquire((), 0)), "invalid_argument"),
    "an empty name": (call(Acquire(("",), 0)), "invalid_argument"),
    "NUL in a name": (call(Acquire(("a\0b",), 0)), "invalid_argument"),
    "a name of 1 MB": (call(Acquire(("n" * 1_000_000,), 0)), "invalid_argument"),
    "10,000 names": (call(Acquire(tuple(map(str, range(10_000))), 0)), "invalid_argument"),
    "wait -5": (call(Acquire(("x",), -5)), "invalid_argument"),
    "wait 1e18": (call(Acquire(("x",), 10**18)), "invalid_argument"),
    "weight -1": (call(Acquire(("x",), 0, kind=LockKind.SEMAPHORE, weight=-1)), "invalid_argument"),
    "permits 0": (call(Acquire(("x",), 0, kind=LockKind.SEMAPHORE, permits=0)), "invalid_argument"),
    "permits -1": (call(SetPermits("x", -1)), "invalid_argument"),
    "0 parties": (call(BarrierEnter("x", 0)), "invalid_argument"),
    "max hold 1e18": (call(Acquire(("x",), 0, max_hold_ms=10**18)), "invalid_argument"),
    "watching no group": (Watch(1, GroupId("none"), "", LockKind.LOCK), "invalid_argument"),
    "watching 1 MB": (Watch(1, LOCKS, "p" * 1_000_000, LockKind.LOCK), "invalid_argument"),
    "asking no group": (Query(1, GroupId("none"), ListLocks()), "invalid_argument"),
    "keeping alive in no group": (KeepAlive(1, GroupId("none"), SessionId(1)), "invalid_argument"),
    "leadership of no group": (
        Admin(1, TransferLeadership(GroupId("none"), NodeId("n1"))),
        "client_error",
    ),
    "a member without a name": (Admin(1, AddMember(NodeId("../n"), "h:1")), "invalid_argument"),
}


async def test_a_request_that_makes_no_sense_is_refused_and_the_next_is_served(
    cluster: Start,
) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with attacker(nodes["n1"]) as client:
        await client.answer_to(open_session(7))
        for what, (request, expected) in WRONG.items():
            assert code_of(await client.answer_to(request)) == expected, what
        unicode = call(Acquire(("\u6c34\U0001f512\u202e",), 0), sequence=1)
        assert code_of(await client.answer_to(unicode)) == "ok"
        again = await client.answer_to(call(Acquire(("other",), 0), sequence=1))
        first = await client.answer_to(unicode)
        assert isinstance(again, Answer)
        assert isinstance(first, Answer)
        assert again.body == first.body, "a sequence is one command, whatever comes with it"
    await lock_round_trip(nodes)


async def test_a_command_for_a_group_that_cannot_decode_it_never_enters_the_log(
    cluster: Start,
) -> None:
    """It stopped every follower, at every start: the leader had decoded it with another type."""
    nodes = await asyncio.to_thread(cluster, 3)
    leader = await asyncio.to_thread(nodes.leader, "cluster")
    async with attacker(leader) as client:
        for command in (Acquire(("x",), 0), open_session().submission.command):
            refused = await client.answer_to(call(command, group="cluster"))
            assert code_of(refused) == "invalid_argument"
        await client.answer_to(Query(2, GroupId("cluster"), DescribeLock("x")))
    await lock_round_trip(nodes)


# --- floods -----------------------------------------------------------------------------------


async def test_millions_of_requests_on_one_connection_are_bounded(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    node = nodes["n1"]
    before = memory_bytes(node)
    async with attacker(node) as client:
        await client.answer_to(open_session(7))
        await client.answer_to(call(Acquire(("held",), 0)))
        # Beyond the longest queue, each is refused.
        waiting = call(Acquire(("held",), -1))
        numbers = range(2, 15_002)
        await client.say(
            *(open_session(n) for n in numbers),
            *(
                msgspec.structs.replace(call(waiting.submission.command, session=n), id=n)
                for n in numbers
            ),
        )
        answers = await client.hear(15_000 + 5_000, timeout_s=30)
        refused = {code_of(answer) for answer in answers} - {"ok"}
        assert refused == {"limit_exceeded"}
    await lock_round_trip(nodes)
    assert memory_bytes(node) - before < 200 * MIB


async def test_who_does_not_read_answers_is_not_read_either(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    node = nodes["n1"]
    async with attacker(node) as client:
        await client.answer_to(open_session(7))
        names = [f"{n:0500}" for n in range(500)]
        held = [call(Acquire((name,), 0), sequence=n) for n, name in enumerate(names, 1)]
        await client.say(*held)
        await client.hear(len(held))
        before = memory_bytes(node)
        frame = encode(*(Query(n, LOCKS, ListLocks(), True) for n in range(1, 200)))
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200:
                async with asyncio.timeout(0.5):
                    await _send_unread(client, frame)
                sent += 1
        assert memory_bytes(node) - before < 300 * MIB
        await lock_round_trip(nodes)
        assert await asyncio.to_thread(node.terminate) == 0, "it does not hold up the end either"


async def _send_unread(client: Attacker, frame: bytes) -> None:
    await client.socket.send_bytes(frame)
    await asyncio.sleep(0)


async def test_costly_requests_in_one_frame_leave_room_for_others(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with attacker(nodes["n1"]) as client:
        frame = [Admin(n, StatusRequest()) for n in range(20_000)]
        frame += [Cancel(n) for n in range(20_000)]  # type: ignore[misc]  # any message
        frame += [Query(n, LOCKS, ListLocks()) for n in range(20_000)]  # type: ignore[misc]
        await client.say(*frame)
        await lock_round_trip(nodes)
        answers = await client.hear(40_000, timeout_s=30)
        refused = [each for each in answers if isinstance(each, Failure)]
        assert {each.code for each in refused} == {"overloaded"}
        assert code_of(await client.answer_to(open_session())) == "ok"


async def test_invented_sessions_are_forgotten(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    node = nodes["n1"]
    async with attacker(node) as client:
        before = memory_bytes(node)
        for start in range(1, 400_000, 40_000):
            alive = [KeepAlive(n, LOCKS, SessionId(n)) for n in range(start, start + 40_000)]
            await client.say(*alive)
            await client.hear(40_000, timeout_s=20)
        assert memory_bytes(node) - before < 100 * MIB
    await lock_round_trip(nodes)


# --- connections ------------------------------------------------------------------------------


def dial(node: NodeProcess, first_bytes: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", node.port), timeout=5)
    connection.sendall(first_bytes)
    return connection


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1 << 16, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_half_open_requests_have_a_deadline_and_connections_a_limit(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1, connections_max=1_000)
    node = nodes["n1"]
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(dial(node, b"GET /v1/client HTTP/1.1\r\nHost:"))
            for _ in range(2_000)
        ]
        await poll(lambda: sum(map(is_closed, connections)) >= 900, "one too many is closed", 5)
        await poll(lambda: all(map(is_closed, connections)), "all are closed", 15)
    await lock_round_trip(nodes)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{node.url}/readyz") as answer,
    ):
        assert answer.status == 200


async def test_connections_cannot_take_the_files_that_the_disk_needs(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    node = nodes["n1"]
    limit_files(node, 256)
    await asyncio.to_thread(node.terminate)
    await asyncio.to_thread(nodes.restart, "n1")
    limit_files(node, 256)
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            with contextlib.suppress(OSError):
                stack.enter_context(dial(node, b"GET / HTTP/1.1\r\n"))
        await asyncio.sleep(0)
    await lock_round_trip(nodes)


def limit_files(node: NodeProcess, count: int) -> None:
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (count, count))


async def test_http_that_is_none_is_answered_in_bounded_time_and_log(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1, handshake_timeout_s=0.5)
    node = nodes["n1"]
    both = b"POST /v1/cluster/join HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n"
    both += b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    for _ in range(200):
        with dial(node, both) as connection:
            assert b" 400 " in await asyncio.to_thread(connection.recv, 4096)
    with dial(node, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64) as connection:
        assert b" 400 " in await asyncio.to_thread(connection.recv, 4096)
    slow = (
        b"POST /v1/cluster/join HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    )
    with dial(node, slow) as connection:
        assert b" 504 " in await asyncio.to_thread(connection.recv, 4096)
    assert node.log().count("Error handling request") < 50
    await lock_round_trip(nodes)


HTTP = {
    ("GET", "/../../etc/passwd"): 404,
    ("GET", "/v1/%2e%2e/%2e%2e/etc/passwd"): 404,
    ("GET", "/readyz/..%2f..%2fetc"): 404,
    ("DELETE", "/v1/cluster"): 405,
    ("GET", "/v1/cluster/join"): 405,
    ("GET", "/v1/client"): 400,
}
BODIES = {
    b"": 400,
    b"[]": 400,
    b'"text"': 400,
    b"[" * 60_000: 400,
    b"[" * 100_000: 413,
    b"\xff\xfe": 400,
    b'{"node_id": {}, "peer_address": 5}': 400,
    b'{"node_id": "a/b", "peer_address": "h:1"}': 400,
    b'{"node_id": "n9", "peer_address": "nowhere"}': 400,
}


async def test_http_requests_that_make_no_sense_are_refused(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    url = nodes["n1"].url
    async with aiohttp.ClientSession() as session:
        for (method, path), status in HTTP.items():
            async with session.request(method, url + path) as answer:
                assert answer.status == status, (method, path)
        override = {"X-HTTP-Method-Override": "POST"}
        async with session.get(f"{url}/v1/cluster/join", headers=override) as answer:
            assert answer.status == 405
        for body, status in BODIES.items():
            async with session.post(f"{url}/v1/cluster/join", data=body) as answer:
                assert answer.status == status, body[:40]
    await lock_round_trip(nodes)
    assert "Traceback" not in nodes["n1"].log()


async def test_without_a_valid_key_nobody_enters(cluster: Start) -> None:
    directory = (await asyncio.to_thread(cluster, 1)).directory
    keys = directory / "keys"
    keys.write_text(ApiKeys.line("ops", "syx_right") + "\n")
    nodes = await asyncio.to_thread(cluster, 1, api_keys_file=keys)
    node = nodes["n1"]
    for key in ("", "syx_wrong", "ops", "\u00e4"):
        async with attacker(node, hello=False) as client:
            await client.say(Hello(1, "x", key))
            assert await client.last_words() == (["authentication_required"], True)
    async with attacker(node, hello=False) as client:
        await client.say(Hello(1, "x", "syx_wrong"), open_session())
        assert await client.last_words() == (["authentication_required"], True)
    async with aiohttp.ClientSession() as session:
        for value in (
            "",
            "Bearer",
            "Bearer syx_wrong",
            "Basic syx_right",
            "B\u00e4rer x",
            "\u00e4",
        ):
            headers = {"Authorization": value}
            for path in ("/v1/cluster", "/metrics", "/raft/state"):
                async with session.get(node.url + path, headers=headers) as answer:
                    assert answer.status == 401, (path, value)
        async with session.get(
            f"{node.url}/v1/cluster", headers={"Authorization": "Bearer syx_right"}
        ) as answer:
            assert answer.status == 200
    assert msgspec.json.decode(node.log().splitlines()[0])["level"] == "info"
    assert "Traceback" not in node.log()
