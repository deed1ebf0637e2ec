"""How long from publish to the consumer when nothing else goes on?

One message every 5 to 15 ms; the consumer waits. The time runs from the call of publish to the
moment when the consumer's code has the message, both in one process.
"""

from benchmarks.harness.comparison import (
    Options,
    durability_classes,
    paired_runs,
    print_ratios,
    serving,
)
from benchmarks.harness.contenders import queue_systems
from benchmarks.harness.queue_load import measure_deliveries
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import median

__all__ = ["run"]

_FLOORS = {
    50: Floor("p50 from publish to delivery, idle", 3, "ms", at_least=False),
    99: Floor("p99 from publish to delivery, idle", 10, "ms", at_least=False),
}


def run(report: Report, options: Options) -> None:
    """Measure all systems; the ratio is theirs to ours, so more is better."""
    with serving(report, queue_systems()) as systems:
        report.headline("publish to delivery, one message at a time")
        runs = paired_runs(
            systems, options, lambda system: measure_deliveries(system, options.seconds)
        )
        report.delivery_runs("publish to delivery", runs, durability_classes(systems))
        for percent in _FLOORS:
            speeds = {
                name: [1 / one.delivery_ms(percent) for one in rounds]
                for name, rounds in runs.items()
            }
            print_ratios(report, f"queue_latency_p{percent}", "synaxis", speeds, systems)
    for percent, floor in _FLOORS.items():
        report.floor(floor, median([one.delivery_ms(percent) for one in runs["synaxis"]]))
