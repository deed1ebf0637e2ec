"""How many durable records per second does the write-ahead log take on this disk?

``n`` writers each wait until their 256-byte record is on the disk before they write the next.
Beside it, on the same disk: SQLite with one commit per record, and a plain file with one
fdatasync per record, which is what no group commit at all would give.

The only benchmark that looks inside: the log has no public interface.
"""

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.harness.comparison import Options
from benchmarks.harness.load import run_async
from benchmarks.harness.processes import scratch_directory
from benchmarks.harness.report import Report
from benchmarks.harness.statistics import median, paired_ratio, round_order
from synaxis.effects import Entry, EntryKind, Persist, PersistMark
from synaxis.errors import StorageError
from synaxis.ids import GroupId, LogIndex, NodeId, Term
from synaxis.storage import GroupCommit, OsDirectory, WriteAheadLog

__all__ = ["run"]

_PAYLOAD = bytes(256)
_TERM = Term(1)
_GROUP = GroupId("locks/0")
_DURABILITY = "fsync, one node"


def run(report: Report, options: Options) -> None:
    """Measure 1, 16 and 128 writers against one SQLite writer and a plain file."""
    contenders: dict[str, Callable[[Path, float], float]] = {
        "synaxis_1": lambda path, seconds: _group_commit(path, 1, seconds),
        "synaxis_16": lambda path, seconds: _group_commit(path, 16, seconds),
        "synaxis_128": lambda path, seconds: _group_commit(path, 128, seconds),
        "sqlite": _sqlite,
        "plain_fdatasync": _plain_file,
    }
    report.headline("durable 256-byte records per second")
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    cpu_us: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(options.rounds):
        for name in round_order(list(contenders), number):
            path = scratch_directory("wal")
            cpu_before = time.process_time()
            rate = contenders[name](path, options.seconds)
            cpu = time.process_time() - cpu_before
            shutil.rmtree(path)
            rates[name].append(rate)
            cpu_us[name].append(1e6 * cpu / (rate * options.seconds))
    for name, values in rates.items():
        report.figure(f"{name}_records_per_s", median(values), "/s")
        report.figure(f"{name}_cpu_per_record", median(cpu_us[name]), "us")
    for peer in ("sqlite", "plain_fdatasync"):
        ratio = paired_ratio(rates["synaxis_128"], rates[peer])
        report.ratio("wal_commit_128", peer, ratio, (_DURABILITY, _DURABILITY))


def _group_commit(path: Path, writers: int, seconds: float) -> float:
    return run_async(_write_in_groups(path, writers, seconds))


async def _write_in_groups(path: Path, writers: int, seconds: float) -> float:
    """Keep ``writers`` records on their way to the disk; return records per second."""
    directory = OsDirectory.create(path / "wal")
    log, _ = WriteAheadLog.open(directory, "benchmark", NodeId("n1"))
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()

    def fail(error: StorageError) -> None:
        failed.set_exception(error)

    commit = GroupCommit(log, loop, fail)
    submitted = 0
    durable = 0
    until = time.perf_counter() + seconds

    def submit() -> None:
        nonlocal submitted
        submitted += 1
        entry = Entry(LogIndex(submitted), _TERM, EntryKind.COMMANDS, _PAYLOAD)
        mark = PersistMark(LogIndex(submitted), _TERM, LogIndex(0), submitted)
        commit.submit(_GROUP, Persist(mark, entries=(entry,)), done)

    def done() -> None:
        nonlocal durable
        durable += 1
        if time.perf_counter() < until:
            submit()

    for _ in range(writers):
        submit()
    await asyncio.wait([failed], timeout=seconds)
    await commit.aclose()
    if failed.done():
        failed.result()
    return durable / seconds


def _sqlite(path: Path, seconds: float) -> float:
    with closing(sqlite3.connect(path / "records.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE records (number INTEGER PRIMARY KEY, body BLOB)")
        return _count(
            lambda: database.execute("INSERT INTO records (body) VALUES (?)", (_PAYLOAD,)), seconds
        )


def _plain_file(path: Path, seconds: float) -> float:
    descriptor = os.open(path / "records", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:

        def write() -> None:
            os.write(descriptor, _PAYLOAD)
            os.fdatasync(descriptor)

        return _count(write, seconds)
    finally:
        os.close(descriptor)


def _count(write: Callable[[], object], seconds: float) -> float:
    written = 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        write()
        written += 1
    return written / seconds
