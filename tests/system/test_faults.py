"""Real processes, killed and frozen under load."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import synaxis
from support.cluster_process import ClusterProcesses
from support.lock_load import LockLoad

Start = Callable[..., ClusterProcesses]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def in_thread(function: Callable[..., object], *args: object) -> None:
    await asyncio.to_thread(function, *args)


@contextlib.asynccontextmanager
async def load_on(
    cluster: ClusterProcesses, tasks: int = 12, names: int = 4, hold_s: float = 0.002
) -> AsyncIterator[LockLoad]:
    """Keep lock traffic on ``cluster`` while the body runs; check its record at the end."""
    async with synaxis.connect(cluster.urls) as client:
        load = LockLoad(client, tasks, names, hold_s)
        running = asyncio.get_running_loop().create_task(load.run())
        try:
            yield load
        finally:
            load.stop.set()
            await running
        load.check()


async def test_no_lock_is_held_twice_while_the_leader_dies_every_second(cluster: Start) -> None:
    nodes = cluster(3)
    async with load_on(nodes) as load:
        for _ in range(5):
            await asyncio.sleep(1)
            leader = await asyncio.to_thread(nodes.leader)
            before = len(load.holds)
            await in_thread(leader.kill)
            await in_thread(nodes.restart, leader.node_id)
            assert len(load.holds) > before, "work went on without the dead leader"
    assert len(load.holds) > 500
    assert load.longest_gap() < 5


async def test_any_node_may_freeze_and_wake(cluster: Start) -> None:
    """A woken leader must not grant, expire or answer anything it no longer may."""
    nodes = cluster(3)
    draw = random.Random(7)
    async with load_on(nodes) as load:
        for _ in range(5):
            leader = await asyncio.to_thread(nodes.leader)
            others = [node for node in nodes.nodes.values() if node is not leader]
            victim = leader if draw.random() < 0.6 else draw.choice(others)
            victim.stop()
            await asyncio.sleep(2.5)
            victim.cont()
            await asyncio.sleep(0.5)
    assert len(load.holds) > 500


async def test_locks_and_tokens_survive_the_death_of_every_node_at_once(cluster: Start) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls, session_ttl=30) as client:
        grant = await client.try_lock("survivor")
        assert grant is not None
        for node in nodes.nodes.values():
            os.kill(node.pid, signal.SIGKILL)
        for node in nodes.nodes.values():
            await in_thread(node.kill)
        await in_thread(nodes.start)
        async with synaxis.connect(nodes.urls) as other:
            assert await other.try_lock("survivor") is None, "the session is still alive"
            info = await other.locks.get("survivor")
            assert info.holders[0].token == grant.token
            await grant.release()
            async with other.lock("survivor", wait=5) as held:
                assert held.token > grant.token


async def test_a_torn_tail_of_the_log_is_cut_and_nothing_acknowledged_is_lost(
    cluster: Start,
) -> None:
    nodes = cluster(1)
    node = nodes["n1"]
    async with synaxis.connect(nodes.urls, session_ttl=30) as client:
        grants = [await client.try_lock(f"torn/{number}") for number in range(50)]
        await in_thread(node.kill)
        segment = max((node.data_dir / "wal").glob("*.wal"), default=None) or max(
            path for path in (node.data_dir / "wal").iterdir() if path.stat().st_size > 4096
        )
        with segment.open("ab") as file:
            file.write(b"\x07half")
        await in_thread(nodes.restart, "n1")
        held = {info.name: info.holders[0].token for info in await client.locks.list("torn/")}
        assert held == {f"torn/{n}": grant.token for n, grant in enumerate(grants) if grant}
        assert len(held) == 50


async def test_a_damaged_log_is_repaired_from_the_peers_and_nothing_is_lost(
    cluster: Start,
) -> None:
    """NATS lost half of everything to one flipped bit on one of five nodes."""
    nodes = cluster(3)
    victim = next(node for node in nodes.nodes.values() if node is not nodes.leader())
    async with synaxis.connect(nodes.urls, session_ttl=60) as client:
        grants = {f"flip/{n}": await client.try_lock(f"flip/{n}") for n in range(100)}
        await in_thread(victim.kill)
        log = max((victim.data_dir / "wal").iterdir(), key=lambda path: path.stat().st_size)
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 0x10
        log.write_bytes(content)
        await in_thread(nodes.restart, victim.node_id)
        assert "disk log damaged" in victim.log()
        extra = await client.acquire("flip/after", wait=10)
        held = {info.name: info.holders[0].token for info in await client.locks.list("flip/")}
        assert held == {name: g.token for name, g in grants.items() if g} | {
            "flip/after": extra.token
        }
        # Repaired, it may vote again: with it the cluster survives the loss of another node.
        other = next(n for n in nodes.nodes.values() if n not in (victim, nodes.leader()))
        await in_thread(other.kill)
        await client.acquire("flip/again", wait=20)


async def test_a_wiped_node_is_refused_and_replaced_under_a_new_id(cluster: Start) -> None:
    nodes = cluster(3)
    victim = next(node for node in nodes.nodes.values() if node is not nodes.leader())
    async with load_on(nodes, tasks=4) as load:
        await in_thread(victim.kill)
        await in_thread(shutil.rmtree, victim.data_dir)
        victim.start()
        assert victim.process is not None
        code = await asyncio.to_thread(victim.process.wait, 15)
        assert code == 78, victim.log()
        assert "was wiped" in victim.log()
        urls = ",".join(n.url for n in nodes.nodes.values() if n is not victim)
        async with synaxis.connect(urls) as admin:
            await admin.remove_member(victim.node_id)
            spare = nodes.add("n4", ["--join", urls.split(",")[0]])
            spare.start()
            await in_thread(lambda: nodes.wait_ready("n4"))

            async def voters() -> set[str]:
                status = await admin.status()
                return {node for group in status.groups for node in group.voters}

            give_up = time.monotonic() + 15
            while "n4" not in await voters() or victim.node_id in await voters():
                assert time.monotonic() < give_up, await admin.status()
                await asyncio.sleep(0.1)
    assert len(load.holds) > 100


async def test_a_node_far_behind_catches_up_by_snapshot_while_the_cluster_serves(
    cluster: Start,
) -> None:
    nodes = cluster(3, snapshot_bytes_min=200_000)
    late = next(node for node in nodes.nodes.values() if node is not nodes.leader())
    await in_thread(late.kill)
    async with load_on(nodes, tasks=200, names=400, hold_s=0) as load:
        await load.reached(20_000)
        await in_thread(nodes.restart, late.node_id)

        async def applied(url: str) -> tuple[int, int]:
            async with synaxis.connect(url) as client:
                status = await client.status()
            (group,) = [each for each in status.groups if each.group == "locks/0"]
            return group.applied_index, group.snapshot_index

        goal, snapshot = await applied(nodes.leader().url)
        assert snapshot > 0, "the log was compacted meanwhile"
        give_up = time.monotonic() + 30
        while True:
            status, _ = nodes[late.node_id].get("/raft/state")
            body = nodes[late.node_id].get("/raft/state")[1]
            if status == 200 and int(body.split('"last_applied":')[1].split(",")[0]) >= goal:
                break
            assert time.monotonic() < give_up, body
            await asyncio.sleep(0.1)


HOLDER = """
import asyncio, sys, synaxis
async def main():
    async with synaxis.connect(sys.argv[1], session_ttl=1.5) as cluster:
        try:
            async with cluster.lock("guarded", wait=5, on_loss="event") as held:
                print(held.token, flush=True)
                await asyncio.sleep(3600)
        except synaxis.LockLost:
            print("lost", flush=True)
