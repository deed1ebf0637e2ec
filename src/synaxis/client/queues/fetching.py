"""``topic.fetch``: batches on demand, through a member that lives behind it.

It asks for what somebody waits for. Who fetches in a tight loop gets some ahead, so that the next
batch is here already; what nobody fetched within a second goes back to the queue, and a
member that is not used leaves the group.
"""

import asyncio
from collections.abc import Callable

from synaxis.client.clock import now
from synaxis.client.queues.batch import Batch
from synaxis.client.queues.intake import Intake
from synaxis.client.queues.message import Message

__all__ = ["FETCH_MAX", "Fetcher"]

FETCH_MAX = 10_000
"""Messages of one fetch."""
AHEAD_MAX = 8
"""Batches that are asked for beyond the present one, in a tight loop: so many that most batches
come from one shard, which makes their acknowledgement one command."""
TIGHT_S = 0.05
"""A fetch that follows the last one so soon is of a tight loop."""
LINGER_S = 0.001
"""How long a batch that is not full waits for more once it has something."""
LEFTOVERS_S = 1.0
"""How long a message that nobody fetched stays here."""
IDLE_LEAVE_S = 30.0
"""Unused for so long, the member leaves its group."""


class Fetcher:
    """The member behind the fetches of one (topic, group, mode)."""

    def __init__(self, intake: Intake, over: Callable[["Fetcher"], None]) -> None:
        self.intake = intake
        intake.pool.resize(0)
        self._over = over
        self._starting: asyncio.Task[None] | None = None
        self._wanted = 0
        self._active = 0
        self._ahead = 0
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False

    async def fetch(self, most: int, wait_s: float) -> Batch:
        """Return up to ``most`` messages; none if none came within ``wait_s``.

        Raises:
            SynaxisError: the group cannot be joined.
        """
        if now() - self._used_at > TIGHT_S:
            self._ahead = 0
        self._active += 1
        self._wanted += most
        messages: list[Message] = []
        try:
            await self._start()
            if self._wanted + self._ahead > self.intake.pool.window:
                self.intake.pool.resize(self._wanted + self._ahead)
            await self._collect(messages, most, now() + wait_s)
        except asyncio.CancelledError:
            self.intake.shelf.put_back(messages)
            raise
        finally:
            self._active -= 1
            self._wanted -= most
            self._rest(full=len(messages) == most, most=most)
        return Batch(messages)

    async def _start(self) -> None:
        if self._starting is None:
            self._starting = self.intake.loop.create_task(self._join(), name="synaxis-join")
        await asyncio.shield(self._starting)

    async def _join(self) -> None:
        try:
            await self.intake.start()
            await self.intake.ready()
        except BaseException:
            self._close()
            raise

    async def _collect(self, messages: list[Message], most: int, deadline: float) -> None:
        shelf, lingering = self.intake.shelf, False
        while True:
            while len(messages) < most and (message := shelf.take_now()) is not None:
                messages.append(message)
            if len(messages) == most or shelf.closed:
                break
            moment = now()
            if messages and not lingering:
                lingering, deadline = True, min(deadline, moment + LINGER_S)
            if moment >= deadline:
                break
            await shelf.movement(deadline - moment)
        if not messages and shelf.error is not None:
            raise shelf.error

    # --- afterwards -------------------------------------------------------------------------

    def _rest(self, *, full: bool, most: int) -> None:
        self._used_at = now()
        if self.closed:
            return
        if full:
            self._ahead = min(max(2 * self._ahead, most), AHEAD_MAX * most)
        if not self._ahead:
            self.intake.pool.resize(self._wanted)
        if self._timer is None:
            self._timer = self.intake.loop.call_later(LEFTOVERS_S, self._look)

    def _look(self) -> None:
        """Give back what nobody fetched; leave when nobody fetches at all."""
        self._timer = None
        if self.closed or self.intake.closed:  # the client was drained
            return
        idle_s = now() - self._used_at
        if not self._active and idle_s >= LEFTOVERS_S * 0.9:
            self._ahead = 0
            self.intake.pool.resize(0)
            self.intake.give_back(self.intake.shelf.pull())
            if idle_s >= IDLE_LEAVE_S and not self.intake.shelf.unconfirmed:
                self._close()
                return
        self._timer = self.intake.loop.call_later(LEFTOVERS_S, self._look)

    def _close(self) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._over(self)
