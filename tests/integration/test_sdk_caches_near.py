"""Near caches: what is served without asking, for how long, and what ends it."""

import asyncio
import time

import pytest

import synaxis
from support.fake_caches import FakeHolder
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.caches.bus import Attach, BusRd, Detach, ProbeAck
from synaxis.client.caches import link
from synaxis.wire import client as wire


def wishes(fake: FakeCluster) -> int:
    return sum(isinstance(said, BusRd) for said in fake.caches.heard)


async def warm(cache: synaxis.Cache, *keys: str) -> None:
    """Have the keys near."""
    for key in keys:
        await cache.get(key)


async def test_the_second_read_asks_nobody() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", {"n": 1})
        assert cache.peek("k") is synaxis.MISS
        first = await cache.get("k")
        before = len(fake["n1"].messages)
        assert await cache.get("k") is first, "all get the same object"
        assert cache.peek("k") is first
        assert await cache.get_many(["k"]) == {"k": {"n": 1}}
        assert await cache.get_or_load("k", str) is first
        entry = await cache.entry("k")
        assert entry is not None
        assert entry.value is first
        assert len(fake["n1"].messages) == before
        stats = cache.stats()
        assert (stats.near_hits, stats.hits, stats.entries) == (5, 6, 1)
        assert stats.bytes > 600


async def test_that_there_is_nothing_is_known_near_too() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        assert await cache.get("k") is None
        assert await cache.get("k", "default") == "default"
        assert cache.peek("k") is synaxis.MISS
        assert wishes(fake) == 1
        await cache.set("k", None)
        assert await cache.get("k", "default") is None
        assert cache.peek("k") is None


async def test_handles_of_one_name_share_what_is_near() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await warm(cluster.cache("c", near=True), "k")
        await cluster.cache("c", near=True, max_entries=100).get("k")
        assert wishes(fake) == 1
        await cluster.cache("c").set("k", 5)
        assert await cluster.cache("c", near=True).get("k") == 5
        assert cluster.cache("c").peek("k") is synaxis.MISS, "this handle does not look near"


async def test_one_wish_for_all_who_wait() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", [1])
        values = await asyncio.gather(*(cache.get("k") for _ in range(50)))
        assert wishes(fake) == 1
        assert all(value is values[0] for value in values)


async def test_a_write_elsewhere_is_seen_here() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        here, there = one.cache("c", near=True), two.cache("c")
        await there.set("k", 1)
        await warm(here, "k", "absent")
        await there.set("k", 2)
        assert here.peek("k") is synaxis.MISS
        assert await here.get("k") == 2
        await there.delete("k")
        assert await here.get("k") is None
        await there.add("absent", 3)
        assert await here.get("absent") == 3
        assert here.stats().invalidations == 3


async def test_tags_and_clearing_reach_what_is_near() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        here, there = one.cache("c", near=True), two.cache("c")
        await there.set_many({"a": 1, "b": 2}, tags=["x"])
        await there.set("c", 3, tags=["y"])
        await warm(here, "a", "b", "c")
        await there.invalidate_tag("x")
        assert [here.peek(key) for key in "abc"] == [synaxis.MISS, synaxis.MISS, 3]
        await there.clear()
        assert here.peek("c") is synaxis.MISS
        assert await here.get("c") is None


async def test_after_a_write_of_our_own_nothing_older_is_read() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        for n in range(20):
            await cache.set("k", n)
            assert await cache.get("k") == n
            await cache.set_many({"k": -n, "j": n})
            assert await cache.get_many(["k", "j"]) == {"k": -n, "j": n}
            await cache.delete("k")
            assert await cache.get("k") is None
        assert await cache.incr("n") == 1
        await warm(cache, "n")
        assert await cache.incr("n") == 2
        assert await cache.get("n") == 2


async def test_a_read_that_is_under_way_while_we_write() -> None:
    """The grant of the old value comes while our write waits for us to drop it."""
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", "old")
        loop = asyncio.get_running_loop()
        for _ in range(50):
            reads = [loop.create_task(cache.get("k")) for _ in range(3)]
            await asyncio.sleep(0)
            write = loop.create_task(cache.set("k", "new"))
            reads.append(loop.create_task(cache.get("k")))
            await write
            assert await cache.get("k") == "new"
            assert cache.peek("k") in ("new", synaxis.MISS)
            assert set(await asyncio.gather(*reads)) <= {"old", "new"}
            await cache.set("k", "old")


async def test_many_readers_and_writers_never_go_back() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        written = 0

        async def write(cache: synaxis.Cache) -> None:
            nonlocal written
            for n in range(1, 60):
                await cache.set("k", n)
                written = n
                await asyncio.sleep(0.001)

        async def read(cache: synaxis.Cache) -> int:
            seen = count = 0
            while seen < 59:
                floor = written
                value = await cache.get("k", 0)
                assert value >= floor, "a write that was answered before is missing"
                assert value >= seen, "time went backwards"
                seen, count = value, count + 1
                await asyncio.sleep(0)
            return count

        near = [one.cache("c", near=True), two.cache("c", near=True)]
        readers = [*near, one.cache("c")]
        writing = asyncio.get_running_loop().create_task(write(near[0]))
        counts = await asyncio.gather(*map(read, readers))
        await writing
        assert min(counts) > 20
        assert near[1].stats().near_hits > 10