asyncio.run(main())
"""


async def test_a_frozen_holder_wakes_with_a_token_that_the_resource_refuses(
    cluster: Start, tmp_path: Path
) -> None:
    """Kleppmann's pause: the lock is gone, and only the fence can stop the late write."""
    nodes = cluster(3)
    database = sqlite3.connect(tmp_path / "guarded.sqlite")
    database.execute("create table fence (token integer not null)")
    database.execute("insert into fence values (0)")

    def write(token: int) -> bool:
        changed = database.execute("update fence set token = ? where token <= ?", (token, token))
        return changed.rowcount == 1

    holder = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", HOLDER, nodes.urls],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        stale = int(await asyncio.to_thread(holder.stdout.readline))
        assert write(stale)
        holder.send_signal(signal.SIGSTOP)
        async with (
            synaxis.connect(nodes.urls) as client,
            client.lock("guarded", wait=20) as held,
        ):
            assert held.token > stale
            assert write(held.token)
            holder.send_signal(signal.SIGCONT)
            assert not write(stale), "the resource accepted a stale token"
    finally:
        holder.kill()
        await asyncio.to_thread(holder.wait)
        holder.stdout.close()
        database.close()


async def test_a_stopped_leader_never_answers_a_read_from_the_past(cluster: Start) -> None:
    """Etcd 20418: a paused leader woke up and served what it remembered."""
    nodes = cluster(3)
    leader = nodes.leader()
    async with synaxis.connect(leader.url, timeout=15) as old, synaxis.connect(nodes.urls) as new:
        first = await new.try_lock("read")
        assert first is not None
        await old.locks.get("read")
        leader.stop()
        await first.release()
        second = await new.acquire("read", wait=10)
        question = asyncio.get_running_loop().create_task(old.locks.get("read"))
        leader.cont()
        answer = await question
        assert {holder.token for holder in answer.holders} == {second.token}


async def test_sigterm_hands_leadership_over_and_exits_cleanly(cluster: Start) -> None:
    nodes = cluster(3)
    async with load_on(nodes) as load:
        for _ in range(3):
            await asyncio.sleep(0.5)
            leader = await asyncio.to_thread(nodes.leader)
            code = await asyncio.to_thread(leader.terminate)
            assert code == 0, leader.log()
            await in_thread(nodes.restart, leader.node_id)
    assert load.longest_gap() < 2
    assert load.errors == []
