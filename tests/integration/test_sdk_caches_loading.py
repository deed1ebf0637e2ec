"""Values that are computed when they are missing: how often, by whom, and what is stored."""

import asyncio
import inspect
from typing import Any

import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.caches.bus import Reserve, Surrender
from synaxis.caches.commands import Put
from synaxis.client.caches import filling
from synaxis.wire import client as wire


class Loader:
    """Counts its calls; waits for ``go`` if it is told to."""

    def __init__(self, value: Any = "value", *, slow: bool = False) -> None:
        self.value = value
        self.keys: list[str] = []
        self.go = asyncio.Event()
        if not slow:
            self.go.set()

    async def __call__(self, key: str) -> Any:
        self.keys.append(key)
        await self.go.wait()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    async def begun(self, times: int = 1) -> None:
        async with asyncio.timeout(5):
            while len(self.keys) < times:  # noqa: ASYNC110  # the cluster decides when
                await asyncio.sleep(0.005)


def said(fake: FakeCluster, kind: type) -> int:
    return sum(isinstance(each, kind) for each in fake.caches.heard)


@pytest.fixture(params=[True, False], ids=["near", "far"])
def near(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found


async def test_a_missing_value_is_loaded_and_stored(near: bool) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, loader = cluster.cache("c", near=near), Loader({"n": 1})
        assert await cache.get_or_load("k", loader) == {"n": 1}
        assert await cache.get_or_load("k", loader) == {"n": 1}
        assert await cache.get("k") == {"n": 1}
        assert loader.keys == ["k"]
        stats = cache.stats()
        assert (stats.loads, stats.misses, stats.hits) == (1, 1, 2)


async def test_plain_functions_load_too() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        assert await cluster.cache("c").get_or_load("k", str.upper) == "K"


async def test_one_computation_in_the_process(near: bool) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, loader = cluster.cache("c", near=near), Loader(slow=True)
        another = cluster.cache("c")
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(cache.get_or_load("k", loader)) for _ in range(50)]
        tasks += [loop.create_task(another.get_or_load("k", loader)) for _ in range(50)]
        await loader.begun()
        loader.go.set()
        assert set(await asyncio.gather(*tasks)) == {"value"}
        assert loader.keys == ["k"]
        assert said(fake, Reserve) == 1


async def test_one_computation_in_the_cluster(near: bool) -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        first, second = Loader("of the first", slow=True), Loader("of the second")
        loop = asyncio.get_running_loop()
        early = loop.create_task(one.cache("c", near=near).get_or_load("k", first))
        await first.begun()
        late = loop.create_task(two.cache("c", near=near).get_or_load("k", second))
        await asyncio.sleep(0.1)
        assert not late.done()
        first.go.set()
        assert [await early, await late] == ["of the first"] * 2
        assert second.keys == []


async def test_if_the_first_fails_the_next_tries() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        first, second = Loader(ValueError("no database"), slow=True), Loader("of the second")
        loop = asyncio.get_running_loop()
        early = [loop.create_task(one.cache("c").get_or_load("k", first)) for _ in range(3)]
        await first.begun()
        late = loop.create_task(two.cache("c").get_or_load("k", second))
        await fake.until(lambda: said(fake, Reserve) == 2)
        first.go.set()
        failures = await asyncio.gather(*early, return_exceptions=True)
        assert [str(failure) for failure in failures] == ["no database"] * 3
        assert await late == "of the second"
        await fake.until(lambda: said(fake, Surrender) == 1)


async def test_a_cancelled_reader_leaves_the_computation_to_others() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, loader = cluster.cache("c"), Loader(slow=True)
        loop = asyncio.get_running_loop()
        first = loop.create_task(cache.get_or_load("k", loader))
        await loader.begun()
        second = loop.create_task(cache.get_or_load("k", loader))
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.wait([first])
        loader.go.set()
        assert await second == "value"
        assert loader.keys == ["k"]


async def test_the_last_reader_takes_the_computation_with_it() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        loader = Loader(slow=True)
        task = asyncio.get_running_loop().create_task(one.cache("c").get_or_load("k", loader))
        await loader.begun()
        task.cancel()
        await asyncio.wait([task])
        assert await two.cache("c").get_or_load("k", str) == "k", "the right to compute went back"


