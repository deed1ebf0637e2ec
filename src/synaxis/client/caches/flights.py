"""One computation per key in this process: whoever wants the same value waits for the first."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from synaxis.client.caches.codecs import Value
from synaxis.errors import ConnectionFailed

__all__ = ["Flights"]


class _Flight:
    __slots__ = ("task", "waiting")

    def __init__(self, task: "asyncio.Task[Value]") -> None:
        self.task = task
        self.waiting = 0


class Flights:
    """See the module. A flight goes on until it lands or the last who waits for it has gone."""

    def __init__(self) -> None:
        self._by_key: dict[str, _Flight] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Return what ``work()`` returns, or what it returns to somebody who came before.

        Raises:
            ConnectionFailed: the client was closed.
            BaseException: whatever ``work`` raises, to all who wait.
        """
        flight = self._by_key.get(key)
        if flight is None:
            flight = self._by_key[key] = self._begin(key, work())
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled():
                task = asyncio.current_task()
                if task is None or not task.cancelling():
                    raise ConnectionFailed("the client was closed") from None
            elif flight.waiting == 1 and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
            raise
        finally:
            flight.waiting -= 1

    def _begin(self, key: str, work: Coroutine[Any, Any, Value]) -> _Flight:
        task = asyncio.get_running_loop().create_task(work, name=f"synaxis-load {key}")
        flight = _Flight(task)

        def landed(task: "asyncio.Task[Value]") -> None:
            self._forget(key, flight)
            if not task.cancelled():
                task.exception()  # look at it: who waited may have gone

        task.add_done_callback(landed)
        return flight

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._by_key.get(key) is flight:
            del self._by_key[key]

    def cancel(self) -> None:
        """End all flights."""
        for flight in list(self._by_key.values()):
            flight.task.cancel()
