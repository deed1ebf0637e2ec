"""One partition: which messages it stores, and what is known of those that are not plain.

A plain message (no key, delay, priority, ttl, id) costs no memory of its own: its batch has a row
of 36 bytes in the index. A keyed batch costs 4 bytes a message more, a *special* message (delay,
priority or ttl) about 200 bytes until its batch is forgotten.
"""

from array import array
from itertools import pairwise

import msgspec

from synaxis.ids import LogTime
from synaxis.queues.batch_index import BATCH_INDEX_BYTES, BatchIndex
from synaxis.queues.commands import RecordBatch
from synaxis.queues.deduplication import MessageIds, Producers
from synaxis.queues.limits import QueueLimits
from synaxis.queues.offsets import OffsetSet

__all__ = ["Partition", "Special"]

_SPECIAL_BYTES = 200
_PRODUCER_BYTES = 500
_PRODUCED_BATCH_BYTES = 140
_MESSAGE_ID_BYTES = 250


class Special(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is not plain about a message."""

    deliver_at: LogTime
    """0: at once."""
    priority: int
    expires_at: LogTime
    """0: never."""


class Partition:
    """See the module. ``gone`` are the offsets that no group will ever see (again)."""

    __slots__ = (
        "accounted_bytes",
        "aged",
        "gone",
        "ids",
        "index",
        "kept_size",
        "key_bytes",
        "keys",
        "messages",
        "next_offset",
        "number",
        "producers",
        "size",
        "specials",
    )

    def __init__(self, number: int, limits: QueueLimits) -> None:
        self.number = number
        self.next_offset = 0
        self.index = BatchIndex()
        self.gone = OffsetSet()
        self.aged = 0
        """Retention has let everything below go. What is stored of it nevertheless is a dead
        letter, or was one: retention does not ask again, it stays until it is finished."""
        self.keys: dict[int, bytes] = {}
        """First offset of a keyed batch -> its column of key hashes."""
        self.key_bytes = 0
        """Length of all these columns."""
        self.specials: dict[int, Special] = {}
        self.producers = Producers(limits)
        self.ids = MessageIds(limits.message_ids_per_partition_max)
        self.messages = 0
        self.accounted_bytes = 0
        """What the shard has counted of ``memory_bytes`` so far."""
        self.size = 0
        """Stored bytes."""
        self.kept_size = 0
        """Those of them that are below ``aged``."""

    @property
    def first_offset(self) -> int:
        """Offset of the oldest stored batch; the next offset when nothing is stored."""
        rows = self.index.rows
        return self.index.bounds(rows.start)[0] if rows else self.next_offset

    def memory_bytes(self) -> int:
        """Return about what the partition takes up in memory."""
        return (
            BATCH_INDEX_BYTES * len(self.index)
            + self.key_bytes
            + _SPECIAL_BYTES * len(self.specials)
            + _PRODUCER_BYTES * len(self.producers)
            + _PRODUCED_BATCH_BYTES * self.producers.batches
            + _MESSAGE_ID_BYTES * len(self.ids)
        )

    def note_columns(self, first: int, batch: RecordBatch, now: LogTime) -> list[int]:
        """Note what is not plain in a new batch; returns the offsets that will expire."""
        if batch.key_hashes and any(batch.key_hashes):
            self.keys[first] = batch.key_hashes
            self.key_bytes += len(batch.key_hashes)
        if not (batch.priorities or batch.delays_ms or batch.ttls_ms):
            return []
        mortal = []
        for position in range(batch.count):
            delay = batch.delays_ms[position] if batch.delays_ms else 0
            ttl = batch.ttls_ms[position] if batch.ttls_ms else 0
            priority = batch.priorities[position] if batch.priorities else 0
            if delay or ttl or priority:
                deliver_at = LogTime(now + delay if delay else 0)
                expires_at = LogTime(now + ttl if ttl else 0)
                self.specials[first + position] = Special(deliver_at, priority, expires_at)
                if ttl:
                    mortal.append(first + position)
        return mortal

    def key_column(self, at: int) -> "array[int] | None":
        """Return the key hashes of a row of the index, None when no message has a key."""
        column = self.keys.get(self.index.bounds(at)[0])
        return None if column is None else array("I", column)

    def age(self, last: int) -> None:
        """Note that retention lets everything up to ``last`` go."""
        index = self.index
        self.kept_size += sum(index.row(at).length for at in index.alive(self.aged, last))
        self.aged = last + 1

    def forget(self, at: int) -> tuple[int, int]:
        """Forget a batch; returns the segment and the length that are free now."""
        batch = self.index.row(at)
        self.index.kill(at)
        self.gone.add(batch.first, batch.last)
        self.key_bytes -= len(self.keys.pop(batch.first, b""))
        if self.specials:
            for offset in range(batch.first, batch.last + 1):
                self.specials.pop(offset, None)
        self.messages -= batch.messages
        self.size -= batch.length
        if batch.first < self.aged:
            self.kept_size -= batch.length
        return batch.segment, batch.length

    def expires_at(self, offset: int) -> LogTime:
        """Return when the ttl of a message ends; 0: never, or its life is over already."""
        special = self.specials.get(offset)
        return LogTime(0) if special is None or offset in self.gone else special.expires_at

    def revive(self, offset: int) -> None:
        """A dead letter is wanted again: if its life was over, what ended it does not count."""
        special = self.specials.get(offset)
        if self.gone.remove(offset) and special is not None:
            self.specials[offset] = Special(LogTime(0), special.priority, LogTime(0))

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        rows = [at for at in self.index.rows if self.index.is_alive(at)]
        assert self.messages == sum(self.index.row(at).messages for at in rows)
        assert self.size == sum(self.index.row(at).length for at in rows)
        kept = [at for at in rows if self.index.bounds(at)[0] < self.aged]
        assert self.kept_size == sum(self.index.row(at).length for at in kept)
        assert all(self.index.bounds(at)[1] < self.aged for at in kept)
        ends = [self.index.bounds(at) for at in self.index.rows]
        assert all(one[1] < other[0] for one, other in pairwise(ends))
        assert not ends or ends[-1][1] < self.next_offset
        firsts = {self.index.bounds(at)[0] for at in rows}
        assert self.keys.keys() <= firsts
        assert self.key_bytes == sum(len(column) for column in self.keys.values())
