"""Measures several systems in turn so that they share the machine's good and bad moments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.harness.load import Run, measure
from benchmarks.harness.report import Report
from benchmarks.harness.statistics import paired_ratio, round_order
from benchmarks.harness.systems import LockSystem, System

__all__ = [
    "QUICK",
    "Options",
    "compare",
    "durability_classes",
    "paired_runs",
    "print_ratios",
    "serving",
]

_S = TypeVar("_S", bound=System)
_R = TypeVar("_R")


@dataclass(frozen=True)
class Options:
    """How long and how often; the defaults are what the published figures use."""

    seconds: float = 3.0
    """Measured time of one run, without its warm-up."""
    rounds: int = 3
    """Paired runs of every system."""
    kills: int = 30
    """Leaders killed by ``failover``."""
    locks: int = 100_000
    """Locks held by ``held_locks``."""
    sessions: int = 1_000
    """Sessions that hold them."""
    messages: int = 100_000
    """Messages that ``queue_consume`` consumes in one run."""
    backlog: int = 1_000_000
    """Messages that lie in the queue of ``queue_backlog``."""
    records: int = 1_000_000
    """Records in the cache of ``cache_memory``."""


QUICK = Options(
    seconds=0.5,
    rounds=1,
    kills=3,
    locks=5_000,
    sessions=50,
    messages=10_000,
    backlog=20_000,
    records=20_000,
)
"""Shows within seconds that a benchmark runs; its figures mean nothing."""


@contextmanager
def serving(report: Report, candidates: Sequence[_S]) -> Iterator[dict[str, _S]]:
    """Start those systems that this machine has; stop them and remove their data afterwards."""
    with ExitStack() as stack:
        running: dict[str, _S] = {}
        for system in candidates:
            reason = system.unavailable()
            if reason is not None:
                report.skipped(system.name, reason)
                continue
            stack.callback(system.stop)
            system.start()
            running[system.name] = system
        yield running


def compare(
    systems: dict[str, LockSystem], workers: int, options: Options, *, one_lock: bool = False
) -> dict[str, list[Run]]:
    """Let all systems take and give back locks."""
    return paired_runs(
        systems,
        options,
        lambda system: measure(system, workers, options.seconds, one_lock=one_lock),
    )


def paired_runs(
    systems: Mapping[str, _S], options: Options, measure_one: Callable[[_S], _R]
) -> dict[str, list[_R]]:
    """Measure every system once per round, one right after the other."""
    runs: dict[str, list[_R]] = {name: [] for name in systems}
    for number in range(options.rounds):
        for name in round_order(list(systems), number):
            runs[name].append(measure_one(systems[name]))
    return runs


def durability_classes(systems: Mapping[str, System]) -> dict[str, str]:
    """Return the durability class by system name."""
    return {name: system.durability for name, system in systems.items()}


def print_ratios(
    report: Report,
    benchmark: str,
    ours: str,
    rates: dict[str, list[float]],
    systems: Mapping[str, System],
) -> dict[str, float]:
    """Print one RATIO line per peer and return the ratios by peer.

    ``rates`` holds a number per round and system where more is better. Systems whose name
    begins like ours are variants of ours, not peers.
    """
    ratios: dict[str, float] = {}
    for peer, system in systems.items():
        if peer.startswith("synaxis"):
            continue
        ratios[peer] = paired_ratio(rates[ours], rates[peer])
        classes = (systems[ours].durability, system.durability)
        report.ratio(benchmark, peer, ratios[peer], classes)
    return ratios
