"""One segment of a message store as a file, and how far its bytes can be trusted.

A segment's bytes are the same on every replica of its group, because they follow from the log.
So a file may be longer than what the local state has appended: a peer's bytes are put behind it
while a snapshot is gathered. They count as *trusted* only when they match the snapshot's checksum;
until then an append of our own cuts them off, afterwards it finds itself already written.

::

    0            trusted          written
    |------------|----------------|.......|
     appended here, or   a peer's,    left by an earlier life
     a peer's, verified  unverified   (only if ``is_tail_unknown``)

Not thread-safe: the store's I/O lock is held around every method.
"""

from collections.abc import Iterator
from urllib.parse import quote, unquote

import google_crc32c

from synaxis.effects import Attachment
from synaxis.ids import GroupId
from synaxis.ports import AppendFile, Directory
from synaxis.queues.units import heads

__all__ = ["OpenFiles", "SegmentFile", "matches", "segment_of_name"]

SUFFIX = ".messages"
OPEN_FILES_MAX = 64
"""Segments kept open for writing; more are synced and closed, the longest open one first."""
VERIFIED_BYTES = 1024 * 1024
"""Read at a time when a segment is verified; a larger unit is read whole."""


def segment_name(group: GroupId, number: int) -> str:
    """Return the file name of a segment."""
    return f"{quote(group, safe='')}-{number:08x}{SUFFIX}"


def segment_of_name(name: str) -> tuple[GroupId, int] | None:
    """Return whose segment has this file name, or None if it is none's."""
    if not name.endswith(SUFFIX):
        return None
    group, _, number = name.removesuffix(SUFFIX).rpartition("-")
    try:
        return GroupId(unquote(group)), int(number, 16)
    except ValueError:
        return None


def matches(directory: Directory, group: GroupId, attachment: Attachment) -> bool:
    """Return whether the file begins with exactly what ``attachment`` speaks of. Changes nothing.

    Raises:
        StorageError: the file cannot be read.
    """
    if attachment.length == 0:
        return True
    name = segment_name(group, attachment.segment)
    if name not in directory.names():
        return False
    checksum = at = 0
    for unit_end, unit_checksum in _units(directory, name, attachment.length):
        checksum = google_crc32c.extend(checksum, unit_checksum.to_bytes(4, "little"))
        at = unit_end
    return at == attachment.length and checksum == attachment.checksum


def _units(directory: Directory, name: str, length: int) -> Iterator[tuple[int, int]]:
    """Yield (end, checksum) of the intact units in the first ``length`` bytes of a file."""
    at, size = 0, VERIFIED_BYTES
    while at < length:
        wanted = min(size, length - at)
        block = directory.read_part(name, at, wanted)
        end = 0
        for position, unit_length, checksum in heads(block):
            end = position + unit_length
            yield at + end, checksum
        if end == 0 and (len(block) < wanted or wanted == length - at):
            return
        size = VERIFIED_BYTES if end else 2 * size
        at += end


class OpenFiles:
    """The segments that are open for writing; bounds their number."""

    def __init__(self) -> None:
        self._open: dict[SegmentFile, None] = {}

    def add(self, file: "SegmentFile") -> None:
        """Note that ``file`` was opened; another one may be closed for it."""
        self._open[file] = None
        if len(self._open) > OPEN_FILES_MAX:
            oldest = next(iter(self._open))
            # A failure that is only found by a later open could be missed: sync first.
            oldest.sync()
            oldest.close()

    def discard(self, file: "SegmentFile") -> None:
        """Note that ``file`` was closed."""
        self._open.pop(file, None)

    def close(self) -> None:
        """Close all without syncing."""
        for file in list(self._open):
            file.close()


class SegmentFile:
    """See the module. All methods raise StorageError when the disk fails."""

    __slots__ = (
        "_directory",
        "_handle",
        "_name",
        "_open_files",
        "cuts",
        "exists",
        "is_tail_unknown",
        "synced",
        "trusted",
        "written",
    )

    def __init__(
        self, directory: Directory, group: GroupId, number: int, open_files: OpenFiles
    ) -> None:
        self._directory = directory
        self._open_files = open_files
        self._name = segment_name(group, number)
        self._handle: AppendFile | None = None
        self.exists = False
        self.trusted = 0
        self.written = 0
        self.synced = 0
        self.is_tail_unknown = False
        self.cuts = 0
        """How often untrusted bytes were cut off: whoever reads without the lock compares it."""

    def found(self) -> None:
        """Note that an earlier life has left the file; nothing in it is trusted."""
        self.exists = self.is_tail_unknown = True

    def believe(self, length: int) -> None:
        """Trust the first ``length`` bytes of a found file: they are durable, and verified."""
        self.trusted = self.written = self.synced = length

    @property
    def is_dirty(self) -> bool:
        """Whether something in it is not durable."""
        return self.synced < self.written

    def put(self, position: int, data: bytes) -> None:
        """Write what the state has appended at ``position``."""
        ahead = self.trusted - position
        assert ahead >= 0, (self._name, position, self.trusted)
        if ahead >= len(data):
            return  # gathered, and verified, before the entry was applied here
        self.cut()
        self._append(data[ahead:] if ahead else data)
        self.trusted = self.written

    def receive(self, position: int, data: bytes) -> bool:
        """Write a peer's bytes behind the end; returns whether ``position`` was that end."""
        if self.is_tail_unknown or position != self.written:
            return False
        self._append(data)
        return True

    def trust(self, length: int) -> None:
        """Note that the first ``length`` bytes were verified, and make them durable."""
        assert length <= self.written, (self._name, length, self.written)
        if length > self.synced:
            self.sync()
        self.trusted = max(self.trusted, length)

    def cut(self) -> None:
        """Durably remove what is not trusted."""
        if not self.is_tail_unknown and self.written == self.trusted:
            return
        self._directory.truncate(self._name, self.trusted)
        self.written = self.trusted
        self.synced = min(self.synced, self.written)
        self.is_tail_unknown = False
        self.cuts += 1

    def read(self, position: int, length: int) -> bytes:
        """Return bytes of the file; fewer at its end. Needs no lock."""
        return self._directory.read_part(self._name, position, length)

    def sync(self) -> None:
        """Make everything written so far durable."""
        if self._handle is not None and self.is_dirty:
            self._handle.sync()
            self.synced = self.written

    def close(self) -> None:
        """Close without syncing."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
            self._open_files.discard(self)

    def remove(self) -> None:
        """Remove the file if there is one."""
        self.close()
        if self.exists:
            self.exists = False
            self._directory.remove(self._name)

    def _append(self, data: bytes) -> None:
        if self._handle is None:
            self._handle = self._directory.append(self._name)
            self.exists = True
            self._open_files.add(self)
        self._handle.write(data)
        self.written += len(data)
