"""What does a hit in the near cache cost, beside the limits of the language and a remote GET?

``peek`` is a plain call, ``await get`` a coroutine that never waits. Beside them the same loop
around ``dict.get`` and ``cachetools.LRUCache``, and redis-py's asyncio GET, 128 at a time.
"""

import time
from collections.abc import Awaitable, Callable

import cachetools

from benchmarks.harness.cache_load import fill, get, measure_cache
from benchmarks.harness.cache_systems import CacheSystem, RedisCache, SynaxisCaches
from benchmarks.harness.comparison import Options, serving
from benchmarks.harness.load import run_async
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import median

__all__ = ["run"]

_HOT = 1_000
_LOOP = 100_000
_NAMES = [f"key:{number}" for number in range(_HOT)]


def run(report: Report, options: Options) -> None:
    """Measure hits, then the peers."""
    candidates: list[CacheSystem] = [SynaxisCaches(near=True), RedisCache()]
    with serving(report, candidates) as systems:
        report.headline("hits in the near cache")
        peeks, gets = run_async(_hits(systems["synaxis"], options.rounds))
        report.figure("peek", peeks * 1e9, "ns")
        report.figure("await_get", 1 / gets, "hits/s")
        _limits(report)
        report.floor(Floor("peek of a hit", 1_000, "ns", at_least=False), peeks * 1e9)
        report.floor(Floor("await get of a hit", 800_000, "hits/s"), 1 / gets)
        if "redis" not in systems:
            return
        rounds = range(options.rounds)
        peers = [measure_cache(systems["redis"], get, options.seconds).rate for _ in rounds]
        ratio = 1 / gets / median(peers)
        classes = ("memory of this process, coherent", systems["redis"].durability)
        report.ratio("cache_near_hit", "redis_get", ratio, classes)
        report.floor(Floor("ratio to redis GET", 50, "x"), ratio)


async def _hits(system: CacheSystem, rounds: int) -> tuple[float, float]:
    """Return the seconds of a peek and of an awaited get, medians over the rounds."""
    async with system.connect() as client:
        await fill(client)
        for name in _NAMES:
            await client.get(name)
        peek = client.peek  # type: ignore[attr-defined]
        peeks = [_time_calls(peek) for _ in range(rounds)]
        gets = [await _time_awaits(client.get) for _ in range(rounds)]
    return median(peeks), median(gets)


def _time_calls(function: Callable[[str], object]) -> float:
    started = time.perf_counter()
    for _ in range(_LOOP // _HOT):
        for name in _NAMES:
            function(name)
    return (time.perf_counter() - started) / _LOOP


async def _time_awaits(function: Callable[[str], Awaitable[object]]) -> float:
    started = time.perf_counter()
    for _ in range(_LOOP // _HOT):
        for name in _NAMES:
            await function(name)
    return (time.perf_counter() - started) / _LOOP


def _limits(report: Report) -> None:
    """Print what the language allows."""
    plain = dict.fromkeys(_NAMES, 1)
    lru: cachetools.LRUCache[str, int] = cachetools.LRUCache(_HOT * 2)
    lru.update(plain)
    report.figure("limit_dict_get", 1 / _time_calls(plain.get), "calls/s")
    report.figure("limit_lru_get", 1 / _time_calls(lru.__getitem__), "calls/s")

    async def nothing(name: str) -> int | None:
        return plain.get(name)

    report.figure("limit_await_dict_get", 1 / run_async(_time_awaits(nothing)), "calls/s")
