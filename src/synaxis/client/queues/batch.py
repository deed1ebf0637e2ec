"""What ``fetch`` returns: messages that are settled together, or one by one."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, overload

from synaxis.client.queues.message import Message, describe
from synaxis.errors import LeaseLost, SynaxisError

__all__ = ["Batch"]

log = logging.getLogger(__name__)


class _Tally:
    """Waits for many messages: a ``Waiter`` for all of them."""

    __slots__ = ("_count", "_error", "_left", "_lost", "future")

    def __init__(self, count: int, future: "asyncio.Future[None]") -> None:
        self._count = self._left = count
        self._lost = 0
        self._error: SynaxisError | None = None
        self.future = future

    def done(self) -> bool:
        """See ``Waiter``."""
        return self.future.done()

    def set_result(self, result: None, /) -> None:
        """See ``Waiter``."""
        del result
        self._left -= 1
        if self._left == 0:
            self._conclude()

    def set_exception(self, error: SynaxisError, /) -> None:
        """See ``Waiter``."""
        self._lost += 1
        self._error = error
        self.set_result(None)

    def exception(self) -> BaseException | None:
        """See ``Waiter``."""
        return None

    def _conclude(self) -> None:
        error = self._error
        if error is None:
            self.future.set_result(None)
            return
        text = f"{self._lost} of {self._count} messages: {error}"
        self.future.set_exception(type(error)(text, messages=self._lost))
        self.future.exception()  # nobody may be waiting


class Batch(Sequence[Message]):
    """Messages in the order of their arrival. Empty (and false) when there were none.

    ``async with batch:`` settles by the outcome of its body what the body did not settle: success
    acknowledges, an exception counts a failure of each, a cancellation gives them back.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> "Batch": ...
    def __getitem__(self, index: int | slice) -> "Message | Batch":
        if isinstance(index, slice):
            return Batch(self._messages[index])
        return self._messages[index]

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def __repr__(self) -> str:
        return f"<Batch of {len(self._messages)}>"

    @property
    def unsettled(self) -> "Batch":
        """Those whose fate is not decided."""
        return Batch([message for message in self._messages if not message.fate])

    @property
    def lost(self) -> "Batch":
        """Those that turned out not to be ours any more when they were settled."""
        return Batch([message for message in self._messages if message.fate == "lost"])

    def ack(self) -> "asyncio.Future[None]":
        """Finish those that are not settled; await it to know that a majority has it.

        Raises:
            LeaseLost: (awaited) some were not ours any more: ``lost`` are those. The others are
                finished.
            OutcomeUnknown: (awaited) no answer in time; it goes on in the background.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending = [message for message in self._messages if not message.fate]
        tally = _Tally(len(pending), future)
        for message in pending:
            try:
                message.keeper.begin_ack(message, tally)
            except LeaseLost as loss:
                tally.set_exception(loss)
        if not pending:
            future.set_result(None)
        return future

    async def nack(self, delay: float | None = None, *, error: str = "") -> None:
        """Count a failure of each that is not settled; see ``Message.nack``."""
        pending = [m.nack(delay, error=error) for m in self._messages if not m.fate]
        await _all(pending)

    async def release(self) -> None:
        """Give back those that are not settled, without blame."""
        for message in self._messages:
            if not message.fate:
                await message.release()

    async def __aenter__(self) -> Self:
        """Do nothing: the messages are held already."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Settle what the body did not; see the class.

        Raises:
            LeaseLost: the body succeeded, but some were not ours any more.
        """
        if error is None:
            await self.ack()
            return
        try:
            if isinstance(error, Exception):
                await self.nack(error=describe(error))
            else:
                await self.release()
        except SynaxisError as trouble:  # the body's own error is what the user must see
            log.warning("%r: its failure could not be told: %s", self, trouble)


async def _all(pending: "list[asyncio.Future[None]]") -> None:
    outcomes = await asyncio.gather(*pending, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
