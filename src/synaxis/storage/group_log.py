"""What the writer must remember of one group, and the records that its changes become. Pure."""

import msgspec

from synaxis.effects import Entry, HardState, SnapshotMeta
from synaxis.errors import StorageError
from synaxis.ids import GroupId, Term
from synaxis.storage.records import Record, RecordType
from synaxis.storage.replay import GroupState, ReplayedGroup
from synaxis.storage.snapshots import SNAPSHOTS_KEPT
from synaxis.storage.term_runs import TermRuns

__all__ = ["GroupLog", "entry_record"]


class GroupLog:
    """One group's part of the log. Refuses what would leave a gap in it."""

    __slots__ = ("damaged", "hard_state", "markers", "name", "number", "terms")

    def __init__(self, name: GroupId, number: int) -> None:
        self.name = name
        self.number = number
        self.hard_state = HardState(Term(0), None)
        self.markers: list[SnapshotMeta] = []
        """Snapshots that have a file, oldest first."""
        self.damaged = False
        """Recovered with losses that the consensus machine has not yet taken note of."""
        self.terms = TermRuns()

    @classmethod
    def recovered(cls, name: GroupId, number: int, replayed: ReplayedGroup) -> "GroupLog":
        """Return the group as a recovery found it."""
        log = cls(name, number)
        group = replayed.group
        log.hard_state = group.hard_state
        log.damaged = group.damaged
        log.markers = list(replayed.markers[-SNAPSHOTS_KEPT:])
        if group.snapshot is not None:
            log.terms = TermRuns(group.snapshot.meta.index, group.snapshot.meta.term)
        for entry in group.entries:
            log.terms.put(entry.index, entry.term)
        return log

    @property
    def snapshot_index(self) -> int:
        """Last entry that a snapshot contains; 0 without one."""
        return self.markers[-1].index if self.markers else 0

    def state_record(self) -> Record:
        """Return the record that a segment begins with."""
        marker = self.markers[-1] if self.markers else None
        state = GroupState(self.name, self.hard_state, marker, self.damaged)
        return Record(RecordType.GROUP, self.number, payload=msgspec.msgpack.encode(state))

    def set_hard_state(self, hard_state: HardState) -> Record:
        """Replace term and vote."""
        self.hard_state = hard_state
        if hard_state.repair_after:
            # From here on the consensus machine's own state carries the damage.
            self.damaged = False
        payload = msgspec.msgpack.encode(hard_state)
        return Record(RecordType.HARD_STATE, self.number, term=hard_state.term, payload=payload)

    def mark_snapshot(self, meta: SnapshotMeta) -> tuple[Record, bool]:
        """Note a snapshot that has its file; return its marker and whether the log survives it.

        A snapshot of this log keeps the entries behind it; a leader's snapshot of a log that
        this one does not agree with voids them all.

        Raises:
            StorageError: the snapshot is older than the last one.
        """
        if meta.index < self.snapshot_index:
            message = f"{self.name}: snapshot {meta.index} after {self.snapshot_index}"
            raise StorageError(message)
        agrees = self.terms.contains(meta.index, meta.term)
        if agrees:
            self.terms.forget_below(meta.index)
        else:
            self.terms = TermRuns(meta.index, meta.term)
        if self.markers and self.snapshot_index == meta.index:
            self.markers.pop()
        self.markers.append(meta)
        payload = msgspec.msgpack.encode(meta)
        detail = 1 if agrees else 0
        record = Record(RecordType.SNAPSHOT, self.number, meta.index, meta.term, detail, payload)
        return record, agrees

    def put_entries(self, entries: tuple[Entry, ...], records: list[Record]) -> int | None:
        """Append the entries' records; return the first index that was rewritten, if any.

        Raises:
            StorageError: an entry would leave a gap behind the last one.
        """
        terms, number, base = self.terms, self.number, self.snapshot_index
        rewritten = None
        for entry in entries:
            index = entry.index
            if index <= base:
                continue
            if index != terms.last_index + 1:
                if index > terms.last_index:
                    message = f"{self.name}: entry {index} after {terms.last_index}"
                    raise StorageError(message)
                rewritten = index if rewritten is None else min(index, rewritten)
            terms.put(index, entry.term)
            records.append(entry_record(number, entry))
        return rewritten


def entry_record(number: int, entry: Entry) -> Record:
    """Return the record of an entry of the group with this number."""
    return Record(RecordType.ENTRY, number, entry.index, entry.term, entry.kind, entry.payload)
