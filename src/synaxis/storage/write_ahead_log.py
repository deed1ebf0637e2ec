"""The log of a node: every group's entries, terms, votes and snapshot markers, in one file.

Order inside one ``write``: snapshot files, second copy of the votes, then the records with one
write and one sync, then (all of it being durable) the files that are no longer needed go. A
crash between any two steps leaves a directory that ``recovery`` understands.

A log is used by one thread at a time. After the first failure it is closed for ever: what the
disk holds is then unknown, and only a restart that reads it again may go on.

Sources: Ongaro's thesis 3.8 and 5.1; etcd server/storage/wal (facts); DESIGN.md.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from synaxis.effects import Entry, HardState, Persist, Snapshot, SnapshotMeta
from synaxis.errors import ConfigError, StorageError
from synaxis.ids import GroupId, NodeId, Term
from synaxis.ports import AppendFile, Directory, RecoveredGroup
from synaxis.storage.records import NO_GROUP, Record, RecordType, encode_batch
from synaxis.storage.recovery import Recovery, recover
from synaxis.storage.replay import GroupState
from synaxis.storage.segments import (
    Owner,
    Segment,
    SegmentHeader,
    SegmentList,
    damaged_name,
    segment_name,
    segment_seed,
)
from synaxis.storage.snapshots import SNAPSHOTS_KEPT, SnapshotFiles, snapshot_name
from synaxis.storage.term_runs import TermRuns
from synaxis.storage.vote_file import VoteFile

__all__ = ["WalBatch", "WalOptions", "WriteAheadLog"]

_SEAL = Record(RecordType.SEAL, NO_GROUP)
_KIBIBYTE = 1024


@dataclass(frozen=True, slots=True)
class WalOptions:
    """Settings of the log."""

    segment_bytes_max: int = 64 * 1024 * _KIBIBYTE
    """Bytes after which a new segment is begun; the last batch may exceed it. Smaller segments
    give disk space back sooner, larger ones repeat the groups' states less often."""

    def validate(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: names the field and what is allowed.
        """
        if self.segment_bytes_max < _KIBIBYTE:
            message = f"segment_bytes_max must be at least {_KIBIBYTE}"
            raise ConfigError(message, field="segment_bytes_max")


class WalBatch(NamedTuple):
    """What becomes durable together."""

    items: list[tuple[GroupId, Persist]]


class _Group:
    """What the writer must remember of a group."""

    __slots__ = ("damaged", "hard_state", "markers", "name", "number", "terms")

    def __init__(self, name: GroupId, number: int) -> None:
        self.name = name
        self.number = number
        self.hard_state = HardState(Term(0), None)
        self.markers: list[SnapshotMeta] = []
        self.damaged = False
        self.terms = TermRuns()

    @property
    def snapshot_index(self) -> int:
        return self.markers[-1].index if self.markers else 0

    def set_hard_state(self, hard_state: HardState) -> Record:
        self.hard_state = hard_state
        if hard_state.repair_after:
            # From here on the consensus machine's own state carries the damage.
            self.damaged = False
        payload = msgspec.msgpack.encode(hard_state)
        return Record(RecordType.HARD_STATE, self.number, term=hard_state.term, payload=payload)

    def state_record(self) -> Record:
        marker = self.markers[-1] if self.markers else None
        state = GroupState(self.name, self.hard_state, marker, self.damaged)
        return Record(RecordType.GROUP, self.number, payload=msgspec.msgpack.encode(state))


class WriteAheadLog:
    """See the module; build one with ``open``."""

    def __init__(
        self, directory: Directory, owner: Owner, options: WalOptions, votes: VoteFile
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._options = options
        self._votes = votes
        self._snapshots = SnapshotFiles(directory)
        self._groups: dict[GroupId, _Group] = {}
        self._segments = SegmentList([])
        self._file: AppendFile | None = None
        self._seed = 0
        self._batch = 0
        self._rolling = 0
        self._pending: list[tuple[GroupId, Persist]] = []
        self._usable = True
        self.bytes_written = 0
        """Bytes written to segments since the log was opened."""

    @classmethod
    def open(
        cls,
        directory: Directory,
        cluster_id: str,
        node_id: NodeId,
        options: WalOptions | None = None,
    ) -> tuple["WriteAheadLog", dict[GroupId, RecoveredGroup]]:
        """Recover the log, or begin one in an empty directory.

        Everything that is returned is durable when this returns.

        Raises:
            IdentityMismatch: the log belongs to another node or cluster.
            StorageError: the disk failed.
        """
        options = options or WalOptions()
        options.validate()
        owner = Owner(cluster_id, node_id)
        votes = VoteFile(directory)
        remembered = votes.load()
        found = recover(directory, owner, SnapshotFiles(directory), remembered)
        log = cls(directory, owner, options, votes)
        try:
            log._adopt(found)
            log._start(found, remembered.segment)
        except OSError as error:
            log._abandon()
            raise _failure(error) from error
        except BaseException:
            log._abandon()
            raise
        return log, {name: replayed.group for name, replayed in found.groups.items()}

    # -- what the event loop calls ------------------------------------------------------------

    def append(self, group: GroupId, persist: Persist) -> None:
        """Add to the batch that the next ``take`` returns. No I/O."""
        self._pending.append((group, persist))

    def take(self) -> WalBatch | None:
        """Return everything appended since the last call, or None."""
        if not self._pending:
            return None
        items, self._pending = self._pending, []
        return WalBatch(items)

    # -- what the writer calls ----------------------------------------------------------------

    def write(self, batch: WalBatch) -> None:
        """Make a batch durable.

        Raises:
            StorageError: nothing of the batch may be acknowledged; the log is closed for ever.
        """
        if not self._usable:
            message = "the log was closed, or failed before; restart the node"
            raise StorageError(message)
        # Unusable unless this comes to its end: a bug must not go on writing either.
        self._usable = False
        try:
            self._write(batch)
        except OSError as error:
            self._abandon()
            raise _failure(error) from error
        except BaseException:
            self._abandon()
            raise
        self._usable = True

    def close(self) -> None:
        """Prove that the end of the log was durable, then close. Never raises."""
        if self._usable and self._file is not None:
            self._usable = False
            try:
                self._put([_SEAL])
            except (StorageError, OSError):
                # The seal only makes a later diagnosis sharper; everything is durable already.
                self._pending.clear()
        self._abandon()

    # -- what the node asks -------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes in all live segments."""
        return self._segments.size

    @property
    def segment_count(self) -> int:
        """Number of live segments."""
        return len(self._segments)

    def oldest_pinning_group(self) -> GroupId | None:
        """Return a group whose next snapshot would help to drop the oldest segment, if any."""
        return self._segments.oldest_pinning_group(self._snapshot_indexes())

    # -- writing ------------------------------------------------------------------------------

    def _write(self, batch: WalBatch) -> None:
        records: list[Record] = []
        votes: dict[GroupId, HardState] = {}
        snapshots: list[_Group] = []
        last_index: dict[GroupId, int] = {}
        for name, persist in batch.items:
            group = self._groups.get(name) or self._new_group(name, records)
            if persist.hard_state is not None and persist.hard_state != group.hard_state:
                votes[name] = persist.hard_state
                records.append(group.set_hard_state(persist.hard_state))
            if persist.snapshot is not None:
                self._add_snapshot(group, persist.snapshot, records)
                snapshots.append(group)
            if persist.entries:
                self._add_entries(group, persist.entries, records)
                last_index[name] = group.terms.last_index
        if votes:
            self._remember(votes)
        if records:
            self._put(records)
            self._segments.active.last_index.update(last_index)
        if snapshots:
            self._drop_obsolete(snapshots)

    def _new_group(self, name: GroupId, records: list[Record]) -> _Group:
        group = self._groups[name] = _Group(name, len(self._groups))
        if group.number >= NO_GROUP:
            message = f"a node's log holds at most {NO_GROUP} groups"
            raise StorageError(message)
        records.append(group.state_record())
        return group

    def _add_snapshot(self, group: _Group, snapshot: Snapshot, records: list[Record]) -> None:
        meta = snapshot.meta
        if meta.index < group.snapshot_index:
            message = f"{group.name}: snapshot {meta.index} after {group.snapshot_index}"
            raise StorageError(message)
        self._snapshots.write(group.name, snapshot)
        keeps_entries = group.terms.contains(meta.index, meta.term)
        if keeps_entries:
            group.terms.forget_below(meta.index)
        else:
            group.terms = TermRuns(meta.index, meta.term)
            self._segments.cut(group.name, meta.index)
        if group.snapshot_index == meta.index and group.markers:
            group.markers.pop()
        group.markers.append(meta)
        payload = msgspec.msgpack.encode(meta)
        records.append(
            Record(
                RecordType.SNAPSHOT,
                group.number,
                meta.index,
                meta.term,
                int(keeps_entries),
                payload,
            )
        )

    def _add_entries(
        self, group: _Group, entries: tuple[Entry, ...], records: list[Record]
    ) -> None:
        terms, number, base = group.terms, group.number, group.snapshot_index
        for entry in entries:
            index, term = entry.index, entry.term
            if index <= base:
                continue
            if index != terms.last_index + 1:
                if index > terms.last_index:
                    message = f"{group.name}: entry {index} after {terms.last_index}"
                    raise StorageError(message)
                self._segments.cut(group.name, index - 1)
            terms.put(index, term)
            records.append(_entry_record(number, entry))

    def _remember(self, votes: dict[GroupId, HardState]) -> None:
        if self._votes.add(self._segments.active.number, votes):
            self._rewrite_votes()

    def _rewrite_votes(self) -> None:
        votes = {group.name: group.hard_state for group in self._groups.values()}
        self._votes.rewrite(self._segments.active.number, votes)

    def _put(self, records: list[Record]) -> None:
        """Write and sync records, in a new segment if the active one is full."""
        if self._segments.active.size >= self._options.segment_bytes_max:
            self._rotate(self._states() + records)
            self._votes.add(self._segments.active.number, {})
        else:
            self._write_records(records)

    def _rotate(self, records: list[Record]) -> None:
        """Begin a segment with ``records``: one write, one sync."""
        number = self._segments.active.number + 1 if len(self._segments) else 1
        length = self._segments.active.size if len(self._segments) else 0
        header = SegmentHeader(self._owner, number, False, length, self._rolling)
        self._close_file()
        self._begin_segment(header)
        self._file = self._directory.append(segment_name(number))
        self._write_records(records, prefix=header.encode())

    def _begin_segment(self, header: SegmentHeader) -> None:
        self._segments.add(Segment(header.number))
        self._seed = segment_seed(self._owner, header.number)
        self._batch = 0
        self._rolling = header.checksum

    def _states(self) -> list[Record]:
        return [group.state_record() for group in self._groups.values()]

    def _write_records(self, records: list[Record], prefix: bytes = b"") -> None:
        assert self._file is not None, "a usable log has an open segment"
        encoded = self._encode(records, prefix)
        self._file.write(encoded)
        self._file.sync()
        self.bytes_written += len(encoded)

    def _encode(self, records: list[Record], prefix: bytes) -> bytes:
        """Return the next batch of the active segment and count it as written."""
        active = self._segments.active
        self._batch += 1
        encoded = encode_batch(
            records,
            seed=self._seed,
            offset=active.size + len(prefix),
            batch=self._batch,
            rolling=self._rolling,
            prefix=prefix,
        )
        self._rolling = encoded.rolling
        active.size += len(encoded.data)
        return encoded.data

    def _drop_obsolete(self, groups: list[_Group]) -> None:
        for group in groups:
            while len(group.markers) > SNAPSHOTS_KEPT:
                self._snapshots.remove(group.name, group.markers.pop(0).index)
        for segment in self._segments.droppable(self._snapshot_indexes()):
            self._directory.remove(segment_name(segment.number))

    def _snapshot_indexes(self) -> dict[GroupId, int]:
        # A copy, because the event loop may ask while the writer meets a new group.
        return {group.name: group.snapshot_index for group in list(self._groups.values())}

    def _abandon(self) -> None:
        self._usable = False
        for close in (self._close_file, self._votes.close):
            # A failing close changes nothing any more: the log is given up.
            with suppress(StorageError, OSError):
                close()

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    # -- opening ------------------------------------------------------------------------------

    def _adopt(self, found: Recovery) -> None:
        """Take over what was recovered."""
        for number, (name, (recovered, markers, _)) in enumerate(found.groups.items()):
            group = self._groups[name] = _Group(name, number)
            group.hard_state = recovered.hard_state
            group.damaged = recovered.damaged
            group.markers = list(markers[-SNAPSHOTS_KEPT:])
            if recovered.snapshot is not None:
                meta = recovered.snapshot.meta
                group.terms = TermRuns(meta.index, meta.term)
            for entry in recovered.entries:
                group.terms.put(entry.index, entry.term)

    def _start(self, found: Recovery, remembered_segment: int) -> None:
        """Make the directory say what was recovered, and open it for writing."""
        for name in found.obsolete:
            self._directory.remove(name)
        if found.rewrite:
            newest = found.segments[-1].number if found.segments else 0
            self._begin_again(found, max(newest, remembered_segment) + 1)
        elif found.segments:
            self._continue(found)
        else:
            self._rotate([_SEAL])
        self._settle()

    def _continue(self, found: Recovery) -> None:
        """Go on in the last segment.

        Its last batch may only be in the page cache: the process was killed before the sync,
        or the sync failed and the kernel calls the pages clean all the same. So the segment is
        copied, without a torn tail, into a new file that is synced before it takes the name.
        Only a seal at the end proves that all before it was synced; then the seal is cut off,
        because of itself nothing is known.
        """
        for segment in found.segments:
            self._segments.add(segment)
        active = self._segments.active
        name = segment_name(active.number)
        length, self._batch, self._rolling = found.end
        if found.sealed:
            self._directory.truncate(name, length)
        else:
            self._directory.replace(name, self._directory.read(name)[:length])
        active.size = length
        self._seed = segment_seed(self._owner, active.number)
        self._file = self._directory.append(name)
        # The states give every group its number, also one that only the vote file knew.
        self._write_records([*self._states(), _SEAL])

    def _begin_again(self, found: Recovery, number: int) -> None:
        """Write all that is still true into a baseline segment, and set the damage aside."""
        for name in found.damaged:
            self._directory.replace(damaged_name(name), self._directory.read(name))
        header = SegmentHeader(self._owner, number, True, 0, 0)
        self._begin_segment(header)
        records = [*self._states(), _SEAL]
        for name, (recovered, _, _) in found.groups.items():
            group = self._groups[name]
            records += [_entry_record(group.number, entry) for entry in recovered.entries]
            if recovered.entries:
                self._segments.active.last_index[name] = group.terms.last_index
        name = segment_name(number)
        self._directory.replace(name, self._encode(records, header.encode()))
        self._file = self._directory.append(name)
        for segment in found.segments:
            self._directory.remove(segment_name(segment.number))

    def _settle(self) -> None:
        """Bring the files beside the segments into line with the log."""
        self._rewrite_votes()
        kept = {
            snapshot_name(group.name, marker.index)
            for group in self._groups.values()
            for marker in group.markers
        }
        self._snapshots.remove_all_but(kept)


def _entry_record(number: int, entry: Entry) -> Record:
    return Record(RecordType.ENTRY, number, entry.index, entry.term, entry.kind, entry.payload)


def _failure(error: OSError) -> StorageError:
    return StorageError(f"the disk failed: {error}", errno=error.errno)
