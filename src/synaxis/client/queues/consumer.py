"""``topic.consume(...)``: a member of a consumer group, as an iterator of messages."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from synaxis.client.queues.intake import Intake
from synaxis.client.queues.message import Message

__all__ = ["Consumer"]

DRAIN_TIMEOUT_S = 30.0


class Consumer:
    """An async iterator of messages, and an async context manager that leaves the group at its end.

    It joins when it is first used. At most ``concurrency`` messages are out at a time: the
    iterator waits until one of them is settled. Leave it by ``async with``, ``drain`` or
    ``aclose``; one that is dropped leaves the group as soon as its messages are settled.
    """

    def __init__(self, make: Callable[[], Intake], abandoned: Callable[[Intake], None]) -> None:
        self._make = make
        self._abandoned = abandoned
        self._intake: Intake | None = None
        self._starting: asyncio.Task[Intake] | None = None

    async def start(self) -> Self:
        """Join the group, and wait until every shard of the topic has taken us in.

        Raises:
            NotFound: there is no such topic.
            InvalidArgument: the group has another mode.
            SynaxisError: the cluster could not be reached in time.
        """
        intake = self._intake or await self._begin()
        await intake.ready()
        return self

    async def _begin(self) -> Intake:
        if self._starting is None:
            intake = self._make()
            self._starting = intake.loop.create_task(self._join(intake), name="synaxis-join")
        return await asyncio.shield(self._starting)

    async def _join(self, intake: Intake) -> Intake:
        try:
            await intake.start()
        except BaseException:
            self._starting = None
            raise
        self._intake = intake
        return intake

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        intake = self._intake
        if intake is None:
            intake = await self._begin()
        message = await intake.shelf.take()
        if message is None:
            raise StopAsyncIteration
        return message

    @property
    def partitions(self) -> list[int]:
        """``mode="exclusive"``: the partitions that are ours now."""
        return [] if self._intake is None else self._intake.owned

    @property
    def unsettled(self) -> int:
        """Messages handed out whose fate the cluster has not confirmed."""
        return 0 if self._intake is None else self._intake.shelf.unconfirmed

    async def drain(self, timeout: float = DRAIN_TIMEOUT_S) -> bool:  # noqa: ASYNC109
        """Take nothing more, wait up to ``timeout`` seconds for what is out, give back the rest.

        Returns:
            Whether everything that was out has been settled.
        """
        intake = self._intake
        if intake is None:
            return True
        settled = await intake.drain(timeout)
        await intake.close()
        return settled

    async def aclose(self) -> None:
        """Give back everything and leave the group. Safe to repeat."""
        if self._intake is not None:
            await self._intake.close()

    async def __aenter__(self) -> Self:
        """Join; see ``start``."""
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the group; see ``aclose``."""
        await self.aclose()

    def __del__(self) -> None:
        """Leave the group of an ``async for`` that was left by ``break``."""
        intake = getattr(self, "_intake", None)
        if intake is not None and not intake.closed:
            self._abandoned(intake)
