"""Where the batches of one partition are: columns of plain numbers, 36 bytes a batch.

Batches are in order of offset. One whose messages are all forgotten is dead: its place is ``DEAD``
until ``trim`` takes its row out. That is at once when everything before it is dead too; the dead
rows behind a living one go together when they are most of all, so one message that nobody finishes
does not keep a row of everything that came after it.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BATCH_INDEX_BYTES", "DEAD", "Batch", "BatchIndex"]

DEAD = 2**64 - 1
BATCH_INDEX_BYTES = 36
_TRIM_ROWS = 1_024


class Batch(NamedTuple):
    """One row."""

    first: int
    messages: int
    segment: int
    position: int
    length: int
    at: int
    checksum: int

    @property
    def last(self) -> int:
        """Offset of the last message."""
        return self.first + self.messages - 1


class BatchIndex:
    """See the module."""

    __slots__ = (
        "_ats",
        "_checksums",
        "_counts",
        "_dead",
        "_firsts",
        "_head",
        "_lengths",
        "_places",
    )

    def __init__(self) -> None:
        self._firsts = array("Q")
        self._places = array("Q")
        self._ats = array("Q")
        self._lengths = array("I")
        self._counts = array("I")
        self._checksums = array("I")
        self._head = 0
        self._dead = 0
        """Dead rows from the head on."""

    def __len__(self) -> int:
        return len(self._firsts) - self._head

    @property
    def rows(self) -> range:
        """Row numbers, oldest first; dead ones included, but the first is alive."""
        return range(self._head, len(self._firsts))

    def append(self, batch: Batch) -> None:
        """Add a batch behind the last one."""
        self._firsts.append(batch.first)
        self._places.append(batch.segment << 32 | batch.position)
        self._ats.append(batch.at)
        self._lengths.append(batch.length)
        self._counts.append(batch.messages)
        self._checksums.append(batch.checksum)

    def row(self, at: int) -> Batch:
        """Return a row that is alive."""
        place = self._places[at]
        assert place != DEAD, at
        return Batch(
            self._firsts[at],
            self._counts[at],
            place >> 32,
            place & 0xFFFFFFFF,
            self._lengths[at],
            self._ats[at],
            self._checksums[at],
        )

    def is_alive(self, at: int) -> bool:
        """Return whether a row is alive."""
        return self._places[at] != DEAD

    def bounds(self, at: int) -> tuple[int, int]:
        """Return the first and last offset of a row."""
        first = self._firsts[at]
        return first, first + self._counts[at] - 1

    def find(self, offset: int) -> int:
        """Return the row that holds ``offset`` or else the first one behind it."""
        at = bisect_right(self._firsts, offset, lo=self._head) - 1
        if at < self._head:
            return self._head
        if offset >= self._firsts[at] + self._counts[at]:
            at += 1
        return at

    def find_time(self, moment: int) -> int:
        """Return the first row published at or after ``moment``."""
        low, high = self._head, len(self._firsts)
        while low < high:
            middle = (low + high) // 2
            if self._ats[middle] < moment:
                low = middle + 1
            else:
                high = middle
        return low

    def alive(self, first: int, last: int) -> Iterator[int]:
        """Yield the living rows that overlap ``first`` to ``last``."""
        at, end, firsts, places = self.find(first), len(self._firsts), self._firsts, self._places
        while at < end and firsts[at] <= last:
            if places[at] != DEAD:
                yield at
            at += 1

    def in_segment(self, segment: int) -> list[int]:
        """Return the living rows whose unit is in ``segment``."""
        low, high = segment << 32, (segment + 1) << 32
        places = self._places
        return [at for at in self.rows if low <= places[at] < high]

    def move(self, at: int, segment: int, position: int) -> None:
        """Note that the unit of a row was copied."""
        self._places[at] = segment << 32 | position

    def kill(self, at: int) -> None:
        """Mark a row dead. Row numbers stay valid until ``trim``."""
        assert self._places[at] != DEAD, at
        self._places[at] = DEAD
        self._dead += 1

    def trim(self) -> None:
        """Take out dead rows; see the module."""
        head, end, places = self._head, len(self._places), self._places
        while head < end and places[head] == DEAD:
            head += 1
        self._dead -= head - self._head
        self._head = head
        if self._dead > _TRIM_ROWS and self._dead > (end - head) // 2:
            self._squeeze()
        elif head > _TRIM_ROWS and head > end // 2:
            for column in self._columns():
                del column[:head]
            self._head = 0

    def _squeeze(self) -> None:
        living = [at for at in self.rows if self._places[at] != DEAD]
        for column in self._columns():
            column[:] = array(column.typecode, [column[at] for at in living])
        self._head = self._dead = 0

    def published_at(self, at: int) -> int:
        """Return when the batch of a row, dead or alive, was published."""
        return self._ats[at]

    def _columns(self) -> tuple["array[int]", ...]:
        return (
            self._firsts,
            self._places,
            self._ats,
            self._lengths,
            self._counts,
            self._checksums,
        )

    def save(self) -> tuple[bytes, ...]:
        """Return the columns as bytes."""
        return tuple(column[self._head :].tobytes() for column in self._columns())

    def load(self, saved: tuple[bytes, ...]) -> None:
        """Become what ``save`` returned."""
        self._head = 0
        for column, data in zip(self._columns(), saved, strict=True):
            del column[:]
            column.frombytes(data)
        self._dead = self._places.count(DEAD)
