"""How many durable 256-byte messages per second does one client process publish?

With 1,000 messages on their way, each awaited by a task of its own; and in each system's best
batch form. Every run begins with an empty queue.
"""

from benchmarks.harness.comparison import Options, serving
from benchmarks.harness.contenders import queue_systems
from benchmarks.harness.queue_contest import Contest
from benchmarks.harness.queue_load import QueueRun, measure_publishing
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.synaxis_queues import SynaxisQueue
from benchmarks.harness.systems import QueueClient, QueueSystem
from benchmarks.harness.tally import Tally

__all__ = ["run"]


def run(report: Report, options: Options) -> None:
    """Measure all systems in both forms."""
    with serving(report, queue_systems()) as systems:
        for contest in (_ONE_BY_ONE, _IN_BATCHES):
            contest.hold(report, options, systems)
        small = measure_publishing(systems["synaxis"], _in_small_batches, options.seconds)
        report.figure("publish_many_of_100", small.rate, "messages/s")
        report.figure("publish_many_of_100_cpu", small.cpu_us, "us/message")


async def _one_by_one(client: QueueClient, tally: Tally) -> None:
    await client.publish_one_by_one(tally)


async def _in_batches(client: QueueClient, tally: Tally) -> None:
    await client.publish_in_batches(tally)


async def _in_small_batches(client: QueueClient, tally: Tally) -> None:
    assert isinstance(client, SynaxisQueue)
    await client.publish_in_small_batches(tally)


def _measure_one_by_one(system: QueueSystem, options: Options) -> QueueRun:
    return measure_publishing(system, _one_by_one, options.seconds)


def _measure_in_batches(system: QueueSystem, options: Options) -> QueueRun:
    return measure_publishing(system, _in_batches, options.seconds)


_ONE_BY_ONE = Contest(
    "queue_publish_single",
    "publish one by one, 1,000 in flight",
    _measure_one_by_one,
    Floor("rate of publish, 1,000 in flight", 15_000, "messages/s"),
    Floor("CPU of all processes, publish", 80, "us/message", at_least=False),
    {
        "jetstream": Floor("ratio to jetstream, one by one", 3, "x"),
        "redis": Floor("ratio to redis, one by one", 1.5, "x"),
    },
)
_IN_BATCHES = Contest(
    "queue_publish_batches",
    "publish in batches",
    _measure_in_batches,
    Floor("rate of publish_many", 150_000, "messages/s"),
    Floor("CPU of all processes, publish_many", 10, "us/message", at_least=False),
    {
        "jetstream": Floor("ratio to jetstream, batches", 3, "x"),
        "redis": Floor("ratio to redis, batches", 4, "x"),
    },
)
