"""The independent model of the lock service refuses every answer that the rules forbid."""

import msgspec
import pytest

from synaxis.effects import Refused
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    Convert,
    Done,
    ForceRelease,
    Granted,
    LockInfo,
    LockKind,
    LockMode,
    Release,
)
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.lock_model import LockModel

A, B, C = SessionId(1), SessionId(2), SessionId(3)
TAKE = Acquire(("a",))
TAKE_B = Acquire(("b",))
SHARE = Acquire(("a",), mode=LockMode.SHARED)
TIMED_OUT = Refused("lock_timeout", "")


@pytest.fixture
def model() -> LockModel:
    return LockModel(Coverage())


def granted(token: int, at: int = 0) -> Granted:
    return Granted(FencingToken(token), LogTime(at))


def release(token: int) -> Release:
    return Release(FencingToken(token))


def apply(
    model: LockModel,
    session: SessionId,
    sequence: int,
    command: msgspec.Struct,
    reply: msgspec.Struct | None,
    *outcomes: tuple[SessionId, int, msgspec.Struct],
) -> None:
    late = [(owner, Sequence(number), body) for owner, number, body in outcomes]
    model.apply(session, Sequence(sequence), command, reply, late)


def deadlock(*sessions: SessionId) -> Refused:
    cycle = [{"session": f"{session:016x}", "task": 0} for session in sessions]
    return Refused("deadlock", "", {"cycle": cycle})


def test_a_fair_life_of_a_lock_is_accepted(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE, None)
    apply(model, C, 1, TAKE, None)
    apply(model, A, 2, release(1), Done(), (B, 1, granted(2)))
    apply(model, B, 2, release(2), Done(), (C, 1, granted(3)))
    apply(model, A, 3, release(1), Done(changed=False))
    model.end_session(C, [])
    assert not model.table.grants
    assert not model.table.waits


