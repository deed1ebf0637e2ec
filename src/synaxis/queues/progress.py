"""How far one consumer group is in one partition.

An offset is unfinished, or finished: acknowledged, expired, purged, or dead. An unfinished one may
have failed before; a dead one is kept until it is redriven or purged. Acquisitions are no part of
this: they are the leader's (``delivery``).

Invariants: ``failures`` are unfinished, ``dead`` are finished.
"""

from collections.abc import Iterator

import msgspec

from synaxis.ids import LogTime
from synaxis.queues.offsets import OffsetSet

__all__ = ["Dead", "Failure", "Progress"]


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An unfinished message that failed before."""

    count: int
    ready_at: LogTime
    first_at: LogTime
    error: str


class Dead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A dead letter; see ``commands.DeadLetter``."""

    reason: str
    failures: int
    first_failed_at: LogTime
    dead_at: LogTime
    error: str


class Progress:
    """See the module."""

    __slots__ = ("dead", "done", "failures", "partition")

    def __init__(self, partition: int, done: OffsetSet) -> None:
        self.partition = partition
        self.done = done
        self.failures: dict[int, Failure] = {}
        self.dead: dict[int, Dead] = {}
        """By offset, in the order of dying."""

    def failed(self, offset: int) -> int:
        """Return how often ``offset`` has failed."""
        failure = self.failures.get(offset)
        return 0 if failure is None else failure.count

    def finish(self, first: int, last: int) -> int:
        """Mark a range finished; returns how many were not."""
        fresh = self.done.add(first, last)
        if self.failures and fresh:
            self._forget_failures(first, last)
        return fresh

    def _forget_failures(self, first: int, last: int) -> None:
        failures = self.failures
        if last - first < len(failures):
            for offset in range(first, last + 1):
                failures.pop(offset, None)
        else:
            for offset in [each for each in failures if first <= each <= last]:
                del failures[offset]

    def bury(self, offset: int, dead: Dead) -> None:
        """Make an unfinished message a dead letter."""
        self.finish(offset, offset)
        self.dead[offset] = dead

    def revive(self, offset: int) -> None:
        """Make a dead letter unfinished again."""
        del self.dead[offset]
        self.done.remove(offset)

    def dead_letters(self) -> Iterator[tuple[LogTime, int, int, str]]:
        """Yield (when it died, partition, offset, reason) in the order of dying."""
        for offset, letter in self.dead.items():
            yield letter.dead_at, self.partition, offset, letter.reason

    def restart(self, done: OffsetSet) -> None:
        """Begin elsewhere; dead letters stay, and stay finished."""
        self.done = done
        self.failures = {}
        for offset in sorted(self.dead):
            done.add(offset, offset)

    def check_invariants(self, end: int) -> None:
        """Assert what must always hold; ``end`` is the partition's next offset."""
        assert self.done.floor <= end, (self.done, end)
        assert not self.done.ends or self.done.ends[-1] < end
        assert not any(offset in self.done for offset in self.failures)
        assert all(offset in self.done for offset in self.dead)
        died = [letter.dead_at for letter in self.dead.values()]
        assert died == sorted(died)
