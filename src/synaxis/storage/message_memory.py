"""What a message store knows without its files: where segments end, what waits, what is recent.

Nothing here waits for a disk. ``MessageMemory.lock`` guards all of it; methods take it themselves,
for microseconds, but for those named as needing it.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from synaxis.effects import (
    Attachment,
    SnapshotMeta,
    StoreAppend,
    StoreCopy,
    StoreDrop,
    StoreOperation,
)
from synaxis.ids import GroupId
from synaxis.ports import Directory
from synaxis.storage.message_file import OpenFiles, SegmentFile

__all__ = ["Buffered", "Group", "MessageMemory", "Range", "Segment", "runs"]

Range = tuple[int, int, int]
"""Segment, position, length in bytes."""


class Segment:
    """A segment of a group, in the present state or not."""

    __slots__ = ("chunks", "dropped", "file", "length", "live")

    def __init__(self, file: SegmentFile) -> None:
        self.file = file
        self.length = 0
        """Where the state's next append must go."""
        self.live = False
        """Part of the present state; else dropped, gathered ahead of it, or left behind."""
        self.dropped = False
        self.chunks: dict[int, bytes] = {}
        """By position: what was appended and is still in memory."""

    def drop(self) -> None:
        """Leave the state; the file stays for snapshots that refer to it."""
        self.live, self.dropped = False, True
        self.chunks = {}


class Group:
    """The segments of one group."""

    __slots__ = ("gathering", "held", "segments")

    def __init__(self) -> None:
        self.segments: dict[int, Segment] = {}
        self.held: deque[SnapshotMeta] = deque()
        """Snapshots that are on their way to the disk."""
        self.gathering: SnapshotMeta | None = None

    def settle(self, kept: SnapshotMeta) -> None:
        """Note that ``kept`` is durable: earlier snapshots need nothing any more."""
        while self.held and self.held[0].index <= kept.index:
            self.held.popleft()
        if self.gathering is not None and self.gathering.index <= kept.index:
            self.gathering = None

    def take_unneeded(self, kept: SnapshotMeta) -> list[Segment]:
        """Forget and return what neither the state nor a snapshot from ``kept`` on needs."""
        wanted = [kept, *self.held]
        if self.gathering is not None:
            wanted.append(self.gathering)
        needed = {each.segment for meta in wanted for each in meta.attachments}
        unneeded = [
            number
            for number, segment in self.segments.items()
            if not segment.live and number not in needed
        ]
        return [self.segments.pop(number) for number in unneeded]


class Buffered(NamedTuple):
    """Bytes that wait for a flush; without ``chunk`` they must be copied from a file."""

    segment: Segment
    position: int
    length: int
    chunk: bytes | None
    source: Segment | None = None
    source_position: int = 0


