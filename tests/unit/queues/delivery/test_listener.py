"""What the leader's half makes of changes of the replicated half."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, SHARED, QueueService
from synaxis.queues.commands import DeleteGroup, GroupMode

ALL = [SHARED, KEYED, EXCLUSIVE]


@pytest.fixture
def service() -> QueueService:
    made = QueueService()
    made.configure(backoff_first_ms=100)
    return made


@pytest.mark.parametrize("mode", ALL)
def test_a_group_that_is_deleted_and_made_anew_begins_anew(
    service: QueueService, mode: GroupMode
) -> None:
    member = service.member(mode, credit=1)
    other = service.member(group="other", credit=0)
    service.publish(keys=["a"] * 4, delays=[0, 0, 500, 0])
    member.nack(0, delay=300)
    member.leave()
    service.do(DeleteGroup("t", "g"))
    service.publish(keys=["a"])
    service.advance(1_000, heard=[other])
    again = service.member(mode)
    assert sorted(again.offsets) == [0, 1, 2, 3, 4]
    assert set(again.held.values()) == {0}


@pytest.mark.parametrize("mode", ALL)
def test_a_topic_that_is_removed_takes_everything_with_it(
    service: QueueService, mode: GroupMode
) -> None:
    members = [service.member(mode, auto_extend=bool(number)) for number in range(2)]
    service.publish(keys=["a", "b", "c"], delays=[0, 0, 500])
    members[0].nack(0, delay=300)
    service.remove()
    assert all(member.over is not None for member in members)
    service.advance(60_000, heard=members)
    assert service.dispatcher.deadline() is None


@pytest.mark.parametrize("mode", ALL)
def test_a_topic_that_is_created_anew_is_consumed_by_who_joins_it(
    service: QueueService, mode: GroupMode
) -> None:
    former = service.member(mode)
    service.publish_many(3)
    service.configure(topic_id=2)
    present = service.member(mode)
    service.publish(b"new")
    service.advance(60_000, heard=[former, present])
    assert (former.offsets, present.bodies) == ([0, 1, 2], [b"new"])


def test_a_topic_that_is_paused_is_published_to_but_not_delivered(service: QueueService) -> None:
    member = service.member()
    service.configure(paused=True)
    service.publish_many(2)
    service.advance(1_000, heard=[member])
    assert member.offsets == []
    service.configure(paused=False)
    assert member.offsets == [0, 1]


def test_what_comes_back_keeps_its_priority(service: QueueService) -> None:
    member = service.member(credit=3)
    service.publish(priorities=[1, 9, 5])
    service.publish(priorities=[7, 0])
    member.take_new()
    member.nack(0, 1, 2)
    member.credit(2)
    assert member.take_new() == [1, 3]
    member.release(1)
    member.credit(2)
    assert member.take_new() == [1, 2]


def test_a_follower_hears_of_everything_and_does_nothing() -> None:
    service = QueueService(leads=False)
    service.configure()
    service.publish_many(1)
    member = service.member(EXCLUSIVE, credit=0)
    service.configure(paused=True)
    member.leave()
    service.remove()
    assert service.dispatcher.take_replies() == []
    assert service.dispatcher.take_commands() == []
