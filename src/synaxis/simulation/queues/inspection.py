"""What a replica stores, looked at from outside."""

from synaxis.errors import StorageError
from synaxis.ids import GroupId
from synaxis.queues.commands import RecordBatch
from synaxis.queues.shard import Shard
from synaxis.queues.units import open_unit
from synaxis.simulation.invariants import InvariantViolation
from synaxis.simulation.queues.ledger import Census, Ledger
from synaxis.simulation.queues.records import records_of
from synaxis.storage.message_store import MessageStore

__all__ = ["Inspection", "backlog_of"]


class Inspection:
    """One look at a shard and its store."""

    def __init__(self, shard: Shard, store: MessageStore, group: GroupId, ledger: Ledger) -> None:
        self._shard = shard
        self._store = store
        self._group = group
        self._ledger = ledger

    def census(self) -> Census:
        """Return what the index refers to, after reading all of it.

        Raises:
            InvariantViolation: it cannot be read, or is not what was published there.
        """
        units = []
        for name, topic in self._shard.topics.items():
            for number, partition in topic.partitions.items():
                index = partition.index
                for at in index.rows:
                    if index.is_alive(at):
                        batch = index.row(at)
                        where = batch.segment, batch.position, batch.length
                        self._read(name, number, batch.first, where)
                        units.append((name, number, batch.first, batch.last))
        return Census(tuple(units))

    def segments(self) -> list[bytes]:
        """Return the bytes of the live segments, as far as the state refers to them."""
        attached = self._shard.segments.attachments()
        ranges = [(each.segment, 0, each.length) for each in attached]
        found = self._store.read_blocking(self._group, ranges)
        assert found is not None
        return found

    def _read(self, topic: str, partition: int, first: int, where: tuple[int, int, int]) -> None:
        found = self._store.read_blocking(self._group, [where])
        what = f"{topic}/{partition} from {first} on, at {where}"
        if found is None:
            raise InvariantViolation("Q1", f"cannot read {what}")
        try:
            sizes, body = open_unit(found[0])
        except StorageError as error:
            raise InvariantViolation("Q1", f"reads of {what}: {error}") from error
        for number, record in enumerate(records_of(RecordBatch(sizes, body))):
            published = self._ledger.records.get((topic, partition, first + number))
            if record != published:
                message = f"reads {record!r} of {what}, published was {published!r}"
                raise InvariantViolation("Q1", message)


def backlog_of(shard: Shard) -> int:
    """Return how many messages the group has before it that is most behind."""
    return max(
        (
            sum(
                progress.done.count_missing(topic.partitions[number].next_offset)
                for number, progress in group.progress.items()
            )
            for topic in shard.topics.values()
            for group in topic.groups.values()
        ),
        default=0,
    )
