"""What the journal says about the shared dictionaries, and whether that is proof enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coherence import violations
from journal import Journal, Life

__all__ = ["Proof", "prove", "shortcomings"]


@dataclass(frozen=True)
class Proof:
    """What was written and read, and what was wrong with it."""

    editions: int
    """Writes that were acknowledged."""
    readers: int
    """Processes that have read."""
    total: Life
    """Of all of them."""
    violations: Sequence[str]


def prove(journal_path: Path) -> Proof:
    """Compare every read that is in the journal with every write."""
    journal = Journal(journal_path)
    writes, looks, total = journal.writes(), journal.looks(), journal.total()
    journal.close()
    readers = len({look.reader for look in looks})
    return Proof(len(writes), readers, total, violations(writes, looks))


def shortcomings(proof: Proof) -> list[str]:
    """Return everything that was wrong, or that keeps the proof from proving anything."""
    wrong = list(proof.violations)
    if proof.editions <= proof.total.reads // 1_000:
        wrong.append(f"the dictionaries were written only {proof.editions} times")
    if not proof.total.near_hits:
        wrong.append("no dictionary was read from a near cache")
    if not proof.total.invalidations:
        wrong.append("no dictionary was taken out of a near cache")
    return wrong
