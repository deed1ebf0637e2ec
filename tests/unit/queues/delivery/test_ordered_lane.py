"""KEYED and EXCLUSIVE: the messages of a key in order, with one member at a time."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, QueueService
from synaxis.queues.commands import Seek
from synaxis.queues.limits import DeliveryLimits


@pytest.fixture
def service() -> QueueService:
    made = QueueService()
    made.configure(backoff_first_ms=1_000, visibility_ms=5_000)
    return made


def test_a_key_stays_with_one_member_while_it_is_not_acknowledged(service: QueueService) -> None:
    first = service.member(KEYED, credit=1)
    service.publish(keys=["a", "a"])
    second = service.member(KEYED)
    assert (first.offsets, second.offsets) == ([0], [])
    service.publish(keys=["a"])
    assert second.offsets == []
    first.credit(1)
    assert first.offsets == [0, 1]


def test_a_key_is_free_for_others_when_all_of_it_is_acknowledged(service: QueueService) -> None:
    first = service.member(KEYED, credit=1)
    service.publish(keys=["a", "a"])
    second = service.member(KEYED)
    first.ack(0)
    assert second.offsets == [1]


def test_messages_without_a_key_are_free(service: QueueService) -> None:
    service.member(KEYED, credit=0)
    service.publish(keys=["", "", "", ""])
    first = service.member(KEYED, credit=2)
    second = service.member(KEYED)
    assert first.offsets == [0, 1]
    assert second.offsets == [2, 3]


def test_an_unkeyed_message_that_failed_does_not_hold_back_another(service: QueueService) -> None:
    member = service.member(KEYED, credit=1)
    service.publish(keys=["", ""])
    member.nack(0, delay=1_000)
    member.credit(1)
    assert member.offsets == [0, 1]


def test_a_failed_message_comes_again_before_what_follows_in_its_key(
    service: QueueService,
) -> None:
    member = service.member(KEYED, credit=1)
    service.publish(keys=["a", "a", "b"])
    member.nack(0, delay=500)
    member.credit(5)
    assert member.take_new() == [0, 2]
    service.advance(499, heard=[member])
    assert member.take_new() == []
    service.advance(1, heard=[member])
    assert member.take_new() == [0, 1]


def test_a_delayed_message_holds_back_what_follows_in_its_key(service: QueueService) -> None:
    member = service.member(KEYED)
    service.publish(keys=["a", "a", "b"], delays=[500, 0, 0])
    assert member.take_new() == [2]
    service.advance(500, heard=[member])
    assert member.take_new() == [0, 1]


def test_a_released_message_comes_again_before_what_follows(service: QueueService) -> None:
    first = service.member(KEYED, credit=2)
    service.publish(keys=["a", "a", "a"])
    second = service.member(KEYED)
    first.release()
    assert second.offsets == [0, 1, 2]


def test_a_part_of_a_key_that_is_released_stays_with_its_member(service: QueueService) -> None:
    first = service.member(KEYED, credit=2)
    service.publish(keys=["a", "a", "a"])
    second = service.member(KEYED)
    first.release(1)
    assert second.offsets == []
    first.credit(2)
    assert first.offsets == [0, 1, 1, 2]


def test_what_a_leaving_member_held_comes_first(service: QueueService) -> None:
    first = service.member(KEYED, credit=2)
    service.publish(keys=["a", "a", "a"])
    second = service.member(KEYED)
    first.leave()
    assert second.offsets == [0, 1, 2]
    assert second.held == {(0, 0): 0, (0, 1): 0, (0, 2): 0}


def test_a_key_goes_on_in_order_after_its_member_was_silent_too_long(
    service: QueueService,
) -> None:
    first = service.member(KEYED, credit=2)
    service.publish(keys=["a", "a", "a", "b"])
    second = service.member(KEYED)
    assert (first.offsets, second.take_new()) == ([0, 1], [3])
    service.advance(7_000, heard=[second])
    assert second.offsets == [0, 1, 2]
    assert (second.held[0, 0], second.held[0, 2]) == (1, 0)


def test_nobody_gets_more_of_a_key_while_the_end_of_a_lease_is_proposed(
    service: QueueService,
) -> None:
    first = service.member(KEYED, credit=1)
    service.publish(keys=["a", "a"])
    service.calm = True
    service.advance(6_000)
    first.credit(5)  # it is heard again, and owns the key
    service.publish(keys=["a"])
    service.dispatcher.confirmed(service.now)
    service.pump()
    assert first.take_new() == [0]
    service.calm = False
    service.pump()
    service.advance(1_500, heard=[first])
    assert first.offsets == [0, 1, 2]
    assert first.held == {(0, 0): 1, (0, 1): 0, (0, 2): 0}


def test_an_acknowledgement_that_was_overtaken_is_stale(service: QueueService) -> None:
    first = service.member(KEYED)
    service.publish(keys=["a"])
    late = first.parts((0,), 0)
    second = service.member(KEYED)
    service.advance(7_000, heard=[second])
    assert second.offsets == [0]
    assert first.ack(0).stale == late
    assert service.unfinished() == [0]
    assert second.ack(0).done == 1


def test_one_slow_key_does_not_block_the_others(service: QueueService) -> None:
    slow = service.member(KEYED, credit=1)
    service.publish(keys=["a"] * 50 + ["b", "c"])
    fast = service.member(KEYED)
    assert (slow.offsets, fast.offsets) == ([0], [50, 51])


def test_a_slow_key_blocks_only_beyond_what_is_loaded() -> None:
    service = QueueService(delivery=DeliveryLimits(loaded_messages_max=10))
    service.configure()
    slow = service.member(KEYED, credit=1)
    service.publish(keys=["a"] * 30)
    service.publish(keys=["b"])
    fast = service.member(KEYED)
    assert fast.offsets == []
    slow.credit(1_000)
    assert slow.offsets[:30] == list(range(30))
    assert slow.offsets[30:] + fast.offsets == [30]


def test_a_dead_letter_lets_its_key_go_on(service: QueueService) -> None:
    member = service.member(KEYED, credit=1)
    service.publish(keys=["a", "a"])
    member.reject(0)
    member.credit(1)
    assert member.offsets == [0, 1]


def test_a_seek_brings_a_key_again_in_order() -> None:
    service = QueueService()
    service.configure(retention=1)
    member = service.member(KEYED)
    service.publish(keys=["a", "b", "a"])
    member.ack(0)
    member.take_new()
    service.do(Seek("t", "g", offset=0))
    assert sorted(member.offsets) == [0, 1, 2]
    assert member.offsets.index(0) < member.offsets.index(2)


def test_a_partition_belongs_to_one_member_alone(service: QueueService) -> None:
    first = service.member(EXCLUSIVE, credit=2)
    second = service.member(EXCLUSIVE)
    service.publish_many(5)
    assert first.offsets + second.offsets in ([0, 1], [0, 1, 2, 3, 4])
    owner, other = (first, second) if first.offsets else (second, first)
    assert other.offsets == []
    assert owner.assignments[-1].partitions == (0,)


def test_nobody_but_the_owner_gets_anything_though_the_owner_takes_nothing(
    service: QueueService,
) -> None:
    owner = service.member(EXCLUSIVE, credit=0)
    other = service.member(EXCLUSIVE)
    service.publish_many(2)
    assert other.offsets == []
    owner.attach()
    assert owner.offsets == [0, 1]


def test_the_whole_partition_waits_for_a_message_that_failed(service: QueueService) -> None:
    member = service.member(EXCLUSIVE, credit=1)
    service.publish(keys=["a", "b"])
    member.nack(0, delay=400)
    member.credit(5)
    assert member.take_new() == [0]
    service.advance(399, heard=[member])
    assert member.take_new() == []
    service.advance(1, heard=[member])
    assert member.take_new() == [0, 1]


def test_a_partition_goes_to_the_next_owner_when_its_own_leaves(service: QueueService) -> None:
    first = service.member(EXCLUSIVE, credit=2)
    service.publish_many(4)
    second = service.member(EXCLUSIVE)
    first.leave()
    assert second.offsets == [0, 1, 2, 3]
    assert set(second.held.values()) == {0}


def test_two_members_share_the_partitions_once_the_first_has_yielded() -> None:
    service = QueueService()
    service.configure(partitions=2)
    first = service.member(EXCLUSIVE)
    second = service.member(EXCLUSIVE)
    (given,) = first.assignments[-1].yielding
    service.publish_many(1, partition=given)
    assert (first.got, second.got) == ([], [])
    first.give_up(given)
    assert second.got == [(given, 0)]
    assert first.assignments[-1].partitions == (1 - given,)


def test_how_many_keys_are_blocked_is_counted(service: QueueService) -> None:
    member = service.member(KEYED, credit=1)
    service.publish(keys=["a", "a", "b"])
    assert service.machine.shard.observer.in_flight("t", "g", 0) == (1, 0, 1)
    member.ack(0)
    assert service.machine.shard.observer.in_flight("t", "g", 0) == (0, 0, 0)
