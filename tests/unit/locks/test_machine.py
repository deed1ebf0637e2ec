"""The port: dispatch, sessions, abandoning, force-release, values, settings."""

import pytest

from support.lock_service import A, B, C, LockService
from synaxis.consensus.commands import OpenSession
from synaxis.effects import Refused
from synaxis.errors import InvalidArgument
from synaxis.ids import FencingToken, LogTime, Sequence
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    DescribeLock,
    Done,
    Granted,
    LockEventType,
    LockKind,
    LockMode,
    Release,
    SetValue,
)
from synaxis.locks.machine import LockMachine
from synaxis.ports import StateMachine

WRONG = "invalid_argument"


def test_it_is_a_state_machine() -> None:
    machine: StateMachine = LockMachine()
    port = {name for name in vars(StateMachine) if not name.startswith("_")}
    assert port <= set(dir(machine))


def test_a_free_lock_is_granted_at_once_with_the_log_time() -> None:
    service = LockService()
    reply = service.acquire(A, "x")
    assert reply == Granted(FencingToken((1 << 40) + 1), LogTime(1_000))


def test_a_command_of_another_machine_is_refused_not_raised() -> None:
    assert LockService().refused(A, OpenSession(1_000)).code == WRONG


def test_a_question_of_another_machine_is_refused_not_raised() -> None:
    answer = LockMachine().query(OpenSession(1_000), LogTime(0))
    assert isinstance(answer, Refused)


def test_validate_says_what_is_allowed() -> None:
    with pytest.raises(InvalidArgument, match="at least one"):
        LockMachine().validate(Acquire(()))


# --- end of a session ------------------------------------------------------------------------


def test_the_end_of_a_session_hands_its_locks_to_the_next_in_line() -> None:
    service = LockService()
    service.take(A, "x")
    wait = service.queue(B, "x")
    service.end_session(A)
    assert service.holders("x") == [B]
    assert isinstance(service.answer(B, wait), Granted)


def test_a_waiter_whose_session_died_is_never_granted() -> None:
    service = LockService()
    token = service.take(A, "x")
    dead = service.queue(B, "x")
    alive = service.queue(C, "x")
    service.end_session(B)
    service.release(A, token)
    assert service.waits(B, dead)
    assert isinstance(service.answer(C, alive), Granted)


def test_a_dying_session_grants_nothing_to_its_own_other_waits() -> None:
    service = LockService()
    service.take(A, "x", task=1)
    wait = service.queue(A, "x", task=2)
    service.end_session(A)
    assert service.waits(A, wait)
    assert service.info("x").holders == ()


def test_the_end_of_a_session_is_reported_as_expiry() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.happened()
    service.machine.end_session(A, service.now)
    (event,) = service.machine.take_events()
    assert event.what is LockEventType.EXPIRED  # type: ignore[attr-defined]
    assert event.token == token  # type: ignore[attr-defined]
    assert event.details == {"reason": "session_expired"}  # type: ignore[attr-defined]


def test_an_unknown_session_may_end() -> None:
    service = LockService()
    service.end_session(A)
    assert service.machine.snapshot() == LockMachine().snapshot()


# --- abandon ---------------------------------------------------------------------------------


def test_abandoning_a_wait_answers_it_and_leaves_no_orphan_in_the_queue() -> None:
    service = LockService()
    token = service.take(A, "x")
    wait = service.queue(B, "x")
    assert service.abandon(B, wait) == Done()
    assert service.answer(B, wait).code == "wait_abandoned"
    service.release(A, token)
    assert service.info("x").holders == ()


def test_abandoning_a_command_that_was_just_granted_gives_the_lock_back() -> None:
    service = LockService()
    service.take(A, "x")
    acquire = service.last(A)
    wait = service.queue(B, "x")
    assert service.abandon(A, acquire) == Done()
    assert isinstance(service.answer(B, wait), Granted)


def test_abandoning_twice_is_harmless() -> None:
    service = LockService()
    service.take(A, "x")
    acquire = service.last(A)
    service.abandon(A, acquire)
    service.take(B, "x")
    assert service.abandon(A, acquire) == Done(changed=False)
    assert service.holders("x") == [B]


def test_a_command_abandoned_before_it_arrives_is_refused_when_it_comes() -> None:
    service = LockService()
    assert service.do(A, Abandon(Sequence(1)), sequence=2) == Done(changed=False)
    reply = service.do(A, Acquire(("x",)), sequence=1)
    assert isinstance(reply, Refused)
    assert reply.code == "wait_abandoned"
    assert service.info("x").holders == ()


def test_an_early_abandon_is_remembered_over_a_snapshot() -> None:
    service = LockService()
    service.do(A, Abandon(Sequence(1)), sequence=2)
    service.restart()
    reply = service.do(A, Acquire(("x",)), sequence=1)
    assert isinstance(reply, Refused)


def test_an_early_abandon_is_spent_by_the_command_it_was_for() -> None:
    service = LockService()
    service.do(A, Abandon(Sequence(1)), sequence=2)
    service.do(A, Acquire(("x",)), sequence=1)
    assert service.machine.abandoned == {}


def test_early_abandons_are_bounded_and_forget_the_oldest() -> None:
    service = LockService.limited(abandoned_per_session_max=2)
    for target in (1, 3, 5):
        service.do(A, Abandon(Sequence(target)), sequence=target + 1)
    assert service.machine.abandoned == {A: [3, 5]}


