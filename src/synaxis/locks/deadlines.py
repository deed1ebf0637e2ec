"""When something is due in log time: ends of holds, of lock delays and of waits.

One heap for all, cleaned lazily: an entry counts only while its subject still has that deadline.
Entries of one millisecond come in a fixed order: first the ends of holds and delays, then the
time-outs of waits, so that a request which can be granted in its last millisecond is granted;
within each of these, in order of arrival. That order follows from the replicated state alone,
so the heap itself is not part of a snapshot.
"""

from heapq import heapify, heappop, heappush
from typing import Protocol

from synaxis.ids import LogTime

__all__ = ["DELAY_END", "HOLD_END", "WAIT_END", "Deadlines", "Timed"]

HOLD_END = 0
DELAY_END = 1
WAIT_END = 2

_STALE_MIN = 64
"""Below this many dead entries a rebuild is not worth its walk."""


class Timed(Protocol):
    """Anything that has at most one deadline at a time."""

    deadline: LogTime | None


class Deadlines:
    """A priority queue of subjects that may change or drop their deadline at any time."""

    __slots__ = ("_heap", "_stale")

    def __init__(self) -> None:
        self._heap: list[tuple[LogTime, int, int, Timed]] = []
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap)

    def watch(self, deadline: LogTime, rank: int, number: int, subject: Timed) -> None:
        """Give ``subject`` this deadline; ``number`` must be unique per subject and rank."""
        subject.deadline = deadline
        heappush(self._heap, (deadline, rank, number, subject))

    def forget(self, subject: Timed) -> None:
        """Take the deadline of ``subject`` away, if it has one. O(1) amortised."""
        if subject.deadline is None:
            return
        subject.deadline = None
        self._stale += 1
        if self._stale > _STALE_MIN and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[3].deadline == entry[0]]
            heapify(self._heap)
            self._stale = 0

    def next(self) -> LogTime | None:
        """Return the earliest deadline that still counts."""
        heap = self._heap
        while heap and heap[0][3].deadline != heap[0][0]:
            heappop(heap)
            self._stale = max(0, self._stale - 1)
        return heap[0][0] if heap else None

    def pop_due(self, now: LogTime) -> Timed | None:
        """Remove and return the first subject whose deadline is at or before ``now``.

        Its deadline is cleared.
        """
        first = self.next()
        if first is None or first > now:
            return None
        subject = heappop(self._heap)[3]
        subject.deadline = None
        return subject
