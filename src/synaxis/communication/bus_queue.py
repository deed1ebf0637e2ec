"""What the caches of two nodes have to say to each other and a link has not written yet.

In order and without gaps: unlike Raft, a cache agent and its home do not repeat themselves. When
something does not fit, the conversation is over, and whoever has it must begin another one.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from synaxis.caches.bus import Attach, Flush, Grant, ProbeAck, Reserved
from synaxis.wire.peer import BusMessage, ToAgent, ToHome

__all__ = ["BusQueue", "weight_of"]

MESSAGE_BYTES = 100
"""A message without its value, roughly."""


def _of_reading(body: Grant | Reserved) -> int:
    return len(body.reading.value) if body.reading is not None else 0


def _of_dirty(body: Flush | ProbeAck) -> int:
    return len(body.dirty.item.value) if body.dirty is not None else 0


_VALUES: dict[type[msgspec.Struct], Callable[[Any], int]] = {
    Grant: _of_reading,
    Reserved: _of_reading,
    Flush: _of_dirty,
    ProbeAck: _of_dirty,
    Attach: lambda body: sum(MESSAGE_BYTES + len(each.item.value) for each in body.dirty),
}
"""What messages with values weigh besides; the others have none."""


def weight_of(message: BusMessage) -> int:
    """Return about how many bytes ``message`` takes in a frame."""
    if type(message) is ToHome or type(message) is ToAgent:
        values = _VALUES.get(type(message.message))
        if values is not None:
            return MESSAGE_BYTES + values(message.message)
    return MESSAGE_BYTES


class BusQueue:
    """See the module."""

    __slots__ = ("_bytes", "_bytes_max", "_messages_max", "_waiting")

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[BusMessage, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: BusMessage) -> bool:
        """Append ``message``; False if there is no room for it."""
        weight = weight_of(message)
        if self._bytes + weight > self._bytes_max or len(self._waiting) >= self._messages_max:
            return False
        self._bytes += weight
        self._waiting.append((message, weight))
        return True

    def take(self, bytes_wanted: int) -> list[BusMessage]:
        """Remove the oldest, until they weigh ``bytes_wanted`` or nothing is left."""
        waiting = self._waiting
        taken: list[BusMessage] = []
        while waiting and bytes_wanted > 0:
            message, weight = waiting.popleft()
            taken.append(message)
            bytes_wanted -= weight
            self._bytes -= weight
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._bytes = 0
