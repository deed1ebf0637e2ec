"""Queues through the SDK against real nodes: what a fake cluster cannot show."""

import asyncio
import time
from collections.abc import Callable

import pytest

import synaxis
from support.cluster_process import ClusterProcesses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Start = Callable[..., ClusterProcesses]


async def test_everything_published_is_consumed_once(cluster: Start) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls) as client:
        await client.topics.create("t", 8)
        topic = client.topic("t")
        await topic.publish_many(range(2_000))
        await asyncio.gather(*(topic.publish(n, key=f"k{n % 50}") for n in range(2_000, 3_000)))
        seen: list[int] = []
        async with topic.consume("g", concurrency=100) as consumer:
            async for message in consumer:
                async with message:
                    seen.append(message.value)
                if len(seen) == 3_000:
                    break
        assert sorted(seen) == list(range(3_000))
        info = await topic.groups.info("g")
        assert (info.lag, info.in_flight, info.redelivered, info.members) == (0, 0, 0, ())


async def test_a_blocked_event_loop_keeps_its_messages(cluster: Start) -> None:
    nodes = cluster(1, session_ttl_ms_min=1_000)
    async with synaxis.connect(nodes.urls, session_ttl=1) as client:
        await client.topics.create("t", 1)
        topic = client.topic("t")
        await topic.publish(b"x")
        async with topic.consume("g", visibility=1) as consumer:
            message = await anext(consumer)
            time.sleep(3)  # noqa: ASYNC251  # what a careless handler does
            await message.ack()
        info = await topic.groups.info("g")
        assert (info.lag, info.redelivered) == (0, 0)


async def test_a_delay_and_a_life_are_kept(cluster: Start) -> None:
    nodes = cluster(1)
    async with synaxis.connect(nodes.urls) as client:
        await client.topics.create("t", 2, expired="dead_letter")
        topic = client.topic("t")
        async with topic.consume("g") as consumer:
            begun = time.monotonic()
            await topic.publish("late", delay=0.5)
            await topic.publish("short", delay=30, ttl=0.2)
            message = await anext(consumer)
            assert message.value == "late"
            assert 0.5 <= time.monotonic() - begun < 2
            await message.ack()
            letters = topic.dead_letters("g")
            async with asyncio.timeout(10):
                while not await letters.count():  # noqa: ASYNC110  # the cluster is asked
                    await asyncio.sleep(0.05)
            (dead,) = [each async for each in letters.browse()]
            assert (dead.reason, dead.value) == ("expired", "short")


async def test_priorities_go_first(cluster: Start) -> None:
    nodes = cluster(1)
    async with synaxis.connect(nodes.urls) as client:
        await client.topics.create("t", 1)
        topic = client.topic("t")
        await topic.publish_many([synaxis.Publication(n, priority=n) for n in range(10)])
        seen = []
        async with topic.consume("g", concurrency=1, prefetch=1) as consumer:
            for _ in range(10):
                message = await anext(consumer)
                seen.append(message.value)
                await message.ack()
        assert seen == list(range(9, -1, -1))


async def test_a_leader_that_dies_is_no_loss_and_no_blame(cluster: Start) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls, timeout=20) as client:
        await client.topics.create("t", 4, max_deliveries=1)
        topic = client.topic("t")
        seen: set[int] = set()

        async def handler(message: synaxis.Message) -> None:
            await asyncio.sleep(0.001)
            seen.add(message.value)

        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(topic.process(handler, group="g", concurrency=20))
            for start in range(0, 3_000, 500):
                await topic.publish_many(range(start, start + 500))
                if start == 1_000:
                    leader = await asyncio.to_thread(nodes.leader, "queues/0")
                    await asyncio.to_thread(leader.kill)
            async with asyncio.timeout(30):
                while (await topic.groups.info("g")).lag:  # noqa: ASYNC110  # the cluster is asked
                    await asyncio.sleep(0.1)
            work.cancel()
        assert seen == set(range(3_000))
        assert await topic.dead_letters("g").count() == 0
