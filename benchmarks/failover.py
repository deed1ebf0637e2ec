"""How long does nobody get a lock after the leader was killed under load?

Sixteen workers take and give back locks. The leader gets a SIGKILL; at the same moment a lock is
asked for, and the time until it is granted is the fail-over. Then the node is started again.
Default settings on both sides.
"""

import asyncio
import random
import time

from benchmarks.harness.comparison import Options, serving
from benchmarks.harness.load import run_async
from benchmarks.harness.peers import Etcd
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import paired_ratio, percentile
from benchmarks.harness.synaxis_cluster import SynaxisCluster
from benchmarks.harness.systems import LockClient, ReplicatedSystem
from synaxis import SynaxisError

__all__ = ["run"]

_WORKERS = 16
_PROBE = _WORKERS
_LOAD_BEFORE_KILL_S = 0.4
_JITTER_S = 0.2
_GIVE_UP_S = 60.0
_FLOOR = Floor("p99 of fail-over, 3 nodes", 1.5, "s", at_least=False)


def run(report: Report, options: Options) -> None:
    """Kill leaders, ours and etcd's in turn, a third as often of etcd."""
    ours, etcd = SynaxisCluster(3), Etcd()
    candidates: list[ReplicatedSystem] = [ours, etcd]
    with serving(report, candidates) as systems:
        report.headline(f"SIGKILL of the leader under load, {options.kills} times")
        seconds: list[float] = []
        etcd_seconds: list[float] = []
        for kill in range(options.kills):
            seconds.append(run_async(_episode(ours)))
            if etcd.name in systems and kill % 3 == 0:
                etcd_seconds.append(run_async(_episode(etcd)))
    _figures(report, "synaxis", seconds)
    if etcd_seconds:
        _figures(report, "etcd", etcd_seconds)
        # Every third of ours was measured right before one of etcd's.
        ratio = paired_ratio(etcd_seconds, seconds[::3])
        report.ratio("failover", etcd.name, ratio, (ours.durability, etcd.durability))
    report.floor(_FLOOR, percentile(seconds, 99))


def _figures(report: Report, name: str, seconds: list[float]) -> None:
    for percent in (50, 99):
        report.figure(f"{name}_failover_p{percent}", percentile(seconds, percent), "s")
    report.figure(f"{name}_failover_max", max(seconds), "s")


async def _episode(system: ReplicatedSystem) -> float:
    """Kill the leader once; return the seconds to the next grant."""
    async with system.connect_any() as client:
        load = [asyncio.ensure_future(_cycle(client, worker)) for worker in range(_WORKERS)]
        # Heartbeats have a rhythm: do not always hit the same moment of it.
        await asyncio.sleep(_LOAD_BEFORE_KILL_S + random.uniform(0, _JITTER_S))  # noqa: S311
        leader = await asyncio.to_thread(system.leader)
        assert leader is not None, "nobody leads"
        started = time.perf_counter()
        system.nodes[leader].kill()
        async with asyncio.timeout(_GIVE_UP_S):
            await _granted(client, _PROBE, "bench/probe")
        seconds = time.perf_counter() - started
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        system.nodes[leader].start()
        await asyncio.to_thread(system.wait_ready)
    return seconds


async def _cycle(client: LockClient, worker: int) -> None:
    while True:
        await _granted(client, worker, f"bench/{worker}")


async def _granted(client: LockClient, worker: int, name: str) -> None:
    """Take and give back a lock, trying again as a user's program would."""
    while True:
        try:
            async with client.hold(worker, name):
                return
        except SynaxisError:
            await asyncio.sleep(0.01)