def test_only_earlier_commands_can_be_abandoned() -> None:
    service = LockService()
    assert service.refused(A, Abandon(Sequence(7))).code == WRONG


# --- force release ---------------------------------------------------------------------------


def test_force_release_takes_the_lock_from_all_holders_and_says_who_and_why() -> None:
    service = LockService()
    service.share(A, "x")
    service.share(B, "x")
    wait = service.queue(C, "x")
    service.events.clear()
    assert service.force_release("x", "stuck since noon") == Done()
    assert isinstance(service.answer(C, wait), Granted)
    forced = [one for one in service.events if one.what is LockEventType.FORCE_RELEASED]
    assert [one.session for one in forced] == [A, B]
    assert forced[0].details == {"reason": "stuck since noon", "by": "00000000000000ff"}


def test_force_release_of_one_token_leaves_the_other_holders_alone() -> None:
    service = LockService()
    service.share(A, "x")
    token = service.share(B, "x")
    assert service.force_release("x", token=token) == Done()
    assert service.holders("x") == [A]


def test_force_release_takes_a_grant_of_several_names_from_all_of_them() -> None:
    service = LockService()
    service.take(A, "x", "y")
    service.force_release("x")
    assert service.info("y").holders == ()


def test_force_release_of_what_nobody_holds_changes_nothing() -> None:
    service = LockService()
    token = service.take(A, "x")
    assert service.force_release("y") == Done(changed=False)
    assert service.force_release("x", token=FencingToken(token + 1)) == Done(changed=False)
    assert service.holders("x") == [A]


# --- values and elections ----------------------------------------------------------------------


def test_a_leader_is_elected_and_proclaims() -> None:
    service = LockService()
    token = service.take(A, "boss", kind=LockKind.ELECTION, value=b"host-a")
    wait = service.queue(B, "boss", kind=LockKind.ELECTION, value=b"host-b")
    assert service.do(A, SetValue(token, b"host-a:2")) == Done()
    assert service.info("boss", LockKind.ELECTION).holders[0].value == b"host-a:2"
    service.release(A, token)
    assert isinstance(service.answer(B, wait), Granted)
    values = [(one.what, one.value) for one in service.events]
    assert (LockEventType.VALUE, b"host-a:2") in values
    assert values[-1] == (LockEventType.GRANTED, b"host-b")


def test_a_value_needs_a_grant_of_this_session() -> None:
    service = LockService()
    token = service.take(A, "boss", kind=LockKind.ELECTION)
    assert service.refused(B, SetValue(token, b"me")).code == "lock_not_held"


def test_setting_the_same_value_again_tells_nobody() -> None:
    service = LockService()
    token = service.take(A, "x", value=b"v")
    service.happened()
    assert service.do(A, SetValue(token, b"v")) == Done(changed=False)
    assert service.happened() == []


def test_kinds_are_name_spaces_of_their_own() -> None:
    service = LockService()
    service.take(A, "x")
    service.take(B, "x", kind=LockKind.ELECTION)
    service.take(C, "x", kind=LockKind.SEMAPHORE, permits=2)
    assert service.holders("x") == [A]


# --- settings --------------------------------------------------------------------------------


def test_owner_names_appear_in_refusals_when_they_are_known() -> None:
    service = LockService()
    service.machine.owner_of = {A: "worker-1", B: "worker-2"}.__getitem__
    service.take(A, "x")
    refused = service.refused(B, Acquire(("x",), wait_ms=0))
    assert refused.details["holder"] == "worker-1"
    assert "worker-1" in refused.message


def test_settings_survive_a_restore() -> None:
    machine = LockMachine()
    machine.owner_of = str
    machine.events_wanted = False
    machine.restore(LockMachine().snapshot())
    assert machine.owner_of is str
    assert not machine.events_wanted


def test_unwanted_events_change_nothing_else() -> None:
    silent = LockService()
    silent.machine.events_wanted = False
    loud = LockService()
    for service in (silent, loud):
        token = service.take(A, "x")
        service.queue(B, "x", "y")
        service.release(A, token)
        service.end_session(B)
    assert silent.events == []
    assert silent.machine.snapshot() == loud.machine.snapshot()


def test_counts_tell_what_is_held_and_waited_for() -> None:
    service = LockService()
    service.take(A, "x")
    service.share(A, "s")
    service.take(A, "sem", kind=LockKind.SEMAPHORE, permits=3, weight=2)
    service.queue(B, "x")
    assert service.machine.counts() == (1, 1, 1, 1)


def test_events_come_in_the_order_of_a_hand_over() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x")
    service.release(A, token)
    assert service.happened() == [
        LockEventType.GRANTED,
        LockEventType.QUEUED,
        LockEventType.RELEASED,
        LockEventType.GRANTED,
    ]


def test_a_query_changes_nothing() -> None:
    service = LockService()
    service.take(A, "x")
    before = service.machine.snapshot()
    service.machine.query(DescribeLock("x"), service.now)
    assert service.machine.snapshot() == before
    assert service.do(A, Release(service.info("x").holders[0].token)) == Done()


def test_all_names_of_a_grant_are_released_by_one_release() -> None:
    service = LockService()
    token = service.take(A, "x", "y", "z", mode=LockMode.SHARED)
    service.release(A, token)
    assert [service.info(name).holders for name in "xyz"] == [(), (), ()]
