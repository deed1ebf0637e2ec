"""Fair queues, hand-over, forced loss and what follows it."""

from support.lock_service import A, B, C, D, LockService
from synaxis.effects import Refused
from synaxis.locks.commands import Acquire, Done, Granted, LockEventType, LockKind, LockMode

SHARED = LockMode.SHARED


def test_a_contended_lock_is_handed_to_waiters_in_order() -> None:
    service = LockService()
    token = service.take(A, "x")
    second, third = service.queue(B, "x"), service.queue(C, "x")
    service.release(A, token)
    granted = service.answer(B, second)
    assert service.waits(C, third)
    service.release(B, granted.token)
    assert service.order == [(B, second), (C, third)]


def test_the_grant_of_a_waiter_carries_the_time_of_the_hand_over() -> None:
    service = LockService()
    token = service.take(A, "x")
    wait = service.queue(B, "x")
    service.advance(250)
    service.release(A, token)
    assert service.answer(B, wait).at == service.now
    assert service.events[-1].waited_ms == 250


def test_readers_share_and_a_writer_waits_for_all_of_them() -> None:
    service = LockService()
    first, second = service.share(A, "x"), service.share(B, "x")
    writer = service.queue(C, "x")
    service.release(A, first)
    assert service.waits(C, writer)
    service.release(B, second)
    assert isinstance(service.answer(C, writer), Granted)


def test_a_reader_does_not_overtake_a_waiting_writer() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.queue(B, "x")
    reader = service.queue(C, "x", mode=SHARED)
    assert service.waits(C, reader)
    service.release(A, token)
    assert service.holders("x") == [B]


def test_all_readers_up_to_the_next_writer_are_woken_together() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x", mode=SHARED)
    service.queue(C, "x", mode=SHARED)
    service.queue(D, "x")
    service.queue(A, "x", mode=SHARED, task=1)
    service.release(A, token)
    assert service.holders("x") == [B, C]
    assert service.waiters("x") == [D, A]


def test_readers_behind_a_writer_that_gives_up_are_let_in() -> None:
    service = LockService()
    service.share(A, "x")
    writer = service.queue(B, "x")
    service.queue(C, "x", mode=SHARED)
    service.abandon(B, writer)
    assert service.holders("x") == [A, C]


# --- several names -----------------------------------------------------------------------------


def test_several_names_are_taken_together_under_one_token_or_not_at_all() -> None:
    service = LockService()
    token = service.take(A, "y")
    wait = service.queue(B, "x", "y", "z")
    assert service.info("x").holders == ()
    service.release(A, token)
    granted = service.answer(B, wait)
    assert [service.info(name).holders[0].token for name in "xyz"] == [granted.token] * 3


def test_a_queued_multi_acquire_holds_its_place_in_every_queue() -> None:
    service = LockService()
    token = service.take(A, "y")
    service.queue(B, "x", "y")
    late = service.queue(C, "x")
    assert service.info("x").holders == ()
    assert service.waiters("x") == [B, C]
    service.release(A, token)
    assert service.holders("x") == [B]
    assert service.waits(C, late)


def test_a_multi_acquire_that_leaves_frees_the_places_it_held() -> None:
    service = LockService()
    service.take(A, "y")
    multi = service.queue(B, "x", "y")
    wait = service.queue(C, "x")
    service.abandon(B, multi)
    assert isinstance(service.answer(C, wait), Granted)


def test_a_reader_may_pass_a_reader_that_waits_for_another_name() -> None:
    service = LockService()
    service.take(A, "y")
    service.queue(B, "x", "y", mode=SHARED)
    service.share(C, "x")
    assert service.holders("x") == [C]


def test_readers_queued_behind_such_a_reader_are_woken_past_it() -> None:
    service = LockService()
    service.take(A, "y")
    token = service.take(A, "x", task=1)
    service.queue(B, "x", "y", mode=SHARED)
    wait = service.queue(C, "x", mode=SHARED)
    service.release(A, token)
    assert isinstance(service.answer(C, wait), Granted)


# --- release -----------------------------------------------------------------------------------


def test_releasing_twice_is_told_and_harmless() -> None:
    service = LockService()
    token = service.take(A, "x")
    assert service.release(A, token) == Done()
    assert service.release(A, token) == Done(changed=False)


