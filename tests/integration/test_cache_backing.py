"""Caches on real nodes before a real Redis, which stops, freezes and comes back."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.cache_client import CacheClient, cache_client
from support.cluster_process import ClusterProcesses, NodeProcess
from support.redis_server import NEEDS_REDIS, RedisServer
from synaxis.backends.backing_store import Change
from synaxis.backends.redis_store import RedisStore
from synaxis.caches.commands import Backing, Item, Version
from synaxis.errors import BackingUnavailable
from synaxis.ids import GroupId

pytestmark = [*NEEDS_REDIS, pytest.mark.slow, pytest.mark.timeout(90)]

Start = Callable[..., ClusterProcesses]
SHARD = GroupId("caches/0")
THROUGH, BEHIND = Backing.THROUGH, Backing.BEHIND


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    directory = tmp_path / "redis"
    directory.mkdir()
    found = RedisServer(directory)
    found.start()
    yield found
    found.stop()


async def stored(server: RedisServer, *keys: str) -> list[bytes | None]:
    """Look behind the caches."""
    store = RedisStore(server.url, "anybody", 2)
    items = await store.read_many(keys)
    await store.aclose()
    return [None if item is None else item.value for item in items]


async def until_stored(server: RedisServer, key: str, value: bytes | None) -> None:
    async with asyncio.timeout(15):
        while await stored(server, key) != [value]:  # noqa: ASYNC110  # others write it
            await asyncio.sleep(0.02)


async def start(cluster: Start, server: RedisServer, size: int) -> ClusterProcesses:
    settings = {"cache_store_url": server.url, "cache_store_timeout_s": 0.3, "cache_groups": 1}
    return await asyncio.to_thread(cluster, size, **settings)


async def refused(client: CacheClient) -> None:
    """Wait until the leader has noticed that the store is away."""
    async with asyncio.timeout(15):
        while True:
            try:
                await asyncio.wait_for(client.put("c/probe", b"", backing=THROUGH), 0.5)
            except BackingUnavailable:
                return
            except TimeoutError:
                continue  # it was taken before, and waits for the store


async def test_writes_go_through_and_behind_and_what_is_absent_is_loaded(
    cluster: Start, server: RedisServer
) -> None:
    nodes = await start(cluster, server, 1)
    async with cache_client(nodes["n1"]) as client:
        await client.put("c/through", b"1", backing=THROUGH)
        assert await stored(server, "c/through") == [b"1"]
        await client.put("c/behind", b"2", backing=BEHIND)
        await until_stored(server, "c/behind", b"2")
        await client.set("c/agent", b"3", backing=THROUGH)
        assert await stored(server, "c/agent") == [b"3"]
        await client.set("c/back", b"4", back=True, backing=BEHIND)
        await until_stored(server, "c/back", b"4")

        store = RedisStore(server.url, "elsewhere", 2)
        await store.write_many([Change("c/old", Version(1), Item("c/old", b"old", 2))])
        await store.aclose()
        assert await client.look_up("c/old") is None
        assert await client.look_up("c/old", load=True) == b"old"
        assert await client.look_up("c/old") == b"old"
        reading = await client.get("c/none", load=True)
        assert reading is None


async def test_a_restarted_node_finds_everything_again(cluster: Start, server: RedisServer) -> None:
    nodes = await start(cluster, server, 1)
    async with cache_client(nodes["n1"]) as client:
        for number in range(50):
            await client.set(f"c/{number}", b"kept", back=True, backing=BEHIND)
        await asyncio.to_thread(nodes["n1"].terminate)
    assert await stored(server, *(f"c/{n}" for n in range(50))) == [b"kept"] * 50
    await asyncio.to_thread(nodes.restart, "n1")
    async with cache_client(nodes["n1"]) as client:
        assert await client.look_up("c/7") is None
        reading = await client.get("c/7", load=True)
        assert reading is not None
        assert reading.value == b"kept"


async def test_without_its_store_a_cache_goes_on(cluster: Start, server: RedisServer) -> None:
    nodes = await start(cluster, server, 3)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    async with cache_client(leader) as client:
        await client.put("c/k", b"1", backing=THROUGH)
        server.stop()
        await refused(client)
        await client.put("c/k", b"2", backing=BEHIND)
        await client.put("c/other", b"3", backing=BEHIND)
        assert await client.look_up("c/k", load=True) == b"2"
        with pytest.raises(BackingUnavailable):
            await client.look_up("c/absent", load=True)
        server.start()
        await until_stored(server, "c/k", b"2")
        await until_stored(server, "c/other", b"3")
        async with asyncio.timeout(15):
            while True:
                try:
                    await client.put("c/k", b"4", backing=THROUGH)
                except BackingUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break
        assert await stored(server, "c/k") == [b"4"]


async def test_the_next_leader_writes_what_the_former_one_could_not(
    cluster: Start, server: RedisServer
) -> None:
    nodes = await start(cluster, server, 3)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    async with cache_client(leader) as client:
        server.stop()
        for number in range(20):
            await client.put(f"c/{number}", b"%d" % number, backing=BEHIND)
        leader.kill()
    server.start()
    await until_stored(server, "c/19", b"19")
    found = await stored(server, *(f"c/{number}" for number in range(20)))
    assert found == [b"%d" % number for number in range(20)]


async def test_a_leader_that_was_frozen_writes_nothing_old(
    cluster: Start, server: RedisServer
) -> None:
    """What it has taken from the queue before is older than what the next leader wrote."""
    nodes = await start(cluster, server, 3)
    former = await asyncio.to_thread(nodes.leader, SHARD)
    async with cache_client(former) as client:
        server.freeze()
        await client.put("c/k", b"old", backing=BEHIND)
        await asyncio.sleep(0.1)  # the write waits in a socket
        former.stop()
    server.thaw()
    following = await asyncio.to_thread(_new_leader, nodes, former)
    async with cache_client(following) as client:
        await client.put("c/k", b"new", backing=THROUGH)
    former.cont()
    await asyncio.sleep(1)
    assert await stored(server, "c/k") == [b"new"]


def _new_leader(nodes: ClusterProcesses, former: NodeProcess) -> NodeProcess:
    others = [node for node in nodes.nodes.values() if node is not former]
    found: list[NodeProcess] = []

    def look() -> bool:
        found[:] = [node for node in others if node.leads(SHARD)]
        return bool(found)

    nodes.wait_until(look, "another leader", 15)
    return found[0]
