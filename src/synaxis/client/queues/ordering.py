"""Which buffered messages may be handed out now, where order matters. Pure.

In KEYED mode a *line* is a key, in EXCLUSIVE mode a partition. Of a line at most one message is
out: handed to the user and not confirmed as settled. When it goes back to the queue, everything
behind it goes back too, or the line would be overtaken.
"""

from collections import deque
from collections.abc import Iterable

from synaxis.client.queues.message import Message
from synaxis.errors import InvalidArgument

__all__ = ["FREE", "Lines"]

FREE = -1
"""The line of messages without a key: no order among them."""


class Lines:
    """The lines of one consumer."""

    def __init__(self, *, by_partition: bool) -> None:
        self._by_partition = by_partition
        self._out: dict[int, Message] = {}
        self._queued: dict[int, deque[Message]] = {}
        self.queued = 0
        """Messages that wait for one of their line."""

    def line_of(self, message: Message) -> int:
        """Return the line of a message."""
        if self._by_partition:
            return message.partition
        try:
            hashed = message.key_hash()
        except InvalidArgument:  # written by something else; its reader will be told
            return FREE
        return (message.partition << 32) | hashed if hashed else FREE

    def admits(self, message: Message) -> bool:
        """Return whether a message may be handed out; if not, it is kept until it may."""
        line = self.line_of(message)
        if line == FREE:
            return True
        if line in self._out:
            self._queued.setdefault(line, deque()).append(message)
            self.queued += 1
            return False
        self._out[line] = message
        return True

    def withdraw(self, message: Message) -> None:
        """A message that was admitted was not handed out after all; it comes again first."""
        line = self.line_of(message)
        if self._out.get(line) is message:
            del self._out[line]

    def finished(self, message: Message) -> Message | None:
        """A message that was out is settled; returns the next one of its line."""
        line = self.line_of(message)
        if self._out.get(line) is not message:
            return None
        del self._out[line]
        waiting = self._queued.get(line)
        if not waiting:
            return None
        following = waiting.popleft()
        self.queued -= 1
        if not waiting:
            del self._queued[line]
        return following

    # --- going back -------------------------------------------------------------------------

    def turn_back(self, message: Message, buffered: Iterable[Message]) -> list[Message]:
        """A message goes back; returns what has to follow it, ``buffered`` included."""
        line = self.line_of(message)
        if line == FREE:
            return []
        waiting = list(self._queued.pop(line, ()))
        self.queued -= len(waiting)
        return waiting + [each for each in buffered if self.line_of(each) == line]

    # --- leaving ----------------------------------------------------------------------------

    def pull(self, partitions: set[int] | None) -> list[Message]:
        """Return, and forget, what waits here (of these partitions)."""
        found: list[Message] = []
        for line, waiting in list(self._queued.items()):
            if partitions is None or waiting[0].partition in partitions:
                found += waiting
                del self._queued[line]
        self.queued -= len(found)
        return found

    def forget(self, lost: set[Message]) -> int:
        """Forget messages that are not ours any more; returns how many had waited."""
        before = self.queued
        for line, waiting in list(self._queued.items()):
            kept = deque(each for each in waiting if each not in lost)
            self.queued -= len(waiting) - len(kept)
            if kept:
                self._queued[line] = kept
            else:
                del self._queued[line]
        return before - self.queued
