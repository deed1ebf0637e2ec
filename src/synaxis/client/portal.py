"""An event loop in a thread of its own, for code that blocks."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Portal"]

R = TypeVar("R")


class Portal:
    """Runs coroutines for threads that cannot. One per blocking client."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._main, name="synaxis-loop", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._ready.wait()

    @property
    def alive(self) -> bool:
        """Whether the loop runs in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def stop(self) -> None:
        """End the loop and wait for the thread. Safe to repeat."""
        if self.alive:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._ready.set()
        await self._end.wait()

    def run(self, call: Awaitable[R]) -> R:
        """Wait for an awaitable in the loop. If the wait is interrupted, the call is cancelled.

        Raises:
            RuntimeError: the loop is gone: after ``close``, or in a forked child.
        """
        try:
            self.check()
        except RuntimeError:
            if asyncio.iscoroutine(call):
                call.close()  # or Python would complain that nobody awaited it
            raise
        future: Future[R] = asyncio.run_coroutine_threadsafe(_as_coroutine(call), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def submit(self, call: Coroutine[Any, Any, R]) -> "Future[R]":
        """Begin ``call`` in the loop; the future is for other threads."""
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def post(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the loop, soon."""
        if self.alive:
            self._loop.call_soon_threadsafe(function)

    def check(self) -> None:
        """Refuse to begin anything in a loop that is gone.

        Raises:
            RuntimeError: it is: before ``start``, after ``stop``, or in a forked child.
        """
        if self._pid != os.getpid():
            raise RuntimeError("this client belongs to the parent process; open another after fork")
        if not self._thread.is_alive():
            raise RuntimeError("the client is not open")


def _as_coroutine(call: Awaitable[R]) -> Coroutine[Any, Any, R]:
    if asyncio.iscoroutine(call):
        return call

    async def wait() -> R:
        return await call

    return wait()
