"""Writes to a log by a script, and knows what a recovery must find after each write."""

from collections.abc import Iterable, Iterator
from random import Random

import google_crc32c

from synaxis.effects import (
    Entry,
    EntryKind,
    HardState,
    Members,
    Persist,
    PersistMark,
    Snapshot,
    SnapshotMeta,
)
from synaxis.ids import GroupId, LogIndex, NodeId, Term
from synaxis.ports import Directory, RecoveredGroup
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog

__all__ = [
    "CLUSTER",
    "CLUSTER_ID",
    "LOCKS",
    "NODE_ID",
    "Groups",
    "Write",
    "as_known",
    "entries",
    "entry",
    "histories",
    "open_log",
    "persist",
    "snapshot",
    "stage",
    "varied_script",
    "vote",
]

CLUSTER = GroupId("cluster")
LOCKS = GroupId("locks/0")
NODE_ID = NodeId("node-1")
CLUSTER_ID = "a-cluster"

Write = list[tuple[GroupId, Persist]]
Groups = dict[GroupId, RecoveredGroup]


def open_log(
    directory: Directory, segment_bytes_max: int = 64 * 1024 * 1024
) -> tuple[WriteAheadLog, Groups]:
    return WriteAheadLog.open(
        directory, CLUSTER_ID, NODE_ID, WalOptions(segment_bytes_max=segment_bytes_max)
    )


def stage(log: WriteAheadLog, write: Write) -> None:
    """Append a script's write and make it durable."""
    for group, item in write:
        log.append(group, item)
    batch = log.take()
    assert batch is not None
    log.write(batch)


def entry(index: int, term: int = 1, payload: bytes = b"payload") -> Entry:
    return Entry(LogIndex(index), Term(term), EntryKind.COMMANDS, payload)


def entries(first: int, last: int, term: int = 1, size: int = 8) -> tuple[Entry, ...]:
    """Return entries ``first`` to ``last``, each of ``size`` payload bytes that tell it apart."""
    return tuple(
        entry(index, term, Random(index << 20 | term).randbytes(size))
        for index in range(first, last + 1)
    )


def vote(term: int, voted_for: str | None = None) -> HardState:
    return HardState(Term(term), None if voted_for is None else NodeId(voted_for))


def snapshot(index: int, term: int = 1, size: int = 100) -> Snapshot:
    content = Random(index).randbytes(size)
    members = Members(voters=(NODE_ID, NodeId("node-2"), NodeId("node-3")))
    meta = SnapshotMeta(
        LogIndex(index), Term(term), members, len(content), google_crc32c.value(content)
    )
    return Snapshot(meta, content)


def persist(
    *written: Entry, hard_state: HardState | None = None, taken: Snapshot | None = None
) -> Persist:
    index = written[-1].index if written else LogIndex(0)
    mark = PersistMark(index, Term(0), LogIndex(0))
    return Persist(mark, hard_state, taken, tuple(written))


def as_known(known: Groups, write: Write) -> Groups:
    """Return what is known after ``write``: the meaning of ``Persist``, said once more."""
    known = dict(known)
    for name, item in write:
        old = known.get(name, RecoveredGroup())
        hard_state = item.hard_state or old.hard_state
        taken, log = old.snapshot, list(old.entries)
        if item.snapshot is not None:
            taken = item.snapshot
            log = _behind(log, taken.meta, old)
        for new in item.entries:
            if taken is None or new.index > taken.meta.index:
                log = [kept for kept in log if kept.index < new.index] + [new]
        known[name] = RecoveredGroup(hard_state, taken, log, damaged=False)
    return known


def _behind(log: list[Entry], meta: SnapshotMeta, old: RecoveredGroup) -> list[Entry]:
    terms = {kept.index: kept.term for kept in log}
    if old.snapshot is not None:
        terms[old.snapshot.meta.index] = old.snapshot.meta.term
    if terms.get(meta.index) != meta.term:
        return []
    return [kept for kept in log if kept.index > meta.index]


def varied_script() -> list[Write]:
    """Return about 20 KB of everything: votes, rewrites, snapshots, zeros, two groups."""
    return [
        [(CLUSTER, persist(hard_state=vote(1, "node-1")))],
        [(CLUSTER, persist(*entries(1, 3, size=300))), (LOCKS, persist(hard_state=vote(1)))],
        [(LOCKS, persist(*entries(1, 20, size=150)))],
        [(LOCKS, persist(entry(21, 1, bytes(2500))))],
        [(LOCKS, persist(*entries(22, 25, size=3)))],
        [(LOCKS, persist(*entries(23, 30, term=2, size=120), hard_state=vote(2, "node-2")))],
        [(LOCKS, persist(taken=snapshot(24, 2, size=900)))],
        [(CLUSTER, persist(*entries(4, 9, term=2, size=64), hard_state=vote(2, "node-3")))],
        [(LOCKS, persist(*entries(31, 40, term=2, size=200)))],
        [(CLUSTER, persist(*entries(102, 103, term=3, size=10), taken=snapshot(101, 3)))],
        [(LOCKS, persist(*entries(41, 44, term=3, size=700), hard_state=vote(3, "node-1")))],
        [(CLUSTER, persist(entry(104, 3, bytes(600)))), (LOCKS, persist(entry(45, 3)))],
        [(LOCKS, persist(*entries(44, 48, term=4, size=90), hard_state=vote(4)))],
        [(CLUSTER, persist(*entries(105, 112, term=4, size=256)))],
        [(LOCKS, persist(*entries(49, 60, term=4, size=100), taken=snapshot(44, 4)))],
        [(LOCKS, persist(*entries(61, 64, term=4, size=500)))],
    ]


def histories(script: Iterable[Write]) -> Iterator[Groups]:
    """Yield what is known before the first write, and after each one."""
    known: Groups = {}
    yield known
    for write in script:
        known = as_known(known, write)
        yield known
