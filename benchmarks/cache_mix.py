"""A mix as programs have it: Zipf-distributed keys, 95 reads to 5 writes, 8 client processes.

Synaxis' clients have near caches, which stay coherent; redis-py asks the server each time, which is
the only coherent way that it has. Each process runs 16 tasks.
"""

import asyncio
import bisect
import itertools
import multiprocessing
import random
import time
from multiprocessing.connection import Connection

import synaxis
from benchmarks.harness.cache_load import fill
from benchmarks.harness.cache_systems import (
    KEYS,
    VALUE,
    CacheClient,
    CacheSystem,
    RedisCache,
    SynaxisCaches,
)
from benchmarks.harness.comparison import (
    Options,
    durability_classes,
    paired_runs,
    print_ratios,
    serving,
)
from benchmarks.harness.cpu import CpuMeter
from benchmarks.harness.load import run_async, side_by_side
from benchmarks.harness.queue_load import QueueRun
from benchmarks.harness.report import Report

__all__ = ["run"]

_PROCESSES = 8
_TASKS = 16
_SKEW = 1.1
_WRITES = 0.05
_CHOICES = 100_000


def run(report: Report, options: Options) -> None:
    """Measure both in paired rounds."""
    candidates: list[CacheSystem] = [SynaxisCaches(near=True), RedisCache()]
    with serving(report, candidates) as systems:
        title = f"Zipf({_SKEW}) over {KEYS:,} keys, 95/5, {_PROCESSES} processes"
        report.headline(title)
        runs = paired_runs(systems, options, lambda each: _measure(each, options.seconds))
        report.message_runs(title, runs, durability_classes(systems), "key")
        rates = {name: [one.rate for one in rounds] for name, rounds in runs.items()}
        print_ratios(report, "cache_mix", "synaxis", rates, systems)


def _measure(system: CacheSystem, seconds: float) -> QueueRun:
    async def prepare() -> None:
        async with system.connect() as client:
            await fill(client)

    run_async(prepare())
    where = system.port if isinstance(system, RedisCache) else system.cluster.urls  # type: ignore[attr-defined]
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(_PROCESSES):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(where, number, seconds, theirs), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        assert pipe.recv() == "ready"
    meter = CpuMeter(system.server_pids())
    meter.start()
    for pipe in pipes:
        pipe.send("go")
    results: list[tuple[int, float]] = [pipe.recv() for pipe in pipes]
    meter.stop()
    for process in processes:
        process.join(10)
    done, used = sum(count for count, _ in results), sum(cpu for _, cpu in results)
    return QueueRun(system.name, seconds, done, done, used, meter.server_seconds)


def _work(where: int | list[str], number: int, seconds: float, pipe: Connection) -> None:
    run_async(_drive(where, number, seconds, pipe))


async def _drive(where: int | list[str], number: int, seconds: float, pipe: Connection) -> None:
    if isinstance(where, int):
        async with RedisCache.connected(where) as client:
            await _run_tasks(client, number, seconds, pipe)
        return
    async with synaxis.connect(where) as cluster:
        cache = cluster.cache("bench", near=True, codec="bytes")
        await _run_tasks(cache, number, seconds, pipe)


async def _run_tasks(client: CacheClient, number: int, seconds: float, pipe: Connection) -> None:
    chooser = random.Random(number)  # noqa: S311  # no secret
    names = _zipf(chooser)
    writes = [chooser.random() < _WRITES for _ in range(_CHOICES)]
    plan = itertools.cycle(zip(names, writes, strict=True))
    await client.get("key:0")
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    done, until = 0, time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        turns = 0
        while time.perf_counter() < until:
            name, writing = next(plan)
            if writing:
                await client.set(name, VALUE)
            else:
                await client.get(name)
            done += 1
            turns += 1
            if not turns % 64:
                await asyncio.sleep(0)  # near hits never wait: let others have the loop

    used = time.process_time()
    await side_by_side(worker, _TASKS)
    pipe.send((done, time.process_time() - used))


def _zipf(chooser: random.Random) -> list[str]:
    """Return keys, chosen with probability proportional to 1 / rank ** skew."""
    sums = list(itertools.accumulate(1 / rank**_SKEW for rank in range(1, KEYS + 1)))
    return [f"key:{bisect.bisect(sums, chooser.random() * sums[-1])}" for _ in range(_CHOICES)]
