"""Caches that a Redis stands behind, through the SDK against a real node."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import synaxis
from support.cluster_process import ClusterProcesses
from support.redis_server import NEEDS_REDIS, RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60), *NEEDS_REDIS]

Start = Callable[..., ClusterProcesses]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    server.start()
    yield server
    server.stop()


async def until_refused(cache: synaxis.Cache) -> None:
    """Write until the store is known not to answer."""
    async with asyncio.timeout(20):
        while True:
            await cache.set("probe", 1)


async def until_stored(client: synaxis.AsyncSynaxis) -> None:
    async with asyncio.timeout(10):
        while any(shard.pending for shard in await client.caches.shards()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("near", [True, False])
async def test_the_store_has_what_the_cluster_forgot(
    cluster: Start, redis: RedisServer, near: bool
) -> None:
    nodes = cluster(1, cache_store_url=redis.url)
    async with synaxis.connect(nodes.urls) as client:
        cache = client.cache("c", near=near, store="redis")
        behind = client.cache("b", near=near, store="redis", write="behind")
        await cache.set("k", {"n": 1})
        await behind.set_many({"a": 1, "b": 2})
        assert await cache.incr("n") == 1
        await cache.clear()
        assert await cache.get("k") == {"n": 1}
        assert await cache.incr("n") == 2
        assert await cache.add("k", 2) is False
        await cache.clear()
        assert await cache.add("k", 2) is False
        assert await cache.get("absent") is None
        assert await cache.delete("k")
        assert await cache.get("k") is None
        await until_stored(client)
        await behind.clear()
        assert await behind.get_many(["a", "b", "x"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize("near", [True, False])
async def test_without_the_store_the_cluster_says_what_it_knows(
    cluster: Start, redis: RedisServer, near: bool
) -> None:
    nodes = cluster(1, cache_store_url=redis.url, cache_store_timeout_s=0.5)
    async with synaxis.connect(nodes.urls) as client:
        cache = client.cache("c", near=near, store=True)
        await cache.set("kept", 1)
        redis.stop()
        with pytest.raises((synaxis.BackingUnavailable, synaxis.OutcomeUnknown)):
            await until_refused(cache)
        with pytest.raises(synaxis.BackingUnavailable):
            await cache.get("unknown")
        assert await cache.get("kept") == 1
        assert await client.cache("other").get("unknown") is None
        redis.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    await cache.set("k", 2)
                except synaxis.ClusterError:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert await cache.get("k") == 2


async def test_what_is_written_back_reaches_the_store(cluster: Start, redis: RedisServer) -> None:
    nodes = cluster(1, cache_store_url=redis.url)
    async with synaxis.connect(nodes.urls) as client:
        cache = client.cache("c", write="back", store="redis")
        assert [await cache.incr("n") for _ in range(5)] == [1, 2, 3, 4, 5]
        await asyncio.sleep(1.5)  # a node keeps it for a second at most
        await until_stored(client)
        await cache.clear()
        assert await cache.incr("n") == 6
