"""What does a cached record of 256 bytes cost in memory, on every node that stores it?

And a copy of it in a client's near cache: there, and at the leaders, which remember who has it.
"""

import gc
import os
import time

import synaxis
from benchmarks.harness.cache_systems import VALUE, SynaxisCaches
from benchmarks.harness.comparison import Options, serving
from benchmarks.harness.cpu import resident_bytes
from benchmarks.harness.load import run_async
from benchmarks.harness.report import Floor, Report

__all__ = ["run"]

_MEGABYTE = 1_000_000
_BATCH = 1_000
_COPIES = 100_000
_FLOOR = Floor("RSS per node with a million records", 900, "MB", at_least=False)


def run(report: Report, options: Options) -> None:
    """Fill the cache and look at the nodes."""
    with serving(report, [SynaxisCaches()]) as systems:
        ours = systems["synaxis"]
        report.headline(f"{options.records:,} records of {len(VALUE)} bytes")
        idle = _rss(ours)
        report.figure("rss_per_node_idle", idle / _MEGABYTE, "MB")
        report.figure("seconds_to_fill", run_async(_fill(ours, options.records)), "s")
        filled = _rss(ours)
        near, far = run_async(_copy(ours, min(_COPIES, options.records)))
    report.figure("bytes_per_near_copy_at_its_client", near, "bytes")
    report.figure("bytes_per_near_copy_at_the_leaders", far, "bytes")
    report.figure("rss_per_node_filled", filled / _MEGABYTE, "MB")
    report.figure("bytes_per_record", (filled - idle) / options.records, "bytes")
    report.floor(_FLOOR, filled / _MEGABYTE)


def _rss(system: SynaxisCaches) -> int:
    return max(resident_bytes(pid) for pid in system.server_pids())


async def _copy(system: SynaxisCaches, copies: int) -> tuple[float, float]:
    """Read records into a near cache; return the bytes of each copy, here and at all nodes."""
    async with synaxis.connect(system.cluster.urls) as cluster:
        cache = cluster.cache("bench", codec="bytes", near=True, max_bytes="1GiB")
        await cache.get(_name(0))
        gc.collect()
        here, there = resident_bytes(os.getpid()), _rss_of_all(system)
        for first in range(0, copies, _BATCH):
            names = [_name(number) for number in range(first, min(first + _BATCH, copies))]
            assert len(await cache.get_many(names)) == len(names)
        gc.collect()
        near = (resident_bytes(os.getpid()) - here) / copies
        return near, (_rss_of_all(system) - there) / copies


def _rss_of_all(system: SynaxisCaches) -> int:
    return sum(resident_bytes(pid) for pid in system.server_pids())


def _name(number: int) -> str:
    return f"user:{number:08d}"


async def _fill(system: SynaxisCaches, records: int) -> float:
    started = time.perf_counter()
    async with synaxis.connect(system.cluster.urls) as cluster:
        cache = cluster.cache("bench", codec="bytes")
        for first in range(0, records, _BATCH):
            names = range(first, min(first + _BATCH, records))
            await cache.set_many({_name(number): VALUE for number in names})
        stored = await cache.get(_name(records - 1))
        assert stored == VALUE
    return time.perf_counter() - started
