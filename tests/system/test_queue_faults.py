"""Queues on real processes that are killed, frozen, cut off and restarted under load."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import synaxis
from support.cluster_process import ClusterProcesses
from support.queue_load import QueueLoad

Start = Callable[..., ClusterProcesses]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KILLING_S = 60


async def in_thread(function: Callable[..., object], *args: object) -> None:
    await asyncio.to_thread(function, *args)


@contextlib.asynccontextmanager
async def load_on(cluster: ClusterProcesses, **options: object) -> AsyncIterator[QueueLoad]:
    """Keep queue traffic on ``cluster`` while the body runs; drain it and check its record."""
    async with synaxis.connect(cluster.urls, timeout=20, session_ttl=10) as client:
        await client.topics.create("load", partitions=8, backoff=synaxis.Backoff(0.1, 1))
        load = QueueLoad(client, "load", **options)  # type: ignore[arg-type]  # the test's words
        running = asyncio.get_running_loop().create_task(load.run())
        try:
            yield load
            await load.drained()
        finally:
            load.stop.set()
            load.end.set()
            await running
        load.check()


async def test_nothing_acknowledged_is_lost_while_a_random_node_dies_every_second(
    cluster: Start,
) -> None:
    nodes = cluster(3)
    draw = random.Random(11)
    async with load_on(nodes) as load:
        await asyncio.sleep(1)
        for _ in range(KILLING_S):
            victim = draw.choice(list(nodes.nodes.values()))
            await in_thread(victim.kill)
            victim.start()
            await asyncio.sleep(1)
        await in_thread(nodes.wait_ready)
    assert load.finished > 500, load.errors


async def test_the_order_of_a_key_survives_the_death_of_leaders(cluster: Start) -> None:
    nodes = cluster(3)
    async with load_on(nodes, mode="keyed") as load:
        for number in range(6):
            await asyncio.sleep(2)
            leader = await asyncio.to_thread(nodes.leader, f"queues/{number % 4}")
            await in_thread(leader.kill)
            await in_thread(nodes.restart, leader.node_id)
    load.check_order()
    assert load.finished > 300, load.errors


async def test_queues_survive_the_death_of_every_node_at_once_and_torn_files(
    cluster: Start,
) -> None:
    nodes = cluster(3)
    async with load_on(nodes) as load:
        for _ in range(2):
            await asyncio.sleep(2)
            for node in nodes.nodes.values():
                os.kill(node.pid, signal.SIGKILL)
            for node in nodes.nodes.values():
                await in_thread(node.kill)
                _tear(node.data_dir)
            await in_thread(nodes.start)
    assert load.finished > 200, load.errors


def _tear(data: Path) -> None:
    """Leave what a power cut leaves behind: half a record at the end of every newest file."""
    for pattern in ("wal/*.wal", "messages/*.messages"):
        newest = max(data.glob(pattern), default=None)
        if newest is not None:
            with newest.open("ab") as file:
                file.write(b"\x07half a record")


async def test_nodes_come_and_go_while_producers_and_consumers_go_on(cluster: Start) -> None:
    nodes = cluster(3)
    async with load_on(nodes) as load, synaxis.connect(nodes.urls) as operator:
        await asyncio.sleep(1)
        fresh = nodes.add("n4", ["--join", nodes["n1"].url])
        fresh.start()
        await in_thread(nodes.wait_ready, "n4")
        leaver = await asyncio.to_thread(nodes.leader, "queues/0")
        await operator.remove_member(leaver.node_id)
        await _shards_are_on(operator, set(nodes.nodes) - {leaver.node_id})
        before = load.finished
        await in_thread(leaver.kill)
        await asyncio.sleep(2)
        assert load.finished > before
    assert load.finished > 200, load.errors


async def _shards_are_on(client: synaxis.AsyncSynaxis, voters: set[str]) -> None:
    """Return once every queue shard has exactly these voters."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(synaxis.ClusterError):
                groups = (await client.status()).groups
                shards = [each for each in groups if each.group.startswith("queues/")]
                if all(set(each.voters) == voters and not each.outgoing for each in shards):
                    return
            await asyncio.sleep(0.1)


# --- consumers --------------------------------------------------------------------------------