class MessageMemory:
    """All groups of a node."""

    def __init__(self, directory: Directory, open_files: OpenFiles, recent_bytes_max: int) -> None:
        self.lock = threading.Lock()
        self.groups: dict[GroupId, Group] = {}
        self.buffered_bytes = 0
        self.flushing_bytes = 0
        """Taken by a flush that has not ended."""
        self._directory = directory
        self._open_files = open_files
        self._buffer: list[Buffered] = []
        self._recent: deque[tuple[Segment, int, int]] = deque()
        self._recent_bytes = 0
        self._recent_bytes_max = recent_bytes_max

    # -- finding ------------------------------------------------------------------------------

    def group(self, name: GroupId) -> Group:
        """Return the group, a new one if need be."""
        # ``setdefault`` is one step for all threads.
        return self.groups.get(name) or self.groups.setdefault(name, Group())

    def segment(self, name: GroupId, number: int) -> Segment:
        """Return the segment, a new one if need be."""
        group = self.group(name)
        with self.lock:
            return group.segments.get(number) or self._add(name, group, number)

    def segments(self, group: Group) -> list[Segment]:
        """Return all segments of a group."""
        with self.lock:
            return list(group.segments.values())

    def read(self, name: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return what is at each range, or None if any of it is not here."""
        segments = self.group(name).segments
        found = []
        for number, position, length in ranges:
            segment = segments.get(number)
            chunk = segment.chunks.get(position) if segment is not None else None
            if chunk is None or len(chunk) < length:
                return None
            found.append(chunk if len(chunk) == length else chunk[:length])
        return found

    # -- changing -----------------------------------------------------------------------------

    def execute(self, name: GroupId, operations: Sequence[StoreOperation]) -> None:
        """Do what applying entries demanded."""
        group = self.group(name)
        with self.lock:
            for operation in operations:
                if type(operation) is StoreAppend:
                    target = group.segments.get(operation.segment)
                    if target is None:
                        target = self._add(name, group, operation.segment)
                    data = operation.data
                    self._append(Buffered(target, operation.position, len(data), data))
                elif type(operation) is StoreCopy:
                    self._copy(name, group, operation)
                else:
                    assert type(operation) is StoreDrop
                    dropped = group.segments.get(operation.segment)
                    if dropped is not None:
                        dropped.drop()

    def reset(self, name: GroupId, attachments: Sequence[Attachment]) -> None:
        """Become the state that a snapshot describes; its files must be trusted that far."""
        group = self.group(name)
        with self.lock:
            others = dict(group.segments)
            for each in attachments:
                others.pop(each.segment, None)
                segment = group.segments.get(each.segment) or self._add(name, group, each.segment)
                assert segment.file.trusted >= each.length, (name, each)
                segment.length = each.length
                segment.live, segment.dropped = True, False
            for segment in others.values():
                if segment.live:
                    segment.drop()
            group.gathering = None

    def take_buffer(self) -> list[Buffered]:
        """Return what must be written, in order."""
        with self.lock:
            return self._take_buffer()

    def take_unneeded(
        self, group: Group, kept: SnapshotMeta
    ) -> tuple[list[Buffered], list[Segment]]:
        """Return what must be written first, and the segments whose files may go then.

        In one step: copies out of those segments may be waiting, and a new segment that takes
        the number of an old one must not be written before the old file is gone.
        """
        with self.lock:
            return self._take_buffer(), group.take_unneeded(kept)

    def flushed(self, buffer: list[Buffered]) -> None:
        """Keep the youngest written bytes in memory, and forget the oldest."""
        recent = self._recent
        with self.lock:
            self.flushing_bytes = 0
            for each in buffer:
                if each.chunk is not None and each.segment.live:
                    recent.append((each.segment, each.position, each.length))
                    self._recent_bytes += each.length
            while self._recent_bytes > self._recent_bytes_max:
                segment, position, length = recent.popleft()
                segment.chunks.pop(position, None)
                self._recent_bytes -= length

    # -- with the lock held -------------------------------------------------------------------

    def _take_buffer(self) -> list[Buffered]:
        buffer, self._buffer = self._buffer, []
        self.flushing_bytes, self.buffered_bytes = self.buffered_bytes, 0
        return buffer

    def _add(self, name: GroupId, group: Group, number: int) -> Segment:
        file = SegmentFile(self._directory, name, number, self._open_files)
        segment = group.segments[number] = Segment(file)
        return segment

    def _append(self, item: Buffered) -> None:
        segment = item.segment
        assert not segment.dropped, "a dropped segment never grows again"
        assert item.position == segment.length, (item.position, segment.length)
        segment.live = True
        segment.length += item.length
        if item.chunk is not None:
            segment.chunks[item.position] = item.chunk
        self._buffer.append(item)
        self.buffered_bytes += item.length

    def _copy(self, name: GroupId, group: Group, operation: StoreCopy) -> None:
        source, length = group.segments[operation.segment], operation.length
        assert operation.position + length <= source.length, operation
        target = group.segments.get(operation.target) or self._add(name, group, operation.target)
        chunk = source.chunks.get(operation.position)
        if chunk is not None and len(chunk) >= length:
            chunk = chunk if len(chunk) == length else chunk[:length]
            self._append(Buffered(target, operation.target_position, length, chunk))
        else:
            origin = operation.position
            self._append(Buffered(target, operation.target_position, length, None, source, origin))


def runs(ranges: Sequence[Range], bytes_max: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield (segment, position, lengths) of neighbours that one read can fetch."""
    number = position = size = 0
    lengths: list[int] = []
    for each, start, length in ranges:
        follows = each == number and start == position + size
        if lengths and not (follows and size + length <= bytes_max):
            yield number, position, lengths
            lengths = []
        if not lengths:
            number, position, size = each, start, 0
        lengths.append(length)
        size += length
    if lengths:
        yield number, position, lengths