async def test_who_waits_for_others_may_go() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        loader, loop = Loader(slow=True), asyncio.get_running_loop()
        first = loop.create_task(one.cache("c").get_or_load("k", loader))
        await loader.begun()
        waiting = loop.create_task(two.cache("c").get_or_load("k", str))
        await fake.until(lambda: said(fake, Reserve) == 2)
        waiting.cancel()
        await asyncio.wait([waiting])
        await fake.until(lambda: said(fake, Surrender) == 1)
        loader.go.set()
        assert await first == "value"


async def test_a_write_meanwhile_wins(near: bool) -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        cache, loader = one.cache("c", near=near), Loader("loaded", slow=True)
        task = asyncio.get_running_loop().create_task(cache.get_or_load("k", loader))
        await loader.begun()
        await two.cache("c").set("k", "written")
        loader.go.set()
        assert await task == "loaded", "it is good enough for who waited"
        assert await cache.get("k") == "written"


async def test_a_computation_that_takes_too_long_is_not_stored() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client() as one, fake.client() as two:
        slow, loop = Loader("slow", slow=True), asyncio.get_running_loop()
        first = loop.create_task(one.cache("c").get_or_load("k", slow))
        await slow.begun()
        second = loop.create_task(two.cache("c").get_or_load("k", lambda _: "quick"))
        await fake.until(lambda: said(fake, Reserve) == 2)
        fake.caches.shard_with("c/k").end_reservation("c/k")
        assert await second == "quick"
        slow.go.set()
        assert await first == "slow"
        assert await one.cache("c").get("k") == "quick"


async def test_a_stream_that_ends_voids_the_right(near: bool) -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster:
        cache, loader = cluster.cache("c", near=near), Loader("loaded", slow=True)
        task = asyncio.get_running_loop().create_task(cache.get_or_load("k", loader))
        await loader.begun()
        fake.elect("n2")
        loader.go.set()
        assert await task == "loaded"
        assert await cache.get("k") is None


async def test_none_is_stored_when_that_is_wanted() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, loader = cluster.cache("c"), Loader(None)
        assert await cache.get_or_load("k", loader) is None
        assert await cache.get_or_load("k", loader) is None
        assert len(loader.keys) == 2
        await fake.until(lambda: said(fake, Surrender) == 2)
        assert await cache.get_or_load("k", loader, cache_none=True) is None
        assert await cache.get_or_load("k", loader) is None
        assert len(loader.keys) == 3
        assert await cache.get("k", "default") is None


async def test_terms_of_what_is_loaded() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", ttl=60)
        await cache.get_or_load("k", str, ttl=30, soft_ttl=20, tags=["t"])
        (command,) = [each for each in fake.commands if isinstance(each, Put)]
        (item,) = command.items
        assert (item.ttl_ms, item.soft_ms, item.tags) == (30_000, 20_000, ("t",))
        assert command.fill


async def test_what_cannot_be_stored_is_a_mistake() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")
        with pytest.raises(synaxis.InvalidArgument, match="cannot express"):
            await cache.get_or_load("k", lambda _: object())
        assert await cache.get_or_load("k", str) == "k"


async def test_a_value_is_good_though_the_cluster_is_not() -> None:
    async with FakeCluster(cache_groups=1) as fake, fake.client(timeout=0.3) as cluster:
        cache, loader = cluster.cache("c"), Loader(slow=True)
        await cache.set("other", 1)  # the session is open
        task = asyncio.get_running_loop().create_task(cache.get_or_load("k", loader))
        await loader.begun()
        fake["n1"].mute = True
        loader.go.set()
        assert await task == "value"
        with pytest.raises(synaxis.ClusterError):
            await cache.get_or_load("j", loader)
        assert await cache.get_or_load("j", loader, consistency="stale_ok") == "value"


async def test_a_loaders_own_trouble_with_a_cluster_is_not_ours() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, loader = cluster.cache("c"), Loader(synaxis.NoQuorum("of another cluster"))
        for consistency in ("coherent", "stale_ok"):
            with pytest.raises(synaxis.NoQuorum, match="another"):
                await cache.get_or_load("k", loader, consistency=consistency)
        assert len(loader.keys) == 2


