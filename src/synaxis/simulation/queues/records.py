"""Records of a delivery, one by one."""

from collections.abc import Iterable, Iterator

from synaxis.queues.commands import RecordBatch, Records
from synaxis.simulation.queues.ledger import records_of
from synaxis.simulation.queues.messages import Place

__all__ = ["unpack"]


def unpack(records: Iterable[Records]) -> Iterator[tuple[Place, int, bytes]]:
    """Yield (place, failures, bytes) of each message."""
    for each in records:
        failures = dict(each.failures)
        offset = each.first
        for data in records_of(RecordBatch(each.sizes, each.body)):
            yield Place(each.partition, offset), failures.get(offset, 0), data
            offset += 1
