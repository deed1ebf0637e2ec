"""Measures several systems in turn so that they share the machine's good and bad moments."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.harness.load import Run, measure
from benchmarks.harness.report import Report
from benchmarks.harness.statistics import paired_ratio, round_order
from benchmarks.harness.systems import LockSystem

__all__ = ["Options", "compare", "durability_classes", "print_ratios", "serving"]


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


@contextmanager
def serving(report: Report, candidates: Sequence[LockSystem]) -> Iterator[dict[str, LockSystem]]:
    """Start those systems that this machine has; stop them and remove their data afterwards."""
    with ExitStack() as stack:
        running: dict[str, LockSystem] = {}
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
    """Measure every system once per round, one right after the other."""
    runs: dict[str, list[Run]] = {name: [] for name in systems}
    for number in range(options.rounds):
        for name in round_order(list(systems), number):
            runs[name].append(measure(systems[name], workers, options.seconds, one_lock=one_lock))
    return runs


def durability_classes(systems: dict[str, LockSystem]) -> dict[str, str]:
    """Return the durability class by system name."""
    return {name: system.durability for name, system in systems.items()}


def print_ratios(
    report: Report,
    benchmark: str,
    ours: str,
    rates: dict[str, list[float]],
    systems: dict[str, LockSystem],
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
