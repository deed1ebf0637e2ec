"""Reading records from a shard: all keys that are wanted in one turn are one question.

While enough questions are under way, what is wanted meanwhile waits for the next: a node takes
only so many of one client.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from synaxis.caches.commands import Lookup, Reading, Readings
from synaxis.client.caches.context import Context
from synaxis.client.clock import now
from synaxis.client.requests import QueryRequest
from synaxis.effects import Refused
from synaxis.errors import BackingUnavailable, SynaxisError, error_from_wire
from synaxis.ids import GroupId

if TYPE_CHECKING:
    from synaxis.wire.client import Answer

__all__ = ["How", "Reader"]

KEYS_PER_QUESTION_MAX = 500
"""Their answer, with values of ordinary size, is a frame of ordinary size."""
UNDER_WAY_MAX = 8

Waiter = asyncio.Future[Reading | None]


class How(Enum):
    """How sure an answer has to be."""

    COHERENT = "the leader says so"
    LOADING = "as COHERENT, and what is absent is looked for in the backing store"
    STALE = "any replica says so"


class Reader:
    """See the module."""

    def __init__(self, context: Context, group: GroupId) -> None:
        self._context = context
        self._router = context.router
        self._group = group
        self._wanted: dict[How, dict[str, Waiter]] = {how: {} for how in How}
        self._waiting: deque[tuple[How, dict[str, Waiter]]] = deque()
        self._under_way = 0
        self._loop = asyncio.get_running_loop()

    async def read(self, keys: Sequence[str], how: How) -> list[Reading | SynaxisError | None]:
        """Return what is stored under ``keys``, in their order.

        An error stands in the place of what could not be read.
        """
        self._context.check()
        if not any(self._wanted.values()):
            self._loop.call_soon(self._ask)
        wanted = self._wanted[how]
        waiters: list[Waiter] = []
        for key in keys:
            waiter = wanted.get(key)
            if waiter is None:
                waiter = wanted[key] = self._loop.create_future()
            waiters.append(waiter)
        found: list[Reading | SynaxisError | None] = []
        for waiter in waiters:
            try:
                if not waiter.done():
                    await asyncio.shield(waiter)  # others may wait for it too
                found.append(waiter.result())
            except SynaxisError as error:  # each key has an outcome of its own
                found.append(error)
        return found

    def _ask(self) -> None:
        for how, wanted in self._wanted.items():
            keys = list(wanted)
            for start in range(0, len(keys), KEYS_PER_QUESTION_MAX):
                batch = {key: wanted[key] for key in keys[start : start + KEYS_PER_QUESTION_MAX]}
                self._waiting.append((how, batch))
            wanted.clear()
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._under_way < UNDER_WAY_MAX:
            self._under_way += 1
            self._send(*self._waiting.popleft())

    def _send(self, how: How, batch: dict[str, Waiter]) -> None:
        question = Lookup(tuple(batch), load=how is How.LOADING)
        stale = how is How.STALE
        request = QueryRequest(
            self._group, question, now() + self._context.caller.timeout_s, stale=stale
        )
        request.future.add_done_callback(partial(self._answered, batch))
        if stale:
            self._router.send_anywhere(request)
        else:
            self._router.send(request)

    def _answered(self, batch: dict[str, Waiter], answer: "asyncio.Future[Answer]") -> None:
        self._under_way -= 1
        self._go_on()
        error = answer.exception()
        body = None if error is not None else answer.result().body
        if isinstance(body, Readings):
            for waiter, reading in zip(batch.values(), body.readings, strict=True):
                if not waiter.done():
                    waiter.set_result(reading)
            return
        if isinstance(body, Refused):
            error = error_from_wire(body.code, body.message, body.details)
        assert error is not None
        if isinstance(error, BackingUnavailable) and len(batch) > 1:
            self._without_store(batch, error)
            return
        for waiter in batch.values():
            _fail(waiter, error)

    def _without_store(self, batch: dict[str, Waiter], error: BackingUnavailable) -> None:
        """Answer with what the cluster has; only the rest cannot be known."""
        plain: dict[str, Waiter] = {}
        for key, waiter in batch.items():
            plain[key] = self._loop.create_future()
            plain[key].add_done_callback(partial(_known_only, waiter, error))
        self._waiting.append((How.COHERENT, plain))
        self._go_on()


def _known_only(waiter: Waiter, error: SynaxisError, known: Waiter) -> None:
    if known.exception() is not None or known.result() is None:
        _fail(waiter, error)
    elif not waiter.done():
        waiter.set_result(known.result())


def _fail(waiter: Waiter, error: BaseException) -> None:
    if not waiter.done():
        waiter.set_exception(error)
        waiter.exception()  # who wanted it may have gone
