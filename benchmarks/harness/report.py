"""What a benchmark prints, and the JSON file it leaves behind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.harness.load import Run
from benchmarks.harness.machine import describe_machine
from benchmarks.harness.queue_load import DeliveryRun, QueueRun
from benchmarks.harness.statistics import median

__all__ = ["Floor", "Report", "middle_run"]


@dataclass(frozen=True)
class Floor:
    """A figure that the project promises to reach on a calm 2-core machine."""

    what: str
    bound: float
    unit: str
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Return whether ``value`` is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound


class _Measured(Protocol):
    """A run of any kind."""

    def as_json(self) -> dict[str, Any]:
        """Return the summary that the result file keeps."""
        ...


class _Rated(_Measured, Protocol):
    """A run whose result is a rate."""

    @property
    def rate(self) -> float:
        """Operations per second."""
        ...

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per operation of all processes."""
        ...

    @property
    def client_cpu_us(self) -> float:
        """Microseconds of the client's CPU per operation."""
        ...


_R = TypeVar("_R", bound=_Rated)


def middle_run(runs: Sequence[_R]) -> _R:
    """Return the run whose rate is the median (of an even number: the lower of the two)."""
    return sorted(runs, key=lambda run: run.rate)[(len(runs) - 1) // 2]


class Report:
    """Prints the findings of one benchmark as they come and keeps them for the file."""

    def __init__(self, benchmark: str) -> None:
        self.benchmark = benchmark
        machine = describe_machine()
        self._content: dict[str, Any] = {
            "benchmark": benchmark,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine,
            "runs": [],
            "figures": {},
            "ratios": [],
            "floors": [],
            "skipped": [],
        }
        self.say(
            f"\n{benchmark}: {machine['cores']} cores, load {machine['load_average_1_min']}, "
            f"fdatasync {machine['fdatasync_ms_p50']} ms"
        )

    def say(self, text: str) -> None:
        """Print a line at once, also into a pipe."""
        print(text, flush=True)

    def headline(self, text: str) -> None:
        """Print what is measured now."""
        self.say(f"\n{self.benchmark}: {text}")

    def skipped(self, system: str, reason: str) -> None:
        """Say that a system is left out and why."""
        self._content["skipped"].append({"system": system, "reason": reason})
        self.say(f"SKIPPED {system}: {reason}")

    def runs(
        self, title: str, runs: Mapping[str, Sequence[Run]], classes: Mapping[str, str]
    ) -> None:
        """Print one row per system, its median run, and keep every run.

        ``classes`` gives the durability class by system.
        """
        self.say(f"  {title}")
        self.say(
            f"  {'system':<12}{'cycles/s':>10}  {'(min - max)':<19}{'p50 ms':>9}{'p99 ms':>10}"
            f"{'CPU us/cycle':>14}  {'(client + servers)':<20}{'fairness':>8}  durability"
        )
        for system, rounds in runs.items():
            self.say(_row(system, rounds, classes[system]))
            self._keep(title, rounds, classes[system])

    def message_runs(
        self,
        title: str,
        runs: Mapping[str, Sequence[QueueRun]],
        classes: Mapping[str, str],
        unit: str = "message",
    ) -> None:
        """Print one row per system, its median run, and keep every run."""
        self.say(f"  {title}")
        self.say(
            f"  {'system':<15}{unit + 's/s':>12}  {'(min - max)':<20}{'CPU us/' + unit:>15}  "
            f"{'(client + servers)':<20}durability"
        )
        for system, rounds in runs.items():
            cpu = _cpu_columns(rounds, decimals=1, width=15)
            rate = f"{middle_run(rounds).rate:>12,.0f}  {_spread(rounds):<20}"
            self.say(f"  {system:<15}{rate}{cpu}{classes[system]}")
            self._keep(title, rounds, classes[system])

    def delivery_runs(
        self, title: str, runs: Mapping[str, Sequence[DeliveryRun]], classes: Mapping[str, str]
    ) -> None:
        """Print one row per system, medians over the rounds, and keep every run."""
        self.say(f"  {title}")
        self.say(f"  {'system':<15}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}  durability")
        for system, rounds in runs.items():
            figures = "".join(
                f"{median([one.delivery_ms(percent) for one in rounds]):>9.2f}"
                for percent in (50, 99, 100)
            )
            self.say(f"  {system:<15}{figures}  {classes[system]}")
            self._keep(title, rounds, classes[system])

    def figure(self, name: str, value: float, unit: str) -> None:
        """Print and keep one named number."""
        self._content["figures"][name] = {"value": value, "unit": unit}
        self.say(f"  {name} = {_number(value)} {unit}")

    def ratio(self, benchmark: str, peer: str, value: float, classes: tuple[str, str]) -> None:
        """Print the comparison line; above 1 means that Synaxis is the better one."""
        ours, theirs = classes
        self._content["ratios"].append(
            {
                "benchmark": benchmark,
                "peer": peer,
                "ratio": round(value, 3),
                "durability_ours": ours,
                "durability_theirs": theirs,
            }
        )
        self.say(f"RATIO {benchmark} vs {peer} = {value:.2f}   [{ours} | {theirs}]")

    def floor(self, floor: Floor, value: float) -> None:
        """Print beside a figure whether it is what was promised; never fails anything."""
        verdict = "met" if floor.met(value) else "NOT MET"
        sign = ">=" if floor.at_least else "<="
        self._content["floors"].append(
            {
                "what": floor.what,
                "bound": floor.bound,
                "unit": floor.unit,
                "value": round(value, 4),
                "met": floor.met(value),
            }
        )
        self.say(
            f"  floor {floor.what} {sign} {_number(floor.bound)} {floor.unit}: "
            f"{_number(value)} {verdict}"
        )

    def _keep(self, title: str, rounds: Sequence[_Measured], durability: str) -> None:
        for number, run in enumerate(rounds):
            self._content["runs"].append(
                {"title": title, "round": number, "durability": durability} | run.as_json()
            )

    def save(self, path: Path) -> None:
        """Write everything to ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self._content, indent=1) + "\n")


def _spread(rounds: Sequence[_Rated]) -> str:
    rates = [one.rate for one in rounds]
    return f"({min(rates):,.0f} - {max(rates):,.0f})"


def _cpu_columns(rounds: Sequence[_Rated], decimals: int, width: int) -> str:
    cpu = median([one.cpu_us for one in rounds])
    client = median([one.client_cpu_us for one in rounds])
    parts = f"({client:.{decimals}f} + {cpu - client:.{decimals}f})"
    return f"{cpu:>{width}.{decimals}f}  {parts:<20}"


def _number(value: float) -> str:
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _row(system: str, rounds: Sequence[Run], durability: str) -> str:
    run = middle_run(rounds)
    return (
        f"  {system:<12}{run.rate:>10,.0f}  {_spread(rounds):<19}{run.cycle_ms(50):>9.2f}"
        f"{run.cycle_ms(99):>10.2f}{_cpu_columns(rounds, decimals=0, width=14)}"
        f"{run.fairness:>8.2f}  {durability}"
    )
