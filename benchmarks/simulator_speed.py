"""How much cluster time does the simulator get through in a second of CPU?

Seeds as ``make simulate`` runs them: clusters under load with every fault that the seed drew,
invariants checked after each step and the history checked in the end. One core; the CPU is read
from outside and holds the start of the process too.
"""

import re
import resource
import subprocess
import sys

from benchmarks.harness.comparison import Options
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.statistics import median

__all__ = ["run"]

_SEEDS_PER_ROUND = 10
_VIRTUAL_SECONDS = re.compile(r"([\d,]+) virtual seconds")
_FLOOR = Floor("simulated time per CPU time", 50, "x")


def run(report: Report, options: Options) -> None:
    """Run other seeds in every round; a seed that fails is no reason to stop measuring."""
    report.headline(f"{_SEEDS_PER_ROUND} seeds per round, one core")
    speeds = []
    for number in range(options.rounds):
        virtual, cpu = _simulate(1 + number * _SEEDS_PER_ROUND)
        report.say(f"  {virtual:,.0f} virtual seconds in {cpu:.1f} CPU seconds")
        speeds.append(virtual / cpu)
    report.figure("virtual_seconds_per_cpu_second", median(speeds), "x")
    report.floor(_FLOOR, median(speeds))


def _simulate(first: int) -> tuple[float, float]:
    """Run one round; return virtual seconds and CPU seconds."""
    command = [sys.executable, "-m", "synaxis.simulation", "run", "--jobs", "1"]
    command += ["--seeds", str(_SEEDS_PER_ROUND), "--first", str(first)]
    before = _children_cpu_seconds()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    cpu = _children_cpu_seconds() - before
    found = _VIRTUAL_SECONDS.search(ended.stdout)
    if found is None:
        raise RuntimeError(f"the simulator did not tell its virtual time:\n{ended.stderr[-2000:]}")
    return float(found[1].replace(",", "")), cpu


def _children_cpu_seconds() -> float:
    """Return what ended children have used, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
