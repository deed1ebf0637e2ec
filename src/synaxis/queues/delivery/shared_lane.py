"""SHARED: any message to anybody, in about the order of publishing.

Plain messages are found by scanning the partition once, batch by batch, whole ranges at a time.
What is not plain (failed before, delayed, with a priority, held by somebody) is *odd*: the scan
steps over it, and heaps say when it can be taken.
"""

from heapq import heappop, heappush

from synaxis.ids import LogTime
from synaxis.queues.commands import Part
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.delivery.lane import Lane, Ranges, WakeAt, ranges_of
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress

__all__ = ["SharedLane"]


class SharedLane(Lane):
    """See the module."""

    def __init__(
        self, partition: Partition, progress: Progress, wake_at: WakeAt, *, recovering: bool
    ) -> None:
        super().__init__(partition, progress, wake_at, recovering=recovering)
        self._ready: list[tuple[int, int]] = []
        """Heap of (minus priority, offset)."""
        self._odd: set[int] = set()
        # Until it is known who holds what, only what came after is scanned.
        self._scan = partition.next_offset if recovering else progress.done.floor
        if not recovering:
            self._load_odd(LogTime(0))

    def reload(self, now: LogTime) -> None:
        """See ``Lane``. The scan goes over what it has seen already, and skips what is taken."""
        self.recovering = False
        self._scan = self.progress.done.floor
        self._ready = []
        self._later = []
        self._armed_at = None
        self._load_odd(now)

    def _load_odd(self, now: LogTime) -> None:
        done, specials = self.progress.done, self.partition.specials
        self._odd = set(self.inflight)
        for offset in {*self.progress.failures, *specials} - self._odd:
            special = specials.get(offset)
            is_odd = (
                offset in self.progress.failures
                or special is None
                or special.deliver_at > 0
                or special.priority > 0
            )
            if is_odd and offset not in done:
                self._odd.add(offset)
                self.again(offset, now)

    def published(self, first: int, last: int, now: LogTime) -> None:
        """See ``Lane``."""
        specials = self.partition.specials
        if not specials:
            return
        for offset in range(first, last + 1):
            special = specials.get(offset)
            if special is not None and (special.deliver_at or special.priority):
                self._odd.add(offset)
                self.again(offset, now)

    def again(self, offset: int, now: LogTime) -> None:
        """See ``Lane``."""
        if offset >= self._scan:
            self._odd.add(offset)
        at = self.ready_at(offset)
        if at > now:
            self._push_later(at, offset)
        else:
            self._push_ready(offset)

    def hold(self, part: Part, lease: Lease) -> None:
        """See ``Lane``."""
        super().hold(part, lease)
        last = min(part.last, self.partition.next_offset - 1)
        ahead = range(max(part.first, self._scan), last + 1)
        self._odd.update(offset for offset in ahead if offset in self.inflight)

    def _push_ready(self, offset: int) -> None:
        special = self.partition.specials.get(offset)
        heappush(self._ready, (-special.priority if special is not None else 0, offset))

    def returned(self, offset: int, lease: Lease) -> None:
        """Do nothing: nothing waits for it."""

    def estimate(self) -> int:
        """See ``Lane``."""
        return len(self._ready) + self.partition.next_offset - self._scan

    def blocked_keys(self) -> int:
        """Return 0: nothing waits for anything here."""
        return 0

    def ripen(self, now: LogTime) -> None:
        """See ``Lane``."""
        for offset in self._pop_due(now):
            self._push_ready(offset)

    def take(self, consumer: Consumer, limit: int, now: LogTime) -> Ranges:
        """See ``Lane``."""
        del consumer
        self.ripen(now)
        taken: dict[int, None] = {}  # the most urgent first: what has no room is the end of it
        while self._ready and len(taken) < limit:
            offset = heappop(self._ready)[1]
            if not self.is_wanted(offset, now):
                continue
            if self.ready_at(offset) > now:
                self._push_later(self.ready_at(offset), offset)
            else:
                taken[offset] = None
        ranges = ranges_of(taken)
        limit -= len(taken)
        while limit > 0 and (found := self._scan_on(limit, now)) is not None:
            ranges.append(found)
            limit -= found[1] - found[0] + 1
        return ranges

    def _scan_on(self, limit: int, now: LogTime) -> tuple[int, int] | None:
        """Return the next range of plain messages, at most ``limit``; None at the end."""
        partition, index = self.partition, self.partition.index
        while self._scan < partition.next_offset:
            at = next(index.alive(self._scan, partition.next_offset), None)
            if at is None:
                self._scan = partition.next_offset
                return None
            first, last = index.bounds(at)
            start = max(first, self._scan)
            gap = next(self.progress.done.missing(start, last), None)
            if gap is None:
                self._scan = last + 1
                continue
            start, end = gap
            if self._odd or partition.specials:
                start, end = self._plain_run(start, end, now)
            end = min(end, start + limit - 1)
            self._scan = end + 1
            if start <= end:
                return start, end
        return None

    def _plain_run(self, start: int, end: int, now: LogTime) -> tuple[int, int]:
        """Return the first run in ``start`` to ``end`` without anything odd or expired."""
        odd = self._odd
        while start <= end and (start in odd or not self.is_wanted(start, now)):
            odd.discard(start)
            start += 1
        stop = start
        while stop <= end and stop not in odd and self.is_wanted(stop, now):
            stop += 1
        return start, stop - 1

    def check_reach(self, now: LogTime) -> None:
        """See ``Lane``."""
        waiting = {offset for _, offset in self._ready} | {offset for _, offset in self._later}
        for offset in self.unfinished():
            is_ahead = offset >= self._scan and offset not in self._odd
            if offset in self.inflight:
                assert not is_ahead, f"{offset} is in flight, and the scan will find it"
            elif self.is_wanted(offset, now):
                assert (offset in waiting) != is_ahead, f"{offset} is in no place, or in two"
