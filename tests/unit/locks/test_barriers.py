"""Barriers fill, open, and begin anew."""

from support.lock_service import A, B, C, LockService
from synaxis.locks.commands import BarrierEnter, Done
from synaxis.locks.machine import LockMachine

ENTER = BarrierEnter("step", parties=3)


def test_nobody_passes_before_all_have_come_and_then_all_do() -> None:
    service = LockService()
    assert service.do(A, ENTER) is None
    assert service.do(B, ENTER) is None
    assert service.do(C, ENTER) == Done(position=3)
    assert service.answer(A, service.last(A)) == Done(position=1)
    assert service.answer(B, service.last(B)) == Done(position=2)


def test_the_next_one_to_enter_begins_a_new_generation() -> None:
    service = LockService()
    for session in (A, B, C):
        service.do(session, ENTER)
    assert service.do(A, ENTER) is None
    assert service.waits(A, service.last(A))


def test_a_party_that_leaves_shrinks_the_count() -> None:
    service = LockService()
    service.do(A, ENTER)
    service.do(B, ENTER)
    service.abandon(B, service.last(B))
    assert service.do(C, ENTER) is None
    assert service.do(B, ENTER) == Done(position=3)
    assert service.answer(C, service.last(C)) == Done(position=2)


def test_an_abandoned_wait_at_a_barrier_is_answered() -> None:
    service = LockService()
    service.do(A, ENTER)
    wait = service.last(A)
    assert service.abandon(A, wait) == Done()
    assert service.answer(A, wait).code == "wait_abandoned"
    assert service.abandon(A, wait) == Done(changed=False)


def test_a_lost_session_leaves_the_barrier_silently() -> None:
    service = LockService()
    service.do(A, ENTER)
    service.end_session(A)
    assert service.late == {}
    assert service.machine.gates.waits == {}


def test_a_wait_at_a_barrier_times_out() -> None:
    service = LockService()
    service.do(A, BarrierEnter("step", 3, wait_ms=20))
    wait = service.last(A)
    service.advance(20)
    refused = service.answer(A, wait)
    assert (refused.code, refused.details) == ("lock_timeout", {"name": "step", "waited_ms": 20})


def test_trying_an_incomplete_barrier_is_refused_at_once() -> None:
    service = LockService()
    assert service.refused(A, BarrierEnter("step", 2, wait_ms=0)).code == "lock_timeout"
    assert service.machine.gates.waits == {}


def test_trying_as_the_last_party_passes() -> None:
    service = LockService()
    service.do(A, BarrierEnter("step", 2))
    assert service.do(B, BarrierEnter("step", 2, wait_ms=0)) == Done(position=2)


def test_a_barrier_for_one_is_always_open() -> None:
    assert LockService().do(A, BarrierEnter("step", 1)) == Done(position=1)


def test_disagreeing_parties_are_refused_with_the_number_in_force() -> None:
    service = LockService()
    service.do(A, ENTER)
    assert service.refused(B, BarrierEnter("step", 2)).details["parties"] == 3


def test_a_barrier_survives_a_snapshot() -> None:
    service = LockService()
    service.do(A, BarrierEnter("step", 2, wait_ms=30))
    wait = service.last(A)
    service.restart()
    assert service.machine.deadline() == service.now + 30
    assert service.do(B, BarrierEnter("step", 2)) == Done(position=2)
    assert service.answer(A, wait) == Done(position=1)
    assert service.machine.deadline() is None


def test_an_impossible_number_of_parties_is_refused_when_applied_too() -> None:
    service = LockService(LockMachine())
    assert service.refused(A, BarrierEnter("step", 0)).code == "invalid_argument"
