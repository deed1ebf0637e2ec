"""The index itself: a SQLite file that refuses writers who have lost their lock.

Every shard is a row guarded by ``synaxis.SqlFence``: it remembers the highest fencing token it has
been shown and refuses lower ones. A reader who means to write shows its token already when it
reads. Otherwise a paused predecessor could still write between our read and our write, and what it
wrote would be lost.

A shard is read, changed in the worker's memory and written back whole: without locks and tokens,
two workers would overwrite each other's words.

A batch of files may be delivered more than once. A shard knows which batches it has taken in, and
the store which ones are finished, so that nothing is counted twice.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from corpus import SHARDS

from synaxis import SqlFence, StaleFencingToken

__all__ = ["Attempt", "IndexStore", "Refusal", "Shard", "create"]

_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, batch INTEGER NOT NULL, times INTEGER NOT NULL);
CREATE INDEX files_by_batch ON files (batch);
CREATE TABLE attempts (batch INTEGER, worker TEXT, failures INTEGER);
CREATE TABLE shards (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE refusals (resource TEXT, token INTEGER, seen INTEGER, worker TEXT);
"""
_BUSY_TIMEOUT_S = 30.0


@dataclass
class Shard:
    """One part of the index: how often its words occur, and in which batches they were found."""

    words: dict[str, int] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    def add(self, batch: int, words: Mapping[str, int]) -> None:
        """Take in the words of a batch."""
        for word, count in words.items():
            self.words[word] = self.words.get(word, 0) + count
        self.batches.append(batch)


@dataclass(frozen=True)
class Attempt:
    """A worker began with a batch that had failed so often before."""

    batch: int
    worker: str
    failures: int


@dataclass(frozen=True)
class Refusal:
    """A write that came too late: its token was lower than one the resource had seen."""

    resource: str
    token: int
    seen: int
    worker: str


def create(path: Path) -> None:
    """Create an empty index."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_SCHEMA)
        _shards_fence(database).migrate()
        empty = _encode(Shard())
        database.executemany(
            "INSERT INTO shards (number, body) VALUES (?, ?)", [(n, empty) for n in range(SHARDS)]
        )


class IndexStore:
    """One worker's connection to the index."""

    def __init__(self, path: Path, worker: str) -> None:
        self._worker = worker
        self._database = sqlite3.connect(path, _BUSY_TIMEOUT_S, isolation_level=None)
        # A power cut may cost the last writes, never the file: the demo kills processes only.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._shards = _shards_fence(self._database)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    # --- batches ----------------------------------------------------------------------------

    def begin_batch(self, batch: int, failures: int) -> bool:
        """Note that the batch was delivered to us; return whether it is still to be indexed."""
        with self._transaction(f"batch {batch}"):
            note = "INSERT INTO attempts VALUES (?, ?, ?)"
            self._database.execute(note, (batch, self._worker, failures))
            return not self.is_finished(batch)

    def finish_batch(self, batch: int, files: Iterable[str]) -> bool:
        """Count the files as indexed, once; False if somebody has done so before."""
        with self._transaction(f"batch {batch}"):
            if self.is_finished(batch):
                return False
            count = (
                "INSERT INTO files VALUES (?, ?, 1)"
                " ON CONFLICT (path) DO UPDATE SET times = times + 1"
            )
            self._database.executemany(count, [(path, batch) for path in files])
            return True

    def is_finished(self, batch: int) -> bool:
        """Return whether the files of a batch are in the index."""
        return self._number("SELECT count(*) FROM files WHERE batch = ?", batch) > 0

    def attempts(self) -> list[Attempt]:
        """Return every delivery that a worker began with, in order."""
        rows = self._database.execute("SELECT batch, worker, failures FROM attempts ORDER BY rowid")
        return [Attempt(*row) for row in rows]

    def batches_finished(self) -> int:
        """Return how many batches are in the index."""
        return self._number("SELECT count(DISTINCT batch) FROM files")

    def files_indexed(self) -> int:
        """Return how many files are in the index."""
        return self._number("SELECT count(*) FROM files")

    def times_indexed(self) -> dict[str, int]:
        """Return for every file in the index how often it was counted."""
        return dict(self._database.execute("SELECT path, times FROM files"))

    # --- shards -----------------------------------------------------------------------------

    def read_shard(self, number: int, token: int) -> Shard:
        """Return a shard to somebody who is going to write it under ``token``.

        Raises:
            StaleFencingToken: the lock on the shard has gone to somebody else.
        """
        with self._transaction(f"shard {number}"):
            self._shards.update(number, token, number=number)  # changes the fence only
            return self.peek_shard(number)

    def write_shard(self, number: int, shard: Shard, token: int) -> None:
        """Replace a shard.

        Raises:
            StaleFencingToken: the lock on the shard has gone to somebody else.
        """
        with self._transaction(f"shard {number}"):
            self._shards.update(number, token, body=_encode(shard))

    def peek_shard(self, number: int) -> Shard:
        """Return a shard without the right to write it."""
        query = "SELECT body FROM shards WHERE number = ?"
        [body] = self._database.execute(query, (number,)).fetchone()
        return _decode(body)

    def highest_token(self, shard: int) -> int:
        """Return the highest token that a shard has seen."""
        return self._number("SELECT fence FROM shards WHERE number = ?", shard)

    def refusals(self) -> list[Refusal]:
        """Return every write that was refused, in order."""
        rows = self._database.execute("SELECT resource, token, seen, worker FROM refusals")
        return [Refusal(*row) for row in rows]

    # --- inside -----------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, resource: str) -> Iterator[None]:
        """Take SQLite's write lock; a refusal is recorded, everything else rolled back."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException as error:
            self._database.execute("ROLLBACK")
            if isinstance(error, StaleFencingToken):
                self._record(resource, error)
            raise
        self._database.execute("COMMIT")

    def _record(self, resource: str, refusal: StaleFencingToken) -> None:
        details = refusal.details
        self._database.execute(
            "INSERT INTO refusals VALUES (?, ?, ?, ?)",
            (resource, details["token"], details["seen"], self._worker),
        )

    def _number(self, query: str, *parameters: object) -> int:
        return int(self._database.execute(query, parameters).fetchone()[0])


def _shards_fence(database: sqlite3.Connection) -> SqlFence:
    return SqlFence(database, "shards", key="number")


def _encode(shard: Shard) -> bytes:
    return orjson.dumps({"batches": shard.batches, "words": shard.words})


def _decode(body: bytes) -> Shard:
    content = orjson.loads(body)
    return Shard(content["words"], content["batches"])
