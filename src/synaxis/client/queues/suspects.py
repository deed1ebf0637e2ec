"""Messages that failed before, on their way to the user.

One of them may be a message that kills its consumers. The cluster blames a dead consumer for what
it held; so that the neighbours of a killer do not become dead letters with it, a suspect is handed
out only after the cluster has heard that we begin with it (``Join.announces``), and of those that
a further failure would make dead letters one is out at a time.

A suspect that is announced, or waits here, counts as handed out already.
"""

from collections import deque
from collections.abc import Iterable

from synaxis.client.queues.message import Message

__all__ = ["Suspects"]


class Suspects:
    """See the module."""

    __slots__ = ("_announced", "_begun", "_last_try")

    def __init__(self) -> None:
        self._announced: set[Message] = set()
        """The cluster is being told."""
        self._begun: deque[Message] = deque()
        self._last_try: Message | None = None
        """The one in the user's hands that may not fail once more."""

    def are_enough_for(self, waiters: int) -> bool:
        """Return whether no other one should be begun: nobody would work on it now."""
        return len(self._announced) + len(self._begun) >= max(1, waiters)

    def announced(self, message: Message) -> None:
        """The cluster is being told of a message."""
        self._announced.add(message)

    def begun(self, message: Message) -> bool:
        """The cluster has heard of a message; returns whether anybody still waits for that."""
        if message not in self._announced:
            return False
        self._announced.discard(message)
        self._begun.append(message)
        return True

    def take(self) -> Message | None:
        """Return a message that may be handed out now."""
        for message in self._begun:
            if not _is_last_try(message):
                break
            if self._last_try is None:
                self._last_try = message
                break
        else:
            return None
        self._begun.remove(message)
        return message

    def put_back(self, message: Message) -> None:
        """A message was not looked at: it is the next one again."""
        self.decided(message)
        self._begun.appendleft(message)

    def decided(self, message: Message) -> bool:
        """The user has decided a fate; returns whether another one may be handed out for it."""
        self._announced.discard(message)
        if message is not self._last_try:
            return False
        self._last_try = None
        return bool(self._begun)

    def pull(self, chosen: Iterable[Message]) -> list[Message]:
        """Return, and forget, those of ``chosen`` that are not handed out yet."""
        pulled = [each for each in chosen if each in self._announced or each in self._begun]
        self._announced.difference_update(pulled)
        gone = set(pulled)
        self._begun = deque(each for each in self._begun if each not in gone)
        return pulled

    def waiting(self) -> list[Message]:
        """Return what is not handed out yet."""
        return [*self._begun, *self._announced]


def _is_last_try(message: Message) -> bool:
    return message.failures + 1 >= message.keeper.max_deliveries
