"""One form of publishing or consuming, measured on all systems and held against its floors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.harness.comparison import (
    Options,
    durability_classes,
    paired_runs,
    print_ratios,
)
from benchmarks.harness.queue_load import QueueRun
from benchmarks.harness.report import Floor, Report, middle_run
from benchmarks.harness.statistics import median
from benchmarks.harness.systems import QueueSystem

__all__ = ["Contest"]

_OURS = "synaxis"


@dataclass(frozen=True)
class Contest:
    """What is measured, under which name its ratios appear, and what was promised."""

    name: str
    title: str
    measure: Callable[[QueueSystem, Options], QueueRun]
    rate_floor: Floor | None = None
    cpu_floor: Floor | None = None
    ratio_floors: Mapping[str, Floor] = field(default_factory=dict)
    """By the name of the peer."""

    def hold(
        self, report: Report, options: Options, systems: Mapping[str, QueueSystem]
    ) -> dict[str, list[QueueRun]]:
        """Measure all systems in paired rounds and print rows, ratios and floors."""
        report.headline(self.title)
        runs = paired_runs(systems, options, lambda system: self.measure(system, options))
        report.message_runs(self.title, runs, durability_classes(systems))
        rates = {name: [one.rate for one in rounds] for name, rounds in runs.items()}
        ratios = print_ratios(report, self.name, _OURS, rates, systems)
        if self.rate_floor is not None:
            report.floor(self.rate_floor, middle_run(runs[_OURS]).rate)
        if self.cpu_floor is not None:
            report.floor(self.cpu_floor, median([one.cpu_us for one in runs[_OURS]]))
        for peer, floor in self.ratio_floors.items():
            if peer in ratios:
                report.floor(floor, ratios[peer])
        return runs
