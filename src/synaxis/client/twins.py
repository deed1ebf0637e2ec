"""What all blocking twins are made of.

A twin holds its asynchronous original and lends it a loop in another thread. The decorators say
what is done with what the original returns; signatures are the originals'.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar

from synaxis.client.portal import Portal

__all__ = ["BlockingIterator", "Twin", "blocking", "inside", "iterating"]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R")
P = ParamSpec("P")


class Twin(Generic[A_co]):
    """An asynchronous original and the loop that runs it."""

    def __init__(self, original: A_co, portal: Portal) -> None:
        self._original = original
        self._portal = portal


def blocking(
    method: Callable[Concatenate[A, P], Awaitable[R]],
) -> Callable[Concatenate[Twin[A], P], R]:
    """Return the method that waits."""

    @wraps(method)
    def call(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._portal.run(method(self._original, *args, **kwargs))

    return call


def inside(
    method: Callable[Concatenate[A, P], Awaitable[R]],
) -> Callable[Concatenate[Twin[A], P], R]:
    """Return the method that waits, of one that must itself be called in the loop."""

    @wraps(method)
    def call(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def begin() -> R:
            return await method(self._original, *args, **kwargs)

        return self._portal.run(begin())

    return call


def iterating(
    method: Callable[Concatenate[A, P], AsyncIterator[R]],
) -> Callable[Concatenate[Twin[A], P], "BlockingIterator[R]"]:
    """Return the method whose iterator blocks."""

    @wraps(method)
    def call(self: Twin[A], /, *args: P.args, **kwargs: P.kwargs) -> "BlockingIterator[R]":
        async def begin() -> AsyncIterator[R]:
            return method(self._original, *args, **kwargs)

        return BlockingIterator(self._portal.run(begin()), self._portal)

    return call


class BlockingIterator(Generic[R]):
    """An iterator that waits for the next item. Leave it by ``with`` or ``close``."""

    def __init__(self, original: AsyncIterator[R], portal: Portal) -> None:
        self._original = original
        self._portal = portal

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        try:
            return self._portal.run(self._original.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """End the stream. Safe to repeat."""
        close = getattr(self._original, "aclose", None)
        if close is not None:
            self._portal.run(close())

    def __enter__(self) -> Self:
        """Do nothing: the stream began when it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stream."""
        self.close()
