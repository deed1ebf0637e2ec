"""What is refused before it enters the log, and in which words."""

from typing import Any

import msgspec
import pytest

from support.lock_service import A, LockService
from synaxis.errors import InvalidArgument
from synaxis.ids import FencingToken
from synaxis.locks.commands import (
    Acquire,
    BarrierEnter,
    Convert,
    ForceRelease,
    LatchCount,
    LatchWait,
    LockKind,
    LockMode,
    Release,
    SetPermits,
    SetValue,
)
from synaxis.locks.machine import LockMachine

TOKEN = FencingToken(1)


def acquire(*names: str, **options: Any) -> Acquire:
    return Acquire(names or ("x",), **options)


@pytest.mark.parametrize(
    "command",
    [
        acquire("orders/42"),
        acquire("zażółć gęślą jaźń 🔒"),
        acquire("x" * 512),
        acquire("no-break\u00a0space"),
        acquire(*"abc", wait_ms=0, max_hold_ms=1, lock_delay_ms=60_000, priority=-7),
        acquire(kind=LockKind.SEMAPHORE, weight=3, permits=3),
        acquire(kind=LockKind.ELECTION, value=b"host"),
        acquire(task=2**62),
        Release(TOKEN),
        Convert(TOKEN, LockMode.SHARED, 10),
        ForceRelease("x", "because"),
        SetPermits("x", 0),
        BarrierEnter("x", 1),
        LatchCount("x", 1, -1),
        LatchWait("x", 1),
        SetValue(TOKEN, b"v"),
    ],
    ids=repr,
)
def test_sensible_commands_pass(command: msgspec.Struct) -> None:
    LockMachine().validate(command)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Acquire(()), "at least one"),
        (acquire(""), "at least one character"),
        (acquire("x", "x"), "twice"),
        (acquire(*map(str, range(65))), "at most 64"),
        (acquire("x" * 513), "at most 512 bytes"),
        (acquire("ż" * 257), "has 514 bytes"),
        (acquire("a\0b"), "control character"),
        (acquire("a\nb"), "control character"),
        (acquire("a\x7fb"), "control character"),
        (acquire("a\x85b"), "control character"),
        (acquire("\ud800"), "not valid Unicode"),
        (acquire(wait_ms=-2), "-1 .for ever., 0 .do not wait. or up to"),
        (acquire(wait_ms=7 * 86_400_000 + 1), "up to 604800000"),
        (acquire(max_hold_ms=-1), "max_hold_ms is -1; it must be from 0 to"),
        (acquire(lock_delay_ms=60_001), "lock_delay_ms is 60001; it must be from 0 to 60000"),
        (acquire(priority=1_000_001), "priority is 1000001"),
        (acquire(task=-1), "task is -1"),
        (acquire(value=b"v" * 4_097), "value has 4097 bytes; at most 4096"),
        (acquire(weight=2), "weight and permits are for semaphores"),
        (acquire(permits=2), "weight and permits are for semaphores"),
        (acquire(kind=LockKind.ELECTION, mode=LockMode.SHARED), "an election has one leader"),
        (acquire(kind=LockKind.SEMAPHORE, mode=LockMode.SHARED), "weights, not modes"),
        (acquire(kind=LockKind.SEMAPHORE, reentrant=True), "no re-entry"),
        (acquire(kind=LockKind.SEMAPHORE, weight=0), "weight is 0; it must be from 1"),
        (acquire(kind=LockKind.SEMAPHORE, weight=3, permits=2), "permits, which is 2"),
        (acquire(kind=LockKind.SEMAPHORE, permits=1_000_001), "permits is 1000001"),
        (Convert(TOKEN, LockMode.SHARED, -5), "wait_ms is -5"),
        (ForceRelease("", "why"), "name is empty"),
        (ForceRelease("x", "y" * 1_025), "reason has 1025 bytes"),
        (SetPermits("x", -1), "permits is -1; it must be from 0"),
        (BarrierEnter("x", 0), "parties is 0; it must be from 1 to 10000"),
        (LatchCount("x", 0), "count is 0"),
        (LatchCount("x", 1, -2), "by is -2; it must be from -1"),
        (LatchWait("x", 0), "count is 0"),
        (SetValue(TOKEN, b"v" * 4_097), "value has 4097 bytes"),
    ],
    ids=str,
)
def test_the_message_says_what_is_allowed(command: msgspec.Struct, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        LockMachine().validate(command)


@pytest.mark.parametrize(
    "command",
    [Acquire(()), acquire("x", "x"), acquire("x", "y", weight=2)],
    ids=repr,
)
def test_what_makes_no_sense_is_refused_when_applied_too(command: Acquire) -> None:
    service = LockService()
    before = service.machine.snapshot()
    assert service.refused(A, command).code == "invalid_argument"
    assert service.machine.snapshot() == before
