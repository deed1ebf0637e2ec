"""Caches on real processes that are killed, frozen and cut off, and a real Redis behind them."""

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import synaxis
from support.cache_load import CacheLoad
from support.cluster_process import ClusterProcesses
from support.redis_server import NEEDS_REDIS, RedisServer
from support.tcp_proxy import TcpProxy

Start = Callable[..., ClusterProcesses]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LEASE_S = 3.0
PATIENCE_S = 3.3


async def in_thread(function: Callable[..., object], *args: object) -> None:
    await asyncio.to_thread(function, *args)


@contextlib.asynccontextmanager
async def load_on(
    nodes: ClusterProcesses, directory: Path, *, readers: int = 2, keys: int = 6
) -> AsyncIterator[CacheLoad]:
    async with synaxis.connect(nodes.urls, timeout=15) as client:
        load = CacheLoad(client, nodes.urls, keys, directory)
        try:
            await load.begin(readers)
            yield load
            await load.check()
        finally:
            load.kill()


async def test_no_reader_ever_sees_the_past(cluster: Start, tmp_path: Path) -> None:
    async with load_on(cluster(3), tmp_path) as load:
        await load.write_for(4)
    assert load.written > 100
    assert load.errors == {}


async def test_no_reader_sees_the_past_while_homes_are_killed(
    cluster: Start, tmp_path: Path
) -> None:
    nodes = cluster(3)
    async with load_on(nodes, tmp_path) as load:
        for number in range(3):
            writing = asyncio.ensure_future(load.write_for(4))
            await asyncio.sleep(1)
            leader = await asyncio.to_thread(nodes.leader, f"caches/{number}")
            await in_thread(leader.kill)
            await in_thread(nodes.restart, leader.node_id)
            await writing
    assert load.written > 50, load.errors


async def test_a_client_stopped_beyond_its_lease_serves_nothing_old_afterwards(
    cluster: Start, tmp_path: Path
) -> None:
    async with load_on(cluster(3), tmp_path) as load:
        await load.write_for(0.5)
        load.readers[0].stop()
        began = time.monotonic()
        await load.write_for(1)
        held_up = time.monotonic() - began
        load.readers[0].cont()
        await load.write_for(1)
    assert held_up < len(load.acknowledged) * PATIENCE_S
    assert LEASE_S / 2 < load.slowest < PATIENCE_S + 3


async def test_writes_of_a_stopped_owner_do_not_come_back(cluster: Start) -> None:
    """Policy back: who owns a line and is frozen beyond its lease must not serve it afterwards."""
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls, timeout=15) as client:
        counts = client.cache("counts", write="back")
        await counts.set("n", 1)
        holder = (await client.caches.line("counts", "n")).owner or ""
        owner = next(node for node in nodes.nodes.values() if node.node_id in holder)
        await asyncio.sleep(2)  # longer than the flush interval: the home has it
        owner.stop()
        try:
            async with asyncio.timeout(30):
                while True:  # what was sent to the stopped node has an unknown outcome
                    with contextlib.suppress(synaxis.OutcomeUnknown):
                        await counts.set("n", 11)
                        break
        finally:
            owner.cont()
        await asyncio.sleep(1)
        values = {await counts.get("n") for _ in range(20)}
        assert values == {11}


async def test_a_majority_that_forgets_serves_nothing_old(cluster: Start) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls, timeout=30) as client:
        cache = client.cache("c")
        await cache.set("k", "before")
        before = await cache.entry("k")
        for node in nodes.nodes.values():
            await in_thread(node.kill)
        await in_thread(nodes.start)
        assert await cache.get("k") is None
        await cache.set("k", "after")
        after = await cache.entry("k")
        assert before is not None
        assert after is not None
        assert after.version > before.version


async def test_a_client_that_is_cut_off_serves_nothing_after_its_lease(cluster: Start) -> None:
    async with TcpProxy() as proxy:
        nodes = cluster(1, advertise=f"http://127.0.0.1:{proxy.port}")
        node = nodes["n1"]
        proxy.target = int(node.url.rpartition(":")[2])
        async with synaxis.connect(f"http://127.0.0.1:{proxy.port}", timeout=1) as far:
            near = far.cache("c", near=True)
            await near.set("k", "old")
            assert await near.get("k") == "old"
            assert near.peek("k") == "old"
            proxy.cut()
            cut_at = time.monotonic()
            assert near.peek("k") == "old", "nobody can have written it yet"
            status, _ = await asyncio.to_thread(write_over_http, node.url, "c", "k", b"new")
            written_at = time.monotonic()
            assert status in (200, 201, 204)
            assert near.peek("k") is synaxis.MISS
            assert LEASE_S / 3 < written_at - cut_at < PATIENCE_S + 2
            with pytest.raises(synaxis.ClusterError):
                await near.get("k")
            assert await near.get("k", consistency="stale_ok") == "old", "as was asked for"
            proxy.mend()
            async with asyncio.timeout(20):
                while await near.get("k", consistency="stale_ok") == "old":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)


def write_over_http(url: str, cache: str, key: str, value: bytes) -> tuple[int, bytes]:
    """Write at the node itself, past the proxy."""
    address = f"{url}/v1/caches/{cache}/{key}"
    request = urllib.request.Request(address, value, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310
        return answer.status, answer.read()


class TestWithRedis:
    """The store behind the cache goes away and comes back."""

    pytestmark = NEEDS_REDIS

    async def test_through_is_refused_and_behind_waits_while_the_store_is_away(
        self, cluster: Start, tmp_path: Path
    ) -> None:
        redis = RedisServer(tmp_path)
        redis.start()
        try:
            nodes = cluster(3, cache_store_url=redis.url)
            async with synaxis.connect(nodes.urls, timeout=10) as client:
                through = client.cache("users", store=True)
                behind = client.cache("events", store=True, write="behind")
                await through.set("a", "1")
                await behind.set("a", "1")
                redis.stop()
                with pytest.raises(synaxis.ClusterError):
                    await through.set("b", "2")
                await behind.set("b", "2")
                assert await behind.get("b") == "2"
                redis.start()
                async with asyncio.timeout(20):
                    while True:
                        with contextlib.suppress(synaxis.ClusterError):
                            await through.set("c", "3")
                            break
                        await asyncio.sleep(0.1)
            for node in nodes.nodes.values():
                await in_thread(node.kill)
            await in_thread(nodes.start)
            async with synaxis.connect(nodes.urls, timeout=10) as client:
                users = client.cache("users", store=True)
                events = client.cache("events", store=True)
                assert await users.get("a") == "1"
                assert await users.get("c") == "3"
                assert await events.get("b") == "2"
        finally:
            redis.stop()
