"""Weighted permits, their capacity, and resizing."""

from typing import Any

from support.lock_service import A, B, C, LockService
from synaxis.effects import Refused
from synaxis.ids import FencingToken
from synaxis.locks.commands import Acquire, Done, Granted, LockKind, SetPermits
from synaxis.locks.machine import LockMachine

SEMAPHORE = LockKind.SEMAPHORE


def want(weight: int = 1, permits: int = 3, **options: Any) -> Acquire:
    return Acquire(("gpu",), kind=SEMAPHORE, weight=weight, permits=permits, **options)


def take(service: LockService, session: Any, weight: int = 1, permits: int = 3) -> FencingToken:
    reply = service.do(session, want(weight, permits))
    assert isinstance(reply, Granted)
    return reply.token


def test_permits_are_given_until_they_are_used_up() -> None:
    service = LockService()
    token = take(service, A, 2)
    take(service, B, 1)
    assert service.do(C, want(1)) is None
    wait = service.last(C)
    service.release(A, token)
    assert isinstance(service.answer(C, wait), Granted)


def test_a_light_request_does_not_starve_a_heavy_one() -> None:
    service = LockService()
    token = take(service, A, 2)
    assert service.do(B, want(3)) is None
    heavy = service.last(B)
    assert service.do(C, want(1)) is None
    service.release(A, token)
    assert isinstance(service.answer(B, heavy), Granted)
    assert service.waiters("gpu", SEMAPHORE) == [C]


def test_one_release_may_let_in_several() -> None:
    service = LockService()
    token = take(service, A, 3)
    service.do(B, want(1))
    service.do(C, want(2))
    service.release(A, token)
    assert service.holders("gpu", SEMAPHORE) == [B, C]


def test_a_session_may_hold_several_grants_of_one_semaphore() -> None:
    service = LockService()
    take(service, A)
    take(service, A)
    assert service.holders("gpu", SEMAPHORE) == [A, A]


def test_a_disagreeing_capacity_is_refused_with_the_one_in_force() -> None:
    service = LockService()
    take(service, A, permits=3)
    refused = service.refused(B, want(permits=4))
    assert (refused.code, refused.details["permits"]) == ("invalid_argument", 3)


def test_the_capacity_is_forgotten_with_the_last_holder() -> None:
    service = LockService()
    service.release(A, take(service, A, permits=3))
    take(service, B, permits=4)


def test_growing_lets_waiters_in() -> None:
    service = LockService()
    take(service, A, 3)
    service.do(B, want(1))
    wait = service.last(B)
    assert service.do(C, SetPermits("gpu", 4)) == Done()
    assert isinstance(service.answer(B, wait), Granted)


def test_shrinking_below_what_is_held_only_delays_later_grants() -> None:
    service = LockService()
    first, second = take(service, A, 2), take(service, B, 1)
    service.do(C, SetPermits("gpu", 1))
    assert service.holders("gpu", SEMAPHORE) == [A, B]
    assert service.do(C, want(1, permits=1)) is None
    wait = service.last(C)
    service.release(B, second)
    assert service.waits(C, wait)
    service.release(A, first)
    assert isinstance(service.answer(C, wait), Granted)


def test_shrinking_refuses_waiters_that_want_more_than_there_will_be() -> None:
    service = LockService()
    take(service, A, 3)
    service.do(B, want(3))
    heavy = service.last(B)
    service.do(C, want(1))
    service.do(C, SetPermits("gpu", 2))
    refused = service.answer(B, heavy)
    assert isinstance(refused, Refused)
    assert refused.details == {"name": "gpu", "permits": 2}
    assert service.waiters("gpu", SEMAPHORE) == [C]


def test_a_capacity_set_by_hand_outlives_the_holders_until_it_is_unpinned() -> None:
    service = LockService()
    service.do(A, SetPermits("gpu", 5))
    service.restart()
    assert service.refused(B, want(permits=3)).details["permits"] == 5
    assert service.do(A, SetPermits("gpu", 0)) == Done()
    assert service.do(A, SetPermits("gpu", 0)) == Done(changed=False)
    take(service, B, permits=3)


def test_unpinning_an_unused_semaphore_forgets_it() -> None:
    service = LockService()
    service.do(A, SetPermits("gpu", 5))
    service.do(A, SetPermits("gpu", 0))
    assert service.machine.snapshot() == LockMachine().snapshot()


def test_setting_the_same_capacity_twice_says_that_nothing_changed() -> None:
    service = LockService()
    service.do(A, SetPermits("gpu", 5))
    assert service.do(A, SetPermits("gpu", 5)) == Done(changed=False)


def test_pinned_semaphores_are_bounded() -> None:
    service = LockService.limited(pinned_semaphores_max=1)
    service.do(A, SetPermits("gpu", 5))
    service.do(A, SetPermits("gpu", 6))
    refused = service.refused(A, SetPermits("cpu", 5))
    assert refused.details["limit"] == "pinned_semaphores_max"


def test_several_semaphores_are_taken_together() -> None:
    service = LockService()
    take(service, A, 3)
    command = Acquire(("cpu", "gpu"), kind=SEMAPHORE, permits=3)
    assert service.do(B, command) is None
    assert service.holders("cpu", SEMAPHORE) == []
    assert service.waiters("cpu", SEMAPHORE) == [B]


def test_a_grant_of_several_semaphores_lets_those_behind_it_have_what_is_left() -> None:
    service = LockService()
    token = take(service, A, 3)
    service.do(B, Acquire(("cpu", "gpu"), kind=SEMAPHORE, permits=3))
    service.do(C, Acquire(("cpu",), kind=SEMAPHORE, permits=3))
    assert service.holders("cpu", SEMAPHORE) == []
    service.release(A, token)
    assert service.holders("cpu", SEMAPHORE) == [B, C]


def test_negative_permits_are_refused_when_applied_too() -> None:
    assert LockService().refused(A, SetPermits("gpu", -1)).code == "invalid_argument"
