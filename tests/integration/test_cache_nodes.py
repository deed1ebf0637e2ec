"""Caches on real nodes: their own agents, near caches of clients, and the death of either."""

import asyncio
from collections.abc import Callable

import pytest

from support.cache_client import cache_client
from support.cluster_process import ClusterProcesses
from synaxis.caches.bus import Attach, Detached, Renew
from synaxis.caches.commands import ABSENT, AgentId, AgentKind, Item, Lookup, Put, Remove, Version
from synaxis.errors import InvalidArgument
from synaxis.ids import GroupId
from synaxis.wire.client import Bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

Start = Callable[..., ClusterProcesses]
KEY = "c/k"
SHARD = GroupId("caches/0")
QUICK_LEASE = {"cache_lease_ms": 1_000, "cache_groups": 1}


async def test_the_agent_of_a_single_node_reads_and_writes(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with cache_client(nodes["n1"]) as client:
        assert await client.get(KEY) is None
        (first,) = (await client.set(KEY, b"one", tags=("t",))).versions
        reading = await client.get(KEY)
        assert reading is not None
        assert (reading.value, reading.version, reading.tags) == (b"one", first, ("t",))
        assert (await client.set(KEY, b"no", if_version=ABSENT)).conflicts == ((0, first),)
        (second,) = (await client.set(KEY, b"two", if_version=first)).versions
        assert second > first
        assert await client.remove(KEY) == 1
        assert await client.remove(KEY) == 0
        assert await client.value(KEY) is None


async def test_counters_and_what_is_none(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with cache_client(nodes["n1"]) as client:
        sums = await asyncio.gather(*(client.add(KEY, back=True) for _ in range(200)))
        assert sorted(sums) == list(range(1, 201))
        await client.set("c/text", b"text")
        with pytest.raises(InvalidArgument, match="no integer"):
            await client.add("c/text")


async def test_an_agent_does_one_good_key_at_a_time(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    wrong: list[Lookup | Put | Remove] = [
        Lookup(("c/a", "c/b")),
        Lookup(()),
        Lookup(("no slash",)),
        Put((Item("c/a", b""), Item("c/b", b""))),
        Put((Item("c/a", b""),), fill=7),
        Remove(("c/a", "c/b")),
    ]
    async with cache_client(nodes["n1"]) as client:
        for command in wrong:
            with pytest.raises(InvalidArgument):
                await client.do(command)


async def test_who_asks_the_leader_sees_what_an_agent_has_only_told_its_client(
    cluster: Start,
) -> None:
    nodes = await asyncio.to_thread(cluster, 1, cache_flush_ms=60_000)
    async with cache_client(nodes["n1"]) as client:
        await client.set(KEY, b"back", back=True)
        assert await client.look_up(KEY, stale=True) is None
        assert await client.look_up(KEY) == b"back"
        await client.set(KEY, b"again", back=True)
        await client.put(KEY, b"log")
        assert await client.value(KEY) == b"log"


async def test_a_write_is_answered_when_no_near_cache_has_the_old_value(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with cache_client(nodes["n1"]) as client, cache_client(nodes["n1"]) as other:
        near = await client.near(client.group(KEY))
        await other.set(KEY, b"one")
        assert await near.get(KEY) == b"one"
        assert near.holds(KEY)
        await other.set(KEY, b"two")
        assert not near.holds(KEY)
        assert await near.get(KEY) == b"two"
        await other.put(KEY, b"three")
        assert await near.get(KEY) == b"three"


async def test_a_client_may_not_own_lines(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with cache_client(nodes["n1"]) as client:
        near = await client.near(SHARD, AgentKind.OWNER)
        assert near.ended is not None
        assert "share" in near.ended


async def test_streams_that_make_no_sense_are_over_at_once(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1)
    async with cache_client(nodes["n1"]) as client:
        attach = Attach(AgentId(1), AgentKind.SHARER)
        await client.say(
            Bus(1_000, GroupId("caches/99"), attach),
            Bus(1_001, GroupId("locks/0"), attach),
            Bus(1_002, SHARD, Renew(1)),
            Bus(1_003, SHARD, Renew(-1)),
            Bus(1_004, SHARD, Attach(AgentId(-1), AgentKind.SHARER)),
        )
        assert await client.get(KEY) is None  # the connection goes on
        for stream in range(1_000, 1_005):
            (said,) = client.said[stream]
            assert isinstance(said, Detached), said


async def test_a_near_cache_that_falls_silent_holds_up_writes_for_its_lease_only(
    cluster: Start,
) -> None:
    nodes = await asyncio.to_thread(cluster, 1, **QUICK_LEASE)
    async with cache_client(nodes["n1"]) as client, cache_client(nodes["n1"]) as other:
        near = await client.near(SHARD)
        await other.set(KEY, b"one")
        assert await near.get(KEY) == b"one"
        near.deaf = True
        begun = asyncio.get_running_loop().time()
        await other.set(KEY, b"two")
        assert 0.5 < asyncio.get_running_loop().time() - begun < 3


# --- three nodes ------------------------------------------------------------------------------


async def test_every_node_has_the_same_cache(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    async with (
        cache_client(nodes["n1"]) as one,
        cache_client(nodes["n2"]) as two,
        cache_client(nodes["n3"]) as three,
    ):
        for number in range(20):
            key = f"c/{number}"
            await one.set(key, b"one")
            assert await two.value(key) == b"one"
            await three.set(key, b"three", back=True)
            assert await one.value(key) == b"three"
            assert await two.value(key) == b"three"
            assert await two.remove(key) == 1
            assert await three.value(key) is None


async def test_counters_that_all_nodes_fight_for_lose_nothing(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    async with (
        cache_client(nodes["n1"]) as one,
        cache_client(nodes["n2"]) as two,
        cache_client(nodes["n3"]) as three,
    ):
        clients = (one, two, three)
        adds = [
            client.add(f"c/{number % 5}", back=bool(number % 2))
            for number in range(300)
            for client in clients
        ]
        await asyncio.gather(*adds)
        for key in range(5):
            assert await two.add(f"c/{key}", 0) == 180


async def test_a_new_home_takes_over_when_the_leader_is_killed(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3, **QUICK_LEASE)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    (first, second) = [node for node in nodes.nodes.values() if node is not leader]
    async with cache_client(first) as one, cache_client(second) as two:
        await one.set(KEY, b"kept")
        await one.set("c/back", b"held", back=True)
        leader.kill()
        assert await two.value(KEY) == b"kept"
        assert await two.value("c/back") == b"held"
        await two.set(KEY, b"new")
        assert await one.value(KEY) == b"new"


async def test_what_a_killed_node_had_for_itself_is_free_after_its_lease(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3, **QUICK_LEASE)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    (victim, other) = [node for node in nodes.nodes.values() if node is not leader]
    async with cache_client(other) as client:
        async with cache_client(victim) as doomed:
            await doomed.set(KEY, b"through")
            victim.kill()
        begun = asyncio.get_running_loop().time()
        assert await client.value(KEY) == b"through"
        await client.set(KEY, b"new")
        assert asyncio.get_running_loop().time() - begun < 4


async def test_a_node_that_leaves_takes_nothing_with_it(cluster: Start) -> None:
    """And nobody waits for its lease, which is long here."""
    settings = {"cache_groups": 1, "cache_lease_ms": 30_000, "cache_flush_ms": 60_000}
    nodes = await asyncio.to_thread(cluster, 3, **settings)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    (leaver, other) = [node for node in nodes.nodes.values() if node is not leader]
    async with cache_client(other) as client:
        async with cache_client(leaver) as going:
            for number in range(50):
                await going.set(f"c/{number}", b"back", back=True)
            assert await asyncio.to_thread(leaver.terminate) == 0
        async with asyncio.timeout(10):
            for number in range(50):
                assert await client.value(f"c/{number}") == b"back"
                await client.set(f"c/{number}", b"new")


async def test_a_leader_that_leaves_hands_over_at_once(cluster: Start) -> None:
    settings = {"cache_groups": 1, "cache_lease_ms": 30_000}
    nodes = await asyncio.to_thread(cluster, 3, **settings)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    (first, second) = [node for node in nodes.nodes.values() if node is not leader]
    async with cache_client(first) as one, cache_client(second) as two:
        await one.set(KEY, b"back", back=True)
        assert await asyncio.to_thread(leader.terminate) == 0
        async with asyncio.timeout(10):
            assert await two.value(KEY) == b"back"
            await two.set(KEY, b"new")
            assert await one.value(KEY) == b"new"


async def test_a_node_that_was_frozen_does_not_serve_what_was_overwritten(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3, **QUICK_LEASE)
    leader = await asyncio.to_thread(nodes.leader, SHARD)
    (frozen, other) = [node for node in nodes.nodes.values() if node is not leader]
    async with cache_client(frozen) as sleeper, cache_client(other) as client:
        await sleeper.set(KEY, b"old")
        assert await sleeper.value(KEY) == b"old"
        frozen.stop()
        await client.set(KEY, b"new")
        frozen.cont()
        assert await sleeper.value(KEY) == b"new"
        assert Version(0) < (await sleeper.set(KEY, b"newest")).versions[0]


async def test_a_new_node_that_holds_no_replica_serves_as_well(cluster: Start) -> None:
    """Nobody tells it who leads: it asks around."""
    nodes = await asyncio.to_thread(cluster, 3, cache_groups=2)
    newcomer = nodes.add("n4", ["--join", nodes["n1"].url])
    newcomer.start()
    await asyncio.to_thread(nodes.wait_ready, "n4")
    async with cache_client(nodes["n1"]) as old, cache_client(newcomer) as new:
        for number in range(10):
            await old.set(f"c/{number}", b"old")
            assert await new.value(f"c/{number}") == b"old"
            await new.set(f"c/{number}", b"new")
            assert await old.value(f"c/{number}") == b"new"


async def test_a_scrape_tells_what_the_caches_do(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1, cache_groups=1)
    async with cache_client(nodes["n1"]) as client, cache_client(nodes["n1"]) as other:
        near = await client.near(SHARD)
        await other.set(KEY, b"12345")
        assert await near.get(KEY) == b"12345"
        await other.set(KEY, b"12345")
        assert await other.get("c/none") is None
        assert await other.look_up("c/none") is None
        _, text = await asyncio.to_thread(nodes["n1"].get, "/metrics")
    lines = set(text.splitlines())
    assert {
        "synaxis_cache_hits_total 1.0",
        "synaxis_cache_misses_total 2.0",
        'synaxis_cache_records{cache="c"} 1.0',
        'synaxis_cache_bytes{cache="c"} 8.0',
        "synaxis_cache_agents 2.0",
        "synaxis_cache_node_lines 2.0",
        'synaxis_cache_bus_transactions_total{type="Inv"} 1.0',
        'synaxis_requests_total{node_id="n1",request_type="lookup",status="ok"} 2.0',
    } <= lines