async def test_a_record_ends_near_when_it_ends() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1, ttl="1s")
        await warm(cache, "k")
        assert cache.peek("k") == 1
        await asyncio.sleep(1.05)
        assert cache.peek("k") is synaxis.MISS
        fake.advance(1_000)  # its time goes more slowly than ours
        assert await cache.get("k") is None
        assert cache.stats().invalidations == 0, "nobody invalidated it"


async def test_a_blocked_event_loop_believes_in_nothing() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        fake.caches.lease_ms = 1_500
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        time.sleep(0.2)  # noqa: ASYNC251  # what a careless task does
        assert cache.peek("k") == 1
        time.sleep(1.5)  # noqa: ASYNC251
        assert cache.peek("k") is synaxis.MISS, "before the loop has had a chance to notice"
        reads = len(fake["n1"].messages)
        assert await cache.get("k") == 1
        assert len(fake["n1"].messages) > reads


async def test_a_lease_is_prolonged_for_as_long_as_the_home_has_a_quorum() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.5) as cluster:
        fake.caches.lease_ms = 1_500
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        for _ in range(25):
            await asyncio.sleep(0.1)
            assert cache.peek("k") == 1
        assert wishes(fake) == 1
        fake.caches.lacks_quorum = True
        await fake.until(lambda: cache.peek("k") is synaxis.MISS)
        await fake.until(lambda: cache.stats().lease_expiries)
        assert cache.stats().lease_expiries >= 1
        fake.caches.lacks_quorum = False
        assert await cache.get("k") == 1


async def test_a_write_waits_for_a_silent_holder_and_no_longer_than_its_lease() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        fake.caches.lease_ms = 500
        here, there = one.cache("c", near=True), two.cache("c")
        await there.set("k", 1)
        await warm(here, "k")

        def swallow_acks(_: FakeNode, message: wire.ClientMessage) -> bool:
            return isinstance(message, wire.Bus) and not isinstance(message.message, Attach)

        fake["n1"].intercept = swallow_acks
        begun = time.monotonic()
        await there.set("k", 2)
        assert 0.3 < time.monotonic() - begun < 4
        fake["n1"].intercept = None
        assert await here.get("k") == 2


async def test_what_the_home_does_not_want_kept_is_not_kept() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        fake.caches.uncacheable = {"c/k"}
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        assert [await cache.get("k") for _ in range(3)] == [1, 1, 1]
        assert wishes(fake) == 3
        assert cache.peek("k") is synaxis.MISS


async def test_the_least_recently_used_makes_room() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True, max_entries=3)
        await cache.set_many({"a": 1, "b": 2, "c": 3, "d": 4})
        await warm(cache, "a", "b", "c")
        await cache.get("a")
        cache.peek("b")
        await warm(cache, "d")
        assert [cache.peek(key) for key in "abcd"] == [1, 2, synaxis.MISS, 4]
        stats = cache.stats()
        assert (stats.evictions, stats.entries) == (1, 3)
        assert await cache.get("c") == 3, "what made room can be had again"
        await cluster.cache("c").set("c", 5)
        assert await cache.get("c") == 5


async def test_a_connection_that_breaks_takes_everything_with_it() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        cache = one.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        fake["n1"].break_connections()
        await fake.until(lambda: cache.peek("k") is synaxis.MISS)
        await two.cache("c").set("k", 2)
        assert await cache.get("k") == 2
        assert cache.peek("k") == 2


async def test_another_leader_is_another_home() -> None:
    async with FakeCluster(3) as fake, fake.client() as one, fake.client() as two:
        cache = one.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        for n, leader in enumerate(["n2", "n3", "n1"], 2):
            fake.elect(leader)
            await fake.until(lambda: cache.peek("k") is synaxis.MISS)
            await two.cache("c").set("k", n)
            assert await cache.get("k") == n
            assert cache.peek("k") == n
            attached = {holder.door.node.node_id for holder in holders(fake)}
            assert attached == {leader}


def holders(fake: FakeCluster) -> list[FakeHolder]:
    return [each for shard in fake.caches.shards.values() for each in shard.holders.values()]


async def test_a_home_that_goes_silently_is_left_when_another_leads() -> None:
    """The old leader is cut off from the others but not from us; it does not say good-bye."""
    async with FakeCluster(2) as fake, fake.client() as cluster:
        fake.caches.lease_ms = 60_000
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        fake["n1"].intercept = lambda _, message: isinstance(message, wire.Bus)
        fake.leader = fake["n2"].node_id
        fake.term += 1
        for node in fake.nodes.values():
            node.push(wire.Routes(fake.routes(), ()))
        await fake.until(lambda: cache.peek("k") is synaxis.MISS)
        assert await cache.get("k") == 1
        assert cache.peek("k") == 1


async def test_reads_wait_for_the_next_home() -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        fake.elect(None)
        read = asyncio.get_running_loop().create_task(cache.get("k"))
        await asyncio.sleep(0.2)
        assert not read.done()
        fake.elect("n2")
        assert await read == 1