class ConsumerProcess:
    """``support/queue_consumer.py`` as a process of its own."""

    def __init__(self, url: str, topic: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.queue_consumer", url, topic, *arguments],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._lines = self._process.stdout

    def line(self) -> str:
        """Return the next line that it prints; empty when it has ended."""
        return self._lines.readline().strip()

    def end(self) -> list[str]:
        """Kill it; returns the lines that nobody has read."""
        self._process.kill()
        self._process.wait(10)
        with self._lines:
            return [line.strip() for line in self._lines]


async def test_a_consumer_that_is_stopped_beyond_its_lease_loses_its_messages(
    cluster: Start,
) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls) as client:
        quick = synaxis.Backoff(0, 0)
        await client.topics.create("jobs", partitions=2, visibility=2, backoff=quick)
        jobs = client.topic("jobs")
        await jobs.publish_many([b"one", b"two", b"three"])
        frozen = ConsumerProcess(nodes.urls, "jobs", "hold")
        try:
            held = {await asyncio.to_thread(frozen.line) for _ in range(3)}
            assert held == {"got one", "got two", "got three"}
            os.kill(frozen.pid, signal.SIGSTOP)
            batch: list[synaxis.Message] = []
            async with asyncio.timeout(15):
                while len(batch) < 3:
                    batch += await jobs.fetch(group="workers", max_messages=3, wait=1)
            assert [each.deliveries for each in batch] == [2, 2, 2], "each counted one failure"
            for message in batch:
                await message.ack()
            os.kill(frozen.pid, signal.SIGCONT)
        finally:
            frozen.end()
        info = await jobs.info()
        assert [group.lag for group in info.groups] == [0]


async def test_a_handler_that_blocks_the_event_loop_keeps_its_lease(cluster: Start) -> None:
    nodes = cluster(3)
    async with (
        synaxis.connect(nodes.urls, watchdog=False) as blocked,
        synaxis.connect(nodes.urls) as client,
    ):
        await client.topics.create("slow", partitions=1, visibility=2)
        await client.topic("slow").publish(b"a long piece of work")
        async with blocked.topic("slow").consume("workers") as consumer:
            message = await anext(consumer)
            rival = ConsumerProcess(nodes.urls, "slow", "hold")
            try:
                time.sleep(6)  # noqa: ASYNC251  # three times the visibility, without the loop
                await message.ack()
            finally:
                lines = rival.end()
            assert "got a long piece of work" not in lines, "nobody else was given it meanwhile"
        info = await client.topic("slow").info()
        assert [group.redelivered for group in info.groups] == [0]


async def test_a_poison_message_that_kills_its_consumers_ends_in_the_dead_letters(
    cluster: Start,
) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls) as client:
        quick = synaxis.Backoff(0, 0)
        topic = client.topic("work")
        await client.topics.create(
            "work", partitions=4, visibility=1, max_deliveries=3, backoff=quick
        )
        await topic.publish_many([b"poison", *(f"good {n}".encode() for n in range(20))])
        deaths = 0
        async with asyncio.timeout(60):
            while not deaths or await _unfinished(topic):
                worker = ConsumerProcess(nodes.urls, "work", "die of poison")
                while (await asyncio.to_thread(worker.line)) not in ("", "idle"):
                    pass
                worker.end()
                deaths += 1
        dead = [letter async for letter in topic.dead_letters("workers").browse()]
        assert [(letter.value, letter.reason) for letter in dead] == [(b"poison", "max_deliveries")]
        assert dead[0].failures == 3
        assert deaths >= 3


async def _unfinished(topic: synaxis.Topic) -> bool:
    return any(group.lag for group in (await topic.info()).groups)


async def test_a_slow_consumer_and_a_dead_one_do_not_hold_up_the_others(cluster: Start) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls) as client:
        await client.topics.create("mixed", partitions=4, visibility=30)
        topic = client.topic("mixed")
        slow = ConsumerProcess(nodes.urls, "mixed", "hold")
        dead = ConsumerProcess(nodes.urls, "mixed", "hold")
        try:
            await topic.publish_many(str(n).encode() for n in range(8))
            for each in (slow, dead):
                assert (await asyncio.to_thread(each.line)).startswith("got")
            os.kill(dead.pid, signal.SIGSTOP)
            await topic.publish_many(str(n).encode() for n in range(5_000))
            done = 0
            async with asyncio.timeout(20), topic.consume("workers", concurrency=100) as consumer:
                async for message in consumer:
                    async with message:
                        done += 1
                    if done == 4_000:
                        break
        finally:
            slow.end()
            os.kill(dead.pid, signal.SIGCONT)
            dead.end()
