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
UNITS_KEPT = 8
UNIT_KEPT_BYTES_MAX = 256 * 1024
"""Opened units that are kept for one client: small ones, a few."""
Deliver = Callable[[tuple[Records, ...]], None]


class PayloadSource(Protocol):
    """Where stored bytes are; the message store of the node."""

    def read(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return the bytes if all are in memory."""
        ...

    def read_blocking(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return the bytes from disk; None if a segment is gone, because nobody needs it."""
        ...


class _OpenedUnits:
    """The units that were cut last: small deliveries of a large batch come one after the other."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[GroupId, int, int], tuple[bytes, bytes]] = {}

    def holds(self, group: GroupId, slices: Sequence[Slice]) -> bool:
        """Return whether the units of all slices are here."""
        known = self._by_place
        return all((group, each.segment, each.position) in known for each in slices)

    def records(self, group: GroupId, each: Slice, unit: bytes | None) -> Records:
        """Return what is meant of a unit; None: it is here.

        Raises:
            StorageCorrupt: the unit is not what was written.
        """
        place = group, each.segment, each.position
        sizes, body = self._by_place[place] if unit is None else open_unit(unit)
        if unit is not None and 4 * each.count < len(sizes) and len(body) <= UNIT_KEPT_BYTES_MAX:
            while len(self._by_place) >= UNITS_KEPT:
                del self._by_place[next(iter(self._by_place))]
            self._by_place[place] = sizes, body
        sizes, body = cut(sizes, body, each.skip, each.count)
        return Records(each.partition, each.first, sizes, body, each.at, each.failures)


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
        self._opened = _OpenedUnits()

    def resolve(self, group: GroupId, slices: Sequence[Slice], deliver: Deliver) -> None:
        """Call ``deliver`` with the messages, now or soon, in the order of these calls."""
        if not self._waiting:
            if self._opened.holds(group, slices):
                deliver(tuple(self._opened.records(group, each, None) for each in slices))
                return
            found = self._source.read(group, _ranges(slices))
            if found is not None:
                deliver(self._records(group, slices, found))
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
            return self._records(group, slices, found)
        records: tuple[Records, ...] = ()
        for each in slices:
            unit = self._source.read_blocking(group, _ranges((each,)))
            if unit is not None:
                records += self._records(group, (each,), unit)
        return records

    def _records(
        self, group: GroupId, slices: Sequence[Slice], units: Sequence[bytes]
    ) -> tuple[Records, ...]:
        return tuple(
            self._opened.records(group, each, unit)
            for each, unit in zip(slices, units, strict=True)
        )


def _ranges(slices: Sequence[Slice]) -> list[Range]:
    return [(each.segment, each.position, each.length) for each in slices]