async def test_a_read_without_a_home_ends_in_time() -> None:
    async with FakeCluster(2) as fake, fake.client(timeout=0.4) as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        fake.elect(None)
        await fake.until(lambda: cache.peek("k") is synaxis.MISS)
        begun = time.monotonic()
        with pytest.raises(synaxis.NoQuorum):
            await cache.get("k")
        with pytest.raises(synaxis.NoQuorum):
            await cache.get_many(["k", "j"])
        assert time.monotonic() - begun < 4
        assert await cache.get("k", consistency="stale_ok") == 1, "any replica knows it"


async def test_what_was_near_is_better_than_nothing_for_who_says_so() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.5) as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await cache.set("short", 2, ttl="3s")
        await warm(cache, "k", "short")
        await fake["n1"].stop()
        await fake.until(lambda: cache.peek("k") is synaxis.MISS)
        assert await cache.get("k", consistency="stale_ok") == 1
        entry = await cache.entry("k", consistency="stale_ok")
        assert entry is not None
        assert (entry.value, entry.state) == (1, "stale")
        assert await cache.get_many(["k"], consistency="stale_ok") == {"k": 1}
        with pytest.raises(synaxis.ClusterError):
            await cache.get("k")
        assert await cache.get("short", consistency="stale_ok") == 2
        await asyncio.sleep(3)
        with pytest.raises(synaxis.ClusterError):
            await cache.get("short", consistency="stale_ok")
        with pytest.raises(synaxis.ClusterError):
            await cache.get("unknown", consistency="stale_ok")
        await fake["n1"].start()
        assert await cache.get("k") == 1
        entry = await cache.entry("k", consistency="stale_ok")
        assert entry is not None
        assert entry.state == "fresh"


async def test_stale_lines_do_not_come_to_life_again() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        here = one.cache("c", near=True)
        await here.set_many({"a": 1, "b": 1})
        await warm(here, "a", "b")
        fake["n1"].break_connections()
        await fake.until(lambda: here.peek("a") is synaxis.MISS)
        await warm(here, "b")  # attached again
        await two.cache("c").set_many({"a": 2, "b": 2})
        assert here.peek("a") is synaxis.MISS
        assert [await here.get(key) for key in "ab"] == [2, 2]


async def test_our_own_clearing_takes_what_is_stale_too() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.5) as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "k")
        fake["n1"].break_connections()
        await fake.until(lambda: cache.peek("k") is synaxis.MISS)
        await cache.clear()
        await fake["n1"].stop()
        with pytest.raises(synaxis.ClusterError):
            await cache.get("k", consistency="stale_ok")


async def test_leaving_is_polite() -> None:
    async with FakeCluster() as fake, fake.client() as two:
        async with fake.client() as one:
            await warm(one.cache("c", near=True), "k")
            assert len(holders(fake)) == 1
        await fake.until(lambda: not holders(fake))
        assert isinstance(fake.caches.heard[-1], Detach)
        begun = time.monotonic()
        await two.cache("c").set("k", 2)
        assert time.monotonic() - begun < 1, "no write waits for the lease of one who left"


async def test_a_link_that_nobody_uses_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "IDLE_S", 0.2)
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        assert await cache.get_or_load("k", str) == "k"
        assert len(holders(fake)) == 1
        await fake.until(lambda: not holders(fake))
        assert await cache.get_or_load("j", str) == "j"
        near = cluster.cache("c", near=True)
        await warm(near, "k")
        await asyncio.sleep(0.5)
        assert near.peek("k") == "k", "what holds lines is used"


async def test_values_of_another_codec_are_not_kept_but_complained_about() -> None:
    csv = synaxis.Codec(
        "csv", lambda row: ",".join(row).encode(), lambda raw: raw.decode().split(",")
    )
    other = synaxis.Codec("other", bytes, bytes)
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cluster.cache("c", codec=csv).set("k", ["a"])
        for _ in range(2):
            with pytest.raises(synaxis.InvalidArgument, match="another codec"):
                await cache.get("k")
        assert cache.stats().entries == 0
        assert await cluster.cache("c", codec=csv, near=True).get("k") == ["a"]
        with pytest.raises(synaxis.InvalidArgument, match="one is enough"):
            cluster.cache("c", codec=other, near=True)


async def test_a_cancelled_read_does_not_disturb_the_others() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", 1)
        await warm(cache, "other")
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(cache.get("k")) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [1, 1]
        alone = loop.create_task(cache.get("j"))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.wait([alone])
        assert await cache.get("j") is None


async def test_every_invalidation_is_acknowledged() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        here, there = one.cache("c", near=True), two.cache("c")
        await there.set_many({f"k{n}": n for n in range(30)})
        await warm(here, *(f"k{n}" for n in range(30)))
        await there.set_many({f"k{n}": -n for n in range(30)})
        acks = [said for said in fake.caches.heard if isinstance(said, ProbeAck)]
        assert len(acks) == 30
        assert await here.get_many([f"k{n}" for n in range(30)]) == {f"k{n}": -n for n in range(30)}
