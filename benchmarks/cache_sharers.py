"""How long does a write take when 50 clients hold the key in their near caches?

Each sharer is a client of its own, with its own connections; they live in a few processes, because
50 event loops would measure the machine. The write is answered when all have dropped the old
value.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection

import synaxis
from benchmarks.harness.cache_systems import VALUE, SynaxisCaches
from benchmarks.harness.comparison import Options, serving
from benchmarks.harness.load import run_async
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import percentile

__all__ = ["run"]

_SHARERS = 50
_PROCESSES = 5
_WRITES = 60
_KEY = "shared"
_PAUSE_S = 0.02


def run(report: Report, options: Options) -> None:
    """Write, again and again, what everybody reads."""
    writes = _WRITES if options.rounds > 1 else _WRITES // 10
    with serving(report, [SynaxisCaches()]) as systems:
        report.headline(f"writes to a key with {_SHARERS} sharers")
        alone = run_async(_write(systems["synaxis"].cluster.urls, writes))
        report.figure("write_without_sharers_p50", 1e3 * percentile(alone, 50), "ms")
        shared = _shared(systems["synaxis"].cluster.urls, writes)
    report.figure("write_with_sharers_p50", 1e3 * percentile(shared, 50), "ms")
    report.figure("write_with_sharers_p99", 1e3 * percentile(shared, 99), "ms")
    floor = Floor(f"p50 of a write with {_SHARERS} sharers", 5, "ms", at_least=False)
    report.floor(floor, 1e3 * percentile(shared, 50))


def _shared(urls: list[str], writes: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(_PROCESSES):
        ours, theirs = context.Pipe()
        arguments = (urls, _SHARERS // _PROCESSES, theirs)
        process = context.Process(target=_share, args=arguments, daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            assert pipe.recv() == "ready"
        return run_async(_write(urls, writes, pipes))
    finally:
        for pipe in pipes:
            pipe.send("end")
        for process in processes:
            process.join(10)


async def _write(
    urls: list[str], writes: int, pipes: list[Connection] | None = None
) -> list[float]:
    """Return the seconds of each write; before each, every sharer has read the key."""
    seconds = []
    async with synaxis.connect(urls) as cluster:
        cache = cluster.cache("bench", codec="bytes")
        await cache.set(_KEY, VALUE)
        for _ in range(writes):
            for pipe in pipes or ():
                pipe.send("read")
            for pipe in pipes or ():
                await asyncio.to_thread(pipe.recv)
            await asyncio.sleep(_PAUSE_S)
            started = time.perf_counter()
            await cache.set(_KEY, VALUE)
            seconds.append(time.perf_counter() - started)
    return seconds


def _share(urls: list[str], clients: int, pipe: Connection) -> None:
    run_async(_read(urls, clients, pipe))


async def _read(urls: list[str], clients: int, pipe: Connection) -> None:
    clusters = [synaxis.connect(urls) for _ in range(clients)]
    await asyncio.gather(*[cluster.open() for cluster in clusters])
    caches = [cluster.cache("bench", near=True, codec="bytes") for cluster in clusters]
    await asyncio.gather(*[cache.get(_KEY) for cache in caches])
    pipe.send("ready")
    while await asyncio.to_thread(pipe.recv) == "read":
        await asyncio.gather(*[cache.get(_KEY) for cache in caches])
        pipe.send("read")
    await asyncio.gather(*[cluster.aclose() for cluster in clusters])
