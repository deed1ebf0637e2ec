"""Sets of offsets that are mostly "everything up to here", with some more above.

Invariant: ``starts`` and ``ends`` describe disjoint, ascending ranges; none touches another or the
floor. So equal sets have equal representations, and memory follows the disorder, not the size.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

__all__ = ["OffsetSet"]


class OffsetSet:
    """See the module. ``floor`` is the smallest offset that is not in the set."""

    __slots__ = ("ends", "floor", "starts")

    def __init__(self, floor: int = 0, ranges: tuple[tuple[int, int], ...] = ()) -> None:
        self.floor = floor
        self.starts = [first for first, _ in ranges]
        self.ends = [last for _, last in ranges]

    def __contains__(self, offset: int) -> bool:
        if offset < self.floor:
            return True
        at = bisect_right(self.starts, offset) - 1
        return at >= 0 and offset <= self.ends[at]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OffsetSet):
            return NotImplemented
        return self.floor == other.floor and self.ranges() == other.ranges()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"OffsetSet({self.floor}, {self.ranges()})"

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Return the ranges above the floor."""
        return tuple(zip(self.starts, self.ends, strict=True))

    def copy(self) -> "OffsetSet":
        """Return an equal set."""
        return OffsetSet(self.floor, self.ranges())

    def covers(self, first: int, last: int) -> bool:
        """Return whether all of ``first`` to ``last`` are in the set."""
        if last < self.floor:
            return True
        at = bisect_right(self.starts, first) - 1
        return first > self.floor and at >= 0 and last <= self.ends[at]

    def add(self, first: int, last: int) -> int:
        """Add a range; returns how many of it are new."""
        first = max(first, self.floor)
        if last < first:
            return 0
        fresh = last - first + 1
        starts, ends = self.starts, self.ends
        if starts:
            low = bisect_left(ends, first - 1)
            high = bisect_right(starts, last + 1)
            for at in range(low, high):
                fresh -= max(0, min(ends[at], last) - max(starts[at], first) + 1)
            if low < high:
                first, last = min(first, starts[low]), max(last, ends[high - 1])
            starts[low:high] = [first]
            ends[low:high] = [last]
            if first == self.floor:
                self.floor = last + 1
                del starts[0], ends[0]
        elif first == self.floor:
            self.floor = last + 1
        else:
            starts.append(first)
            ends.append(last)
        return fresh

    def remove(self, offset: int) -> bool:
        """Take one offset out; returns whether it was in."""
        if offset < self.floor:
            if offset + 1 < self.floor:
                self.starts.insert(0, offset + 1)
                self.ends.insert(0, self.floor - 1)
            self.floor = offset
            return True
        at = bisect_right(self.starts, offset) - 1
        if at < 0 or offset > self.ends[at]:
            return False
        first, last = self.starts[at], self.ends[at]
        left = [(first, offset - 1)] if first < offset else []
        right = [(offset + 1, last)] if offset < last else []
        self.starts[at : at + 1] = [start for start, _ in left + right]
        self.ends[at : at + 1] = [end for _, end in left + right]
        return True

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of ``first`` to ``last`` that are not in the set, ascending."""
        first = max(first, self.floor)
        at = bisect_left(self.ends, first)
        while first <= last:
            if at == len(self.starts) or self.starts[at] > last:
                yield first, last
                return
            if self.starts[at] > first:
                yield first, self.starts[at] - 1
            first = self.ends[at] + 1
            at += 1

    def count_missing(self, end: int) -> int:
        """Return how many offsets below ``end`` are not in the set."""
        if end <= self.floor:
            return 0
        inside = sum(
            min(last, end - 1) - first + 1
            for first, last in zip(self.starts, self.ends, strict=True)
            if first < end
        )
        return end - self.floor - inside
