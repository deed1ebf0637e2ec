"""A key stands where those who may take from it look, whatever happens to its head or its owner."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, QueueService
from synaxis.queues.commands import GroupMode, Purge, Seek

ORDERED = [KEYED, EXCLUSIVE]


def service(**config: object) -> QueueService:
    made = QueueService()
    made.configure(**config)  # type: ignore[arg-type]  # whatever a topic may be
    return made


@pytest.mark.parametrize("mode", ORDERED)
def test_a_head_that_comes_back_does_not_wait_for_the_time_of_the_one_behind_it(
    mode: GroupMode,
) -> None:
    made = service()
    member = made.member(mode)
    made.publish(keys=["a", "a"], delays=[0, 60_000])
    member.nack(0, delay=25)
    made.advance(25, heard=[member])
    assert member.take_new() == [0, 0]


@pytest.mark.parametrize("mode", ORDERED)
def test_a_head_that_expires_while_it_waits_lets_the_next_one_go(mode: GroupMode) -> None:
    made = service()
    member = made.member(mode)
    made.publish(keys=["a", "a"], delays=[60_000, 0], ttls=[50, 0])
    made.advance(49, heard=[member])
    assert member.offsets == []
    made.advance(1, heard=[member])
    assert member.offsets == [1]


@pytest.mark.parametrize("mode", ORDERED)
def test_a_purge_of_everything_that_waits_lets_what_comes_next_go(mode: GroupMode) -> None:
    made = service()
    member = made.member(mode)
    made.publish(keys=["a"] * 3, delays=[60_000] * 3)
    made.do(Purge("t"))
    made.publish(keys=["a"])
    assert member.offsets == [3]


def test_what_an_owner_holds_when_it_yields_goes_to_the_next_one() -> None:
    made = service(partitions=2, backoff_first_ms=0, backoff_max_ms=0)
    one = made.member(EXCLUSIVE)
    for partition in (0, 1):
        made.publish_many(2, partition=partition)
    other = made.member(EXCLUSIVE)
    moving = one.assignments[-1].yielding[0]
    one.give_up(moving)
    assert other.got == [(moving, 0), (moving, 1)]
    assert set(other.held.values()) == {1}  # it had its chance
    assert made.progress(moving).in_flight == 2


def test_two_members_that_say_they_hold_a_key_get_no_more_of_it_until_one_is_done() -> None:
    """After a seek a member does not know that what it holds is wanted again, and a new leader
    does not know of the seek."""
    made = service()
    one, other = made.member(KEYED, credit=1), made.member(KEYED, credit=0)
    made.publish(keys=["a", "a"])
    made.do(Seek("t", "g", offset=0))
    other.attach(2)
    assert (one.offsets, other.offsets) == ([0], [0, 1])
    made.fail_over()
    one.attach(5, one.held)
    other.attach(5, other.held)
    made.publish(keys=["a", "b"])
    assert (one.take_new(), other.take_new()) == ([0, 3], [0, 1])
    one.ack(0)
    assert (one.take_new(), other.take_new()) == ([], [2])
