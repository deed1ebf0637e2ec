"""How long does one cycle take when a client asks for one lock at a time?"""

from benchmarks.harness.comparison import (
    Options,
    compare,
    durability_classes,
    print_ratios,
    serving,
)
from benchmarks.harness.contenders import lock_systems
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import median

__all__ = ["run"]

_FLOOR = Floor("p50 of one acquire + release, 3 nodes", 2.5, "ms", at_least=False)


def run(report: Report, options: Options) -> None:
    """Measure all systems with a single user; the ratio is theirs to ours, so more is better."""
    with serving(report, lock_systems()) as systems:
        report.headline("acquire + release, one at a time")
        runs = compare(systems, 1, options)
        report.runs("1 at a time", runs, durability_classes(systems))
        speeds = {name: [1 / one.cycle_ms(50) for one in rounds] for name, rounds in runs.items()}
        print_ratios(report, "lock_latency_p50", "synaxis", speeds, systems)
        speeds = {name: [1 / one.cycle_ms(99) for one in rounds] for name, rounds in runs.items()}
        print_ratios(report, "lock_latency_p99", "synaxis", speeds, systems)
        report.floor(_FLOOR, median([one.cycle_ms(50) for one in runs["synaxis"]]))
