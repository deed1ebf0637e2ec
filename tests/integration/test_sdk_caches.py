"""Caches through the SDK against real nodes: what a fake home cannot show."""

import asyncio
import time
from collections.abc import Callable

import pytest

import synaxis
from support.cluster_process import ClusterProcesses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Start = Callable[..., ClusterProcesses]


async def test_everything_on_one_node(cluster: Start) -> None:
    async with synaxis.connect(cluster(1).urls) as client:
        cache = client.cache("c", ttl="10m", near=True)
        assert await cache.get("k", "nothing") == "nothing"
        version = await cache.set("k", {"n": 1}, tags=["t"])
        entry = await cache.entry("k")
        assert entry is not None
        assert (entry.value, entry.version, entry.tags) == ({"n": 1}, version, ("t",))
        assert cache.peek("k") == {"n": 1}
        with pytest.raises(synaxis.VersionConflict) as conflict:
            await cache.set("k", 2, if_version=version + 1)
        assert conflict.value.version == version
        assert not await cache.add("k", 2)
        assert await cache.add("new", 2)
        values = {f"k{n}": f"v{n}" for n in range(2_000)}
        await cache.set_many(values, tags=["many"])
        assert await cache.get_many([*values, "absent"]) == values
        assert await client.cache("c").get_many(values) == values
        assert await cache.invalidate_tag("many") >= 2_000
        assert await cache.get_many(values) == {}
        assert await cache.get("k") == {"n": 1}
        assert [await cache.incr("n", 5), await cache.decr("n"), await cache.get("n")] == [5, 4, 4]
        with pytest.raises(synaxis.InvalidArgument):
            await cache.incr("k")
        assert await cache.delete_many(["k", "new", "absent"]) == 2
        assert not await cache.delete("k")
        await cache.clear()
        assert await cache.get("n") is None
        assert await cache.get("n", consistency="stale_ok") is None
        assert cache.stats().near_hits > 0


async def test_large_values_and_many_of_them(cluster: Start) -> None:
    async with synaxis.connect(cluster(1).urls) as client:
        cache = client.cache("c")
        values = {f"k{n}": bytes([n]) * 900_000 for n in range(12)}
        await cache.set_many(values)
        assert await cache.get_many(values) == values
        with pytest.raises(synaxis.LimitExceeded):
            await cache.set("k", b"x" * (1024 * 1024 + 1))
        await cache.set("k" * 500, b"x" * 1024 * 1024)


async def test_records_end(cluster: Start) -> None:
    async with synaxis.connect(cluster(1).urls) as client:
        near, idle = client.cache("c", near=True), client.cache("i", idle=1)
        await near.set("k", 1, ttl=0.3)
        await idle.set("read", 1)
        await idle.set("unread", 1)
        assert await near.get("k") == 1
        for _ in range(40):  # idle records are looked for once a second
            await asyncio.sleep(0.1)
            assert await idle.get("read") == 1
        assert near.peek("k") is synaxis.MISS
        assert await near.get("k") is None
        assert await idle.get("unread") is None


async def test_nobody_reads_what_was_overwritten(cluster: Start) -> None:
    nodes = cluster(3)
    clients = [synaxis.connect(nodes.urls) for _ in range(3)]
    for client in clients:
        await client.open()
    written = [0]

    async def write(cache: synaxis.Cache) -> None:
        for n in range(1, 300):
            await cache.set("k", n)
            written[0] = n
            await asyncio.sleep(0.001)

    async def read(cache: synaxis.Cache) -> None:
        seen = 0
        while seen < 299:
            floor = max(seen, written[0])
            seen = await cache.get("k", 0)
            assert seen >= floor
            await asyncio.sleep(0)

    caches = [client.cache("c", near=True) for client in clients]
    await asyncio.gather(write(caches[0]), *map(read, caches), read(clients[1].cache("c")))
    assert caches[1].stats().near_hits > caches[1].stats().invalidations > 10
    for client in clients:
        await client.aclose()


async def test_a_home_that_dies_leaves_nothing_old_behind(cluster: Start) -> None:
    nodes = cluster(3)
    async with (
        synaxis.connect(nodes.urls, timeout=20) as one,
        synaxis.connect(nodes.urls, timeout=20) as two,
    ):
        here, there = one.cache("c", near=True), two.cache("c")
        keys = [f"k{n}" for n in range(20)]
        await there.set_many(dict.fromkeys(keys, 1))
        assert await here.get_many(keys) == dict.fromkeys(keys, 1)
        leader = await asyncio.to_thread(nodes.leader, "caches/0")
        await asyncio.to_thread(leader.kill)
        await there.set_many(dict.fromkeys(keys, 2))
        assert await here.get_many(keys) == dict.fromkeys(keys, 2)
        assert await here.get_many(keys) == dict.fromkeys(keys, 2)
        assert here.peek("k0") == 2


