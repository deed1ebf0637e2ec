"""What the processes note about the shared dictionaries, in a SQLite file of its own."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from coherence import Look, Write

__all__ = ["Journal", "Life", "create"]

_SCHEMA = """
CREATE TABLE writes (key TEXT, number INTEGER, begun_ns INTEGER, acked_ns INTEGER);
CREATE TABLE looks (
    reader TEXT, key TEXT, number INTEGER, begun_ns INTEGER, ended_ns INTEGER
);
CREATE TABLE lives (
    reader TEXT PRIMARY KEY, reads INTEGER, near_hits INTEGER, invalidations INTEGER,
    lease_expiries INTEGER, unanswered INTEGER, stop_words INTEGER
);
"""
_BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Life:
    """What one process has read until it last wrote it down."""

    reader: str
    reads: int
    near_hits: int
    """Reads that cost no I/O."""
    invalidations: int
    """Dictionaries that were taken out of its near cache because they were about to change."""
    lease_expiries: int
    """How often it stopped believing in its near cache, because the cluster was silent."""
    unanswered: int
    """Reads that the cluster could not answer in time."""
    stop_words: int
    """Words of the indexed files that a dictionary had."""


def create(path: Path) -> None:
    """Create an empty journal."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_SCHEMA)


class Journal:
    """One process's connection to the journal."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, _BUSY_TIMEOUT_S)
        # A power cut may cost the last lines: the demo kills processes only.
        self._database.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def add_write(self, write: Write) -> None:
        """Note a write that was acknowledged."""
        with self._database:
            self._database.execute("INSERT INTO writes VALUES (?, ?, ?, ?)", astuple(write))

    def add_looks(self, looks: Iterable[Look], life: Life) -> None:
        """Note what was read, and how often in this process's life."""
        with self._database:
            self._database.executemany(
                "INSERT INTO looks VALUES (?, ?, ?, ?, ?)", [astuple(each) for each in looks]
            )
            self._database.execute("REPLACE INTO lives VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(life))

    def writes(self) -> list[Write]:
        """Return every acknowledged write."""
        return [Write(*row) for row in self._database.execute("SELECT * FROM writes")]

    def looks(self) -> list[Look]:
        """Return everything that was read."""
        return [Look(*row) for row in self._database.execute("SELECT * FROM looks")]

    def total(self) -> Life:
        """Return the sum over all lives of all readers."""
        names = [field.name for field in fields(Life)][1:]
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in names)
        return Life("all", *self._database.execute(f"SELECT {sums} FROM lives").fetchone())  # noqa: S608
