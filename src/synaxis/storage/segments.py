"""Segments of the log: their names, their headers, and when they are no longer needed. Pure.

A segment begins with a header that names its owner (cluster, node), its number, and the length
and rolling CRC at which the segment before it ended; so a segment that lost its end, or is
missing, is noticed. A *baseline* segment needs no predecessor: it was written whole by a
recovery that had to leave damaged segments behind.

Retention: segments are dropped from the oldest on, each when every entry in it is covered by
its group's snapshot or was rewritten later. Hard states and snapshot markers never pin a
segment, because every segment begins with those of all groups.
"""

from struct import Struct
from typing import NamedTuple

import google_crc32c
import msgspec

from synaxis.errors import IdentityMismatch, StorageError
from synaxis.ids import GroupId, NodeId
from synaxis.storage.records import ALIGNMENT

__all__ = [
    "Owner",
    "Segment",
    "SegmentHeader",
    "SegmentList",
    "damaged_name",
    "segment_name",
    "segment_number",
    "segment_seed",
]

FORMAT_VERSION = 1

_MAGIC = b"SYNAXWAL"
_FIXED = Struct("<8sHHIQQI")  # magic, version, flags, owner length, number, previous end
_CRC = Struct("<I")
_BASELINE = 1
_SUFFIX = ".wal"
_DAMAGED_SUFFIX = ".damaged"
_NUMBER_DIGITS = 16


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """Whose log it is."""

    cluster_id: str
    node_id: NodeId


class SegmentHeader(NamedTuple):
    """The first bytes of a segment."""

    owner: Owner
    number: int
    baseline: bool
    previous_length: int
    previous_crc: int

    def encode(self) -> bytes:
        """Return the bytes; their length is a multiple of the record alignment."""
        owner = msgspec.msgpack.encode(self.owner)
        fixed = _FIXED.pack(
            _MAGIC,
            FORMAT_VERSION,
            _BASELINE if self.baseline else 0,
            len(owner),
            self.number,
            self.previous_length,
            self.previous_crc,
        )
        padding = bytes(_header_length(len(owner)) - _FIXED.size - len(owner) - _CRC.size)
        body = fixed + owner + padding
        return body + _CRC.pack(google_crc32c.value(body))

    @classmethod
    def decode(cls, data: bytes, owner: Owner) -> "tuple[SegmentHeader, int] | None":
        """Return the header and its length, or None if it is cut off or damaged.

        Raises:
            IdentityMismatch: the header is intact and names another cluster or node.
            StorageError: the header is intact and of a version that this program cannot read.
        """
        if len(data) < _FIXED.size:
            return None
        magic, version, flags, owner_length, number, previous, crc = _FIXED.unpack_from(data)
        length = _header_length(owner_length)
        if magic != _MAGIC or length > len(data):
            return None
        body = data[: length - _CRC.size]
        if _CRC.unpack_from(data, length - _CRC.size)[0] != google_crc32c.value(body):
            return None
        if version != FORMAT_VERSION:
            message = f"the log has format version {version}; this program reads {FORMAT_VERSION}"
            raise StorageError(message, version=version)
        found = msgspec.msgpack.decode(body[_FIXED.size :][:owner_length], type=Owner)
        if found != owner:
            message = (
                f"the log belongs to node {found.node_id!r} of cluster {found.cluster_id!r}, not "
                f"to node {owner.node_id!r} of cluster {owner.cluster_id!r}; "
                "point the node at its own data directory"
            )
            raise IdentityMismatch(message, node=found.node_id, cluster=found.cluster_id)
        return cls(found, number, bool(flags & _BASELINE), previous, crc), length

    @property
    def checksum(self) -> int:
        """Return the value that the rolling CRC of the segment's records starts from."""
        return int(google_crc32c.value(self.encode()))


def _header_length(owner_length: int) -> int:
    return -(-(_FIXED.size + owner_length + _CRC.size) // ALIGNMENT) * ALIGNMENT


def segment_name(number: int) -> str:
    """Return the file name of segment ``number``; names sort like numbers."""
    return f"{number:0{_NUMBER_DIGITS}x}{_SUFFIX}"


def segment_number(name: str) -> int | None:
    """Return the number in a segment's file name, or None for any other file."""
    stem = name.removesuffix(_SUFFIX)
    if stem == name or len(stem) != _NUMBER_DIGITS:
        return None
    try:
        return int(stem, 16)
    except ValueError:
        return None


def damaged_name(name: str) -> str:
    """Return the name under which a damaged file is kept for people to look at."""
    return name + _DAMAGED_SUFFIX


def segment_seed(owner: Owner, number: int) -> int:
    """Return the seed of a segment's record header CRCs."""
    identity = f"{owner.cluster_id}\0{owner.node_id}\0{number}"
    return int(google_crc32c.value(identity.encode()))


class Segment:
    """What must be remembered of a segment to know when it may go."""

    __slots__ = ("last_index", "number", "size")

    def __init__(self, number: int, size: int = 0) -> None:
        self.number = number
        self.size = size
        self.last_index: dict[GroupId, int] = {}
        """Highest live entry of each group that has one here."""


class SegmentList:
    """The live segments, oldest first; the last one is being written."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments

    @property
    def active(self) -> Segment:
        """The segment that is being written."""
        return self._segments[-1]

    @property
    def size(self) -> int:
        """Bytes in all segments."""
        return sum(segment.size for segment in self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def add(self, segment: Segment) -> None:
        """Make ``segment`` the active one."""
        self._segments.append(segment)

    def cut(self, group: GroupId, last_index: int) -> None:
        """Note that the group's entries above ``last_index`` are void."""
        for segment in self._segments:
            if segment.last_index.get(group, 0) > last_index:
                segment.last_index[group] = last_index

    def droppable(self, snapshot_index: dict[GroupId, int]) -> list[Segment]:
        """Forget and return the oldest segments whose entries the snapshots cover."""
        count = 0
        for segment in self._segments[:-1]:
            if _pinning(segment, snapshot_index):
                break
            count += 1
        dropped, self._segments = self._segments[:count], self._segments[count:]
        return dropped

    def oldest_pinning_group(self, snapshot_index: dict[GroupId, int]) -> GroupId | None:
        """Return a group whose next snapshot would help to drop the oldest segment."""
        if len(self._segments) < 2:
            return None
        return next(iter(_pinning(self._segments[0], snapshot_index)), None)


def _pinning(segment: Segment, snapshot_index: dict[GroupId, int]) -> list[GroupId]:
    return [
        group
        for group, index in list(segment.last_index.items())
        if index > snapshot_index.get(group, 0)
    ]