def test_a_stale_token_never_frees_a_newer_grant() -> None:
    service = LockService()
    stale = service.take(A, "x")
    service.release(A, stale)
    service.take(A, "x")
    assert service.release(A, stale) == Done(changed=False)
    assert service.holders("x") == [A]


def test_another_session_cannot_release_a_grant() -> None:
    service = LockService()
    token = service.take(A, "x")
    assert service.release(B, token) == Done(changed=False)
    assert service.holders("x") == [A]


# --- max hold and lock delay --------------------------------------------------------------


def test_max_hold_takes_the_lock_back_and_passes_it_on() -> None:
    service = LockService()
    service.take(A, "x", max_hold_ms=300)
    wait = service.queue(B, "x")
    service.advance(299)
    assert service.waits(B, wait)
    service.advance(1)
    assert isinstance(service.answer(B, wait), Granted)
    expired = next(one for one in service.events if one.what is LockEventType.EXPIRED)
    assert expired.details == {"reason": "max_hold"}


def test_max_hold_of_a_waiter_counts_from_its_grant() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x", max_hold_ms=100)
    service.advance(500)
    service.release(A, token)
    assert service.machine.deadline() == service.now + 100


def test_a_released_grant_leaves_no_deadline_behind() -> None:
    service = LockService()
    service.release(A, service.take(A, "x", max_hold_ms=300))
    assert service.machine.deadline() is None


def test_after_a_forced_loss_the_lock_delay_keeps_everybody_out() -> None:
    service = LockService()
    service.take(A, "x", lock_delay_ms=50)
    wait = service.queue(B, "x")
    service.end_session(A)
    assert service.waits(B, wait)
    refused = service.refused(C, Acquire(("x",), wait_ms=0))
    assert "lock delay" in refused.message or refused.details["holder"]
    service.advance(50)
    assert isinstance(service.answer(B, wait), Granted)


def test_a_delayed_lock_that_nobody_waits_for_is_refused_with_the_reason() -> None:
    service = LockService()
    service.take(A, "x", lock_delay_ms=50)
    service.end_session(A)
    refused = service.refused(C, Acquire(("x",), wait_ms=0))
    assert "lock delay" in refused.message
    assert service.info("x").delayed_until == service.now + 50


def test_a_voluntary_release_has_no_lock_delay() -> None:
    service = LockService()
    service.release(A, service.take(A, "x", lock_delay_ms=50))
    service.take(B, "x")


def test_the_lock_delay_of_shared_grants_is_the_longest_one() -> None:
    service = LockService()
    service.share(A, "x", lock_delay_ms=50)
    service.share(B, "x", lock_delay_ms=20)
    service.end_session(A)
    service.end_session(B)
    assert service.info("x").delayed_until == service.now + 50
    service.advance(50)
    assert service.machine.deadline() is None


def test_a_delay_that_ends_in_the_last_millisecond_of_a_wait_grants_it() -> None:
    service = LockService()
    service.take(A, "x", lock_delay_ms=50)
    wait = service.queue(B, "x", wait_ms=50)
    service.end_session(A)
    service.advance(50)
    assert isinstance(service.answer(B, wait), Granted)


# --- wait timeouts -----------------------------------------------------------------------------


def test_a_try_is_refused_at_once_and_leaves_nothing_behind() -> None:
    service = LockService()
    service.take(A, "x")
    service.advance(40)
    refused = service.refused(B, Acquire(("x",), wait_ms=0))
    assert refused.code == "lock_timeout"
    assert refused.details == {
        "name": "x",
        "waited_ms": 0,
        "session": "000000000000000a",
        "holder": "000000000000000a",
    }
    assert service.waiters("x") == []


def test_a_wait_ends_at_its_deadline_in_log_time() -> None:
    service = LockService()
    service.take(A, "x")
    wait = service.queue(B, "x", wait_ms=100)
    assert service.machine.deadline() == service.now + 100
    service.advance(99)
    assert service.waits(B, wait)
    service.advance(1)
    refused = service.answer(B, wait)
    assert isinstance(refused, Refused)
    assert refused.code == "lock_timeout"
    assert refused.details["waited_ms"] == 100