def test_a_held_lock_is_not_granted_again(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    with pytest.raises(HistoryViolation, match="granted against the rules"):
        apply(model, B, 1, TAKE, granted(2))


def test_tokens_grow(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(5))
    with pytest.raises(HistoryViolation, match="token 5 is not above 5"):
        apply(model, B, 1, TAKE_B, granted(5))


def test_a_release_wakes_whoever_is_first(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE, None)
    with pytest.raises(HistoryViolation, match="forgotten"):
        apply(model, A, 2, release(1), Done())


def test_nobody_overtakes(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE, None)
    apply(model, C, 1, TAKE, None)
    with pytest.raises(HistoryViolation, match="granted against the rules"):
        apply(model, A, 2, release(1), Done(), (C, 1, granted(2)))


def test_readers_join_each_other_but_not_past_a_writer(model: LockModel) -> None:
    apply(model, A, 1, SHARE, granted(1))
    apply(model, B, 1, SHARE, granted(2))
    apply(model, C, 1, TAKE, None)
    with pytest.raises(HistoryViolation, match="granted against the rules"):
        apply(model, A, 2, SHARE, granted(3))


def test_a_free_lock_is_not_refused(model: LockModel) -> None:
    with pytest.raises(HistoryViolation, match="a free lock was refused"):
        apply(model, A, 1, Acquire(("a",), 0), TIMED_OUT)


def test_a_wait_ends_when_its_time_is_over_and_not_before(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, Acquire(("a",), 100), None)
    with pytest.raises(HistoryViolation, match="before its time"):
        model.advance(LogTime(50), [(B, Sequence(1), TIMED_OUT)])
    with pytest.raises(HistoryViolation, match="outlived"):
        model.advance(LogTime(100), [])


def test_a_dead_session_gets_nothing(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE, None)
    model.end_session(B, [])
    with pytest.raises(HistoryViolation, match="nobody who waits"):
        apply(model, A, 2, release(1), Done(), (B, 1, granted(2)))


def test_the_locks_of_a_dead_session_are_free(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE, None)
    with pytest.raises(HistoryViolation, match="forgotten"):
        model.end_session(A, [])


def test_a_circle_of_two_must_be_found(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE_B, granted(2))
    apply(model, A, 2, TAKE_B, None)
    with pytest.raises(HistoryViolation, match="a deadlock was not detected"):
        apply(model, B, 2, TAKE, None)


def test_a_circle_through_a_queue_must_be_found(model: LockModel) -> None:
    """C waits for B only because B is ahead of it in the queue of a lock that C could share."""
    apply(model, A, 1, SHARE, granted(1))
    apply(model, C, 1, Acquire(("c",)), granted(2))
    apply(model, B, 1, Acquire(("a", "c")), None)
    with pytest.raises(HistoryViolation, match="a deadlock was not detected"):
        apply(model, C, 2, SHARE, None)


def test_a_circle_that_exists_may_be_announced_and_any_other_not(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE_B, granted(2))
    apply(model, A, 2, TAKE_B, None)
    apply(model, B, 2, TAKE, deadlock(B, A))
    with pytest.raises(HistoryViolation, match="does not wait for"):
        apply(model, C, 1, TAKE, deadlock(C, B))


def test_another_victim_than_the_requester_may_be_chosen(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE_B, granted(2))
    apply(model, A, 2, TAKE_B, None)
    apply(model, B, 2, TAKE, None, (A, 2, deadlock(B, A)))
    assert list(model.table.waits) == [(B, Sequence(2))]


def test_an_upgrade_needs_to_be_alone_and_a_new_token(model: LockModel) -> None:
    apply(model, A, 1, SHARE, granted(1))
    apply(model, B, 1, SHARE, granted(2))
    with pytest.raises(HistoryViolation, match="upgraded against the rules"):
        apply(model, A, 2, Convert(FencingToken(1), LockMode.EXCLUSIVE), granted(3))
    apply(model, B, 2, release(2), Done())
    with pytest.raises(HistoryViolation, match="needs a new token"):
        apply(model, A, 3, Convert(FencingToken(1), LockMode.EXCLUSIVE), granted(1))


def test_a_hold_is_taken_back_when_its_time_is_over(model: LockModel) -> None:
    apply(model, A, 1, Acquire(("a",), max_hold_ms=50), granted(1))
    apply(model, B, 1, TAKE, None)
    model.advance(LogTime(50), [(B, Sequence(1), granted(2, 50))])
    with pytest.raises(HistoryViolation, match="changed=False"):
        apply(model, A, 2, release(1), Done())


def test_a_lock_delay_keeps_everybody_away_for_its_time(model: LockModel) -> None:
    apply(model, A, 1, Acquire(("a",), lock_delay_ms=100), granted(1))
    model.end_session(A, [])
    with pytest.raises(HistoryViolation, match="granted against the rules"):
        apply(model, B, 1, TAKE, granted(2))
    apply(model, B, 2, TAKE, None)
    model.advance(LogTime(100), [(B, Sequence(2), granted(2, 100))])


def test_an_abandoned_wait_is_answered_and_an_abandoned_grant_is_given_back(
    model: LockModel,
) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, TAKE, None)
    apply(model, B, 2, Abandon(Sequence(1)), Done(), (B, 1, Refused("wait_abandoned", "")))
    apply(model, A, 2, Abandon(Sequence(1)), Done())
    with pytest.raises(HistoryViolation, match="changed=False"):
        apply(model, A, 3, release(1), Done())


def test_what_was_abandoned_before_it_arrived_is_not_executed(model: LockModel) -> None:
    apply(model, A, 2, Abandon(Sequence(1)), Done(changed=False))
    with pytest.raises(HistoryViolation, match="executed after it was abandoned"):
        apply(model, A, 1, TAKE, granted(1))


def test_permits_are_counted(model: LockModel) -> None:
    def take(weight: int) -> Acquire:
        return Acquire(("gpu",), kind=LockKind.SEMAPHORE, weight=weight, permits=3)

    apply(model, A, 1, take(2), granted(1))
    with pytest.raises(HistoryViolation, match="granted against the rules"):
        apply(model, B, 1, take(2), granted(2))
    apply(model, B, 2, take(1), granted(2))


def test_force_takes_a_lock_from_whoever_holds_it(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    apply(model, B, 1, ForceRelease("a", "stuck"), Done())
    apply(model, C, 1, TAKE, granted(2))


def test_a_reader_is_told_the_truth(model: LockModel) -> None:
    apply(model, A, 1, TAKE, granted(1))
    with pytest.raises(HistoryViolation, match="a reader was told"):
        model.judge_answer("a", LockKind.LOCK, LockInfo("a", LockKind.LOCK, LogTime(0)))
