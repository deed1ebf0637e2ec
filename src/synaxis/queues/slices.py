"""From offsets to places on disk."""

from collections.abc import Iterable, Iterator

from synaxis.ids import LogTime
from synaxis.queues.batch_index import Batch
from synaxis.queues.commands import Slice
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress

__all__ = ["slices_of", "slices_within"]

Ranges = list[tuple[int, int]]


def slices_of(partition: Partition, ranges: Iterable[tuple[int, int]]) -> list[Slice]:
    """Return where the messages of the ranges are; what is not stored any more is left out."""
    return [
        _slice(partition.number, batch, start, end, None)
        for batch, start, end in _pieces(partition, ranges)
    ]


def slices_within(
    partition: Partition, ranges: Ranges, progress: Progress, room: int, *, at_least: int
) -> tuple[list[Slice], int, Ranges]:
    """Return where as much of the ranges is as fits into ``room``, its size, and the other ranges.

    Args:
        partition: where the messages are stored. Those of one batch count alike.
        ranges: (first, last), inclusive.
        progress: whose counts of failures go with the messages.
        room: bytes.
        at_least: so many messages fit in any case.
    """
    fit: list[Slice] = []
    rest: Ranges = []
    size = 0
    for batch, start, end in _pieces(partition, ranges):
        each = -(-batch.length // batch.messages)
        count = 0 if rest else min(max(at_least, (room - size) // each, 0), end - start + 1)
        at_least -= count
        if count:
            fit.append(_slice(partition.number, batch, start, start + count - 1, progress))
            size += count * each
        if start + count <= end:
            rest.append((start + count, end))
    return fit, size, rest


def _pieces(
    partition: Partition, ranges: Iterable[tuple[int, int]]
) -> Iterator[tuple[Batch, int, int]]:
    """Yield (batch, first, last) of what is stored of the ranges."""
    index = partition.index
    for first, last in ranges:
        for at in index.alive(first, last):
            batch = index.row(at)
            yield batch, max(first, batch.first), min(last, batch.last)


def _slice(number: int, batch: Batch, start: int, end: int, progress: Progress | None) -> Slice:
    failed: tuple[tuple[int, int], ...] = ()
    if progress is not None and progress.failures:
        failures = progress.failures
        failed = tuple(
            (offset, failures[offset].count)
            for offset in range(start, end + 1)
            if offset in failures
        )
    return Slice(
        number,
        start,
        end - start + 1,
        start - batch.first,
        batch.segment,
        batch.position,
        batch.length,
        LogTime(batch.at),
        failed,
    )
