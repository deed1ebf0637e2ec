"""Writes batches of records to the active segment, and begins the next one when it is full.

One batch is one write and one sync. The writer knows where bytes go; what they mean is the
business of ``write_ahead_log``.
"""

from synaxis.ports import AppendFile, Directory
from synaxis.storage.records import Record, encode_batch
from synaxis.storage.scan import BatchEnd
from synaxis.storage.segments import (
    Owner,
    Segment,
    SegmentHeader,
    SegmentList,
    segment_name,
    segment_seed,
)

__all__ = ["SegmentWriter"]


class SegmentWriter:
    """Call one of ``begin``, ``begin_baseline`` and ``resume`` first."""

    def __init__(self, directory: Directory, owner: Owner, segment_bytes_max: int) -> None:
        self._directory = directory
        self._owner = owner
        self._segment_bytes_max = segment_bytes_max
        self._file: AppendFile | None = None
        self._seed = 0
        self._batch = 0
        self._rolling = 0
        self.segments = SegmentList([])
        self.bytes_written = 0
        """Bytes written since the log was opened."""

    @property
    def is_full(self) -> bool:
        """Whether the next batch belongs into a new segment."""
        return self.segments.active.size >= self._segment_bytes_max

    def begin(self, records: list[Record]) -> None:
        """Begin the next segment with ``records``, the groups' states among them."""
        number, length = 1, 0
        if len(self.segments):
            number, length = self.segments.active.number + 1, self.segments.active.size
        header = SegmentHeader(self._owner, number, False, length, self._rolling)
        self.close()
        self._activate(header)
        self._file = self._directory.append(segment_name(number))
        self._write(self._encode(records, header.encode()))

    def begin_baseline(self, number: int, records: list[Record]) -> None:
        """Begin a segment that says all there is to say, so that every older one may go."""
        header = SegmentHeader(self._owner, number, True, 0, 0)
        self._activate(header)
        name = segment_name(number)
        self._directory.replace(name, self._encode(records, header.encode()))
        self._file = self._directory.append(name)

    def resume(self, segments: list[Segment], end: BatchEnd, *, sealed: bool) -> None:
        """Go on at ``end`` of the last segment.

        The batch before ``end`` may only be in the page cache: the process was killed before
        the sync, or the sync failed and the kernel calls the pages clean all the same. So the
        segment is copied, without a torn tail, into a new file that is synced before it takes
        the name. Only a seal behind ``end`` proves that all before it was synced; then the seal
        is cut off, because of itself nothing is known.
        """
        for segment in segments:
            self.segments.add(segment)
        active = self.segments.active
        name = segment_name(active.number)
        if sealed:
            self._directory.truncate(name, end.length)
        else:
            self._directory.replace(name, self._directory.read(name)[: end.length])
        active.size, self._batch, self._rolling = end
        self._seed = segment_seed(self._owner, active.number)
        self._file = self._directory.append(name)

    def write(self, records: list[Record]) -> None:
        """Make a batch durable in the active segment."""
        self._write(self._encode(records, b""))

    def drop(self, segment: Segment) -> None:
        """Remove a segment's file."""
        self._directory.remove(segment_name(segment.number))

    def close(self) -> None:
        """Close the file without syncing; a second call does nothing."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _activate(self, header: SegmentHeader) -> None:
        self.segments.add(Segment(header.number))
        self._seed = segment_seed(self._owner, header.number)
        self._batch = 0
        self._rolling = header.checksum

    def _encode(self, records: list[Record], prefix: bytes) -> bytes:
        """Return the next batch of the active segment and count it as written."""
        active = self.segments.active
        self._batch += 1
        content, self._rolling = encode_batch(
            records,
            seed=self._seed,
            offset=active.size + len(prefix),
            batch=self._batch,
            rolling=self._rolling,
            prefix=prefix,
        )
        active.size += len(content)
        return content

    def _write(self, content: bytes) -> None:
        assert self._file is not None, "begin or resume opens the segment"
        self._file.write(content)
        self._file.sync()
        self.bytes_written += len(content)
