"""Records, one by one: of a batch, and of a delivery."""

from collections.abc import Iterable, Iterator

from synaxis.queues.commands import RecordBatch, Records
from synaxis.simulation.queues.messages import Place

__all__ = ["records_of", "unpack"]


def records_of(batch: RecordBatch) -> list[bytes]:
    """Return the records of a batch."""
    found, at = [], 0
    for number in range(batch.count):
        size = int.from_bytes(batch.sizes[4 * number : 4 * number + 4], "little")
        found.append(batch.body[at : at + size])
        at += size
    return found


def unpack(records: Iterable[Records]) -> Iterator[tuple[Place, int, bytes]]:
    """Yield (place, failures, bytes) of each message."""
    for each in records:
        failures = dict(each.failures)
        offset = each.first
        for data in records_of(RecordBatch(each.sizes, each.body)):
            yield Place(each.partition, offset), failures.get(offset, 0), data
            offset += 1
