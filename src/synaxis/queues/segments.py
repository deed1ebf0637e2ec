"""Which bytes of the shard's message store are needed, decided alike on every replica.

Units are appended to the active segment; a full one is sealed. A sealed segment of which nothing is
needed goes; one of which little is needed is copied together (``is_sparse``) and goes then. The
machine only says so, by ``StoreOperation``; the node does it.
"""

from struct import Struct

import google_crc32c
import msgspec

from synaxis.effects import Attachment, StoreAppend, StoreCopy, StoreDrop, StoreOperation

__all__ = ["SavedSegment", "Segments"]

_U32 = Struct("<I")


class SavedSegment(msgspec.Struct, array_like=True):
    """A segment, in memory and in snapshots."""

    number: int
    length: int = 0
    live: int = 0
    """Bytes of units that the index refers to."""
    checksum: int = 0
    """See ``effects.Attachment``."""


class Segments:
    """All segments of a shard, in order of number; the last one is active."""

    __slots__ = (
        "_bytes_max",
        "_live_percent_min",
        "_operations",
        "_sparse",
        "by_number",
        "stored_bytes",
    )

    def __init__(self, bytes_max: int, live_percent_min: int) -> None:
        self._bytes_max = bytes_max
        self._live_percent_min = live_percent_min
        self._operations: list[StoreOperation] = []
        self._sparse: set[int] = set()
        """Sealed segments of which too little is needed."""
        self.by_number: dict[int, SavedSegment] = {1: SavedSegment(1)}
        self.stored_bytes = 0
        """Live bytes of all segments."""

    @property
    def active(self) -> SavedSegment:
        """The segment that grows."""
        return self.by_number[next(reversed(self.by_number))]

    def append(self, unit: bytes, checksum: int) -> tuple[int, int]:
        """Put a unit into the store; returns its segment and position."""
        segment, position = self._room(len(unit), checksum)
        self._operations.append(StoreAppend(segment, position, unit))
        return segment, position

    def copy(self, segment: int, position: int, length: int, checksum: int) -> tuple[int, int]:
        """Put a copy of a unit into the active segment; the old one must be freed."""
        target, target_position = self._room(length, checksum)
        self._operations.append(StoreCopy(segment, position, length, target, target_position))
        return target, target_position

    def _room(self, length: int, checksum: int) -> tuple[int, int]:
        active = self.active
        if active.length and active.length + length > self._bytes_max:
            full = active
            active = self.by_number[full.number + 1] = SavedSegment(full.number + 1)
            self._look_at_sealed(full)
        position = active.length
        active.length += length
        active.live += length
        active.checksum = google_crc32c.extend(active.checksum, _U32.pack(checksum))
        self.stored_bytes += length
        return active.number, position

    def free(self, number: int, length: int) -> None:
        """A unit is needed no more."""
        segment = self.by_number[number]
        segment.live -= length
        self.stored_bytes -= length
        assert segment.live >= 0, number
        if segment is not self.active:
            self._look_at_sealed(segment)

    def _look_at_sealed(self, segment: SavedSegment) -> None:
        number = segment.number
        if segment.live == 0:
            del self.by_number[number]
            self._sparse.discard(number)
            self._operations.append(StoreDrop(number))
        elif segment.live * 100 < segment.length * self._live_percent_min:
            self._sparse.add(number)

    def sparse(self) -> int | None:
        """Return the oldest sealed segment of which too little is needed."""
        return min(self._sparse, default=None)

    def take_operations(self) -> list[StoreOperation]:
        """Drain what the store must do."""
        operations, self._operations = self._operations, []
        return operations

    def attachments(self) -> tuple[Attachment, ...]:
        """Return what the present state refers to."""
        return tuple(
            Attachment(each.number, each.length, each.checksum)
            for each in self.by_number.values()
            if each.length
        )

    def save(self) -> list[SavedSegment]:
        """Return the table."""
        return list(self.by_number.values())

    def load(self, saved: list[SavedSegment]) -> None:
        """Become what ``save`` returned."""
        self.by_number = {each.number: each for each in saved}
        self.stored_bytes = sum(each.live for each in saved)
        self._operations = []
        self._sparse = set()
        for each in saved[:-1]:
            self._look_at_sealed(each)
