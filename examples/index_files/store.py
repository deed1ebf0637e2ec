"""The index itself: a SQLite file that refuses writers who have lost their lock.

Every file and every shard is a row guarded by ``synaxis.SqlFence``: it remembers the highest
fencing token it has been shown and refuses lower ones. A reader who means to write shows its token
already when it reads. Otherwise a paused predecessor could still write between our read and our
write, and what it wrote would be lost.

A shard is read, changed in the worker's memory and written back whole: without locks and tokens,
two workers would overwrite each other's words.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from corpus import SHARDS

from synaxis import SqlFence, StaleFencingToken

__all__ = ["IndexStore", "Refusal", "Shard", "create"]

_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, batch INTEGER NOT NULL, indexed INTEGER NOT NULL
  DEFAULT 0);
CREATE INDEX files_by_batch ON files (batch, indexed);
CREATE TABLE shards (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE refusals (resource TEXT, token INTEGER, seen INTEGER, worker TEXT);
CREATE TABLE gate (batches INTEGER NOT NULL);
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
class Refusal:
    """A write that came too late: its token was lower than one the resource had seen."""

    resource: str
    token: int
    seen: int
    worker: str


def create(path: Path, batches: Sequence[Sequence[str]]) -> None:
    """Create an empty index that expects these files."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_SCHEMA)
        _files_fence(database).migrate()
        _shards_fence(database).migrate()
        empty = _encode(Shard())
        database.executemany(
            "INSERT INTO shards (number, body) VALUES (?, ?)", [(n, empty) for n in range(SHARDS)]
        )
        database.executemany(
            "INSERT INTO files (path, batch) VALUES (?, ?)",
            [(name, number) for number, batch in enumerate(batches) for name in batch],
        )
        database.execute("INSERT INTO gate VALUES (0)")


class IndexStore:
    """One worker's connection to the index."""

    def __init__(self, path: Path, worker: str) -> None:
        self._worker = worker
        self._database = sqlite3.connect(path, _BUSY_TIMEOUT_S, isolation_level=None)
        # A power cut may cost the last writes, never the file: the demo kills processes only.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._files = _files_fence(self._database)
        self._shards = _shards_fence(self._database)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def open_batches(self) -> list[int]:
        """Return the batches behind the gate that have files left to index."""
        rows = self._database.execute(
            "SELECT DISTINCT batch FROM files, gate WHERE indexed = 0 AND batch < gate.batches"
        )
        return [batch for (batch,) in rows]

    def files_of(self, batch: int) -> list[str]:
        """Return the files of a batch."""
        rows = self._database.execute("SELECT path FROM files WHERE batch = ?", (batch,))
        return [path for (path,) in rows]

    def unfinished(self) -> bool:
        """Return whether any file is still to be indexed."""
        return self.files_indexed() < self._number("SELECT count(*) FROM files")

    def begin_batch(self, batch: int, token: int) -> bool:
        """Show the claim's token for all files; return whether they are still to be indexed.

        Raises:
            StaleFencingToken: somebody else has claimed one of the files since.
        """
        with self._transaction(f"batch {batch}"):
            self._show_for_files(batch, token)
            query = "SELECT count(*) FROM files WHERE batch = ? AND indexed = 0"
            return self._number(query, batch) > 0

    def finish_batch(self, batch: int, token: int) -> None:
        """Mark the files as indexed, once more: the final check wants exactly 1.

        Raises:
            StaleFencingToken: somebody else has claimed one of the files since.
        """
        with self._transaction(f"batch {batch}"):
            self._show_for_files(batch, token)
            mark = "UPDATE files SET indexed = indexed + 1 WHERE batch = ?"
            self._database.execute(mark, (batch,))

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

    def open_gate(self, batches: int) -> None:
        """Let workers claim the first ``batches`` batches."""
        self._database.execute("UPDATE gate SET batches = ?", (batches,))

    def files_indexed(self) -> int:
        """Return how many files are marked."""
        return self._number("SELECT count(*) FROM files WHERE indexed > 0")

    def times_indexed(self) -> dict[str, int]:
        """Return for every file how often it was marked."""
        return dict(self._database.execute("SELECT path, indexed FROM files"))

    def highest_token(self, shard: int) -> int:
        """Return the highest token that a shard has seen."""
        return self._number("SELECT fence FROM shards WHERE number = ?", shard)

    def refusals(self) -> list[Refusal]:
        """Return every write that was refused, in order."""
        rows = self._database.execute("SELECT resource, token, seen, worker FROM refusals")
        return [Refusal(*row) for row in rows]

    def _show_for_files(self, batch: int, token: int) -> None:
        for path in self.files_of(batch):
            self._files.update(path, token, batch=batch)  # changes the fence only

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


def _files_fence(database: sqlite3.Connection) -> SqlFence:
    return SqlFence(database, "files", key="path")


def _shards_fence(database: sqlite3.Connection) -> SqlFence:
    return SqlFence(database, "shards", key="number")


def _encode(shard: Shard) -> bytes:
    return orjson.dumps({"batches": shard.batches, "words": shard.words})


def _decode(body: bytes) -> Shard:
    content = orjson.loads(body)
    return Shard(content["words"], content["batches"])
