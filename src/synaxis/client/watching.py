"""Streams of what happens to locks, across groups and across lost connections.

A stream begins when it is made. After a broken connection it resumes behind the last event seen;
what cannot be resumed, because the cluster keeps only so much history, ends with ``NotFound``.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from types import TracebackType
from typing import Any, Self

from synaxis.client.lock_options import checked
from synaxis.client.requests import Request
from synaxis.client.routing import Router
from synaxis.errors import LimitExceeded, SynaxisError
from synaxis.ids import GroupId
from synaxis.locks.commands import LockEvent, LockKind
from synaxis.wire.client import Cancel, ClientMessage, Notice, Watch

__all__ = ["EventStream", "LockChange"]

BUFFERED_MAX = 10_000
"""Events that may wait for a slow reader before the stream gives up."""


@dataclass(frozen=True, slots=True)
class LockChange:
    """One thing that happened to one lock, semaphore or election."""

    what: str
    """``granted``, ``released``, ``queued``, ``left_queue``, ``expired``, ``force_released``,
    ``deadlock``, ``converted``, ``value`` or ``revoke_asked``."""
    kind: str
    name: str
    session: str
    """Who did it or to whom it happened, 16 hex digits."""
    token: int
    mode: str
    waited: float
    """Seconds."""
    value: bytes
    index: int
    """Position in the log of the lock's group."""
    at: int
    """Log time, in milliseconds."""
    details: dict[str, Any] = field(default_factory=dict)


def _change(notice: Notice, event: LockEvent) -> LockChange:
    return LockChange(
        event.what.name.lower(),
        event.kind.name.lower(),
        event.name,
        f"{event.session:016x}",
        event.token,
        event.mode.name.lower(),
        event.waited_ms / 1000,
        event.value,
        notice.index,
        notice.at,
        event.details,
    )


class _WatchRequest(Request):
    """One group's part of a stream; open until the stream is closed."""

    __slots__ = ("deliver", "end", "kind", "position", "prefix")

    def __init__(
        self,
        group: GroupId,
        prefix: str,
        kind: LockKind,
        deliver: Callable[[LockChange], None],
        end: Callable[[SynaxisError], None],
    ) -> None:
        super().__init__(group, inf)
        self.prefix = prefix
        self.kind = kind
        self.deliver = deliver
        self.end = end
        self.position: tuple[int, int] | None = None
        """(index, rank) of the last event seen; rank -1: all up to the index were before us."""

    def message(self, number: int) -> ClientMessage:
        """Return the Watch; after a lost connection it asks for the last index once more."""
        after = -1
        if self.position is not None:
            index, rank = self.position
            after = index if rank < 0 else index - 1
        return Watch(number, self.group, self.prefix, self.kind, after)

    def noticed(self, message: Notice) -> None:
        """Take an event, once."""
        event = message.event
        if event is None:
            self.position = self.position or (message.index, -1)
            if not self.future.done():
                self.future.set_result(None)
        elif self.position is None or (message.index, message.rank) > self.position:
            self.position = (message.index, message.rank)
            if isinstance(event, LockEvent):
                self.deliver(_change(message, event))

    def failed(self, error: SynaxisError) -> None:
        """End the stream."""
        super().failed(error)
        self.end(error)

    def wanted(self) -> bool:
        """Until the stream is closed."""
        return True


class _Feed:
    """What the requests of a stream write to: apart, so that a forgotten stream can be closed."""

    def __init__(self, router: Router, requests_of: Iterable[GroupId]) -> None:
        self.router = router
        self.groups = list(requests_of)
        self.requests: list[_WatchRequest] = []
        self.events: deque[LockChange] = deque()
        self.error: SynaxisError | None = None
        self.reader: asyncio.Future[None] | None = None

    def deliver(self, change: LockChange) -> None:
        if len(self.events) >= BUFFERED_MAX:
            self.end(
                LimitExceeded(
                    f"more than {BUFFERED_MAX} events wait to be read",
                    limit="buffered_max",
                    maximum=BUFFERED_MAX,
                )
            )
            return
        self.events.append(change)
        self.wake()

    def end(self, error: SynaxisError) -> None:
        if self.error is None:
            self.error = error
            self.close()
        self.wake()

    def wake(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    def close(self) -> None:
        requests, self.requests = self.requests, []
        for request in requests:
            self.router.forget(request)
            if request.connection is not None:
                request.connection.write(Cancel(request.id))


class EventStream:
    """An async iterator of ``LockChange``. Leave it by ``async with`` or ``aclose``."""

    def __init__(
        self, router: Router, groups: Iterable[GroupId], prefix: str, kind: LockKind
    ) -> None:
        checked(Watch(0, GroupId(""), prefix, kind))
        self._feed = feed = _Feed(router, groups)
        feed.requests = [
            _WatchRequest(group, prefix, kind, feed.deliver, feed.end) for group in feed.groups
        ]
        self._started = [request.future for request in feed.requests]
        for request in list(feed.requests):
            router.send(request)

    async def started(self) -> None:
        """Wait until every group has confirmed that its events will come.

        Raises:
            SynaxisError: one refused.
        """
        for future in self._started:
            await asyncio.shield(future)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LockChange:
        feed = self._feed
        while not feed.events:
            if feed.error is not None:
                raise feed.error
            if not feed.requests:
                raise StopAsyncIteration
            feed.reader = asyncio.get_running_loop().create_future()
            await feed.reader
        return feed.events.popleft()

    async def aclose(self) -> None:
        """End the stream. Safe to repeat."""
        self._feed.close()
        self._feed.wake()

    async def __aenter__(self) -> Self:
        """Wait until the stream has begun."""
        await self.started()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stream."""
        await self.aclose()

    def __del__(self) -> None:
        """End the stream of an ``async for`` that was left by ``break``."""
        feed = getattr(self, "_feed", None)
        if feed is not None:
            feed.close()
