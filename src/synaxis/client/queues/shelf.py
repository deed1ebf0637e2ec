"""Messages that wait to be handed out, and users that wait for messages.

Invariant: a message is handed out only while fewer than ``concurrency`` are out and undecided.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from synaxis.client.queues.credit import CreditPool
from synaxis.client.queues.message import Message
from synaxis.client.queues.ordering import Lines
from synaxis.client.queues.suspects import Suspects
from synaxis.errors import SynaxisError

__all__ = ["Shelf"]

UNCONFIRMED_MAX = 10_000
"""Messages handed out whose fate the cluster has not confirmed; beyond it nothing is handed out."""
QUEUED_FACTOR = 3
"""Ordered modes: so many windows of messages may wait for one of their line without using up the
credit of the others."""
STREAK_MAX = 256
"""Messages taken in one go before others get a turn of the event loop."""


class Shelf:
    """See the module."""

    def __init__(self, concurrency: int, pool: CreditPool, lines: Lines | None) -> None:
        self.concurrency = concurrency
        self.ready: deque[Message] = deque()
        self.out = 0
        """Messages handed out whose fate the user has not decided."""
        self.unconfirmed = 0
        """Messages handed out whose fate the cluster has not confirmed."""
        self.closed = False
        self.error: SynaxisError | None = None
        self._pool = pool
        self._lines = lines
        self._uncounted = 0
        """Messages in lines that use up no credit."""
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[asyncio.Future[Message | None]] = deque()
        self._movements: list[asyncio.Future[None]] = []
        self._streak = 0
        self._suspects = Suspects()
        self._aside: deque[Message] = deque()
        """Suspects for which there is no room now; nothing else has to wait for them."""

    # --- taking -----------------------------------------------------------------------------

    async def take(self) -> Message | None:
        """Return the next message; None when the shelf is closed.

        Raises:
            SynaxisError: no more will come.
        """
        self._streak += 1
        if self._streak > STREAK_MAX:
            self._streak = 0
            await asyncio.sleep(0)
        if not self._waiters:
            message = self.take_now()
            if message is not None:
                return message
        if self.closed:
            self._end()
            return None
        self._streak = 0
        waiter: asyncio.Future[Message | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._put_back(waiter.result())
            raise

    def _end(self) -> None:
        if self.error is not None:
            raise self.error

    def take_now(self) -> Message | None:
        """Return a message that may be handed out, if there is one."""
        ready, lines = self.ready, self._lines
        if not self.closed and (suspect := self._suspects.take()) is not None:
            return suspect
        if self._aside and not self._suspects.are_enough_for(len(self._waiters)):
            self._recall(1)
        while ready and self.out < self.concurrency and self.unconfirmed < UNCONFIRMED_MAX:
            if self.closed:
                return None
            message = ready.popleft()
            if message.fate or message.keeper.error is not None:
                self._pool.taken()
            elif lines is not None and not lines.admits(message):
                self._queued()
            elif message.failures and self._suspects.are_enough_for(len(self._waiters)):
                self._aside.append(message)  # it keeps its line, so nothing overtakes it
            else:
                message.out = True
                self.out += 1
                self.unconfirmed += 1
                self._pool.taken()
                if not message.failures:
                    return message
                self._suspects.announced(message)
                message.keeper.announce(message)
        return None

    def begun(self, messages: list[Message]) -> list[Message]:
        """The cluster has heard that we begin with these; returns those that nobody wants now."""
        unwanted = [each for each in messages if self._suspects.begun(each) and self.closed]
        for message in self._suspects.pull(unwanted):
            self.decided(message)
        self._serve()
        self._moved()
        return unwanted

    def _recall(self, count: int) -> None:
        """Let suspects that were put aside be the next ones again."""
        recalled = [self._aside.popleft() for _ in range(min(count, len(self._aside)))]
        for message in reversed(recalled):
            if self._lines is not None:
                self._lines.withdraw(message)
            self.ready.appendleft(message)

    def _queued(self) -> None:
        if self._uncounted < QUEUED_FACTOR * self._pool.window:
            self._uncounted += 1
            self._pool.taken()

    def _unqueued(self, count: int) -> None:
        counted = min(count, self._uncounted)
        self._uncounted -= counted
        self._pool.buffered += counted

    def put_back(self, messages: list[Message]) -> None:
        """Whoever took these has gone without looking at them: they are the next ones again."""
        for message in reversed(messages):
            self._put_back(message)

    def _put_back(self, message: Message | None) -> None:
        if message is None:
            return
        if message.failures:
            self._suspects.put_back(message)
            self._serve()
            return
        message.out = False
        self.out -= 1
        self.unconfirmed -= 1
        if self._lines is not None:
            self._lines.withdraw(message)
        self.ready.appendleft(message)
        self._pool.buffered += 1
        self._serve()

    def _serve(self) -> None:
        """Hand out to those who wait."""
        waiters = self._waiters
        while waiters:
            if waiters[0].done():
                del waiters[0]
                continue
            message = self.take_now()
            if message is None:
                return
            first = waiters.popleft()
            first.set_result(message)

    # --- filling ----------------------------------------------------------------------------

    def put(self, messages: list[Message]) -> None:
        """Take messages that arrived; the pool knows of them."""
        self.ready.extend(messages)
        if self._waiters:
            self._serve()
        self._moved()

    # --- what becomes of messages -----------------------------------------------------------

    def decided(self, message: Message) -> None:
        """The user has decided the fate of a message, or found that it is lost."""
        if not message.out:
            return
        self.out -= 1
        if self._suspects.decided(message):
            self._moved()
        if message.fate == "lost":
            self.settled((message,))
        elif self._waiters:
            self._serve()

    def settled(self, messages: Iterable[Message]) -> None:
        """The cluster has confirmed the fate of these, or will never be asked about them."""
        lines = self._lines
        for message in messages:
            if not message.out:
                continue
            message.out = False
            self.unconfirmed -= 1
            if lines is None:
                continue
            following = lines.finished(message)
            if following is not None:
                self.ready.appendleft(following)
                self._unqueued(1)
        if self._waiters:
            self._serve()
        self._moved()

    def lost(self, held: set[Message]) -> None:
        """These are not ours any more. Those that users work on are done when the users are."""
        self._recall(len(self._aside))
        if self._lines is not None:
            self._unqueued(gone := self._lines.forget(held))
            self._pool.taken(gone)
        for message in self._suspects.pull(held):
            message.fate = "lost"
            self.out -= 1
        self.settled([message for message in held if message.fate])

    def turn_back(self, message: Message) -> list[Message]:
        """A message goes back to the queue; returns what has to follow it."""
        if self._lines is None:
            return []
        self._recall(len(self._aside))
        followers = self._lines.turn_back(message, self.ready)
        if followers:
            gone = set(followers)
            before = len(self.ready)
            self.ready = deque(each for each in self.ready if each not in gone)
            buffered = before - len(self.ready)
            self._unqueued(len(followers) - buffered)
            self._pool.taken(len(followers))
        return followers

    def pull(self, partitions: set[int] | None = None) -> list[Message]:
        """Return, and forget, what waits to be handed out (of these partitions)."""
        self._recall(len(self._aside))
        chosen = [m for m in self.ready if partitions is None or m.partition in partitions]
        gone = set(chosen)
        self.ready = deque(each for each in self.ready if each not in gone)
        if self._lines is not None:
            queued = self._lines.pull(partitions)
            self._unqueued(len(queued))
            chosen += queued
        if chosen:
            self._pool.taken(len(chosen))
        suspects = [
            each
            for each in self._suspects.waiting()
            if partitions is None or each.partition in partitions
        ]
        self.out -= len(self._suspects.pull(suspects))
        chosen += suspects
        return [each for each in chosen if not each.fate and each.keeper.error is None]

    def pull_surplus(self) -> list[Message]:
        """Return, and forget, the youngest of what waits beyond the window; only without order."""
        surplus: list[Message] = []
        if self._lines is None:
            while len(self.ready) > self._pool.window:
                surplus.append(self.ready.pop())
            self._pool.taken(len(surplus))
        return [each for each in surplus if not each.fate and each.keeper.error is None]

    # --- the end ----------------------------------------------------------------------------

    def close(self, error: SynaxisError | None = None) -> None:
        """Hand out nothing more; those who wait are told."""
        if self.closed:
            return
        self.closed = True
        self.error = error
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        self._moved()

    async def movement(self, timeout_s: float | None = None) -> None:
        """Wait until something has come or gone, or ``timeout_s`` has passed."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._movements.append(future)
        if timeout_s is None:
            await future
            return
        timer = self._loop.call_later(timeout_s, _settle, future)
        try:
            await future
        finally:
            timer.cancel()

    def _moved(self) -> None:
        if self._movements:
            movements, self._movements = self._movements, []
            for future in movements:
                _settle(future)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
