"""The log of a node: every group's entries, terms, votes and snapshot markers, in one file.

Order inside one ``write``: what snapshots refer to, snapshot files, second copy of the votes, then
the records with one write and one sync, then (all of it being durable) the files that are no
longer needed go. A crash between any two steps leaves a directory that ``recovery`` understands.

A log is used by one thread at a time. After the first failure it is closed for ever: what the
disk holds is then unknown, and only a restart that reads it again may go on.

Sources: Ongaro's thesis 3.8 and 5.1; etcd server/storage/wal (facts); DESIGN.md.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from synaxis.effects import HardState, Persist, Snapshot
from synaxis.errors import ConfigError, StorageError
from synaxis.ids import GroupId, NodeId
from synaxis.ports import Directory, RecoveredGroup
from synaxis.storage.group_log import GroupLog, entry_record
from synaxis.storage.records import NO_GROUP, Record, RecordType
from synaxis.storage.recovery import Recovery, recover
from synaxis.storage.segment_writer import SegmentWriter
from synaxis.storage.segments import Owner, damaged_name
from synaxis.storage.snapshots import (
    SNAPSHOTS_KEPT,
    AttachmentStore,
    SnapshotFiles,
    snapshot_name,
)
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


class WriteAheadLog:
    """See the module; build one with ``open``."""

    def __init__(
        self,
        directory: Directory,
        writer: SegmentWriter,
        votes: VoteFile,
        attachments: AttachmentStore | None = None,
    ) -> None:
        self._directory = directory
        self._writer = writer
        self._votes = votes
        self._attachments = attachments
        self._snapshots = SnapshotFiles(directory, attachments)
        self._groups: dict[GroupId, GroupLog] = {}
        self._pending: list[tuple[GroupId, Persist]] = []
        self._usable = False

    @classmethod
    def open(
        cls,
        directory: Directory,
        cluster_id: str,
        node_id: NodeId,
        options: WalOptions | None = None,
        attachments: AttachmentStore | None = None,
    ) -> tuple["WriteAheadLog", dict[GroupId, RecoveredGroup]]:
        """Recover the log, or begin one in an empty directory.

        Everything that is returned is durable when this returns, and ``attachments`` (where
        snapshots keep their bulk, if any do) has begun with the snapshots that are returned.

        Raises:
            IdentityMismatch: the log belongs to another node or cluster.
            StorageError: the disk failed.
        """
        options = options or WalOptions()
        options.validate()
        owner = Owner(cluster_id, node_id)
        votes = VoteFile(directory)
        remembered = votes.load()
        writer = SegmentWriter(directory, owner, options.segment_bytes_max)
        log = cls(directory, writer, votes, attachments)
        found = recover(directory, owner, log._snapshots, remembered)
        try:
            log._start(found, remembered.segment)
        except OSError as error:
            log._abandon()
            raise _failure(error) from error
        except BaseException:
            log._abandon()
            raise
        log._usable = True
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
        if self._usable:
            # Everything is durable already; the seal only makes later diagnoses sharper.
            with suppress(StorageError, OSError):
                self._put([_SEAL])
        self._abandon()

    # -- what the node asks -------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes in all live segments."""
        return self._writer.segments.size

    @property
    def bytes_written(self) -> int:
        """Bytes written to segments since the log was opened."""
        return self._writer.bytes_written

    @property
    def segment_count(self) -> int:
        """Number of live segments."""
        return len(self._writer.segments)

    def oldest_pinning_group(self) -> GroupId | None:
        """Return a group whose next snapshot would help to drop the oldest segment, if any."""
        return self._writer.segments.oldest_pinning_group(self._snapshot_indexes())

    # -- writing ------------------------------------------------------------------------------

    def _write(self, batch: WalBatch) -> None:
        records: list[Record] = []
        votes: dict[GroupId, HardState] = {}
        snapshots: list[GroupLog] = []
        last_index: dict[GroupId, int] = {}
        segments = self._writer.segments
        for name, persist in batch.items:
            group = self._groups.get(name) or self._new_group(name, records)
            if persist.hard_state is not None and persist.hard_state != group.hard_state:
                votes[name] = persist.hard_state
                records.append(group.set_hard_state(persist.hard_state))
            if persist.snapshot is not None:
                self._add_snapshot(group, persist.snapshot, records)
                snapshots.append(group)
            if persist.entries:
                rewritten = group.put_entries(persist.entries, records)
                if rewritten is not None:
                    segments.cut(name, rewritten - 1)
                last_index[name] = group.terms.last_index
        if votes and self._votes.add(segments.active.number, votes):
            self._rewrite_votes()
        if records:
            self._put(records)
            segments.active.last_index.update(last_index)
        if snapshots:
            self._drop_obsolete(snapshots)

    def _new_group(self, name: GroupId, records: list[Record]) -> GroupLog:
        if len(self._groups) == NO_GROUP:
            message = f"a node's log holds at most {NO_GROUP} groups"
            raise StorageError(message)
        group = self._groups[name] = GroupLog(name, len(self._groups))
        records.append(group.state_record())
        return group

    def _add_snapshot(self, group: GroupLog, snapshot: Snapshot, records: list[Record]) -> None:
        marker, log_survives = group.mark_snapshot(snapshot.meta)
        self._snapshots.write(group.name, snapshot)
        if not log_survives:
            self._writer.segments.cut(group.name, snapshot.meta.index)
        records.append(marker)

    def _put(self, records: list[Record]) -> None:
        """Write and sync records, in a new segment if the active one is full."""
        if self._writer.is_full:
            self._writer.begin(self._states() + records)
            self._votes.add(self._writer.segments.active.number, {})
        else:
            self._writer.write(records)

    def _states(self) -> list[Record]:
        return [group.state_record() for group in self._groups.values()]

    def _rewrite_votes(self) -> None:
        votes = {group.name: group.hard_state for group in self._groups.values()}
        self._votes.rewrite(self._writer.segments.active.number, votes)

    def _drop_obsolete(self, groups: list[GroupLog]) -> None:
        for group in groups:
            while len(group.markers) > SNAPSHOTS_KEPT:
                self._snapshots.remove(group.name, group.markers.pop(0).index)
            if self._attachments is not None:
                self._attachments.keep(group.name, group.markers[-1])
        for segment in self._writer.segments.droppable(self._snapshot_indexes()):
            self._writer.drop(segment)

    def _snapshot_indexes(self) -> dict[GroupId, int]:
        # A copy, because the event loop may ask while the writer meets a new group.
        return {group.name: group.snapshot_index for group in list(self._groups.values())}

    def _abandon(self) -> None:
        self._usable = False
        for close in (self._writer.close, self._votes.close):
            # A failing close changes nothing any more: the log is given up.
            with suppress(StorageError, OSError):
                close()

    # -- opening ------------------------------------------------------------------------------

    def _start(self, found: Recovery, remembered_segment: int) -> None:
        """Make the directory say what was recovered, and open it for writing."""
        for number, (name, replayed) in enumerate(found.groups.items()):
            self._groups[name] = GroupLog.recovered(name, number, replayed)
        for obsolete in found.obsolete:
            self._directory.remove(obsolete)
        if found.rewrite:
            newest = found.segments[-1].number if found.segments else 0
            self._begin_again(found, max(newest, remembered_segment) + 1)
        elif found.segments:
            self._writer.resume(found.segments, found.end, sealed=found.sealed)
            # The states give every group its number, also one that only the vote file knew.
            self._writer.write([*self._states(), _SEAL])
        else:
            self._writer.begin([_SEAL])
        self._rewrite_votes()
        self._snapshots.remove_all_but(
            {
                snapshot_name(group.name, marker.index)
                for group in self._groups.values()
                for marker in group.markers
            }
        )
        if self._attachments is not None:
            snapshots = {name: known.group.snapshot for name, known in found.groups.items()}
            self._attachments.restart(
                {name: taken.meta.attachments if taken else () for name, taken in snapshots.items()}
            )

    def _begin_again(self, found: Recovery, number: int) -> None:
        """Write all that is still true into a baseline segment, and set the damage aside."""
        for name in found.damaged:
            self._directory.replace(damaged_name(name), self._directory.read(name))
        records = [*self._states(), _SEAL]
        for group in self._groups.values():
            entries = found.groups[group.name].group.entries
            records += [entry_record(group.number, entry) for entry in entries]
        self._writer.begin_baseline(number, records)
        last_index = self._writer.segments.active.last_index
        for group in self._groups.values():
            if found.groups[group.name].group.entries:
                last_index[group.name] = group.terms.last_index
        for segment in found.segments:
            self._writer.drop(segment)


def _failure(error: OSError) -> StorageError:
    return StorageError(f"the disk failed: {error}", errno=error.errno)
