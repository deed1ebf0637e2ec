"""One partition of a group at the leader: what is in flight, what is ready, what comes later.

Two kinds: ``SharedLane`` (any order) and ``OrderedLane`` (order per key). This module holds what
they share.

Invariant: a message is in at most one of: finished, in flight, waiting for somebody to take it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from operator import itemgetter

from synaxis.ids import LogTime
from synaxis.queues.commands import Part
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.offsets import OffsetSet
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress

__all__ = ["Lane", "Ranges", "WakeAt", "ranges_of"]

Ranges = list[tuple[int, int]]
WakeAt = Callable[[LogTime], None]
"""Asks for another look at a time."""


def ranges_of(offsets: Iterable[int]) -> Ranges:
    """Return ascending offsets as inclusive ranges."""
    ranges: Ranges = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset - 1:
            ranges[-1] = (ranges[-1][0], offset)
        else:
            ranges.append((offset, offset))
    return ranges


class Lane(ABC):
    """See the module."""

    def __init__(
        self, partition: Partition, progress: Progress, wake_at: WakeAt, *, recovering: bool
    ) -> None:
        self.partition = partition
        self.progress = progress
        self.recovering = recovering
        """Whether it is unknown who holds what; ended by ``reload``."""
        self.inflight: dict[int, Lease] = {}
        self._later: list[tuple[LogTime, int]] = []
        """Heap of (when, what): nothing of it may be delivered earlier."""
        self._wake_at = wake_at
        self._armed_at: LogTime | None = None

    # --- later ------------------------------------------------------------------------------

    @property
    def delayed(self) -> int:
        """About how many messages (or keys) wait for their time."""
        return len(self._later)

    @property
    def next_look(self) -> LogTime | None:
        """When ``ripen`` must be called next."""
        return self._armed_at

    def _push_later(self, at: LogTime, what: int) -> None:
        heappush(self._later, (at, what))
        if self._armed_at is None or at < self._armed_at:
            self._armed_at = at
            self._wake_at(at)

    def _pop_due(self, now: LogTime) -> Iterator[int]:
        while self._later and self._later[0][0] <= now:
            yield heappop(self._later)[1]
        if self._armed_at is not None and self._armed_at <= now:
            self._armed_at = None
            if self._later:
                self._armed_at = self._later[0][0]
                self._wake_at(self._armed_at)

    # --- what a kind decides ----------------------------------------------------------------

    @abstractmethod
    def take(self, consumer: Consumer, limit: int, now: LogTime) -> Ranges:
        """Return up to ``limit`` messages for ``consumer``, which the caller must ``lend``."""

    @abstractmethod
    def ripen(self, now: LogTime) -> None:
        """Let what has waited for its time be taken."""

    @abstractmethod
    def estimate(self) -> int:
        """Return about how many messages could be taken: 0 only if there are none."""

    @abstractmethod
    def published(self, first: int, last: int, now: LogTime) -> None:
        """Messages were stored."""

    @abstractmethod
    def again(self, offset: int, now: LogTime) -> None:
        """A message that is in nobody's hands is to be delivered (again)."""

    @abstractmethod
    def reload(self, now: LogTime) -> None:
        """Look at everything anew: what is unfinished and not in flight can be taken."""

    def rewind(self, now: LogTime) -> None:
        """Nobody holds anything any more, and everything is looked at anew.

        What a lease in flight says of failures is not what the log says now, so neither its
        holder nor an ``Expire`` under way could end it.
        """
        for offset in list(self.inflight):
            self.give_back(offset)
        if not self.recovering:
            self.reload(now)

    @abstractmethod
    def blocked_keys(self) -> int:
        """Return how many keys have messages that wait for another message."""

    @abstractmethod
    def returned(self, offset: int, lease: Lease) -> None:
        """A message is no longer in flight, finished or not."""

    # --- in flight --------------------------------------------------------------------------

    def lend(self, ranges: Ranges, lease: Lease) -> int:
        """Put messages in flight; returns how many."""
        count = 0
        for first, last in ranges:
            self.inflight.update(dict.fromkeys(range(first, last + 1), lease))
            count += last - first + 1
        lease.consumer.held += count
        lease.consumer.held_bytes += count * lease.bytes_each
        return count

    def finished(self, first: int, last: int, now: LogTime) -> None:
        """Messages are finished, whoever had them."""
        del now
        inflight = self.inflight
        if not inflight:
            return
        if last - first < len(inflight):
            for offset in range(first, last + 1):
                lease = inflight.pop(offset, None)
                if lease is not None:
                    lease.consumer.held -= 1
                    lease.consumer.held_bytes -= lease.bytes_each
                    self.returned(offset, lease)
        else:
            for offset in [each for each in inflight if first <= each <= last]:
                self.give_back(offset)

    def give_back(self, offset: int) -> Lease | None:
        """Take a message out of flight, if it is."""
        lease = self.inflight.pop(offset, None)
        if lease is not None:
            lease.consumer.held -= 1
            lease.consumer.held_bytes -= lease.bytes_each
            self.returned(offset, lease)
        return lease

    def end(self, offset: int) -> None:
        """The end of a lease is proposed; the message stays in flight until the log decides."""
        self.inflight[offset] = self.inflight[offset].ended()

    def failed(self, offset: int, now: LogTime) -> None:
        """A message failed, or was redriven."""
        self.give_back(offset)
        self.again(offset, now)

    def release(self, offsets: Iterable[int], consumer: Consumer, now: LogTime) -> None:
        """``consumer`` gives messages back without blame."""
        mine = []
        for offset in offsets:
            lease = self.inflight.get(offset)
            if lease is not None and lease.consumer is consumer and not lease.ending:
                self.give_back(offset)
                mine.append(offset)
        for offset in mine:
            self.again(offset, now)

    def hold(self, part: Part, lease: Lease) -> None:
        """Believe a consumer that it holds messages, as far as nobody else does."""
        progress, inflight = self.progress, self.inflight
        last = min(part.last, self.partition.next_offset - 1)
        for first, end in list(progress.done.missing(part.first, last)):
            held = [
                offset
                for offset in range(first, end + 1)
                if offset not in inflight and progress.failed(offset) == part.failures
            ]
            self.lend(ranges_of(held), lease)

    def held_by(self, consumer: Consumer) -> list[tuple[int, Lease]]:
        """Return what a consumer holds here, in order of offset."""
        held = [
            (offset, lease) for offset, lease in self.inflight.items() if lease.consumer is consumer
        ]
        held.sort(key=itemgetter(0))
        return held

    def lease_of(self, offset: int, consumer: Consumer, failures: int) -> Lease | None:
        """Return the lease by which a consumer has a message, if it speaks of this delivery.

        It may have lost the message unawares, and have been given it again since.
        """
        lease = self.inflight.get(offset)
        if lease is None or lease.consumer is not consumer or lease.ending:
            return None
        return lease if self.progress.failed(offset) == failures else None

    def unclaimed(self, consumer: Consumer, parts: Iterable[Part]) -> list[int]:
        """Return what a consumer holds here as far as is known, and does not say it holds.

        What it says of a delivery that was overtaken says nothing of the present one.
        """
        claimed: dict[int, OffsetSet] = {}
        for part in parts:
            claimed.setdefault(part.failures, OffsetSet()).add(part.first, part.last)
        progress = self.progress
        return [
            offset
            for offset, _ in self.held_by(consumer)
            if offset not in claimed.get(progress.failed(offset), ())
        ]

    def ready_at(self, offset: int) -> LogTime:
        """Return when a message may be delivered; 0: at once."""
        failure = self.progress.failures.get(offset)
        if failure is not None:
            return failure.ready_at
        special = self.partition.specials.get(offset)
        return LogTime(0) if special is None else special.deliver_at

    def is_wanted(self, offset: int, now: LogTime) -> bool:
        """Return whether a message should still be delivered to somebody."""
        if offset in self.inflight or offset in self.progress.done:
            return False
        special = self.partition.specials.get(offset)
        return special is None or not 0 < special.expires_at <= now

    # --- checking ---------------------------------------------------------------------------

    def unfinished(self) -> Iterator[int]:
        """Yield the unfinished messages, ascending."""
        for first, last in self.progress.done.missing(0, self.partition.next_offset - 1):
            yield from range(first, last + 1)

    def check_invariants(self, now: LogTime) -> None:
        """Assert what must always hold: above all that no unfinished message is out of reach."""
        for offset in self.inflight:
            assert offset not in self.progress.done, "finished, and in flight"
            assert offset < self.partition.next_offset
        if self._later:
            assert self._armed_at is not None, "nobody will look at what comes later"
            assert self._armed_at <= self._later[0][0], "somebody will, but too late"
        if not self.recovering:
            self.check_reach(now)

    @abstractmethod
    def check_reach(self, now: LogTime) -> None:
        """Assert that each unfinished message is in flight or in one place where it is found."""
