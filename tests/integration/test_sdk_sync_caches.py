"""The blocking twin of caches: the same names, for threads."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import synaxis
from support.fake_cluster import FakeCluster
from synaxis.client.sync_caches import BlockingCache

INTERNAL = {"fresh"}


def public(kind: type) -> set[str]:
    bases = [base for base in kind.__mro__ if base.__module__.startswith("synaxis")]
    names = {name for base in bases for name in vars(base)}
    return {name for name in names if not name.startswith("_")} - INTERNAL


def test_the_twins_have_the_same_names() -> None:
    assert public(synaxis.Cache) <= public(BlockingCache)


@pytest.mark.parametrize("name", sorted(public(synaxis.Cache) - {"name"}))
def test_the_twins_take_the_same_arguments(name: str) -> None:
    theirs = inspect.signature(getattr(synaxis.Cache, name)).parameters
    ours = inspect.signature(getattr(BlockingCache, name)).parameters
    assert list(theirs) == list(ours)
    assert [each.default for each in theirs.values()] == [each.default for each in ours.values()]


async def in_thread(work: Callable[[synaxis.Synaxis], None]) -> None:
    """Run ``work`` in a thread, with a blocking client of a fake cluster."""

    def body(fake: FakeCluster) -> None:
        with synaxis.Synaxis(fake.url, timeout=2) as cluster:
            work(cluster)

    async with FakeCluster() as fake:
        await asyncio.to_thread(body, fake)


async def test_all_of_it_blocks() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache = cluster.cache("c", ttl="10m", near=True)
        assert (cache.get("k"), cache.get("k", 5), cache.name) == (None, 5, "c")
        version = cache.set("k", {"n": 1}, tags=["t"])
        assert cache.get("k") == {"n": 1}
        assert cache.peek("k") is cache.get("k")
        entry = cache.entry("k")
        assert entry is not None
        assert entry.version == version
        with pytest.raises(synaxis.VersionConflict):
            cache.set("k", 2, if_version=version + 1)
        assert not cache.add("k", 2)
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many(["a", "b", "x"]) == {"a": 1, "b": 2}
        assert (cache.incr("a", 4), cache.decr("a")) == (5, 4)
        assert cache.delete("a")
        assert cache.delete_many(["a", "b"]) == 1
        assert cache.invalidate_tag("t") == 1
        assert cache.get("k") is None
        cache.clear()
        assert cache.get("k", consistency="stale_ok") is None
        assert cache.stats().near_hits > 0
        assert repr(cache) == "<Cache c>"

    await in_thread(work)


async def test_a_hit_does_not_enter_the_loop() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache = cluster.cache("c", near=True)
        cache.set("k", 1)
        cache.get("k")
        stop = threading.Event()
        cluster._portal.post(lambda: stop.wait(1))  # the loop is blocked
        begun = time.monotonic()
        assert (cache.get("k"), cache.peek("k"), cache.get_or_load("k", str)) == (1, 1, 1)
        assert time.monotonic() - begun < 0.5
        stop.set()

    await in_thread(work)


async def test_loaders_and_writers_run_in_the_thread_that_asks() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        names: list[int] = []

        def loader(key: str) -> str:
            names.append(threading.get_ident())
            return key

        def writer(key: str, value: object) -> None:
            names.append(threading.get_ident())
            if value == "bad":
                raise ValueError(key)

        cache = cluster.cache("c", loader=loader, writer=writer)
        assert cache.get("a") == "a"
        assert cache.get_or_load("b") == "b"
        assert cache.get_or_load("c", loader) == "c"
        cache.set("d", 1)
        cache.set_many({"e": 1})
        cache.add("f", 1)
        with pytest.raises(ValueError, match="g"):
            cache.set("g", "bad")
        assert set(names) == {threading.get_ident()}
        assert len(names) == 7

    await in_thread(work)


async def test_many_threads_share_one_computation() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache, calls = cluster.cache("c", near=True), []

        def loader(key: str) -> str:
            calls.append(key)
            time.sleep(0.1)
            return key

        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda _: cache.get_or_load("k", loader), range(64)))
        assert (set(found), calls) == ({"k"}, ["k"])

    await in_thread(work)


async def test_an_error_of_a_loader_reaches_all_threads() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache, barrier = cluster.cache("c"), threading.Barrier(4)

        def loader(key: str) -> str:
            time.sleep(0.1)
            raise ValueError(key)

        def ask(_: int) -> str:
            barrier.wait()
            try:
                return str(cache.get_or_load("k", loader))
            except ValueError as error:
                return f"failed: {error}"

        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(ask, range(4))) == {"failed: k"}

    await in_thread(work)


async def test_cached_functions_may_call_each_other() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache, calls = cluster.cache("c", near=True), []

        class Numbers:
            @cache.cached(key="f:{n}", tags=["f"])
            def factorial(self, n: int) -> int:
                """Multiply."""
                calls.append(n)
                return n * self.factorial(n - 1) if n else 1

        numbers = Numbers()
        assert numbers.factorial(20) == numbers.factorial(n=20)
        assert len(calls) == 21
        assert numbers.factorial.key(5) == "f:5"
        assert numbers.factorial.invalidate(5)
        assert numbers.factorial(5) == 120
        assert len(calls) == 22
        assert Numbers.factorial.__doc__ == "Multiply."
        with pytest.raises(synaxis.InvalidArgument):
            cache.cached(key="{nobody}")(str.upper)

    await in_thread(work)


async def test_renewals_have_a_thread_of_their_own() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        names: list[int] = []

        def loader(_: str) -> str:
            names.append(threading.get_ident())
            return "new"

        cache = cluster.cache("c", near=True, loader=loader)
        cache.set("k", "old", soft_ttl="20ms")
        cache.get_many(["k"])
        time.sleep(0.03)
        assert cache.get("k") == "old"
        deadline = time.monotonic() + 5
        while cache.get("k") == "old" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert cache.get("k") == "new"
        assert threading.get_ident() not in names
        assert len(names) == 1

    await in_thread(work)


async def test_an_interrupted_thread_takes_its_loader_with_it() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache, begun = cluster.cache("c"), threading.Event()

        def interrupted(_: str) -> str:
            begun.set()
            time.sleep(0.1)
            raise KeyboardInterrupt

        outcomes: list[Any] = []

        def wait() -> None:
            begun.wait()
            try:
                outcomes.append(cache.get_or_load("k", str))
            except RuntimeError as error:
                outcomes.append(str(error))

        other = threading.Thread(target=wait)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_load("k", interrupted)
        other.join()
        assert "interrupted" in outcomes[0]
        assert cache.get_or_load("k", str) == "k"

    await in_thread(work)


async def test_threads_may_look_while_things_come_and_go() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache = cluster.cache("c", near=True, max_entries=5)
        end = time.monotonic() + 0.5
        keys = [f"k{n}" for n in range(10)]
        cache.set_many(dict.fromkeys(keys, 1))

        def read(_: int) -> int:
            count = 0
            while time.monotonic() < end:
                for key in keys:
                    assert cache.peek(key) in (synaxis.MISS, 1)
                    assert cache.get(key) == 1
                    count += 1
            return count

        with ThreadPoolExecutor(4) as threads:
            assert min(threads.map(read, range(4))) > 10
        assert cache.stats().entries <= 5

    await in_thread(work)


async def test_after_the_end_it_says_so() -> None:
    def work(cluster: synaxis.Synaxis) -> None:
        cache = cluster.cache("c", near=True)
        cluster.close()
        for call in (cache.get, cache.entry, lambda key: cache.set(key, 1)):
            with pytest.raises(RuntimeError):
                call("k")

    await in_thread(work)
