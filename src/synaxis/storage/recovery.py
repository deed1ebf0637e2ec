"""Reads a log directory and decides what it proves. Changes nothing on disk.

``write_ahead_log`` then acts on the ``Recovery``: truncates a torn tail, or, after damage, writes
a baseline segment and sets the damaged files aside.
"""

from typing import NamedTuple

from synaxis.ids import GroupId
from synaxis.ports import Directory
from synaxis.storage.replay import Replay, ReplayedGroup
from synaxis.storage.scan import BatchEnd, ScanResult, has_zero_sector, next_record, scan_records
from synaxis.storage.segments import (
    Owner,
    Segment,
    SegmentHeader,
    segment_name,
    segment_number,
    segment_seed,
)
from synaxis.storage.snapshots import SnapshotFiles
from synaxis.storage.vote_file import VoteFileContent

__all__ = ["Recovery", "recover"]


class Recovery(NamedTuple):
    """What a log directory proves."""

    groups: dict[GroupId, ReplayedGroup]
    segments: list[Segment]
    end: BatchEnd
    """Where writing goes on in the last segment."""
    sealed: bool
    """Whether everything before ``end`` was surely synced, so that it need not be copied."""
    obsolete: list[str]
    """Files that a finished baseline or an unborn segment left behind."""
    damaged: list[str]
    """Segments that hold damage."""
    rewrite: bool
    """Whether the log must be written anew, because it no longer says what is true."""


class _Reader:
    def __init__(self, directory: Directory, owner: Owner) -> None:
        self._directory = directory
        self._owner = owner
        self.replay = Replay()
        self.segments: list[Segment] = []
        self.obsolete: list[str] = []
        self.damaged: list[str] = []
        self.blemished = False
        self.last_scan = ScanResult([], BatchEnd(0, 0, 0), None)

    def read_all(self) -> None:
        numbers = [segment_number(name) for name in self._directory.names()]
        known = [number for number in numbers if number is not None]
        for number in known:
            self._read(number, last=number == known[-1])

    def _read(self, number: int, *, last: bool) -> None:
        name = segment_name(number)
        content = self._directory.read(name)
        decoded = SegmentHeader.decode(content, self._owner)
        if decoded is not None and decoded[0].number != number:
            decoded = None
        if decoded is not None and decoded[0].baseline:
            self.obsolete += [segment_name(segment.number) for segment in self.segments]
            self.replay, self.segments, self.damaged = Replay(), [], []
            self.blemished = False
        self.replay.begin_segment()
        scan = self._scan(content, number, decoded, last=last)
        if scan is None:
            self.obsolete.append(name)
            return
        losses = self.replay.losses
        if decoded is None or not self._follows(decoded[0]):
            self.replay.lose(None)
        self.replay.feed(scan.found)
        if self.replay.losses > losses:
            self.damaged.append(name)
        segment = Segment(number, scan.end.length)
        segment.last_index = self.replay.last_index
        self.segments.append(segment)
        self.blemished |= scan.blemished
        self.last_scan = scan

    def _scan(
        self,
        content: bytes,
        number: int,
        decoded: tuple[SegmentHeader, int] | None,
        *,
        last: bool,
    ) -> ScanResult | None:
        """Scan a segment; None if it is the last one and its first write was torn."""
        seed = segment_seed(self._owner, number)
        if decoded is not None:
            header, start = decoded
            scan = scan_records(content, start, seed, header.checksum, last=last)
            return None if last and scan.end.batch == 0 and not scan.found else scan
        start = len(SegmentHeader(self._owner, number, False, 0, 0).encode())
        scan = scan_records(content, start, seed, None, last=False)
        torn = len(content) < start or has_zero_sector(content, 0)
        born = next_record(content, start, seed, later_than=1) is not None
        return None if last and torn and not born else scan

    def _follows(self, header: SegmentHeader) -> bool:
        """Return whether the segment continues the one before it without a gap."""
        if header.baseline or not self.segments:
            return True
        end = self.last_scan.end
        previous = (header.number - 1, header.previous_length, header.previous_crc)
        return previous == (self.segments[-1].number, end.length, end.rolling)


def recover(
    directory: Directory, owner: Owner, snapshots: SnapshotFiles, votes: VoteFileContent
) -> Recovery:
    """Read everything.

    Raises:
        IdentityMismatch: the log belongs to another node or cluster.
        StorageError: a file cannot be read.
    """
    reader = _Reader(directory, owner)
    reader.read_all()
    replay = reader.replay
    newest = reader.segments[-1].number if reader.segments else 0
    if newest < votes.segment:
        # The newest segment has vanished, with everything that only it knew.
        replay.lose(None)
    replay.put_votes(votes.votes, complete=votes.complete)
    groups = replay.finish(snapshots.load)
    intact = all(group.intact for group in groups.values())
    rewrite = replay.losses > 0 or reader.blemished or not intact
    scan = reader.last_scan
    return Recovery(
        groups,
        reader.segments,
        scan.before_seal or scan.end,
        scan.before_seal is not None,
        reader.obsolete,
        reader.damaged,
        rewrite,
    )