async def test_who_left_is_waited_for_by_nobody(cluster: Start) -> None:
    nodes = cluster(1)
    async with synaxis.connect(nodes.urls) as two:
        async with synaxis.connect(nodes.urls) as one:
            await one.cache("c", near=True).get("k")
        begun = time.monotonic()
        await two.cache("c").set("k", 1)
        assert time.monotonic() - begun < 2, "a lease is five seconds"


async def test_a_value_is_computed_once_in_the_cluster(cluster: Start) -> None:
    nodes = cluster(3)
    clients = [synaxis.connect(nodes.urls) for _ in range(4)]
    for client in clients:
        await client.open()
    calls: list[str] = []

    async def loader(key: str) -> str:
        calls.append(key)
        await asyncio.sleep(0.2)
        return key.upper()

    caches = [client.cache("c", near=n % 2 == 0) for n, client in enumerate(clients)]
    found = await asyncio.gather(
        *(cache.get_or_load(f"k{n}", loader) for cache in caches for n in range(5) for _ in "abc")
    )
    assert sorted(set(found)) == [f"K{n}" for n in range(5)]
    assert sorted(calls) == [f"k{n}" for n in range(5)]
    for client in clients:
        await client.aclose()


async def test_what_is_written_while_it_is_computed_stays(cluster: Start) -> None:
    nodes = cluster(1)
    async with synaxis.connect(nodes.urls) as one, synaxis.connect(nodes.urls) as two:
        cache, begun, go = one.cache("c", near=True), asyncio.Event(), asyncio.Event()

        async def loader(_: str) -> str:
            begun.set()
            await go.wait()
            return "loaded"

        task = asyncio.get_running_loop().create_task(cache.get_or_load("k", loader))
        await begun.wait()
        await two.cache("c").set("k", "written")
        go.set()
        assert await task == "loaded"
        assert await cache.get("k") == "written"

        begun.clear()
        go.clear()
        task = asyncio.get_running_loop().create_task(cache.get_or_load("j", loader))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(2):
            assert await two.cache("c").get_or_load("j", str) == "j"


async def test_a_value_that_is_due_is_renewed_by_one(cluster: Start) -> None:
    nodes = cluster(1)
    async with synaxis.connect(nodes.urls) as one, synaxis.connect(nodes.urls) as two:
        calls: list[int] = []

        async def loader(_: str) -> int:
            calls.append(len(calls))
            await asyncio.sleep(0.1)
            return len(calls)

        caches = [each.cache("c", near=True, soft_ttl=0.3, ttl=60) for each in (one, two)]
        assert [await cache.get_or_load("k", loader) for cache in caches] == [1, 1]
        await asyncio.sleep(0.35)
        async with asyncio.timeout(5):
            while [await cache.get_or_load("k", loader) for cache in caches] != [2, 2]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert len(calls) == 2


async def test_writing_back_by_the_nodes(cluster: Start) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls) as one, synaxis.connect(nodes.urls) as two:
        here, there = one.cache("c", write="back"), two.cache("c", write="back")
        await asyncio.gather(*(here.incr(f"n{n % 5}") for n in range(500)))
        await asyncio.gather(*(there.incr(f"n{n % 5}") for n in range(500)))
        counted = await two.cache("c").get_many([f"n{n}" for n in range(5)])
        assert counted == {f"n{n}": 200 for n in range(5)}, "reading by the home asks the owner"
        await here.set("k", "v")
        assert [await there.get("k"), await one.cache("c").get("k")] == ["v", "v"]
        assert await there.delete("k")
        assert await here.get("k") is None
        assert await here.get_or_load("l", str) == "l"
        assert await there.get("l") == "l"


async def test_threads(cluster: Start) -> None:
    nodes = cluster(1)

    def work() -> None:
        with synaxis.Synaxis(nodes.urls) as client:
            cache = client.cache("c", near=True)

            @cache.cached(key="square:{n}", ttl="1m")
            def square(n: int) -> int:
                return n * n

            assert [square(5), square(5)] == [25, 25]
            assert cache.stats().loads == 1
            assert square.invalidate(5)
            assert cache.get(square.key(5)) is None

    await asyncio.to_thread(work)
