"""Everything survives, and equal states are equal bytes."""

import msgspec
import pytest

from support.lock_service import A, B, C, LockService
from synaxis.errors import StorageCorrupt
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Acquire,
    BarrierEnter,
    Done,
    Granted,
    LatchCount,
    LockKind,
    LockMode,
    SetPermits,
)
from synaxis.locks.machine import LockMachine
from synaxis.locks.requests import Request
from synaxis.locks.table import Resource

SHARED = LockMode.SHARED


def busy() -> LockService:
    """Return a service with something of everything."""
    service = LockService()
    token = service.share(A, "x", max_hold_ms=5_000)
    service.share(B, "x", value=b"v")
    service.convert(A, token, LockMode.EXCLUSIVE, wait_ms=300)
    service.queue(C, "x", "y", wait_ms=200, priority=2)
    service.take(A, "mine", reentrant=True)
    service.acquire(A, "mine", reentrant=True)
    service.take(B, "gpu", kind=LockKind.SEMAPHORE, permits=4, weight=3)
    service.queue(C, "gpu", kind=LockKind.SEMAPHORE, permits=4, weight=2)
    service.do(A, SetPermits("pinned", 7))
    service.take(C, "fragile", lock_delay_ms=400)
    service.force_release("fragile")
    service.do(A, LatchCount("latch", 3))
    service.do(B, BarrierEnter("barrier", 3, wait_ms=100))
    service.abandon(B, 1)
    return service


def test_a_restored_machine_goes_on_exactly_like_the_original() -> None:
    service, twin = busy(), busy()
    twin.restart()
    for one in (service, twin):
        one.late.clear()
        one.advance(100)
        one.advance(250)
        one.end_session(B)
        one.advance(10_000)
    assert twin.late == service.late
    assert twin.order == service.order
    assert twin.machine.snapshot() == service.machine.snapshot()


def test_an_empty_machine_survives() -> None:
    service = LockService()
    service.restart()
    service.take(A, "x")


def test_how_a_state_was_reached_does_not_show() -> None:
    """A lock that somebody else touched is stored more widely, but is the same state."""
    untouched, touched = LockService(), LockService()
    for service in (untouched, touched):
        service.take(A, "x")
    assert touched.force_release("x", token=FencingToken(1)) == Done(changed=False)
    assert isinstance(touched.machine.table.by_kind[LockKind.LOCK]["x"], Resource)
    assert isinstance(untouched.machine.table.by_kind[LockKind.LOCK]["x"], Request)
    assert touched.machine.snapshot() == untouched.machine.snapshot()


def test_restoring_replaces_what_was_there() -> None:
    service = LockService()
    service.take(A, "x")
    service.queue(B, "x", wait_ms=10)
    service.machine.restore(LockMachine().snapshot())
    assert service.machine.deadline() is None
    assert service.info("x").holders == ()


def test_tokens_go_on_behind_the_snapshot() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.restart()
    reply = service.machine.apply(B, Sequence(1), Acquire(("y",)), LogTime(0))
    assert isinstance(reply, Granted)
    assert reply.token > token


@pytest.mark.parametrize("data", [b"", b"nonsense", msgspec.msgpack.encode([1, 2])])
def test_foreign_bytes_are_refused_by_type(data: bytes) -> None:
    with pytest.raises(StorageCorrupt, match="not a snapshot"):
        LockMachine().restore(data)


def test_a_snapshot_of_another_version_is_refused_and_changes_nothing() -> None:
    service = LockService()
    service.take(A, "x")
    fields = msgspec.msgpack.decode(service.machine.snapshot())
    fields[0] = 2
    with pytest.raises(StorageCorrupt, match="version 2"):
        service.machine.restore(msgspec.msgpack.encode(fields))
    assert service.holders("x") == [A]


def test_many_locks_of_many_sessions_survive() -> None:
    machine = LockMachine()
    for number in range(2_000):
        session, sequence = SessionId(1 + number % 50), Sequence(1 + number // 50)
        machine.apply(session, sequence, Acquire((f"lock {number}",)), LogTime(0))
    restored = LockMachine()
    restored.restore(machine.snapshot())
    assert restored.snapshot() == machine.snapshot()
    restored.end_session(SessionId(1), LogTime(1))
    assert restored.counts().exclusive == 1_960
