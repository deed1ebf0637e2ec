"""How many acquire + release cycles of distinct locks per second does one client get?

One client process, 1, 16 and 128 concurrent users of it, every user with lock names of its own.
"""

from benchmarks.harness.comparison import (
    Options,
    compare,
    durability_classes,
    print_ratios,
    serving,
)
from benchmarks.harness.contenders import lock_systems
from benchmarks.harness.load import Run
from benchmarks.harness.report import Floor, Report, middle_run
from benchmarks.harness.statistics import median
from benchmarks.harness.systems import LockSystem

__all__ = ["run"]

_RATE_FLOORS = {
    "synaxis": Floor("rate at 128 concurrent, 3 nodes", 8_000, "cycles/s"),
    "synaxis-1": Floor("rate at 128 concurrent, single node", 12_000, "cycles/s"),
}
_CPU_FLOOR = Floor("CPU of all processes at 128 concurrent, 3 nodes", 150, "us/cycle", False)
_RATIO_FLOORS = {
    "etcd": Floor("ratio to etcd at 128 concurrent", 8, "x"),
    "redis": Floor("ratio to redis at 128 concurrent", 2.5, "x"),
    "postgresql": Floor("ratio to postgresql at 128 concurrent", 1, "x"),
}


def run(report: Report, options: Options) -> None:
    """Measure all systems at each concurrency; the floors are promised at the highest."""
    with serving(report, lock_systems()) as systems:
        _measure_at(1, systems, report, options)
        _measure_at(16, systems, report, options)
        runs, ratios = _measure_at(128, systems, report, options)
    for name, floor in _RATE_FLOORS.items():
        report.floor(floor, middle_run(runs[name]).rate)
    report.floor(_CPU_FLOOR, median([one.cpu_us for one in runs["synaxis"]]))
    for peer, ratio in ratios.items():
        report.floor(_RATIO_FLOORS[peer], ratio)


def _measure_at(
    workers: int, systems: dict[str, LockSystem], report: Report, options: Options
) -> tuple[dict[str, list[Run]], dict[str, float]]:
    report.headline(f"acquire + release of distinct locks, {workers} concurrent")
    runs = compare(systems, workers, options)
    report.runs(f"{workers} concurrent", runs, durability_classes(systems))
    rates = {name: [one.rate for one in rounds] for name, rounds in runs.items()}
    name = f"lock_throughput_{workers}"
    return runs, print_ratios(report, name, "synaxis", rates, systems)
