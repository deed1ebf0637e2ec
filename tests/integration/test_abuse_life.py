"""How a node begins and ends when its surroundings are hostile."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.abuse import LOCKS, Attacker, attacker, lock_round_trip, open_session, poll
from support.cluster_process import ClusterProcesses, NodeProcess
from synaxis.ids import Sequence, SessionId
from synaxis.locks.commands import Acquire
from synaxis.wire.client import Call, Submission

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Start = Callable[..., ClusterProcesses]
EXIT_IO, EXIT_CONFIG = 74, 78


async def ended(node: NodeProcess, timeout_s: float = 15) -> int:
    assert node.process is not None
    return await asyncio.to_thread(node.process.wait, timeout_s)


async def test_a_hangup_ends_the_node_as_politely_as_a_sigterm(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    os.kill(nodes["n1"].pid, signal.SIGHUP)
    assert await ended(nodes["n1"]) == 0
    assert '"stopped"' in nodes["n1"].log()


async def test_a_second_signal_ends_a_node_that_takes_its_time(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3, shutdown_timeout_s=60)
    leader = await asyncio.to_thread(nodes.leader)
    for node in nodes.nodes.values():
        if node is not leader:
            node.stop()  # nobody is left to hand over to: it would wait for 30 s
    os.kill(leader.pid, signal.SIGTERM)
    await asyncio.sleep(0.5)
    os.kill(leader.pid, signal.SIGTERM)
    assert await ended(leader, 5) == 130
    assert "Traceback" not in leader.log()


async def test_clients_that_stay_silent_do_not_hold_up_the_end(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with attacker(nodes["n1"]), attacker(nodes["n1"]), attacker(nodes["n1"], hello=False):
        os.kill(nodes["n1"].pid, signal.SIGTERM)
        assert await ended(nodes["n1"], 8) == 0


async def test_a_data_directory_that_is_a_file_is_an_io_error(tmp_path: Path) -> None:
    nodes = ClusterProcesses(tmp_path / "nodes", 1)
    node = nodes["n1"]
    node.directory.mkdir(parents=True)
    node.data_dir.write_text("not a directory")
    try:
        node.start()
        assert await ended(node) == EXIT_IO
        assert "Traceback" not in node.log()
    finally:
        nodes.close()


async def test_a_damaged_identity_is_told_in_one_sentence(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    node = nodes["n1"]
    await asyncio.to_thread(node.terminate)
    (node.data_dir / "identity.json").write_text('{"node_id": 5')
    node.start()
    assert await ended(node) == EXIT_IO
    assert "identity.json is damaged" in node.log()
    assert "Traceback" not in node.log()


async def test_the_disk_of_another_cluster_is_refused_by_its_peers(
    cluster: Start, tmp_path: Path
) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    victim = nodes["n3"]
    await asyncio.to_thread(victim.kill)
    victim.data_dir.rename(tmp_path / "old disk")
    victim.start()
    assert await ended(victim) == EXIT_CONFIG, "a wiped disk under a known id"
    await lock_round_trip_without(nodes, "n3")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


async def test_a_full_disk_stops_the_node_and_the_cluster_goes_on(
    tmp_path: Path, small_disk: Path
) -> None:
    nodes = ClusterProcesses(tmp_path / "nodes", 3)
    victim = nodes["n3"]
    victim.directory.mkdir(parents=True)
    victim.data_dir.symlink_to(small_disk / "data")
    (small_disk / "data").mkdir(mode=0o700)
    with nodes:
        free = os.statvfs(small_disk)
        with (small_disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize)
        await _write_until_full(nodes, victim)
        assert await ended(victim) == EXIT_IO
        await lock_round_trip_without(nodes, "n3")


async def _write_until_full(nodes: ClusterProcesses, victim: NodeProcess) -> None:
    """Write more than the log segment that was made when there was room can hold."""
    leader = await asyncio.to_thread(nodes.leader)
    gone = contextlib.suppress(ConnectionError)  # the victim may be the leader itself
    async with attacker(leader) as client, asyncio.timeout(40):
        with gone:
            await _write_while_running(client, victim)


async def _write_while_running(client: Attacker, victim: NodeProcess) -> None:
    await client.answer_to(open_session(7))
    sequence = 0
    while victim.running:
        sequences = range(sequence + 1, sequence + 201)
        sequence += 200
        await client.say(*(_bulky(each) for each in sequences))
        await client.hear(200)


def _bulky(sequence: int) -> Call:
    command = Acquire(("bulk",), 0, value=b"v" * 4096)
    number = Sequence(sequence)
    return Call(sequence, LOCKS, Submission(SessionId(7), number, Sequence(sequence - 1), command))


async def lock_round_trip_without(nodes: ClusterProcesses, gone: str) -> None:
    del nodes.nodes[gone]
    await poll(lambda: all(each.is_ready() for each in nodes.nodes.values()), "ready", 10)
    await lock_round_trip(nodes)
