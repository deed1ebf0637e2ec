"""Upgrades and downgrades."""

from support.lock_service import A, B, C, LockService
from synaxis.ids import FencingToken
from synaxis.locks.commands import (
    Acquire,
    Convert,
    Done,
    Granted,
    LockEventType,
    LockKind,
    LockMode,
)

SHARED, EXCLUSIVE = LockMode.SHARED, LockMode.EXCLUSIVE


def test_the_only_reader_upgrades_at_once_under_a_higher_token() -> None:
    service = LockService()
    token = service.share(A, "x")
    reply = service.convert(A, token, EXCLUSIVE)
    assert isinstance(reply, Granted)
    assert reply.token > token
    assert service.info("x").holders[0].mode is EXCLUSIVE


def test_the_old_token_is_no_longer_held_after_an_upgrade() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.convert(A, token, EXCLUSIVE)
    assert service.release(A, token) == Done(changed=False)
    assert service.holders("x") == [A]


def test_an_upgrade_waits_for_the_other_readers_and_goes_ahead_of_the_queue() -> None:
    service = LockService()
    token, other = service.share(A, "x"), service.share(B, "x")
    writer = service.queue(C, "x")
    assert service.convert(A, token, EXCLUSIVE) is None
    upgrade = service.last(A)
    assert service.waiters("x") == [A, C]
    service.release(B, other)
    assert service.answer(A, upgrade).token > token
    assert service.waits(C, writer)


def test_nobody_new_is_let_in_while_an_upgrade_waits() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    service.convert(A, token, EXCLUSIVE)
    service.queue(C, "x", mode=SHARED)
    assert service.holders("x") == [A, B]


def test_a_failed_upgrade_keeps_the_shared_grant() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    assert service.convert(A, token, EXCLUSIVE, wait_ms=50) is None
    upgrade = service.last(A)
    reader = service.queue(C, "x", mode=SHARED)
    service.advance(50)
    assert service.answer(A, upgrade).code == "lock_timeout"
    assert service.info("x").holders[0].token == token
    assert isinstance(service.answer(C, reader), Granted)


def test_a_tried_upgrade_is_refused_with_who_is_in_the_way() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    refused = service.refused(A, Convert(token, EXCLUSIVE, 0))
    assert (refused.code, refused.details["session"]) == ("lock_timeout", "000000000000000b")


def test_a_downgrade_keeps_the_token_and_lets_readers_in() -> None:
    service = LockService()
    token = service.take(A, "x")
    reader = service.queue(B, "x", mode=SHARED)
    reply = service.convert(A, token, SHARED)
    assert isinstance(reply, Granted)
    assert reply.token == token
    assert isinstance(service.answer(B, reader), Granted)


def test_a_downgrade_does_not_let_readers_past_a_writer() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x")
    service.queue(C, "x", mode=SHARED)
    service.convert(A, token, SHARED)
    assert service.holders("x") == [A]


def test_a_conversion_to_the_same_mode_changes_nothing() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.happened()
    assert service.convert(A, token, EXCLUSIVE) == Granted(token, service.now)
    assert service.happened() == []


def test_a_grant_of_several_names_is_upgraded_in_all_or_none() -> None:
    service = LockService()
    token = service.share(A, "x", "y")
    other = service.share(B, "y")
    service.convert(A, token, EXCLUSIVE)
    upgrade = service.last(A)
    assert service.info("x").holders[0].mode is SHARED
    service.release(B, other)
    assert isinstance(service.answer(A, upgrade), Granted)
    assert {service.info(name).holders[0].mode for name in "xy"} == {EXCLUSIVE}


def test_only_a_grant_of_this_session_can_be_converted() -> None:
    service = LockService()
    token = service.share(A, "x")
    assert service.refused(B, Convert(token, EXCLUSIVE)).code == "lock_not_held"
    assert service.refused(A, Convert(FencingToken(7), EXCLUSIVE)).code == "lock_not_held"


def test_only_locks_have_modes_to_convert() -> None:
    service = LockService()
    token = service.take(A, "sem", kind=LockKind.SEMAPHORE, permits=2)
    assert service.refused(A, Convert(token, SHARED)).code == "invalid_argument"


def test_one_upgrade_of_a_grant_at_a_time() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    service.convert(A, token, EXCLUSIVE)
    assert service.refused(A, Convert(token, EXCLUSIVE)).code == "invalid_argument"


def test_releasing_a_grant_fails_the_upgrade_that_waits() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    service.convert(A, token, EXCLUSIVE)
    upgrade = service.last(A)
    service.release(A, token)
    assert service.answer(A, upgrade).code == "lock_not_held"


def test_losing_a_grant_fails_the_upgrade_that_waits_with_the_reason() -> None:
    service = LockService()
    token = service.share(A, "x", max_hold_ms=10)
    service.share(B, "x")
    service.convert(A, token, EXCLUSIVE)
    upgrade = service.last(A)
    service.advance(10)
    refused = service.answer(A, upgrade)
    assert (refused.code, refused.details["reason"]) == ("lock_lost", "max_hold")


def test_the_end_of_a_session_ends_its_upgrade_silently() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    service.convert(A, token, EXCLUSIVE)
    service.end_session(A)
    assert service.late == {}
    assert service.holders("x") == [B]


def test_max_hold_counts_from_the_first_grant_through_an_upgrade() -> None:
    service = LockService()
    token = service.share(A, "x", max_hold_ms=100)
    service.advance(60)
    service.convert(A, token, EXCLUSIVE)
    service.advance(40)
    assert service.info("x").holders == ()


def test_an_upgrade_is_held_back_by_a_lock_delay() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x", lock_delay_ms=30)
    service.end_session(B)
    assert service.convert(A, token, EXCLUSIVE) is None
    upgrade = service.last(A)
    service.advance(30)
    assert isinstance(service.answer(A, upgrade), Granted)


# --- abandoned upgrades ---------------------------------------------------------------------------


def test_abandoning_an_upgrade_that_waits_keeps_the_shared_grant() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    service.convert(A, token, EXCLUSIVE)
    upgrade = service.last(A)
    assert service.abandon(A, upgrade) == Done()
    assert service.answer(A, upgrade).code == "wait_abandoned"
    assert service.info("x").holders[0].token == token


def test_abandoning_an_upgrade_that_has_happened_turns_it_back_to_the_old_token() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.convert(A, token, EXCLUSIVE)
    upgrade = service.last(A)
    reader = service.queue(B, "x", mode=SHARED)
    service.restart()
    assert service.abandon(A, upgrade) == Done()
    assert service.info("x").holders[0].token == token
    assert isinstance(service.answer(B, reader), Granted)
    assert service.abandon(A, upgrade) == Done(changed=False)


def test_an_upgrade_is_reported_with_its_new_token() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.happened()
    reply = service.convert(A, token, EXCLUSIVE)
    assert isinstance(reply, Granted)
    event = service.events[-1]
    assert (event.what, event.token, event.mode) == (
        LockEventType.CONVERTED,
        reply.token,
        EXCLUSIVE,
    )


def test_upgrades_count_as_waiters() -> None:
    service = LockService.limited(waiters_per_lock_max=1)
    token = service.share(A, "x")
    service.share(B, "x")
    service.queue(C, "x")
    assert service.refused(A, Convert(token, EXCLUSIVE)).code == "limit_exceeded"
    assert service.refused(C, Acquire(("x",), task=1)).code == "limit_exceeded"
