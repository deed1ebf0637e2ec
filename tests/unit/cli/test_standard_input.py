import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaxis.cli import standard_input
from synaxis.cli.standard_input import lines_of, whole_of
from synaxis.errors import InvalidArgument


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def lines(descriptor: int) -> list[bytes]:
    return [line async for line in lines_of(descriptor)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"\x00\xff\r\n", [b"\x00\xff\r"]),
    ],
)
async def test_a_line_ends_with_a_line_feed_or_with_the_input(
    pipe: tuple[int, int], written: bytes, read: list[bytes]
) -> None:
    os.write(pipe[1], written)
    os.close(pipe[1])
    assert await lines(pipe[0]) == read


async def test_a_line_is_there_before_the_input_ends(pipe: tuple[int, int]) -> None:
    found = lines_of(pipe[0])
    os.write(pipe[1], b"first\nsec")
    assert await anext(found) == b"first"
    os.write(pipe[1], b"ond\n")
    assert await anext(found) == b"second"
    os.close(pipe[1])
    with pytest.raises(StopAsyncIteration):
        await anext(found)


async def test_lines_over_many_chunks_stay_whole(tmp_path: Path) -> None:
    written = [str(number).encode() * 50 for number in range(5_000)]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(written))
    with path.open("rb", buffering=0) as file:
        assert await lines(file.fileno()) == written


async def test_everything_can_be_one_message(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(bytes(range(256)) * 1_000)
    with path.open("rb", buffering=0) as file:
        assert await whole_of(file.fileno()) == path.read_bytes()


async def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_input, "INPUT_BYTES_MAX", 100_000)
    path = tmp_path / "endless"
    path.write_bytes(b"x" * 300_000)
    # Both at once: a reader may still read when it is given up, and numbers of files come again.
    with path.open("rb", buffering=0) as one, path.open("rb", buffering=0) as other:
        for read, file in ((lines, one), (whole_of, other)):
            with pytest.raises(InvalidArgument, match="100000 bytes"):
                await read(file.fileno())


async def test_an_input_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(InvalidArgument, match="directory"):
            await whole_of(descriptor)
    finally:
        os.close(descriptor)
