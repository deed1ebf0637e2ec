"""The leader delivers only what it may, only to members, and only while it leads."""

import pytest

from support.queue_service import EXCLUSIVE, QueueService
from synaxis.errors import ConsumerFenced, InvalidArgument
from synaxis.ids import SessionId
from synaxis.queues.commands import (
    Assignment,
    Attach,
    Credit,
    DeleteGroup,
    Release,
    Revoke,
)
from synaxis.queues.limits import DeliveryLimits


@pytest.fixture
def service() -> QueueService:
    made = QueueService()
    made.configure(visibility_ms=5_000)
    return made


# --- confirmation ---------------------------------------------------------------------------


def test_nothing_is_delivered_before_leadership_is_confirmed(service: QueueService) -> None:
    member = service.member()
    service.calm = True
    service.publish_many(2)
    assert service.dispatcher.wants_confirmation()
    service.advance(1_000, heard=[member])
    assert member.offsets == []
    assert service.dispatcher.load("t", "g") == (0, 0)
    service.dispatcher.confirmed(service.now)
    service.pump()
    assert member.offsets == [0, 1]


def test_without_anything_to_deliver_no_confirmation_is_asked_for(service: QueueService) -> None:
    service.calm = True
    member = service.member(credit=1)
    assert not service.dispatcher.wants_confirmation()
    service.publish_many(2)
    assert service.dispatcher.wants_confirmation()
    service.dispatcher.confirmed(service.now)
    assert not service.dispatcher.wants_confirmation()  # nobody takes more
    member.credit(1)
    assert service.dispatcher.wants_confirmation()


def test_what_came_after_the_question_is_delivered_with_the_same_answer(
    service: QueueService,
) -> None:
    member = service.member()
    service.calm = True
    service.publish_many(1)
    assert service.dispatcher.wants_confirmation()
    service.publish_many(1)
    service.dispatcher.confirmed(service.now)
    service.pump()
    assert member.offsets == [0, 1]


def test_a_follower_hears_of_nothing() -> None:
    service = QueueService(leads=False)
    service.configure()
    member = service.member(credit=0)
    service.publish_many(3)
    assert not service.dispatcher.wants_confirmation()
    assert service.dispatcher.deadline() is None
    with pytest.raises(ConsumerFenced):
        member.attach()


def test_what_was_delivered_is_counted(service: QueueService) -> None:
    member = service.member()
    service.publish_many(3)
    member.release(0)
    assert service.dispatcher.delivered == 4


# --- streams --------------------------------------------------------------------------------


def test_streams_end_with_the_leadership(service: QueueService) -> None:
    attached, silent = service.member(), service.member(credit=0)
    service.fail_over()
    assert attached.over is not None
    assert attached.over.code == "not_leader"
    assert silent.over is None


def test_a_former_leader_delivers_nothing(service: QueueService) -> None:
    member = service.member()
    service.calm = True
    service.publish_many(1)
    service.dispatcher.end()
    service.dispatcher.confirmed(service.now)
    service.pump()
    assert member.offsets == []
    assert not service.dispatcher.wants_confirmation()
    assert service.dispatcher.take_commands() == []


def test_a_stream_that_is_attached_again_takes_the_place_of_the_former(
    service: QueueService,
) -> None:
    member = service.member()
    former = member.handle
    member.attach()
    service.dispatcher.disconnected(former)
    service.publish_many(1)
    assert member.offsets == [0]


def test_a_connection_that_broke_gets_nothing(service: QueueService) -> None:
    member = service.member()
    member.disconnect()
    service.publish_many(1)
    assert member.offsets == []


def test_a_stream_ends_when_its_member_leaves(service: QueueService) -> None:
    member = service.member()
    member.leave()
    assert member.over is not None
    assert member.over.code == ConsumerFenced.code


def test_streams_end_with_their_topic(service: QueueService) -> None:
    member = service.member()
    service.remove()
    assert member.over is not None
    assert member.over.code == ConsumerFenced.code


