"""What a group is given by a leader, and how it is divided among the members."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, SHARED, QueueService, TestMember
from synaxis.queues.commands import GroupMode
from synaxis.queues.limits import DeliveryLimits


@pytest.fixture
def service() -> QueueService:
    made = QueueService()
    made.configure(visibility_ms=5_000)
    return made


def two_members(service: QueueService, mode: GroupMode) -> tuple[TestMember, TestMember]:
    """Return members that are both attached to the old leader; then the new one takes over."""
    first, second = service.member(mode), service.member(mode)
    service.publish(keys=["a", "b", "c", "d"])
    service.fail_over()
    first.take_new()
    second.take_new()
    return first, second


# --- what a new leader holds back -----------------------------------------------------------


def test_a_shared_group_gets_only_new_messages_until_all_have_spoken(
    service: QueueService,
) -> None:
    first, second = two_members(service, SHARED)
    kept = list(first.held)
    unknown = [offset for _, offset in second.held]
    first.attach(holding=kept)
    service.publish_many(1)
    assert first.take_new() == [4]
    second.attach()
    assert sorted(first.offsets + second.offsets) == unknown


def test_what_nobody_holds_is_delivered_once_all_have_spoken(service: QueueService) -> None:
    first, second = two_members(service, SHARED)
    first.attach()
    assert first.offsets == []
    second.attach()
    assert sorted(first.offsets + second.offsets) == [0, 1, 2, 3]


def test_a_keyed_group_gets_nothing_until_all_have_spoken(service: QueueService) -> None:
    first, second = two_members(service, KEYED)
    first.attach()
    service.publish(keys=["new"])
    assert first.offsets == []
    second.attach()
    assert sorted(first.offsets + second.offsets) == [0, 1, 2, 3, 4]


def test_an_exclusive_group_waits_only_for_the_owner_of_each_partition() -> None:
    service = QueueService()
    service.configure(partitions=2)
    first, second = service.member(EXCLUSIVE), service.member(EXCLUSIVE)
    first.give_up(*first.assignments[-1].yielding)
    mine, other = first.assignments[-1].partitions[0], second.assignments[-1].partitions[0]
    service.fail_over()
    service.publish_many(1, partition=mine)
    service.publish_many(1, partition=other)
    first.attach()
    assert (first.got, second.got) == ([(mine, 0)], [])
    second.attach()
    assert second.got == [(other, 0)]


@pytest.mark.parametrize("mode", [SHARED, KEYED])
def test_a_member_that_leaves_is_not_waited_for(service: QueueService, mode: GroupMode) -> None:
    first, second = two_members(service, mode)
    first.attach()
    second.leave()
    assert sorted(first.offsets) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", [SHARED, KEYED, EXCLUSIVE])
def test_a_member_whose_session_ends_is_not_waited_for(
    service: QueueService, mode: GroupMode
) -> None:
    first, second = two_members(service, mode)
    first.attach()
    service.end_session(second.session)
    assert sorted(first.offsets) == [0, 1, 2, 3]
    assert set(first.held.values()) == {0}


def test_a_group_that_begins_under_the_leader_waits_for_nobody(service: QueueService) -> None:
    service.member(credit=0)
    service.publish_many(2)
    assert service.member().offsets == [0, 1]


# --- what members hold ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [SHARED, KEYED, EXCLUSIVE])
def test_what_a_member_says_it_holds_is_believed(service: QueueService, mode: GroupMode) -> None:
    member = service.member(mode)
    service.publish(keys=["a", "a", "b"])
    service.fail_over()
    member.take_new()
    member.attach(holding=[(0, 0), (0, 2)])
    assert member.take_new() == [1]
    assert member.ack(0, 2).done == 2


def test_a_holding_of_an_older_delivery_is_not_believed(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    member.nack(0)
    service.fail_over()
    member.take_new()
    member.held[0, 0] = 0
    member.attach(holding=[(0, 0)])
    assert member.offsets == [0]
    assert member.held[0, 0] == 1


def test_a_holding_that_is_finished_is_not_in_flight(service: QueueService) -> None:
    member = service.member()
    service.publish_many(2)
    held = dict(member.held)
    member.ack(0)
    service.fail_over()
    member.held = held
    member.attach(holding=held)
    assert service.dispatcher.load("t", "g") == (1, 0)


def test_an_owner_alone_is_believed_to_hold_something_of_its_partition() -> None:
    service = QueueService()
    service.configure()
    first, second = service.member(EXCLUSIVE), service.member(EXCLUSIVE)
    service.publish_many(1)
    owner, other = (first, second) if first.held else (second, first)
    service.fail_over()
    owner.take_new()
    other.held[0, 0] = 0
    other.attach(holding=[(0, 0)])
    assert service.dispatcher.load("t", "g") == (0, 0)
    owner.attach()
    assert owner.offsets == [0]


def test_what_was_delivered_to_a_dead_connection_comes_back(service: QueueService) -> None:
    member = service.member()
    service.publish_many(3)
    member.take_new()
    member.disconnect()
    member.attach(holding=[(0, 1)])
    assert member.offsets == [0, 2]
    assert set(member.held.values()) == {0}


def test_what_a_disconnected_member_holds_stays_held(service: QueueService) -> None:
    first = service.member(credit=2)
    service.publish_many(2)
    first.disconnect()
    assert service.member().offsets == []


# --- credit, bytes, shares ------------------------------------------------------------------


def test_a_member_gets_no_more_than_its_credit(service: QueueService) -> None:
    member = service.member(credit=2)
    service.publish_many(5)
    assert member.take_new() == [0, 1]
    member.ack(0, 1)
    assert member.take_new() == []
    member.credit(1)
    assert member.take_new() == [2]


def test_credit_can_be_taken_back_but_not_below_nothing(service: QueueService) -> None:
    member = service.member(credit=3)
    member.credit(-10)
    service.publish_many(2)
    assert member.offsets == []
    member.credit(1)
    assert member.offsets == [0]


def test_a_detached_member_gets_nothing_and_keeps_what_it_has(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    member.detach()
    service.publish_many(1)
    assert member.offsets == [0]
    assert service.dispatcher.load("t", "g") == (1, 0)


def test_a_delivery_is_bounded_in_bytes() -> None:
    service = QueueService(delivery=DeliveryLimits(delivery_bytes_max=250))
    service.configure()
    service.member(credit=0)
    service.publish(*[b"x" * 100] * 6)
    member = service.member()
    assert member.offsets == [0, 1, 2, 3, 4, 5]
    assert member.deliveries >= 3


def test_a_message_beyond_the_bound_is_delivered_alone() -> None:
    service = QueueService(delivery=DeliveryLimits(delivery_bytes_max=10))
    service.configure()
    member = service.member()
    service.publish(b"x" * 100, b"y" * 100)
    assert member.offsets == [0, 1]
    assert member.deliveries == 2


def test_a_member_that_holds_many_bytes_gets_no_more_until_it_settles() -> None:
    service = QueueService(delivery=DeliveryLimits(member_bytes_max=250))
    service.configure()
    member = service.member()
    service.publish(*[b"x" * 100] * 6)
    held = len(member.offsets)
    assert 1 <= held < 6
    member.ack(0)
    assert len(member.offsets) > held


def test_a_member_that_holds_many_messages_gets_no_more_until_it_settles() -> None:
    service = QueueService(delivery=DeliveryLimits(member_messages_max=3))
    service.configure()
    member = service.member(credit=100)
    service.publish_many(5)
    assert member.offsets == [0, 1, 2]
    member.credit(100)
    assert member.offsets == [0, 1, 2]
    member.ack(1)
    assert member.offsets == [0, 1, 2, 3]


def test_members_get_fair_shares(service: QueueService) -> None:
    members = [service.member() for _ in range(4)]
    service.publish_many(40)
    assert [len(member.offsets) for member in members] == [10, 10, 10, 10]


def test_single_messages_go_round(service: QueueService) -> None:
    members = [service.member() for _ in range(3)]
    for _ in range(6):
        service.publish_many(1)
    assert [len(member.offsets) for member in members] == [2, 2, 2]


def test_a_paused_topic_delivers_nothing(service: QueueService) -> None:
    member = service.member()
    service.configure(paused=True)
    service.publish_many(1)
    assert member.offsets == []
    service.configure(paused=False)
    assert member.offsets == [0]


def test_groups_of_a_topic_get_everything_each(service: QueueService) -> None:
    first, second = service.member(group="g"), service.member(group="h")
    service.publish_many(2)
    assert first.offsets == second.offsets == [0, 1]
