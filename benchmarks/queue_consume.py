"""How many 256-byte messages per second does one consumer process take and acknowledge?

The messages lie ready. One by one is a loop over messages that are acknowledged each; in batches
a reader takes a hundred and acknowledges them together, where the system can. JetStream's best
form is the first one, pushed to a callback: its ratio is printed for our batches as well.
"""

from collections.abc import Mapping

from benchmarks.harness.comparison import Options, print_ratios, serving
from benchmarks.harness.contenders import queue_systems
from benchmarks.harness.queue_contest import Contest
from benchmarks.harness.queue_load import QueueRun, measure_consuming
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.synaxis_queues import SynaxisQueue
from benchmarks.harness.systems import QueueClient, QueueSystem
from benchmarks.harness.tally import Tally

__all__ = ["run"]

_OURS = "synaxis"
_READERS = 4
_BEST_FORMS_FLOOR = Floor("ratio to jetstream, best forms", 1, "x")


def run(report: Report, options: Options) -> None:
    """Measure all systems, message by message and in batches."""
    with serving(report, queue_systems()) as systems:
        pushed = _ONE_BY_ONE.hold(report, options, systems)
        batches = _IN_BATCHES.hold(report, options, systems)
        _SEVERAL_READERS.hold(report, options, systems)
        _compare_best_forms(report, systems, batches[_OURS], pushed)
        _say_what_defaults_give(report, systems[_OURS], options)


def _compare_best_forms(
    report: Report,
    systems: Mapping[str, QueueSystem],
    ours: list[QueueRun],
    pushed: dict[str, list[QueueRun]],
) -> None:
    """Hold our batches against JetStream's push; these rounds were not paired."""
    streams = {name: system for name, system in systems.items() if name.startswith("jetstream")}
    rates = {name: [one.rate for one in pushed[name]] for name in streams}
    rates[_OURS] = [one.rate for one in ours]
    compared = {_OURS: systems[_OURS]} | streams
    ratios = print_ratios(report, "queue_consume_best", _OURS, rates, compared)
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


async def _one_reader(client: QueueClient, tally: Tally) -> None:
    await client.consume_in_batches(tally, readers=1)


async def _several_readers(client: QueueClient, tally: Tally) -> None:
    await client.consume_in_batches(tally, readers=_READERS)


def _measure_one_by_one(system: QueueSystem, options: Options) -> QueueRun:
    return measure_consuming(system, _one_by_one, options.messages, options.seconds)


def _measure_one_reader(system: QueueSystem, options: Options) -> QueueRun:
    return measure_consuming(system, _one_reader, options.messages, options.seconds)


def _measure_several_readers(system: QueueSystem, options: Options) -> QueueRun:
    return measure_consuming(system, _several_readers, options.messages, options.seconds)


_ONE_BY_ONE = Contest(
    "queue_consume_single",
    "consume + ack, message by message",
    _measure_one_by_one,
    Floor("rate of async for, one consumer process", 30_000, "messages/s"),
    Floor("CPU of all processes, async for", 45, "us/message", at_least=False),
    {"jetstream": Floor("ratio to jetstream, pushed messages", 1, "x")},
)
_IN_BATCHES = Contest(
    "queue_consume_batches",
    "consume + ack, batches of 100, one reader",
    _measure_one_reader,
    Floor("rate of fetch, batches of 100", 100_000, "messages/s"),
    Floor("CPU of all processes, fetch", 12, "us/message", at_least=False),
    {"redis": Floor("ratio to redis, batches", 1.5, "x")},
)
_SEVERAL_READERS = Contest(
    "queue_consume_batches_4",
    f"consume + ack, batches of 100, {_READERS} readers",
    _measure_several_readers,
)
