"""How options are said on the wire."""

from typing import Any

import pytest

from synaxis.client.lock_options import lock_command, milliseconds, wait_milliseconds
from synaxis.errors import InvalidArgument
from synaxis.locks.commands import LockMode


def test_the_defaults_wait_ten_seconds_for_an_exclusive_lock() -> None:
    command = lock_command(("a",))
    assert command.names == ("a",)
    assert command.wait_ms == 10_000
    assert command.mode is LockMode.EXCLUSIVE
    assert command.max_hold_ms == 0


def test_seconds_become_milliseconds() -> None:
    command = lock_command(("a",), wait=0.25, max_hold=300, lock_delay=1.5)
    assert (command.wait_ms, command.max_hold_ms, command.lock_delay_ms) == (250, 300_000, 1500)


@pytest.mark.parametrize("wait", [None, float("inf")])
def test_no_wait_limit_means_for_ever(wait: float | None) -> None:
    assert wait_milliseconds(wait) == -1


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_durations_out_of_range_are_refused(seconds: float) -> None:
    with pytest.raises(InvalidArgument):
        milliseconds(seconds, "max_hold")


def test_an_unknown_mode_is_refused() -> None:
    mode: Any = "x"
    with pytest.raises(InvalidArgument):
        lock_command(("a",), mode=mode)


def test_a_named_owner_is_told_to_the_cluster() -> None:
    named = lock_command(("a",), owner="job 7")
    assert named.task == lock_command(("b",), owner="job 7").task != 0