def test_a_group_that_was_deleted_begins_anew(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    member.leave()
    service.do(DeleteGroup("t", "g"))
    assert service.dispatcher.load("t", "g") == (0, 0)
    service.publish_many(1)
    assert service.member().offsets == [0, 1]


# --- fencing --------------------------------------------------------------------------------


def test_somebody_who_never_joined_is_fenced(service: QueueService) -> None:
    service.member()
    with pytest.raises(ConsumerFenced, match="join again"):
        service.demand(SessionId(1), Attach("t", "g", 99, 1), object())
    with pytest.raises(ConsumerFenced):
        service.demand(SessionId(1), Attach("t", "other", 99, 1), object())


def test_a_member_of_another_session_is_fenced(service: QueueService) -> None:
    member = service.member()
    with pytest.raises(ConsumerFenced):
        service.demand(SessionId(1), Credit("t", "g", member.number, 5), object())


def test_a_member_that_left_is_fenced(service: QueueService) -> None:
    member = service.member()
    member.leave()
    with pytest.raises(ConsumerFenced):
        member.credit(1)
    with pytest.raises(ConsumerFenced):
        member.attach()


def test_a_release_that_names_a_strange_partition_does_nothing(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    parts = member.parts((0,), 0) + member.parts((0,), 5)
    with pytest.raises(InvalidArgument, match="partition 5"):
        member.demand(Release("t", "g", member.number, parts))
    assert member.offsets == [0]


def test_what_another_member_holds_cannot_be_released(service: QueueService) -> None:
    first = service.member()
    service.publish_many(1)
    second = service.member()
    second.release(0)
    assert (first.offsets, second.offsets) == ([0], [])


# --- assignment -----------------------------------------------------------------------------


@pytest.fixture
def pair() -> QueueService:
    made = QueueService(delivery=DeliveryLimits(yield_ms=3_000))
    made.configure(partitions=2, visibility_ms=60_000)
    return made


def test_members_are_told_what_they_own_and_what_they_must_yield(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    assert first.assignments == [Assignment((0, 1), ())]
    second = pair.member(EXCLUSIVE)
    (given,) = first.assignments[-1].yielding
    assert first.assignments[1:] == [Assignment((0, 1), (given,))]
    first.give_up(given)
    assert first.assignments[-1] == Assignment((1 - given,), ())
    assert second.assignments[-1] == Assignment((given,), ())


def test_nobody_is_told_the_same_twice(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    pair.publish_many(3)
    first.ack()
    pair.advance(1_000, heard=[first])
    assert len(first.assignments) == 1


def test_whoever_attaches_again_is_told_again(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    first.attach()
    assert first.assignments == [Assignment((0, 1), ())] * 2


def test_a_partition_that_is_not_yielded_in_time_is_revoked(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    second = pair.member(EXCLUSIVE)
    (given,) = first.assignments[-1].yielding
    pair.publish_many(1, partition=given)
    pair.advance(2_999, heard=[first, second])
    assert second.offsets == []
    pair.advance(1, heard=[first, second])
    assert first.assignments[-1] == Assignment((1 - given,), ())
    assert second.assignments[-1] == Assignment((given,), ())
    assert second.held == {(given, 0): 0}


def test_the_revocation_names_the_ownership_it_is_about(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    pair.member(EXCLUSIVE)
    (given,) = first.assignments[-1].yielding
    pair.calm = True
    pair.advance(3_000)
    assert pair.dispatcher.take_commands() == [Revoke("t", "g", given, 1)]


def test_a_partition_that_was_yielded_is_not_revoked(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    second = pair.member(EXCLUSIVE)
    first.give_up(*first.assignments[-1].yielding)
    pair.calm = True
    pair.advance(10_000, heard=[first, second])
    assert pair.dispatcher.take_commands() == []


def test_a_partition_that_is_its_owners_again_is_not_revoked(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    second = pair.member(EXCLUSIVE)
    second.leave()
    assert first.assignments[-1] == Assignment((0, 1), ())
    pair.calm = True
    pair.advance(10_000, heard=[first])
    assert pair.dispatcher.take_commands() == []


def test_a_new_leader_insists_on_yielding_too(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    second = pair.member(EXCLUSIVE)
    (given,) = first.assignments[-1].yielding
    pair.advance(2_000, heard=[first, second])
    pair.fail_over()
    first.attach()
    second.attach()
    pair.advance(2_999, heard=[first, second])
    assert first.assignments[-1] == Assignment((0, 1), (given,))
    pair.advance(1, heard=[first, second])
    assert second.assignments[-1] == Assignment((given,), ())


def test_a_partition_taken_from_an_owner_that_never_spoke_is_delivered(pair: QueueService) -> None:
    first = pair.member(EXCLUSIVE)
    second = pair.member(EXCLUSIVE)
    (given,) = first.assignments[-1].yielding
    pair.fail_over()
    second.attach()
    pair.publish_many(1, partition=given)
    pair.advance(2_999, heard=[first, second])
    assert second.got == []
    pair.advance(1, heard=[first, second])
    assert second.held == {(given, 0): 0}
