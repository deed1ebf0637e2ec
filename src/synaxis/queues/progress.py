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

__all__ = ["Dead", "Failure", "Progress", "Weight"]

_FATE_BYTES = 200
"""A failure or a dead letter with its place in a dict, without its text."""


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


class Weight:
    """What the failures and dead letters of a shard take up in memory."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Progress:
    """See the module."""

    __slots__ = ("_weight", "dead", "done", "failures", "partition")

    def __init__(self, partition: int, done: OffsetSet, weight: Weight | None = None) -> None:
        self.partition = partition
        self.done = done
        self.failures: dict[int, Failure] = {}
        self.dead: dict[int, Dead] = {}
        """By offset, in the order of dying."""
        self._weight = weight or Weight()
        """Of the shard."""

    def memory_bytes(self) -> int:
        """Return about what failures and dead letters take up in memory."""
        return sum(map(_size, self.failures.values())) + sum(map(_size, self.dead.values()))

    def load(self, failures: dict[int, Failure], dead: dict[int, Dead]) -> None:
        """Take over what a snapshot says."""
        self.failures, self.dead = failures, dead
        self._weight.bytes += self.memory_bytes()

    def abandon(self) -> None:
        """The group is gone."""
        self._weight.bytes -= self.memory_bytes()

    def failed(self, offset: int) -> int:
        """Return how often ``offset`` has failed."""
        failure = self.failures.get(offset)
        return 0 if failure is None else failure.count

    def fail(self, offset: int, failure: Failure) -> None:
        """Note one more failure of an unfinished message."""
        before = self.failures.get(offset)
        self._weight.bytes += _size(failure) - (0 if before is None else _size(before))
        self.failures[offset] = failure

    def finish(self, first: int, last: int) -> int:
        """Mark a range finished; returns how many were not."""
        fresh = self.done.add(first, last)
        if self.failures and fresh:
            self._forget_failures(first, last)
        return fresh

    def _forget_failures(self, first: int, last: int) -> None:
        failures = self.failures
        if last - first < len(failures):
            over = [offset for offset in range(first, last + 1) if offset in failures]
        else:
            over = [offset for offset in failures if first <= offset <= last]
        for offset in over:
            self._weight.bytes -= _size(failures.pop(offset))

    def bury(self, offset: int, dead: Dead) -> None:
        """Make an unfinished message a dead letter."""
        self.finish(offset, offset)
        self.dead[offset] = dead
        self._weight.bytes += _size(dead)

    def revive(self, offset: int) -> None:
        """Make a dead letter unfinished again."""
        self.drop(offset)
        self.done.remove(offset)

    def drop(self, offset: int) -> None:
        """Forget a dead letter; it stays finished."""
        self._weight.bytes -= _size(self.dead.pop(offset))

    def drop_all(self) -> None:
        """Forget all dead letters; they stay finished."""
        self._weight.bytes -= sum(map(_size, self.dead.values()))
        self.dead.clear()

    def dead_letters(self) -> Iterator[tuple[LogTime, int, int, str]]:
        """Yield (when it died, partition, offset, reason) in the order of dying."""
        for offset, letter in self.dead.items():
            yield letter.dead_at, self.partition, offset, letter.reason

    def restart(self, done: OffsetSet) -> None:
        """Begin elsewhere; dead letters stay, and stay finished."""
        self.done = done
        self._weight.bytes -= sum(map(_size, self.failures.values()))
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


def _size(fate: Failure | Dead) -> int:
    return _FATE_BYTES + len(fate.error)