async def test_a_loader_of_the_cache_makes_get_read_through() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        loader = Loader("loaded")
        cache = cluster.cache("c", loader=loader, near=True)
        assert await cache.get("k") == "loaded"
        assert await cache.get("k") == "loaded"
        assert await cache.get_or_load("k") == "loaded"
        assert loader.keys == ["k"]
        loader.value = None
        assert await cache.get("j", "default") == "default"
        assert await cache.get_many(["k", "x"]) == {"k": "loaded"}, "that many would be too much"


async def test_a_writer_goes_first() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        written: list[tuple[str, object]] = []

        async def writer(key: str, value: object) -> None:
            if value == "bad":
                raise ValueError(key)
            written.append((key, value))

        cache = cluster.cache("c", writer=writer)
        await cache.set("k", 1)
        await cache.set_many({"a": 2, "b": 3})
        with pytest.raises(ValueError, match="k"):
            await cache.set("k", "bad")
        assert await cache.get("k") == 1
        assert written == [("k", 1), ("a", 2), ("b", 3)]
        with pytest.raises(synaxis.InvalidArgument, match="writer"):
            await cache.incr("n")
        seen: list[str] = []
        await cluster.cache("d", writer=lambda key, _: seen.append(key)).set("k", 1)
        assert seen == ["k"]


# --- renewal ---------------------------------------------------------------------------------


async def test_a_value_that_is_due_is_served_while_one_renews_it(near: bool) -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as two:
        caches = [client.cache("c", soft_ttl="100ms", near=near) for client in (one, two)]
        assert await caches[0].get_or_load("k", lambda _: "old") == "old"
        assert await caches[1].get("k") == "old"
        await asyncio.sleep(0.15)
        fake.advance(150)  # its time goes more slowly than ours
        loader = Loader("new", slow=True)
        for _ in range(10):
            for cache in caches:
                assert await cache.get_or_load("k", loader) == "old"
            await asyncio.sleep(0.005)
        await loader.begun()
        assert loader.keys == ["k"]
        loader.go.set()
        await until_value(caches[0], "new")
        await until_value(caches[1], "new")


async def until_value(cache: synaxis.Cache, value: object) -> None:
    async with asyncio.timeout(5):
        while await cache.get("k") != value:  # noqa: ASYNC110  # the cluster is asked
            await asyncio.sleep(0.01)


async def test_plain_reads_renew_only_with_a_loader() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        plain = cluster.cache("c", near=True)
        reading = cluster.cache("c", near=True, loader=lambda _: "new")
        await plain.set("k", "old", soft_ttl="50ms")
        await plain.get("k")
        await asyncio.sleep(0.06)
        assert await plain.get("k") == "old"
        assert plain.peek("k") == "old"
        assert said(fake, Reserve) == 0
        assert await reading.get("k") == "old"
        await until_value(plain, "new")


async def test_a_renewal_that_fails_is_not_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filling, "RENEW_PAUSE_S", 0.2)
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c", near=True)
        await cache.set("k", "old", soft_ttl="20ms")
        await cache.get("k")
        await asyncio.sleep(0.03)
        loader = Loader(ValueError("no database"))
        for _ in range(20):
            assert await cache.get_or_load("k", loader) == "old"
            await asyncio.sleep(0.002)
        assert len(loader.keys) == 1
        assert "no database" in caplog.text
        await asyncio.sleep(0.25)
        loader.value = "new"
        assert await cache.get_or_load("k", loader) == "old"
        await until_value(cache, "new")


async def test_closing_ends_what_is_being_computed() -> None:
    async with FakeCluster() as fake:
        async with fake.client() as cluster:
            cache, loader = cluster.cache("c"), Loader(slow=True)
            await cache.set("due", "old", soft_ttl="1ms")
            await asyncio.sleep(0.01)
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(cache.get_or_load("k", loader)) for _ in range(2)]
            assert await cache.get_or_load("due", loader) == "old"
            await loader.begun(2)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, synaxis.ConnectionFailed)


