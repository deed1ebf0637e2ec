"""How many 256-byte messages per second does one consumer process take and acknowledge?

The messages lie ready. One by one is a loop over messages that are acknowledged each; in batches
a reader takes many and acknowledges them together, where the system can. In the end the fastest
form of each system is held against our fastest: JetStream's is the first one, pushed to a
callback.
"""

from collections.abc import Callable, Mapping

from benchmarks.harness.comparison import Options, print_ratios, serving
from benchmarks.harness.contenders import queue_systems
from benchmarks.harness.queue_contest import Contest
from benchmarks.harness.queue_load import QueueRun, measure_consuming
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import median
from benchmarks.harness.synaxis_queues import SynaxisQueue
from benchmarks.harness.systems import QueueClient, QueueSystem
from benchmarks.harness.tally import Tally

__all__ = ["run"]

_OURS = "synaxis"
_BEST_FORMS_FLOOR = Floor("ratio to jetstream, best forms", 1, "x")


def run(report: Report, options: Options) -> None:
    """Measure all systems, message by message and in batches."""
    with serving(report, queue_systems()) as systems:
        runs = [contest.hold(report, options, systems) for contest in _CONTESTS]
        _compare_best_forms(report, systems, runs)
        _say_what_defaults_give(report, systems[_OURS], options)


def _compare_best_forms(
    report: Report, systems: Mapping[str, QueueSystem], runs: list[dict[str, list[QueueRun]]]
) -> None:
    """Hold the fastest form of each against ours; these rounds were not paired."""
    rates = {
        name: max(
            ([one.rate for one in contest[name]] for contest in runs),
            key=median,
        )
        for name in systems
    }
    ratios = print_ratios(report, "queue_consume_best", _OURS, rates, systems)
    if "jetstream" in ratios:
        report.floor(_BEST_FORMS_FLOOR, ratios["jetstream"])


def _say_what_defaults_give(report: Report, ours: QueueSystem, options: Options) -> None:
    """Print what ``async for`` gives when nobody has chosen how many messages may wait."""
    run = measure_consuming(ours, _by_default, options.messages, options.seconds)
    report.figure("async_for_by_default", run.rate, "messages/s")
    report.figure("async_for_by_default_cpu", run.cpu_us, "us/message")


async def _by_default(client: QueueClient, tally: Tally) -> None:
    assert isinstance(client, SynaxisQueue)
    await client.consume_by_default(tally)


async def _one_by_one(client: QueueClient, tally: Tally) -> None:
    await client.consume_one_by_one(tally)


def _measure_one_by_one(system: QueueSystem, options: Options) -> QueueRun:
    return measure_consuming(system, _one_by_one, options.messages, options.seconds)


def _fetching(readers: int, size: int) -> Callable[[QueueSystem, Options], QueueRun]:
    async def form(client: QueueClient, tally: Tally) -> None:
        await client.consume_in_batches(tally, readers, size)

    return lambda system, options: measure_consuming(
        system, form, options.messages, options.seconds
    )


_CONTESTS = (
    Contest(
        "queue_consume_single",
        "consume + ack, message by message",
        _measure_one_by_one,
        Floor("rate of async for, one consumer process", 30_000, "messages/s"),
        Floor("CPU of all processes, async for", 45, "us/message", at_least=False),
        {"jetstream": Floor("ratio to jetstream, pushed messages", 1, "x")},
    ),
    Contest(
        "queue_consume_batches",
        "consume + ack, batches of 100, one reader",
        _fetching(readers=1, size=100),
        Floor("rate of fetch, batches of 100", 100_000, "messages/s"),
        Floor("CPU of all processes, fetch", 12, "us/message", at_least=False),
        {"redis": Floor("ratio to redis, batches", 1.5, "x")},
    ),
    Contest(
        "queue_consume_batches_4_readers",
        "consume + ack, batches of 100, 4 readers",
        _fetching(readers=4, size=100),
    ),
    Contest(
        "queue_consume_batches_of_1000",
        "consume + ack, batches of 1,000, one reader",
        _fetching(readers=1, size=1_000),
    ),
)
