"""Lines of a file or of standard input, without stopping the event loop while they are awaited."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from synaxis.errors import InvalidArgument

__all__ = ["chunks_of", "lines_of", "opened", "whole_of"]

CHUNK_BYTES = 64 * 1024
CHUNKS_AHEAD = 4
"""Chunks that are read before somebody has taken them."""
INPUT_BYTES_MAX = 16 * 1024 * 1024
"""One line, or the whole input where it is one message: more than any message may have."""


@contextmanager
def opened(path: Path | None) -> Iterator[int]:
    """Yield the descriptor of a file to read, or of stdin: None and ``-``.

    Raises:
        InvalidArgument: it cannot be read.
    """
    if path is None or str(path) == "-":
        yield sys.stdin.fileno()
        return
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise InvalidArgument(f"--file {path}: {error.strerror}") from error
    with file:
        yield file.fileno()


async def chunks_of(descriptor: int) -> AsyncGenerator[bytes, None]:
    """Yield what can be read, as it comes, until the end.

    A thread of its own reads, a daemon: nothing else can wait for a terminal and still let Ctrl-C
    end the process. It bypasses ``sys.stdin``, whose lock it would hold for ever.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(CHUNKS_AHEAD)
    is_over = threading.Event()

    def read() -> None:
        chunk: bytes | OSError = b"-"
        while chunk:
            room.acquire()
            if is_over.is_set():  # the descriptor may be somebody else's by now
                return
            try:
                chunk = os.read(descriptor, CHUNK_BYTES)
            except OSError as error:
                chunk = error
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
            except RuntimeError:  # the loop has ended: nobody wants it any more
                return
            if isinstance(chunk, OSError):
                return

    threading.Thread(target=read, name="synaxis-input", daemon=True).start()
    try:
        while chunk := await arrived.get():
            if isinstance(chunk, OSError):
                raise InvalidArgument(f"cannot read the input: {chunk.strerror}") from chunk
            room.release()
            yield chunk
    finally:
        is_over.set()
        room.release()


async def lines_of(descriptor: int) -> AsyncIterator[bytes]:
    """Yield lines without their ends; the last one may lack its end.

    Raises:
        InvalidArgument: a line is too long, or the input cannot be read.
    """
    rest: list[bytes] = []
    size = 0
    async with aclosing(chunks_of(descriptor)) as chunks:
        async for chunk in chunks:
            *complete, last = chunk.split(b"\n")
            for line in complete:
                yield b"".join([*rest, line])
                rest, size = [], 0
            rest.append(last)
            size += len(last)
            _check(size, "a line")
    if size:
        yield b"".join(rest)


async def whole_of(descriptor: int) -> bytes:
    """Return everything.

    Raises:
        InvalidArgument: it is too long, or cannot be read.
    """
    found = bytearray()
    async with aclosing(chunks_of(descriptor)) as chunks:
        async for chunk in chunks:
            found += chunk
            _check(len(found), "the input")
    return bytes(found)


def _check(size: int, what: str) -> None:
    if size > INPUT_BYTES_MAX:
        raise InvalidArgument(f"{what} is longer than {INPUT_BYTES_MAX} bytes")