async def test_a_reservation_that_waits_survives_the_home() -> None:
    async with FakeCluster(2) as fake, fake.client(timeout=0.5) as one, fake.client() as two:
        loader, loop = Loader(slow=True), asyncio.get_running_loop()
        first = loop.create_task(two.cache("c").get_or_load("k", loader))
        await loader.begun()
        waiting = loop.create_task(one.cache("c").get_or_load("k", str))
        await asyncio.sleep(1)
        assert not waiting.done(), "while there is a home, others may take their time"
        fake.elect("n2")
        assert await waiting == "k"
        loader.go.set()
        assert await first == "value"


async def test_a_right_that_comes_too_late_goes_back() -> None:
    """It crosses with the news that nobody waits for it."""
    async with FakeCluster(cache_groups=1) as fake, fake.client() as one, fake.client() as two:
        late: list[wire.Bus] = []

        def hold(_: FakeNode, message: wire.ClientMessage) -> bool:
            if not isinstance(message, wire.Bus):
                return False
            if isinstance(message.message, Reserve):
                late.append(message)
                return True
            return isinstance(message.message, Surrender) and not message.message.token

        fake["n1"].intercept = hold
        task = asyncio.get_running_loop().create_task(one.cache("c").get_or_load("k", str))
        await fake.until(lambda: late)
        task.cancel()
        await asyncio.wait([task])
        shard = fake.caches.shard_with("c/k")
        (holder,) = shard.holders.values()
        shard.hear(holder.door, late[0])
        fake["n1"].intercept = None
        async with asyncio.timeout(3):
            assert await two.cache("c").get_or_load("k", str) == "k"


# --- functions -------------------------------------------------------------------------------


async def test_a_function_is_called_once_for_its_arguments() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, calls = cluster.cache("c", near=True), []

        @cache.cached(key="u:{user_id}:{kind}", ttl=60, tags=["user:{user_id}"])
        async def load(user_id: int, kind: str = "full") -> dict[str, object]:
            """Load a user."""
            calls.append(user_id)
            return {"id": user_id, "kind": kind}

        assert await load(1) == {"id": 1, "kind": "full"}
        assert await load(user_id=1) is await load(1, "full")
        assert await load(1, kind="short") == {"id": 1, "kind": "short"}
        assert calls == [1, 1]
        assert load.key(1) == "u:1:full"
        assert await load.invalidate(1)
        assert not await load.invalidate(1)
        await load(1)
        assert calls == [1, 1, 1]
        await cache.invalidate_tag("user:1")
        await load(1)
        assert calls == [1, 1, 1, 1]
        assert (load.__name__, load.__doc__) == ("load", "Load a user.")  # type: ignore[attr-defined]
        assert inspect.iscoroutinefunction(load)


async def test_methods_do_not_count_their_receiver() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache = cluster.cache("c")

        class Users:
            calls = 0

            @cache.cached(key="u:{user_id}")
            async def load(self, user_id: int) -> int:
                Users.calls += 1
                return user_id * 2

            @classmethod
            @cache.cached(key="all")
            async def all(cls) -> list[int]:
                Users.calls += 1
                return [1, 2]

        users, others = Users(), Users()
        assert [await users.load(1), await others.load(1)] == [2, 2]
        assert [await Users.all(), await users.all()] == [[1, 2], [1, 2]]
        assert Users.calls == 2
        assert users.load.key(1) == "u:1"
        assert await others.load.invalidate(1)
        assert await users.load(1) == 2
        assert Users.calls == 3


async def test_a_functions_none_is_cached_when_that_is_wanted() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cache, calls = cluster.cache("c"), []

        async def find(n: int) -> object:
            calls.append(n)
            return None

        unsure = cache.cached(key="a{n}")(find)
        sure = cache.cached(key="b{n}", cache_none=True)(find)
        for _ in range(3):
            assert await unsure(1) is None
            assert await sure(2) is None
        assert calls.count(1) == 3
        assert calls.count(2) == 1


async def test_only_coroutine_functions_are_decorated() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cached: Any = cluster.cache("c").cached(key="x")
        with pytest.raises(synaxis.InvalidArgument, match="coroutine"):
            cached(lambda: 1)
        with pytest.raises(synaxis.InvalidArgument):
            cluster.cache("c").cached(key="x", ttl=-1)
