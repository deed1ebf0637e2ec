"""Where a lock lives."""

import pytest

from synaxis.client.pool import lock_group
from synaxis.errors import InvalidArgument


def test_a_name_lives_in_the_group_of_its_checksum() -> None:
    # zlib.crc32(b"orders/42") is 370287966: this must never change, or two clients of
    # different versions would look for one lock in two places.
    assert lock_group("orders/42", 8) == "locks/6"
    assert lock_group("orders/42", 1) == "locks/0"


def test_names_are_spread_over_the_groups() -> None:
    assert len({lock_group(f"orders/{n}", 4) for n in range(100)}) == 4


@pytest.mark.parametrize("name", ["\ud800", 42, None, b"bytes"])
def test_what_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(InvalidArgument):
        lock_group(name, 4)  # type: ignore[arg-type]  # the point
