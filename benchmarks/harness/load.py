"""Runs workers against a lock system and measures them."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from benchmarks.harness.cpu import CpuMeter
from benchmarks.harness.statistics import jain_index, percentile
from benchmarks.harness.systems import LockClient, LockSystem

__all__ = ["Run", "measure", "run_async", "side_by_side"]

_T = TypeVar("_T")
_WARM_UP_S = 0.5
_NAMES_PER_WORKER = 64


@dataclass(frozen=True)
class Run:
    """One measured run: ``workers`` doing acquire + release without pause."""

    system: str
    workers: int
    seconds: float
    """Length of the window that rates are counted in."""
    cycles_by_worker: list[int]
    """Cycles that ended inside the window; a starved worker's last one ends after it."""
    acquire_seconds: list[float] = field(repr=False)
    cycle_seconds: list[float] = field(repr=False)
    client_cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0

    @property
    def cycles(self) -> int:
        """Completed acquire + release pairs."""
        return sum(self.cycles_by_worker)

    @property
    def rate(self) -> float:
        """Cycles per second."""
        return self.cycles / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per cycle, user + system of all processes."""
        return self.client_cpu_us + self.server_cpu_us

    @property
    def client_cpu_us(self) -> float:
        """Microseconds of the client's CPU per cycle."""
        return 1e6 * self.client_cpu_seconds / len(self.cycle_seconds)

    @property
    def server_cpu_us(self) -> float:
        """Microseconds of all server processes' CPU per cycle."""
        return 1e6 * self.server_cpu_seconds / len(self.cycle_seconds)

    @property
    def fairness(self) -> float:
        """Jain's index of the workers' shares."""
        return jain_index(self.cycles_by_worker)

    def cycle_ms(self, percent: float) -> float:
        """Return a percentile of the cycle's duration, in milliseconds."""
        return 1e3 * percentile(self.cycle_seconds, percent)

    def acquire_ms(self, percent: float) -> float:
        """Return a percentile of the wait for a grant, in milliseconds."""
        return 1e3 * percentile(self.acquire_seconds, percent)

    def as_json(self) -> dict[str, Any]:
        """Return the summary that the result file keeps."""
        return {
            "system": self.system,
            "workers": self.workers,
            "seconds": round(self.seconds, 3),
            "cycles": self.cycles,
            "rate_per_s": round(self.rate, 1),
            "cycle_ms_p50": round(self.cycle_ms(50), 3),
            "cycle_ms_p99": round(self.cycle_ms(99), 3),
            "acquire_ms_p50": round(self.acquire_ms(50), 3),
            "acquire_ms_p99": round(self.acquire_ms(99), 3),
            "cpu_us_per_cycle": round(self.cpu_us, 1),
            "cpu_us_per_cycle_client": round(self.client_cpu_us, 1),
            "cpu_us_per_cycle_servers": round(self.server_cpu_us, 1),
            "fairness": round(self.fairness, 4),
        }


@dataclass
class _Samples:
    """What one worker measured: seconds to the grant and of the whole cycle."""

    acquires: list[float] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)
    in_time: int = 0


def run_async(main: Coroutine[Any, Any, _T]) -> _T:
    """Run ``main`` on a fresh uvloop, which every client measured here profits from."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def side_by_side(work: Callable[[], Coroutine[Any, Any, None]], tasks: int) -> None:
    """Run ``work`` in so many tasks, and wait for all."""
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())


def measure(system: LockSystem, workers: int, seconds: float, *, one_lock: bool = False) -> Run:
    """Let ``workers`` take and give back locks for ``seconds``, after a short warm-up.

    Every worker has lock names of its own, or all fight for a single name (``one_lock``).
    """
    gc.collect()
    return run_async(_measure(system, workers, seconds, one_lock=one_lock))


async def _measure(system: LockSystem, workers: int, seconds: float, *, one_lock: bool) -> Run:
    async with system.connect(workers) as client:
        await _drive(client, workers, _WARM_UP_S, one_lock=one_lock)
        meter = CpuMeter(system.server_pids())
        meter.start()
        samples = await _drive(client, workers, seconds, one_lock=one_lock)
        meter.stop()
    return Run(
        system=system.name,
        workers=workers,
        seconds=seconds,
        cycles_by_worker=[one.in_time for one in samples],
        acquire_seconds=[value for one in samples for value in one.acquires],
        cycle_seconds=[value for one in samples for value in one.cycles],
        client_cpu_seconds=meter.client_seconds,
        server_cpu_seconds=meter.server_seconds,
    )


async def _drive(
    client: LockClient, workers: int, seconds: float, *, one_lock: bool
) -> list[_Samples]:
    """Run the workers side by side and return the samples of each."""
    until = time.perf_counter() + seconds

    def names(worker: int) -> list[str]:
        if one_lock:
            return ["bench/contended"]
        return [f"bench/{worker}/{number}" for number in range(_NAMES_PER_WORKER)]

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_cycle_until(client, worker, names(worker), until))
            for worker in range(workers)
        ]
    return [task.result() for task in tasks]


async def _cycle_until(client: LockClient, worker: int, names: list[str], until: float) -> _Samples:
    samples = _Samples()
    clock = time.perf_counter
    now = clock()
    while now < until:
        for name in names:
            async with client.hold(worker, name):
                granted = clock()
            done = clock()
            samples.acquires.append(granted - now)
            samples.cycles.append(done - now)
            now = done
            if now >= until:
                break
    samples.in_time = len(samples.cycles) - 1
    return samples
