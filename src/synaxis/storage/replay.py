"""Turns the records of a log, and the gaps in it, into what each group may believe. Pure.

Meaning of the sequence: an entry at index i voids all entries at or above i; a snapshot marker
says that the entries at or below it are contained in a file, and (``detail`` 0) that those
above it are void; the newest hard state counts.

After a loss a group starts from nothing, with what it knew before set aside. It is whole again
as soon as the later records connect to a snapshot; otherwise it falls back to what it knew
before and is *damaged*: it may have promised things that it no longer knows.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import msgspec

from synaxis.effects import Entry, EntryKind, HardState, Snapshot, SnapshotMeta
from synaxis.ids import GroupId, LogIndex, Term
from synaxis.ports import RecoveredGroup
from synaxis.storage.records import Record, RecordType
from synaxis.storage.scan import Loss

__all__ = ["GroupState", "Replay", "ReplayedGroup"]


class GroupState(msgspec.Struct, frozen=True, array_like=True):
    """Payload of a GROUP record: all of a group but its entries."""

    name: GroupId
    hard_state: HardState = HardState(Term(0), None)
    snapshot: SnapshotMeta | None = None
    damaged: bool = False


class ReplayedGroup(NamedTuple):
    """A group as recovered, and whether files must be rewritten to match."""

    group: RecoveredGroup
    markers: tuple[SnapshotMeta, ...]
    """Snapshots that are still good, oldest first; the last one is in ``group``."""
    intact: bool
    """False if something was lost that a rewritten log must not refer to."""


class _Run:
    """Contiguous entries."""

    def __init__(self) -> None:
        self.first = 0
        self.entries: list[Entry] = []

    @property
    def last(self) -> int:
        """Index of the last entry; meaningless when empty."""
        return self.first + len(self.entries) - 1

    def put(self, entry: Entry) -> None:
        """Write an entry; everything at or above it is void."""
        if self.entries and self.first < entry.index <= self.last + 1:
            del self.entries[entry.index - self.first :]
        else:
            # Also a jump ahead: the segments between were dropped behind a snapshot.
            self.entries.clear()
            self.first = entry.index
        self.entries.append(entry)

    def after(self, index: int) -> list[Entry] | None:
        """Return the entries above ``index``, or None if some right above it are missing."""
        if not self.entries:
            return []
        if self.first > index + 1:
            return None
        return self.entries[index + 1 - self.first :]


class _Group:
    def __init__(self, *, lost: bool) -> None:
        self.hard_state = HardState(Term(0), None)
        self.markers: list[SnapshotMeta] = []
        self.damaged = False
        self._run = _Run()
        self._run_before_loss: _Run | None = None
        self._log_known = True
        self.hard_state_known = True
        if lost:
            self.lose()

    def lose(self) -> None:
        """Take note that records of this group are missing here."""
        if self._run_before_loss is None:
            self._run_before_loss = self._run
        self._run = _Run()
        self._log_known = self.hard_state_known = False

    def put_hard_state(self, hard_state: HardState) -> None:
        self.hard_state = hard_state
        self.hard_state_known = True
        if hard_state.repair_after:
            # The consensus machine has taken note of the damage in a state of its own.
            self.damaged = False

    def put_entry(self, entry: Entry) -> None:
        self._run.put(entry)
        self._log_known = True

    def put_marker(self, meta: SnapshotMeta, *, keeps_entries: bool) -> None:
        if not self.markers or meta.index > self.markers[-1].index:
            self.markers.append(meta)
        if not keeps_entries:
            self._run = _Run()
            self._log_known = True

    def finish(self, load: Callable[[SnapshotMeta], Snapshot | None]) -> ReplayedGroup:
        """Return what may be believed, given which snapshot files can be read."""
        newest = self.markers[-1].index if self.markers else 0
        good = list(self.markers)
        snapshot = None
        while good and (snapshot := load(good[-1])) is None:
            good.pop()
        base = snapshot.meta.index if snapshot else 0
        entries = self._run.after(base) if self._log_known else None
        reach = base + len(entries or ())
        intact = entries is not None and reach >= newest
        if entries is None:
            entries = (self._run_before_loss.after(base) if self._run_before_loss else None) or []
        damaged = self.damaged or not intact or not self.hard_state_known
        recovered = RecoveredGroup(self.hard_state, snapshot, entries, damaged)
        whole = intact and self.hard_state_known and len(good) == len(self.markers)
        return ReplayedGroup(recovered, tuple(good), whole)


def _rank(hard_state: HardState) -> tuple[int, bool]:
    return hard_state.term, hard_state.voted_for is not None


class Replay:
    """All groups of a log. Feed it every segment, oldest first, then ask ``finish``."""

    def __init__(self) -> None:
        self._groups: dict[GroupId, _Group] = {}
        self._names: dict[int, GroupId] = {}
        self._lost_of_any = False
        self.losses = 0
        self.last_index: dict[GroupId, int] = {}
        """Highest entry of each group in the current segment."""

    def begin_segment(self) -> None:
        """Forget the numbers of groups; each segment gives its own."""
        self._names = {}
        self.last_index = {}

    def feed(self, found: Iterable[Record | Loss]) -> None:
        """Take what a scan found."""
        for item in found:
            if isinstance(item, Loss):
                self.lose(item.group)
            else:
                self._take(item)

    def lose(self, number: int | None) -> None:
        """Take note that records are missing here: of one group, or of any."""
        self.losses += 1
        name = None if number is None else self._names.get(number)
        if name is not None:
            self._groups[name].lose()
            return
        self._lost_of_any = True
        for group in self._groups.values():
            group.lose()

    def put_votes(self, votes: dict[GroupId, HardState], *, complete: bool) -> None:
        """Take the second copy of the hard states; it may name groups that the log lost.

        Args:
            votes: of every group that ever had a hard state, if ``complete``.
            complete: whether the whole second copy could be read. Then it is at least as new
                as the log, because it is written first.
        """
        for name, hard_state in votes.items():
            group = self._group(name)
            if complete or _rank(hard_state) > _rank(group.hard_state):
                group.hard_state = hard_state
        if complete:
            for group in self._groups.values():
                group.hard_state_known = True

    def finish(
        self, load: Callable[[GroupId, SnapshotMeta], Snapshot | None]
    ) -> dict[GroupId, ReplayedGroup]:
        """Return every group, given a way to read snapshot files (None: unreadable)."""
        return {name: group.finish(partial(load, name)) for name, group in self._groups.items()}

    def _group(self, name: GroupId) -> _Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(lost=self._lost_of_any)
        return group

    def _declare(self, record: Record) -> None:
        state = msgspec.msgpack.decode(record.payload, type=GroupState)
        self._names[record.group] = state.name
        group = self._group(state.name)
        group.put_hard_state(state.hard_state)
        group.damaged = state.damaged
        if state.snapshot is not None:
            group.put_marker(state.snapshot, keeps_entries=True)

    def _take(self, record: Record) -> None:
        if record.type is RecordType.GROUP:
            self._declare(record)
        elif record.type is not RecordType.SEAL:
            name = self._names.get(record.group)
            if name is None:
                # Its GROUP record is missing: whose it is cannot be known.
                self.lose(None)
                return
            _apply(self._groups[name], record)
            if record.type is RecordType.ENTRY:
                self.last_index[name] = max(record.log_index, self.last_index.get(name, 0))


def _apply(group: _Group, record: Record) -> None:
    if record.type is RecordType.ENTRY:
        group.put_entry(_entry_of(record))
    elif record.type is RecordType.HARD_STATE:
        group.put_hard_state(msgspec.msgpack.decode(record.payload, type=HardState))
    elif record.type is RecordType.SNAPSHOT:
        meta = msgspec.msgpack.decode(record.payload, type=SnapshotMeta)
        group.put_marker(meta, keeps_entries=bool(record.detail))


def _entry_of(record: Record) -> Entry:
    return Entry(
        LogIndex(record.log_index), Term(record.term), EntryKind(record.detail), record.payload
    )
