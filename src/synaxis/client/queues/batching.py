"""Messages on their way into one batch: columns while it grows, and who waits for it."""

import asyncio
import sys
from array import array
from collections.abc import Callable
from typing import Protocol

from synaxis.client.queues.outgoing import PLAIN, Extras, Receipt
from synaxis.errors import SynaxisError, error_from_wire
from synaxis.queues.commands import Published, RecordBatch

__all__ = ["Draft", "Sink"]

ReceiptFuture = asyncio.Future[Receipt]


class Sink(Protocol):
    """Who waits for all messages of a draft together."""

    def stored(self, draft: "Draft", receipts: list[Receipt]) -> None:
        """Take the receipts, in the order of the draft."""
        ...

    def failed(self, draft: "Draft", error: SynaxisError) -> None:
        """Take the news that none is known to be stored."""
        ...


class Draft:
    """A batch that still grows. Invariant: ``futures`` has one per record, or ``sink`` is set."""

    __slots__ = ("deadline", "extras", "futures", "hashes", "records", "sink", "size")

    def __init__(self, deadline: float, sink: Sink | None = None) -> None:
        self.deadline = deadline
        """Until then it must have left; seconds of ``clock.now``."""
        self.sink = sink
        self.records: list[bytes] = []
        self.futures: list[ReceiptFuture] = []
        self.hashes: dict[int, int] = {}
        """Position -> hash of the key, where there is one."""
        self.extras: dict[int, Extras] = {}
        self.size = 0
        """Bytes of the records."""

    def add(self, record: bytes, key_hash: int, extras: Extras) -> None:
        """Append a message."""
        position = len(self.records)
        self.records.append(record)
        self.size += len(record)
        if key_hash:
            self.hashes[position] = key_hash
        if extras is not PLAIN:
            self.extras[position] = extras

    def without_cancelled(self) -> "Draft":
        """Return the draft without messages that nobody wants to be published any more."""
        if self.sink is not None or not any(map(asyncio.Future.cancelled, self.futures)):
            return self
        kept = Draft(self.deadline)
        for position, future in enumerate(self.futures):
            if not future.cancelled():
                extras = self.extras.get(position, PLAIN)
                kept.add(self.records[position], self.hashes.get(position, 0), extras)
                kept.futures.append(future)
        return kept

    def batch(self) -> RecordBatch:
        """Return what goes over the wire."""
        count = len(self.records)
        extras = self.extras
        return RecordBatch(
            _u32(list(map(len, self.records))),
            b"".join(self.records),
            _u32([self.hashes.get(at, 0) for at in range(count)]) if self.hashes else b"",
            bytes(self._column(lambda each: each.priority)),
            self._column(lambda each: each.delay_ms),
            self._column(lambda each: each.ttl_ms),
            tuple(extras.get(at, PLAIN).message_id for at in range(count))
            if any(each.message_id for each in extras.values())
            else (),
        )

    def _column(self, value: Callable[[Extras], int]) -> tuple[int, ...]:
        extras = self.extras
        if not any(map(value, extras.values())):
            return ()
        return tuple(value(extras.get(at, PLAIN)) for at in range(len(self.records)))

    def stored(self, partition: int, reply: Published) -> None:
        """Give everybody a receipt."""
        count, offset = len(self.records), reply.first
        if reply.known:
            receipts = _with_known(partition, reply, count)
        else:
            receipts = [Receipt(partition, at) for at in range(offset, offset + count)]
        if self.sink is not None:
            self.sink.stored(self, receipts)
            return
        for future, receipt in zip(self.futures, receipts, strict=True):
            if not future.done():
                future.set_result(receipt)

    def failed(self, error: SynaxisError) -> None:
        """Tell everybody why there is no receipt."""
        if self.sink is not None:
            self.sink.failed(self, error)
            return
        for future in self.futures:
            if not future.done():
                # One error each: tracebacks of many tasks would pile up on a shared one.
                future.set_exception(error_from_wire(error.code, error.message, error.details))


def _with_known(partition: int, reply: Published, count: int) -> list[Receipt]:
    known = dict(reply.known)
    offset, receipts = reply.first, []
    for position in range(count):
        found = known.get(position)
        if found is not None:
            receipts.append(Receipt(partition, found, True))
        else:
            receipts.append(Receipt(partition, offset))
            offset += 1
    return receipts


def _u32(numbers: list[int]) -> bytes:
    column = array("I", numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