def test_waits_due_together_end_in_order_of_deadline_then_arrival() -> None:
    service = LockService()
    service.take(A, "x")
    late = service.queue(B, "x", wait_ms=60)
    first = service.queue(C, "x", wait_ms=50)
    second = service.queue(D, "x", wait_ms=50)
    service.advance(1_000)
    assert service.order == [(C, first), (D, second), (B, late)]


def test_a_timed_out_acquire_can_never_be_granted_later() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x", wait_ms=10)
    service.advance(10)
    service.release(A, token)
    assert service.info("x").holders == ()


# --- limits ------------------------------------------------------------------------------------


def test_a_full_queue_is_refused_by_name_of_the_limit() -> None:
    service = LockService.limited(waiters_per_lock_max=1)
    service.take(A, "x")
    service.queue(B, "x")
    refused = service.refused(C, Acquire(("x",)))
    assert (refused.code, refused.details) == (
        "limit_exceeded",
        {"limit": "waiters_per_lock_max", "maximum": 1},
    )


def test_a_session_has_a_bounded_number_of_requests() -> None:
    service = LockService.limited(requests_per_session_max=2)
    token = service.take(A, "x")
    service.share(A, "y")
    for command in (Acquire(("z",)), Acquire(("y",), mode=SHARED)):
        assert service.refused(A, command).details["limit"] == "requests_per_session_max"
    service.release(A, token)
    service.take(A, "z")


# --- re-entry ----------------------------------------------------------------------------------


def test_re_entry_is_counted_under_the_same_token() -> None:
    service = LockService()
    token = service.take(A, "x")
    again = service.acquire(A, "x", reentrant=True)
    assert again == Granted(token, service.now, 2)
    assert service.release(A, token) == Done()
    assert service.holders("x") == [A]
    service.release(A, token)
    assert service.info("x").holders == ()


def test_re_entry_of_a_part_of_a_grant_is_the_same_grant() -> None:
    service = LockService()
    token = service.take(A, "x", "y")
    assert service.acquire(A, "y", reentrant=True) == Granted(token, service.now, 2)


def test_shared_re_entry_into_an_exclusive_grant_is_allowed() -> None:
    service = LockService()
    token = service.take(A, "x")
    assert service.acquire(A, "x", reentrant=True, mode=SHARED) == Granted(token, service.now, 2)


def test_re_entry_belongs_to_one_task() -> None:
    service = LockService()
    service.take(A, "x", task=1)
    service.queue(A, "x", task=2, reentrant=True)


def test_abandoning_a_re_entry_takes_back_just_that_one() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.acquire(A, "x", reentrant=True)
    entry = service.last(A)
    assert service.abandon(A, entry) == Done()
    assert service.abandon(A, entry) == Done(changed=False)
    assert service.info("x").holders[0].holds == 1
    service.release(A, token)
    assert service.info("x").holders == ()


def test_abandoning_the_first_entry_keeps_the_second() -> None:
    service = LockService()
    service.take(A, "x")
    first = service.last(A)
    service.acquire(A, "x", reentrant=True)
    service.abandon(A, first)
    assert service.abandon(A, first) == Done(changed=False)
    assert service.holders("x") == [A]
    service.restart()
    service.end_session(A)
    assert service.info("x").holders == ()


def test_an_entry_abandoned_after_another_was_released_frees_the_lock() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.acquire(A, "x", reentrant=True)
    entry = service.last(A)
    service.release(A, token)
    service.abandon(A, entry)
    assert service.info("x").holders == ()


def test_entering_and_leaving_for_ever_needs_no_memory() -> None:
    service = LockService()
    token = service.take(A, "x")
    for _ in range(200):
        service.acquire(A, "x", reentrant=True)
        service.release(A, token)
    assert len(service.machine.table.tenants[A].requests) < 50


def test_re_entries_are_bounded() -> None:
    service = LockService.limited(reentries_max=2)
    service.take(A, "x")
    service.acquire(A, "x", reentrant=True)
    refused = service.refused(A, Acquire(("x",), reentrant=True))
    assert refused.details["limit"] == "reentries_max"


def test_two_shared_grants_of_one_session_are_two_holders() -> None:
    service = LockService()
    first, second = service.share(A, "x"), service.share(A, "x")
    assert first != second
    service.release(A, first)
    assert service.info("x", LockKind.LOCK).holders[0].token == second
