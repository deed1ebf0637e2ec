"""What a batch of runs tells people: failures first, then proof that the faults really fired."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from synaxis.simulation.coverage import (
    EXPECTED,
    EXPECTED_BATCH_SEEDS,
    EXPECTED_IN,
    Coverage,
    missing,
)
from synaxis.simulation.run import SECONDS_DEFAULT, RunResult

if TYPE_CHECKING:
    from synaxis.simulation.seeds import Seed

__all__ = ["Batch", "describe_failure"]

COLUMNS = 3
NAME_WIDTH = 30


def describe_failure(result: RunResult) -> str:
    """Return everything that is needed to look into a failed seed."""
    lines = [
        f"FAILED seed {result.seed}: {result.failure}",
        f"  {result.message}",
        f"  faults: {result.mix}",
        "  last events (seconds, what):",
        *(f"    {line}" for line in result.trace),
        f"  replay: make replay SEED={result.seed}",
    ]
    if result.seconds != SECONDS_DEFAULT:
        lines[-1] = (
            f"  replay: python -m synaxis.simulation replay --seed {result.seed} "
            f"--seconds {result.seconds:g}"
        )
    return "\n".join(lines)


class Batch:
    """Adds up results."""

    def __init__(self) -> None:
        self.seeds = 0
        self.worlds = Counter[str]()
        self.failed: list[Seed] = []
        self.virtual_s = 0.0
        self.cpu_s = 0.0
        self.events = 0
        self.operations = 0
        self.searched = 0
        self.coverage = Coverage()

    def add(self, result: RunResult) -> None:
        """Take one more result."""
        self.seeds += 1
        self.worlds[result.seed.world] += 1
        if result.failure is not None:
            self.failed.append(result.seed)
        self.virtual_s += result.virtual_s
        self.cpu_s += result.cpu_s
        self.events += result.events
        self.operations += result.operations
        self.searched += result.searched
        self.coverage.merge(result.coverage)

    def never_happened(self) -> list[str]:
        """Return what a batch of this size should have seen and did not."""
        expected = list(EXPECTED) if self.seeds >= EXPECTED_BATCH_SEEDS else []
        for world, names in EXPECTED_IN.items():
            expected += names if self.worlds[world] >= EXPECTED_BATCH_SEEDS else ()
        return missing(self.coverage, expected)

    @property
    def passed(self) -> bool:
        """Whether no rule was broken and every kind of fault fired."""
        return not self.failed and not self.never_happened()

    def summary(self) -> str:
        """Return the table that ends a batch."""
        ratio = self.virtual_s / self.cpu_s if self.cpu_s else 0.0
        worlds = ", ".join(f"{count} with {world}" for world, count in self.worlds.items())
        lines = [
            *_table(sorted(self.coverage.items())),
            "",
            f"{self.seeds} seeds, {len(self.failed)} failed {' '.join(map(str, self.failed))}",
            f"worlds: {worlds}",
            f"{self.virtual_s:,.0f} virtual seconds, {self.cpu_s:,.1f} CPU seconds",
            f"{ratio:.0f} times real time per core",
            f"{self.events:,} events",
            f"{self.operations:,} client operations checked by the witness",
            f"{self.searched:,} of them searched for linearizability",
        ]
        never = self.never_happened()
        if never:
            lines.append(f"NEVER HAPPENED: {', '.join(never)}")
        return "\n".join(lines)


def _table(rows: Iterable[tuple[str, int]]) -> list[str]:
    cells = [f"{name:<{NAME_WIDTH}}{count:>9,}" for name, count in rows]
    return ["   ".join(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
