"""Runs one form of reading or writing against a cache and measures it."""

import gc
import itertools
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.harness.cache_systems import KEYS, VALUE, CacheClient, CacheSystem
from benchmarks.harness.cpu import CpuMeter
from benchmarks.harness.load import run_async, side_by_side
from benchmarks.harness.queue_load import QueueRun
from benchmarks.harness.tally import Tally

__all__ = ["CONCURRENCY", "fill", "get", "get_many", "measure_cache", "set_one"]

CONCURRENCY = 128
_BULK = 100
_BULK_CONCURRENCY = 8
_WARM_UP_S = 0.5
_names = [f"key:{number}" for number in range(KEYS)]

Form = Callable[[CacheClient, Tally], Coroutine[Any, Any, None]]


async def fill(client: CacheClient) -> None:
    """Store a value under every key."""
    for first in range(0, KEYS, 1_000):
        await client.set_many(dict.fromkeys(_names[first : first + 1_000], VALUE))


async def get(client: CacheClient, tally: Tally) -> None:
    """Read single keys."""
    numbers = itertools.cycle(_names)

    async def reader() -> None:
        read, confirm = client.get, tally.confirm
        while not tally.over:
            await read(next(numbers))
            confirm()

    await side_by_side(reader, CONCURRENCY)


async def set_one(client: CacheClient, tally: Tally) -> None:
    """Write single keys."""
    numbers = itertools.cycle(_names)

    async def writer() -> None:
        write, confirm = client.set, tally.confirm
        while not tally.over:
            await write(next(numbers), VALUE)
            confirm()

    await side_by_side(writer, CONCURRENCY)


async def get_many(client: CacheClient, tally: Tally) -> None:
    """Read a hundred keys at a time, a few such calls side by side."""
    chunks = itertools.cycle([_names[n : n + _BULK] for n in range(0, KEYS, _BULK)])

    async def reader() -> None:
        while not tally.over:
            await client.get_many(next(chunks))
            tally.confirm(_BULK)

    await side_by_side(reader, _BULK_CONCURRENCY)


def measure_cache(system: CacheSystem, form: Form, seconds: float) -> QueueRun:
    """Let one client work for ``seconds``, after a short warm-up."""

    async def measured() -> QueueRun:
        async with system.connect() as client:
            await fill(client)
            await form(client, _begun(_WARM_UP_S))
            meter, tally = CpuMeter(system.server_pids()), _begun(seconds)
            meter.start()
            await form(client, tally)
            meter.stop()
        return QueueRun(
            system.name,
            tally.window_seconds,
            tally.in_time,
            tally.total,
            meter.client_seconds,
            meter.server_seconds,
        )

    gc.collect()
    return run_async(measured())


def _begun(seconds: float) -> Tally:
    tally = Tally(seconds, clock=time.perf_counter)
    tally.begin()
    return tally
