"""How fast does one lock go round among 16 waiters, and does everybody get their share?

A fair queue hands the lock to the longest waiter. Polling clients let the releaser take it
again at once: many grants, but a fairness index far below 1 and waits of seconds.
"""

from benchmarks.harness.comparison import (
    Options,
    compare,
    durability_classes,
    print_ratios,
    serving,
)
from benchmarks.harness.contenders import lock_systems
from benchmarks.harness.report import Floor, Report, middle_run

__all__ = ["run"]

_WAITERS = 16
_FLOOR = Floor("hand-over of one lock between 16 waiters, 3 nodes", 3_000, "grants/s")


def run(report: Report, options: Options) -> None:
    """Measure grants per second, Jain's fairness index and the wait's p99."""
    with serving(report, lock_systems()) as systems:
        report.headline(f"one lock, {_WAITERS} waiters")
        runs = compare(systems, _WAITERS, options, one_lock=True)
        report.runs(f"{_WAITERS} waiters", runs, durability_classes(systems))
        rates = {name: [one.rate for one in rounds] for name, rounds in runs.items()}
        print_ratios(report, "lock_contention_16", "synaxis", rates, systems)
        report.floor(_FLOOR, middle_run(runs["synaxis"]).rate)
