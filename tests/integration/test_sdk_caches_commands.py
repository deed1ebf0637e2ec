"""Commands and questions of caches, as they go over the wire, and what becomes of their answers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.caches.commands import Backing, Clear, Lookup, Put, Remove
from synaxis.client.caches import reading
from synaxis.wire import client as wire


def writes(node: FakeNode) -> list[Any]:
    return [
        message.submission.command
        for message in node.messages
        if isinstance(message, wire.Call) and isinstance(message.submission.command, Put | Remove)
    ]


def lookups(node: FakeNode) -> list[wire.Query]:
    return [
        message
        for message in node.messages
        if isinstance(message, wire.Query) and isinstance(message.query, Lookup)
    ]


async def test_what_is_set_is_got() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        assert await cache.get("k") is None
        assert await cache.get("k", "nothing") == "nothing"
        assert await cache.entry("k") is None
        first = await cache.set("k", {"n": 1})
        second = await cache.set("k", {"n": 2})
        assert second > first
        assert await cache.get("k") == {"n": 2}
        assert (repr(cache), cache.name) == ("<Cache c>", "c")
        assert cache.peek("k") is synaxis.MISS
        assert await cache.delete("k")
        assert not await cache.delete("k")
        assert await cache.get("k", b"gone") == b"gone"


@pytest.mark.parametrize(
    "value", [b"", b"raw", "text", 0, -5, True, 1.5, None, [1, "a"], {"a": {}}]
)
async def test_values_come_back_as_they_were(value: object) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        await cache.set("k", value)
        assert await cache.get("k", "default") == value
        assert await cache.get_many(["k"]) == {"k": value}


async def test_a_codec_is_for_all_who_use_the_cache() -> None:
    csv = synaxis.Codec(
        "csv", lambda row: ",".join(row).encode(), lambda raw: raw.decode().split(",")
    )
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.cache("c", codec=csv).set("k", ["a", "b"])
        assert await cluster.cache("c", codec=csv).get("k") == ["a", "b"]
        with pytest.raises(synaxis.InvalidArgument, match="another codec"):
            await cluster.cache("c").get("k")
        await cluster.cache("c", codec="json").set("j", [1])
        assert await cluster.cache("c").get("j") == [1]


async def test_an_entry_tells_more() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", ttl="10m", soft_ttl="8m")
        version = await cache.set("k", "v", tags=["team:7"])
        entry = await cache.entry("k")
        assert entry is not None
        assert (entry.value, entry.version, entry.state) == ("v", version, "fresh")
        assert entry.tags == ("team:7",)
        assert entry.expires_at is not None
        left = entry.expires_at - datetime.now(UTC)
        assert timedelta(minutes=9, seconds=50) < left <= timedelta(minutes=10)
        fake.advance(8 * 60_000)
        entry = await cache.entry("k")
        assert entry is not None
        assert entry.state == "due"
        fake.advance(2 * 60_000)
        assert await cache.entry("k") is None
        await cache.set("k", "v", ttl=None, soft_ttl=None)
        entry = await cache.entry("k")
        assert entry is not None
        assert (entry.state, entry.expires_at) == ("fresh", None)


async def test_a_condition_protects_what_others_wrote() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        version = await cache.set("k", 1)
        newer = await cache.set("k", 2, if_version=version)
        with pytest.raises(synaxis.VersionConflict) as conflict:
            await cache.set("k", 3, if_version=version)
        assert conflict.value.version == newer
        with pytest.raises(synaxis.VersionConflict) as conflict:
            await cache.delete("k", if_version=version)
        assert conflict.value.version == newer
        assert await cache.delete("k", if_version=newer)
        with pytest.raises(synaxis.VersionConflict) as conflict:
            await cache.set("k", 3, if_version=newer)
        assert conflict.value.version == 0
        with pytest.raises(synaxis.VersionConflict):
            await cache.delete("k", if_version=newer)
        for wrong in (-1, True, "1", 1.0, 2**63):
            with pytest.raises(synaxis.InvalidArgument):
                await cache.set("k", 3, if_version=wrong)  # type: ignore[arg-type]  # the point


async def test_add_is_for_the_first() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        stored = await asyncio.gather(*(cache.add("k", n) for n in range(10)))
        assert sorted(stored) == [False] * 9 + [True]
        assert await cache.get("k") == stored.index(True)


async def test_many_at_once_are_one_command_for_each_shard() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        values = {f"k{n}": n for n in range(200)}
        await cache.set_many(values, ttl=60, tags=["all"])
        commands = writes(fake["n1"])
        assert len(commands) == 4
        assert sum(len(command.items) for command in commands) == 200
        assert await cache.get_many([*values, "absent", "k1"]) == values
        assert len(lookups(fake["n1"])) == 4
        assert await cache.delete_many(["k1", "k2", "k2", "absent"]) == 2
        assert set(await cache.get_many(values)) == set(values) - {"k1", "k2"}
        await cache.set_many({})
        assert await cache.get_many([]) == {}
        assert await cache.delete_many([]) == 0


async def test_large_values_are_spread_over_frames() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        fake.frame_bytes_max = 100_000
        async with fake.client() as limited:
            cache = limited.cache("c")
            values = {f"k{n}": b"x" * 30_000 for n in range(20)}
            await cache.set_many(values)
            assert await cache.get_many(values) == values
        assert max(len(command.items) for command in writes(fake["n1"])) <= 3
        with pytest.raises(synaxis.LimitExceeded):
            await cluster.cache("c").set("k", b"x" * (1024 * 1024 + 1))


async def test_counting() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", ttl=60)
        assert await cache.incr("n") == 1
        assert await cache.incr("n", 5) == 6
        assert await cache.decr("n", 2) == 4
        assert await cache.get("n") == 4
        assert await cache.incr("m", 2, initial=10) == 12
        await cache.set("n", 40)
        assert await cache.incr("n", -2) == 38, "a number that was set can be counted on"
        await cache.set("text", "x")
        with pytest.raises(synaxis.InvalidArgument):
            await cache.incr("text")
        for wrong in (1.5, True, "1", 2**63):
            with pytest.raises(synaxis.InvalidArgument):
                await cache.incr("n", wrong)  # type: ignore[arg-type]  # the point
        assert sorted(await asyncio.gather(*(cache.incr("c") for _ in range(50)))) == list(
            range(1, 51)
        )


async def test_tags_and_clearing_reach_all_shards() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, other = cluster.cache("c"), cluster.cache("other")
        await cache.set_many({f"a{n}": n for n in range(20)}, tags=["team:7", "x"])
        await cache.set_many({f"b{n}": n for n in range(20)}, tags=["team:8", "x"])
        await other.set("a1", 1, tags=["team:7"])
        assert await cache.invalidate_tag("team:7") == 20
        assert len(await cache.get_many([f"{c}{n}" for c in "ab" for n in range(20)])) == 20
        assert await other.get("a1") == 1
        await cache.clear()
        assert await cache.get_many([f"b{n}" for n in range(20)]) == {}
        assert await other.get("a1") == 1
        clears = [each for each in fake.commands if isinstance(each, Clear)]
        assert len(clears) == 8
        for wrong in ("", None, 5):
            with pytest.raises(synaxis.InvalidArgument):
                await cache.invalidate_tag(wrong)  # type: ignore[arg-type]  # the point


async def test_reads_of_one_turn_are_one_question() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        await cache.set("k1", 1)
        values = await asyncio.gather(*(cache.get(f"k{n % 3}") for n in range(30)))
        assert values == [None, 1, None] * 10
        (question,) = lookups(fake["n1"])
        assert question.query == Lookup(("c/k0", "c/k1", "c/k2"))


async def test_only_so_many_questions_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEYS_PER_QUESTION_MAX", 10)
    async with FakeCluster(cache_groups=1) as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        await cache.set("k7", 7)
        held: list[wire.Query] = []
        swallow = True

        def intercept(_: FakeNode, message: wire.ClientMessage) -> bool:
            if swallow and isinstance(message, wire.Query):
                held.append(message)
                return True
            return False

        fake["n1"].intercept = intercept
        task = asyncio.get_running_loop().create_task(cache.get_many([f"k{n}" for n in range(200)]))
        await fake.until(lambda: len(held) == reading.UNDER_WAY_MAX)
        await asyncio.sleep(0.05)
        assert len(held) == reading.UNDER_WAY_MAX
        swallow = False
        door = fake["n1"].doors[0]
        for message in held:
            fake.answer((door, message.id), fake.ask(message))
        assert await task == {"k7": 7}


async def test_a_cancelled_read_leaves_the_others_alone() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        await cache.set("k", 1)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(cache.get("k")) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [1, 1]


async def test_a_malformed_call_asks_nobody() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        before = len(fake["n1"].messages)
        calls: list[Any] = [
            cache.get(""),
            cache.get("k", consistency="eventual"),  # type: ignore[arg-type]  # the point
            cache.set("k", 1, ttl=-1),
            cache.set("k", 1, tags="text"),
            cache.set("x" * 600, 1),
            cache.set("k", object()),
            cache.delete("\ud800"),
            cache.get_or_load("k"),
        ]
        for call in calls:
            with pytest.raises((synaxis.InvalidArgument, synaxis.LimitExceeded)):
                await call
        assert len(fake["n1"].messages) == before
        with pytest.raises(TypeError, match="unknown options: tll"):
            cluster.cache("c", tll=5)  # type: ignore[call-arg]  # the point


async def test_a_store_behind_is_read_and_written_through() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client() as cluster:
        fake.caches.store = {"c/old": b"from the store"}
        cache = cluster.cache("c", store=True)
        assert await cache.get("old") == b"from the store"
        assert await cluster.cache("c").get("older") is None
        fake.caches.store["c/counted"] = b"old"
        assert await cache.add("counted", b"new") is False, "the store has it"
        with pytest.raises(synaxis.VersionConflict):
            await cache.delete("counted", if_version=10**9)
        fake["n1"].frames.clear()
        await cache.set("k", 1)
        await cluster.cache("c", store="redis", write="behind").set("k", 2)
        assert [command.backing for command in writes(fake["n1"])] == [
            Backing.THROUGH,
            Backing.BEHIND,
        ]
        fake.caches.store_is_down = True
        with pytest.raises(synaxis.BackingUnavailable):
            await cache.set("k", 3)
        assert await cache.get("k") == 2
        with pytest.raises(synaxis.BackingUnavailable):
            await cache.get("absent")
        together = await asyncio.gather(
            cache.get("k"), cache.get("absent"), cache.get("old"), return_exceptions=True
        )
        assert together[0] == 2, "what the cluster has is not hidden by what it lacks"
        assert isinstance(together[1], synaxis.BackingUnavailable)
        assert together[2] == b"from the store"


async def test_an_ended_session_is_nobodys_business() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        await cache.set("k", 1)
        (number,) = fake.sessions
        fake.expire(number)
        await cache.set("k", 2)
        assert await cache.get("k") == 2
        assert list(fake.sessions) != [number]


async def test_a_write_that_may_have_been_done_is_not_repeated() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client(timeout=0.5) as cluster:
        cache = cluster.cache("c")
        await cache.set("k", 1)
        (number,) = fake.sessions

        def intercept(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and isinstance(message.submission.command, Put):
                fake.apply(message.submission, (node.doors[0], 0), message.group)
                if number in fake.sessions:
                    fake.expire(number)
                node.intercept = None
                node.break_connections()
                return True
            return False

        fake["n1"].intercept = intercept
        with pytest.raises(synaxis.OutcomeUnknown):
            await cache.set("k", 2)
        assert await cache.get("k") == 2


async def test_the_end_of_a_session_leaves_a_doubt_about_what_was_sent() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client(session_ttl=0.3) as cluster:
        cache = cluster.cache("c")
        await cache.set("k", 1)
        swallowed: list[wire.ClientMessage] = []

        def intercept(_: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and isinstance(message.submission.command, Put):
                swallowed.append(message)
                return True
            return False

        fake["n1"].intercept = intercept
        task = asyncio.get_running_loop().create_task(cache.set("k", 2))
        await fake.until(lambda: swallowed)
        (number,) = fake.sessions
        fake.expire(number)
        with pytest.raises(synaxis.OutcomeUnknown):
            await task
        assert len(swallowed) == 1


async def test_without_an_answer_the_errors_say_what_is_known() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client(timeout=0.3) as cluster:
        cache = cluster.cache("c")
        await cache.set("k", 1)
        fake.elect(None)
        with pytest.raises(synaxis.NoQuorum):
            await cache.get("k")
        with pytest.raises(synaxis.ClusterError):
            await cache.set("k", 2)
        assert await cache.get("k", consistency="stale_ok") == 1
        entry = await cache.entry("k", consistency="stale_ok")
        assert entry is not None
        assert entry.state == "stale"
        assert await cache.get_many(["k", "absent"], consistency="stale_ok") == {"k": 1}


async def test_a_cluster_without_shards_says_so() -> None:
    async with FakeCluster(cache_groups=0) as fake, fake.client() as cluster:
        with pytest.raises(synaxis.NotFound, match="cache_groups"):
            await cluster.cache("c").get("k")


async def test_a_closed_client_refuses() -> None:
    async with FakeCluster() as fake:
        async with fake.client() as cluster:
            caches = [
                cluster.cache("c"),
                cluster.cache("c", near=True),
                cluster.cache("b", write="back"),
            ]
            for cache in caches:
                await cache.set("k", 1)
                await cache.get("k")
        for cache in caches:
            for call in (
                cache.get("k"),
                cache.set("k", 1),
                cache.get_or_load("k", str),
                cache.clear(),
            ):
                with pytest.raises((RuntimeError, synaxis.ConnectionFailed)):
                    await call
        with pytest.raises(RuntimeError):
            cluster.cache("c")


async def test_stats_count() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        assert cache.stats().hit_rate == 0.0
        await cache.set("k", 1)
        for key in ("k", "k", "k", "absent"):
            await cache.get(key)
        await cache.get_many(["k", "absent"])
        stats = cluster.cache("c").stats()
        assert (stats.hits, stats.misses, stats.near_hits) == (4, 2, 0)
        assert stats.hit_rate == pytest.approx(4 / 6)
