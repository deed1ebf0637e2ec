"""Functions that the event loop of a blocking client has called in the thread that waits for it.

So a loader that blocks runs where it was asked for, may itself use the client, and no pool of
threads can run dry. Which thread waits travels in the context of the loop's tasks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial, wraps
from queue import SimpleQueue
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from synaxis.client.portal import Portal
from synaxis.client.twins import Twin

__all__ = ["borrowing", "lend_thread", "lending"]

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")


class _Errand(Generic[R]):
    """One call, wanted by the loop."""

    def __init__(self, function: Callable[[], R]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[R] = self._loop.create_future()

    def run(self) -> None:
        """Make the call, in a thread that is not the loop's."""
        try:
            result = self._function()
        except Exception as error:  # noqa: BLE001  # whoever wanted the call gets it
            self._loop.call_soon_threadsafe(self._settle, self.future.set_exception, error)
        except BaseException as error:
            self._loop.call_soon_threadsafe(self.give_up, error)
            raise
        else:
            self._loop.call_soon_threadsafe(self._settle, self.future.set_result, result)

    def _settle(self, settle: Callable[[A], None], outcome: A) -> None:
        if not self.future.done():
            settle(outcome)

    def give_up(self, reason: object) -> None:
        """In the loop: nobody makes the call."""
        text = f"the thread that was to call the function was interrupted: {reason!r}"
        self._settle(self.future.set_exception, RuntimeError(text))


class _Lender:
    """A thread, for as long as it waits."""

    def __init__(self) -> None:
        self.errands: SimpleQueue[_Errand[Any] | None] = SimpleQueue()
        self._open: set[_Errand[Any]] = set()
        self.waits = True

    async def call(self, function: Callable[[], R]) -> R:
        """In the loop: have the thread call ``function``."""
        errand = _Errand(function)
        self._open.add(errand)
        self.errands.put(errand)
        try:
            return await errand.future
        finally:
            self._open.discard(errand)

    def leave(self) -> None:
        """In the loop: the thread waits no longer, and what it did not do is not done."""
        self.waits = False
        for errand in self._open:
            errand.give_up("it does not wait any more")


_LENDER: ContextVar[_Lender | None] = ContextVar("synaxis_lender", default=None)


def borrowing(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return a coroutine function that has ``function`` called in the thread that waits.

    When no thread waits, it is called in one of the loop's own.
    """

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        lender = _LENDER.get()
        work = partial(function, *args, **kwargs)
        if lender is not None and lender.waits:
            return await lender.call(work)
        return await asyncio.to_thread(work)

    return call


def lend_thread(portal: Portal, begin: Callable[[], Awaitable[R]]) -> R:
    """Wait for ``begin()`` in the loop, and call here what ``borrowing`` functions ask for.

    Raises:
        RuntimeError: the loop is gone.
        BaseException: whatever the awaitable or a function raises.
    """
    portal.check()
    lender = _Lender()

    async def work() -> R:
        try:
            return await begin()
        finally:
            lender.leave()

    token = _LENDER.set(lender)
    try:
        future = portal.submit(work())
    finally:
        _LENDER.reset(token)
    future.add_done_callback(lambda _: lender.errands.put(None))
    try:
        while (errand := lender.errands.get()) is not None:
            errand.run()
        return future.result()
    except BaseException:
        future.cancel()
        raise


def lending(
    method: Callable[Concatenate[A, P], Awaitable[R]],
) -> Callable[Concatenate[Twin[A], P], R]:
    """Return the method that waits, in a thread that functions may borrow meanwhile."""

    @wraps(method)
    def call(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return lend_thread(self._portal, lambda: method(self._original, *args, **kwargs))

    return call
