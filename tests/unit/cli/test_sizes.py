import pytest

from synaxis.cli.sizes import format_size, parse_size_bytes
from synaxis.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("4KiB", 4096), ("64k", 65536), ("1.5MiB", 1572864), ("2 GiB", 2**31)],
)
def test_a_size_is_read_with_units_of_1024(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "-1", "MiB", "5 parsecs", "1e3"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgument, match="64KiB"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1024, "1.0KiB"), (20_000, "20KiB"), (2**40 * 5000, "5000TiB")],
)
def test_a_size_is_written_short(size: int, text: str) -> None:
    assert format_size(size) == text
