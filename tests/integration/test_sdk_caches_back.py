"""``write="back"``: operations that a node does for us, and what happens when it does not."""

import asyncio

import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.caches.commands import Backing, Lookup, Put
from synaxis.client.caches.delegates import ranking
from synaxis.wire import client as wire


def delegates(node: FakeNode) -> list[wire.Delegate]:
    return [message for message in node.messages if isinstance(message, wire.Delegate)]


async def connected(fake: FakeCluster, cluster: synaxis.AsyncSynaxis) -> synaxis.Cache:
    """Return a cache whose client has found all nodes."""
    cache = cluster.cache("c", write="back")
    await cache.get("first")
    await fake.until(lambda: all(node.doors for node in fake.nodes.values()))
    await asyncio.sleep(0.02)
    for node in fake.nodes.values():
        node.frames.clear()
    return cache


def best(fake: FakeCluster, key: str) -> FakeNode:
    return fake.nodes[ranking(f"c/{key}", fake.nodes)[0]]


async def test_everything_goes_by_a_node() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", write="back", ttl=60)
        version = await cache.set("k", {"n": 1})
        assert await cache.get("k") == {"n": 1}
        with pytest.raises(synaxis.VersionConflict) as conflict:
            await cache.set("k", 2, if_version=version + 1)
        assert conflict.value.version == version
        assert await cache.add("k", 3) is False
        assert await cache.incr("n", 5) == 5
        assert await cache.decr("n") == 4
        await cache.set_many({"a": 1, "b": 2})
        assert await cache.get_many(["a", "b", "x"]) == {"a": 1, "b": 2}
        assert await cache.delete_many(["a", "b", "x"]) == 2
        assert await cache.delete("k")
        assert await cache.get("k") is None
        assert all(message.back for message in delegates(fake["n1"]))
        assert not fake.commands, "nothing went to a log"


async def test_a_key_has_one_node_for_all_clients() -> None:
    async with FakeCluster(3) as fake, fake.client() as one, fake.client() as two:
        caches = [await connected(fake, one), await connected(fake, two)]
        keys = [f"k{n}" for n in range(30)]
        for cache in caches:
            await cache.set_many(dict.fromkeys(keys, 1))
        for node in fake.nodes.values():
            found = [each.command for each in delegates(node)]
            written = {each.items[0].key for each in found if isinstance(each, Put)}
            assert written == {f"c/{key}" for key in keys if best(fake, key) is node}
            assert written


async def test_a_node_that_is_gone_is_not_asked() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        cache = await connected(fake, cluster)
        first, second, _ = (fake.nodes[each] for each in ranking("c/k", fake.nodes))
        await first.stop()
        await fake.until(lambda: not first.doors)
        await asyncio.sleep(0.05)
        await cache.set("k", 1)
        assert len(delegates(second)) == 1
        await first.start()
        for _ in range(100):  # nodes are looked for now and then
            await cache.get("k")
            if delegates(first):
                break
            await asyncio.sleep(0.02)
        assert delegates(first), "it is the best again"


async def test_a_write_that_was_sent_to_a_node_that_died_may_be_done() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        cache = await connected(fake, cluster)

        def die(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Delegate):
                node.break_connections()
                return True
            return False

        best(fake, "k").intercept = die
        with pytest.raises(synaxis.OutcomeUnknown):
            await cache.set("k", 1)
        assert await cache.get("k") is None, "a read just asks the next one"


async def test_a_node_that_refuses_is_passed_over() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        cache = await connected(fake, cluster)

        def refuse(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Delegate):
                node.doors[0].write(wire.Failure(message.id, "overloaded", "too much", {}))
                return True
            return False

        first, second, third = (fake.nodes[each] for each in ranking("c/k", fake.nodes))
        first.intercept = refuse
        await cache.set("k", 1)
        assert len(delegates(second)) == 1
        second.intercept = third.intercept = refuse
        waiting = asyncio.get_running_loop().create_task(cache.get("k"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        third.intercept = None
        assert await waiting == 1


async def test_what_nobody_can_do_ends_in_time() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.4) as cluster:
        cache = await connected(fake, cluster)
        fake["n1"].mute = True
        with pytest.raises(synaxis.OutcomeUnknown):
            await cache.set("k", 1)
        with pytest.raises(synaxis.ClusterError):
            await cache.get("k")
        await fake["n1"].stop()
        router = cluster._router
        assert router is not None
        await fake.until(lambda: not router.nodes)
        with pytest.raises(synaxis.ClusterError) as failure:
            await cache.set("k", 1)
        assert not isinstance(failure.value, synaxis.OutcomeUnknown), "it was never sent"


async def test_replicas_do_for_who_says_so() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = await connected(fake, cluster)
        await cache.set("k", 1)
        assert await cache.get("k", consistency="stale_ok") == 1
        (query,) = [each for each in fake["n1"].messages if isinstance(each, wire.Query)]
        assert query.stale


async def test_a_store_gets_what_is_written_back() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client() as cluster:
        fake.caches.store = {"c/old": b"x"}
        cache = cluster.cache("c", write="back", store="redis")
        assert await cache.get("old") == b"x"
        await cache.set("k", 1)
        found = [each.command for each in delegates(fake["n1"])]
        assert [each.load for each in found if isinstance(each, Lookup)] == [True]
        assert [each.backing for each in found if isinstance(each, Put)] == [Backing.BEHIND]


async def test_values_are_loaded_under_a_reservation_here_too() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = await connected(fake, cluster)
        assert await cache.get_or_load("k", str) == "k"
        assert await cache.get("k") == "k"
        assert await cache.get_or_load("k", str.upper) == "k"
