"""What does a backlog of a million messages cost: memory, publishing rate, time of a restart?

Two clusters run, each with a group that has read the first messages and stopped: one has the
backlog, the topic of the other is emptied before each run. Both are published to in turn, so
the two rates come from paired rounds. Then all nodes with the backlog are killed and started
again.
"""

import asyncio
import time

from benchmarks.harness.comparison import Options, durability_classes, paired_runs, serving
from benchmarks.harness.cpu import resident_bytes
from benchmarks.harness.load import run_async
from benchmarks.harness.queue_load import Form, QueueRun, measure_publishing
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import paired_ratio
from benchmarks.harness.synaxis_queues import SynaxisQueues
from benchmarks.harness.systems import QueueClient
from benchmarks.harness.tally import Tally

__all__ = ["run"]

_BACKLOG = "synaxis"
_EMPTY = "synaxis-empty"
_MEGABYTE = 1_000_000
_READ_FIRST = 100
_SERVES_WITHIN_S = 60.0
_RSS_FLOOR = Floor("RSS per node with the backlog", 300, "MB", at_least=False)
_RESTART_FLOOR = Floor("restart of all nodes until they serve", 10, "s", at_least=False)
_RATE_FLOORS = {
    "single": Floor("publish at the backlog to an empty queue", 0.8, "x"),
    "batches": Floor("publish_many at the backlog to an empty queue", 0.8, "x"),
}


def run(report: Report, options: Options) -> None:
    """Fill one queue; read its memory, publish beside an empty one, restart."""
    backlog, empty = SynaxisQueues(_BACKLOG), SynaxisQueues(_EMPTY)
    with serving(report, [backlog]):
        report.headline(f"a backlog of {options.backlog:,} messages")
        report.figure("rss_per_node_idle", _rss_megabytes(backlog), "MB")
        report.figure("seconds_to_fill", run_async(_fill(backlog, options.backlog)), "s")
        filled = _rss_megabytes(backlog)
        report.figure("rss_per_node_filled", filled, "MB")
        with serving(report, [empty]):
            run_async(_fill(empty, _READ_FIRST))
            ratios = {
                "single": _publish(report, options, [backlog, empty], "single", _one_by_one),
                "batches": _publish(report, options, [backlog, empty], "batches", _in_batches),
            }
        report.figure("rss_per_node_after_publishing", _rss_megabytes(backlog), "MB")
        before = run_async(_left(backlog))
        report.figure("backlog_before_restart", before, "messages")
        seconds = run_async(_restart(backlog))
        report.figure("restart_of_all_nodes", seconds, "s")
        report.figure("rss_per_node_restarted", _rss_megabytes(backlog), "MB")
        report.figure("lost_in_restart", before - run_async(_left(backlog)), "messages")
    report.floor(_RSS_FLOOR, filled)
    for form, ratio in ratios.items():
        report.floor(_RATE_FLOORS[form], ratio)
    report.floor(_RESTART_FLOOR, seconds)


def _publish(
    report: Report, options: Options, clusters: list[SynaxisQueues], name: str, form: Form
) -> float:
    """Publish to both in paired rounds; return the rate at the backlog to that without."""

    def measure(system: SynaxisQueues) -> QueueRun:
        return measure_publishing(system, form, options.seconds, emptied=system.name == _EMPTY)

    systems = {system.name: system for system in clusters}
    runs = paired_runs(systems, options, measure)
    classes = durability_classes(systems)
    report.message_runs(f"publish, {name}", runs, classes)
    ratio = paired_ratio([one.rate for one in runs[_BACKLOG]], [one.rate for one in runs[_EMPTY]])
    report.ratio(
        f"queue_backlog_{name}", "empty_queue", ratio, (classes[_BACKLOG], classes[_EMPTY])
    )
    return ratio


async def _fill(system: SynaxisQueues, messages: int) -> float:
    """Publish the backlog and read a little of it; return the seconds of publishing."""
    async with system.queue() as queue:
        started = time.perf_counter()
        await queue.add(messages)
        seconds = time.perf_counter() - started
        await queue.take(_READ_FIRST)
    return seconds


async def _restart(system: SynaxisQueues) -> float:
    """SIGKILL all nodes and start them again; return the seconds to a publish and a delivery."""
    for node in system.cluster.nodes:
        node.kill()
    started = time.perf_counter()
    for node in system.cluster.nodes:
        node.start()
    await asyncio.to_thread(system.cluster.wait_ready)
    async with asyncio.timeout(_SERVES_WITHIN_S), system.queue() as queue:
        await queue.add(1)
        taken = 0
        while not taken:
            taken = await queue.take(1)
    return time.perf_counter() - started


async def _left(system: SynaxisQueues) -> int:
    async with system.queue() as queue:
        return await queue.backlog()


def _rss_megabytes(system: SynaxisQueues) -> float:
    return max(map(resident_bytes, system.server_pids())) / _MEGABYTE


async def _one_by_one(client: QueueClient, tally: Tally) -> None:
    await client.publish_one_by_one(tally)


async def _in_batches(client: QueueClient, tally: Tally) -> None:
    await client.publish_in_batches(tally)
