"""The lock service from outside: commands in, replies and late replies out."""

import pytest

from synaxis.effects import Refused
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Acquire,
    Done,
    Granted,
    LockMode,
    Release,
)
from synaxis.locks.machine import LockMachine

A, B, C = SessionId(1), SessionId(2), SessionId(3)


def test_a_free_lock_is_granted_at_once() -> None:
    machine = LockMachine()
    reply = machine.apply(A, Sequence(1), Acquire(("x",)), LogTime(7))
    assert reply == Granted(FencingToken((1 << 40) + 1), LogTime(7))
