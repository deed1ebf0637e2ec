"""Puts the stored bytes of messages beside what a queue shard says of them.

What was published a moment ago is still in memory. The rest is read in another thread, so that the
loop never waits for the disk; then later deliveries to the same client wait for the earlier ones.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from synaxis.errors import StorageError
from synaxis.ids import GroupId
from synaxis.queues.commands import Records, Slice
from synaxis.queues.units import cut, open_unit

__all__ = ["PayloadSource", "Payloads"]

Range = tuple[int, int, int]
"""(segment, position, length)."""
Deliver = Callable[[tuple[Records, ...]], None]


class PayloadSource(Protocol):
    """Where stored bytes are; the message store of the node."""

    def read(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return the bytes if all are in memory."""
        ...

    def read_blocking(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return the bytes from disk; None if a segment is gone, because nobody needs it."""
        ...


class Payloads:
    """The messages on their way to one client."""

    def __init__(
        self,
        source: PayloadSource,
        start: Callable[[Coroutine[Any, Any, None]], object],
        fatal: Callable[[StorageError], None],
    ) -> None:
        """Serve one connection.

        Args:
            source: where the bytes are.
            start: begins a task that ends with the connection.
            fatal: told when the disk failed.
        """
        self._source = source
        self._start = start
        self._fatal = fatal
        self._waiting: deque[tuple[GroupId, Sequence[Slice], Deliver]] = deque()

    def resolve(self, group: GroupId, slices: Sequence[Slice], deliver: Deliver) -> None:
        """Call ``deliver`` with the messages, now or soon, in the order of these calls."""
        if not self._waiting:
            found = self._source.read(group, _ranges(slices))
            if found is not None:
                deliver(_records(slices, found))
                return
        self._waiting.append((group, slices, deliver))
        if len(self._waiting) == 1:
            self._start(self._read_on())

    async def _read_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, slices, deliver = self._waiting[0]
            try:
                records = await loop.run_in_executor(None, self._read, group, slices)
            except StorageError as error:
                self._fatal(error)
                return
            self._waiting.popleft()
            deliver(records)

    def _read(self, group: GroupId, slices: Sequence[Slice]) -> tuple[Records, ...]:
        """Return the messages that are still there; the others were finished by everybody.

        Raises:
            StorageError: the disk failed, or a unit is not what was written.
        """
        found = self._source.read_blocking(group, _ranges(slices))
        if found is not None:
            return _records(slices, found)
        records: tuple[Records, ...] = ()
        for each in slices:
            unit = self._source.read_blocking(group, _ranges((each,)))
            if unit is not None:
                records += _records((each,), unit)
        return records


def _ranges(slices: Sequence[Slice]) -> list[Range]:
    return [(each.segment, each.position, each.length) for each in slices]


def _records(slices: Sequence[Slice], units: Sequence[bytes]) -> tuple[Records, ...]:
    """Cut the units to what is meant.

    Raises:
        StorageCorrupt: a unit is not what was written.
    """
    records = []
    for each, unit in zip(slices, units, strict=True):
        sizes, body = cut(*open_unit(unit), each.skip, each.count)
        records.append(Records(each.partition, each.first, sizes, body, each.at, each.failures))
    return tuple(records)
