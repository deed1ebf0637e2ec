"""Latches come down to zero once and stay open."""

from support.lock_service import A, B, C, LockService
from synaxis.locks.commands import LatchCount, LatchState, LatchWait
from synaxis.locks.machine import LockMachine

DELETE = LatchCount("done", 2, by=-1)


def test_waiters_pass_when_the_count_reaches_zero() -> None:
    service = LockService()
    assert service.do(A, LatchWait("done", 2)) is None
    wait = service.last(A)
    assert service.do(B, LatchCount("done", 2)) == LatchState(1)
    assert service.waits(A, wait)
    assert service.do(B, LatchCount("done", 2)) == LatchState(0)
    assert service.answer(A, wait) == LatchState(0)


def test_an_open_latch_lets_everybody_pass_at_once() -> None:
    service = LockService()
    service.do(A, LatchCount("done", 1))
    assert service.do(B, LatchWait("done", 1)) == LatchState(0)


def test_counting_beyond_zero_stays_at_zero() -> None:
    service = LockService()
    assert service.do(A, LatchCount("done", 2, by=9)) == LatchState(0)


def test_a_latch_is_created_without_counting() -> None:
    service = LockService()
    assert service.do(A, LatchCount("done", 2, by=0)) == LatchState(2)


def test_a_latch_outlives_the_session_that_counted() -> None:
    service = LockService()
    service.do(A, LatchCount("done", 2))
    service.end_session(A)
    service.restart()
    assert service.do(B, LatchCount("done", 2)) == LatchState(0)


def test_a_disagreeing_count_is_refused_with_the_one_in_force() -> None:
    service = LockService()
    service.do(A, LatchCount("done", 2))
    assert service.refused(B, LatchWait("done", 3)).details["count"] == 2


def test_deleting_a_closed_latch_refuses_its_waiters() -> None:
    service = LockService()
    service.do(A, LatchWait("done", 2))
    wait = service.last(A)
    assert service.do(B, DELETE) == LatchState(2)
    assert service.answer(A, wait).code == "not_found"
    assert service.do(C, LatchCount("done", 5, by=0)) == LatchState(5)


def test_deleting_what_does_not_exist_is_harmless() -> None:
    service = LockService()
    assert service.do(A, DELETE) == LatchState(0)
    assert service.machine.snapshot() == LockMachine().snapshot()


def test_a_wait_at_a_latch_times_out_and_the_latch_stays() -> None:
    service = LockService()
    service.do(A, LatchWait("done", 2, wait_ms=20))
    wait = service.last(A)
    service.advance(20)
    assert service.answer(A, wait).code == "lock_timeout"
    assert service.refused(A, LatchWait("done", 2, wait_ms=0)).code == "lock_timeout"


def test_an_abandoned_wait_at_a_latch_is_answered() -> None:
    service = LockService()
    service.do(A, LatchWait("done", 2))
    wait = service.last(A)
    service.abandon(A, wait)
    assert service.answer(A, wait).code == "wait_abandoned"


def test_a_wait_at_a_latch_survives_a_snapshot() -> None:
    service = LockService()
    service.do(A, LatchWait("done", 1, wait_ms=20))
    wait = service.last(A)
    service.restart()
    service.do(B, LatchCount("done", 1))
    assert service.answer(A, wait) == LatchState(0)


def test_latches_are_bounded() -> None:
    service = LockService.limited(latches_max=1)
    service.do(A, LatchCount("done", 2))
    assert service.refused(A, LatchCount("other", 2)).details["limit"] == "latches_max"


def test_an_impossible_count_is_refused_when_applied_too() -> None:
    assert LockService().refused(A, LatchCount("done", 0)).code == "invalid_argument"
