"""From offsets to places on disk."""

from collections.abc import Iterable

from synaxis.ids import LogTime
from synaxis.queues.commands import Slice
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress

__all__ = ["slices_of"]


def slices_of(
    partition: Partition, ranges: Iterable[tuple[int, int]], progress: Progress | None
) -> list[Slice]:
    """Return where the messages of the ranges are; what is not stored any more is left out.

    Args:
        partition: where they are stored.
        ranges: (first, last), inclusive.
        progress: whose count of failures goes with them.
    """
    index, number = partition.index, partition.number
    failures = progress.failures if progress is not None else {}
    found = []
    for first, last in ranges:
        for at in index.alive(first, last):
            batch = index.row(at)
            start, end = max(first, batch.first), min(last, batch.last)
            failed: tuple[tuple[int, int], ...] = ()
            if failures:
                failed = tuple(
                    (offset, failures[offset].count)
                    for offset in range(start, end + 1)
                    if offset in failures
                )
            found.append(
                Slice(
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
            )
    return found
