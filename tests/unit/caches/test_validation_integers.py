"""What is marked as an integer must be one: the log adds to it, and nothing may fail there."""

import pytest

from synaxis.caches.bus import Dirty, Flush
from synaxis.caches.commands import INTEGER, Item, Put, Version
from synaxis.caches.limits import CacheLimits
from synaxis.caches.validation import check_command, check_demand
from synaxis.errors import InvalidArgument

LIMITS = CacheLimits()
WRONG = [b"", b"x", b"1.5", b"0x10", b"\xff", b"9" * 19, b"9" * 5_000, b" " * 30 + b"1"]


@pytest.mark.parametrize("value", [b"0", b"-7", b"9223372036854775807", b"-9223372036854775807"])
def test_an_integer_may_be_stored_as_one(value: bytes) -> None:
    check_command(Put((Item("c/k", value, INTEGER),)), LIMITS)


@pytest.mark.parametrize("value", WRONG)
def test_nothing_else_may(value: bytes) -> None:
    item = Item("c/k", value, INTEGER)
    with pytest.raises(InvalidArgument, match="integer"):
        check_command(Put((item,)), LIMITS)
    with pytest.raises(InvalidArgument, match="integer"):
        check_demand(Flush("c/k", 1, 1, Dirty(1, Version(0), item)), LIMITS)
    check_command(Put((Item("c/k", value),)), LIMITS)
