"""SHARED groups: every unfinished message goes to somebody, once at a time."""

import pytest

from support.queue_service import KEYED, SHARED, QueueService
from synaxis.ids import LogTime
from synaxis.queues.commands import END, Finished, GroupMode, Redrive, Seek


@pytest.fixture
def service() -> QueueService:
    made = QueueService()
    made.configure(backoff_first_ms=1_000)
    return made


def test_messages_come_in_the_order_of_publishing(service: QueueService) -> None:
    member = service.member()
    service.publish(b"a", b"b")
    service.publish(b"c")
    assert member.got == [(0, 0), (0, 1), (0, 2)]
    assert member.bodies == [b"a", b"b", b"c"]


def test_what_is_in_flight_is_not_given_to_anybody_else(service: QueueService) -> None:
    first = service.member()
    service.publish_many(3)
    second = service.member()
    service.publish_many(1)
    assert sorted(first.offsets + second.offsets) == [0, 1, 2, 3]


def test_a_member_that_comes_late_gets_what_is_stored(service: QueueService) -> None:
    service.member(credit=0)
    service.publish_many(5)
    assert service.member().offsets == [0, 1, 2, 3, 4]


def test_gaps_that_were_acknowledged_are_stepped_over(service: QueueService) -> None:
    member = service.member()
    service.publish_many(6)
    member.ack(1, 3, 4)
    member.disconnect()
    member.take_new()
    member.attach()
    assert member.offsets == [0, 2, 5]


def test_a_released_message_comes_again_at_once_without_a_failure(service: QueueService) -> None:
    member = service.member()
    service.publish_many(2)
    member.take_new()
    member.release(0)
    assert member.offsets == [0]
    assert member.held[0, 0] == 0


def test_higher_priorities_go_first_and_equal_ones_in_order(service: QueueService) -> None:
    service.member(credit=0)
    service.publish(priorities=[0, 5, 9, 5, 0])
    member = service.member(credit=1)
    for _ in range(4):
        member.credit(1)
    assert member.offsets == [2, 1, 3, 0, 4]


def test_a_delayed_message_waits_and_does_not_hold_back_the_others(service: QueueService) -> None:
    member = service.member()
    service.publish(delays=[2_000, 0, 1_000])
    assert member.take_new() == [1]
    service.advance(999, heard=[member])
    assert member.take_new() == []
    service.advance(1, heard=[member])
    assert member.take_new() == [2]
    service.advance(1_000, heard=[member])
    assert member.take_new() == [0]


def test_a_message_delayed_before_the_group_existed_waits_too(service: QueueService) -> None:
    service.publish(delays=[500])
    member = service.member()
    assert member.take_new() == []
    service.advance(500, heard=[member])
    assert member.take_new() == [0]


def test_a_nacked_message_comes_after_its_pause_with_its_failures(service: QueueService) -> None:
    member = service.member()
    service.publish_many(2)
    member.take_new()
    member.nack(0, delay=300)
    service.advance(299, heard=[member])
    assert member.take_new() == []
    service.advance(1, heard=[member])
    assert member.take_new() == [0]
    assert member.held[0, 0] == 1


def test_without_a_delay_the_back_off_doubles(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    for low, high in ((800, 1_200), (1_600, 2_400)):
        member.take_new()
        member.nack(0, delay=-1)
        service.advance(low - 1, heard=[member])
        assert member.offsets == []
        service.advance(high - low + 1, heard=[member])
        assert member.offsets == [0]


def test_a_failed_message_may_go_to_another_member(service: QueueService) -> None:
    member = service.member(credit=1)
    service.publish_many(1)
    other = service.member()
    member.nack(0)
    assert other.offsets == [0]


def test_a_rejected_message_does_not_come_again_until_it_is_redriven(
    service: QueueService,
) -> None:
    member = service.member()
    service.publish_many(2)
    member.take_new()
    member.reject(1)
    service.advance(100_000, heard=[member])
    assert member.offsets == []
    assert service.dead() == [1]
    assert service.do(Redrive("t", "g")) == Finished(1)
    assert member.offsets == [1]
    assert member.held[0, 1] == 0


def test_the_last_failure_makes_a_dead_letter(service: QueueService) -> None:
    service.configure(max_deliveries=2)
    member = service.member()
    service.publish_many(1)
    member.nack(0)
    assert service.dead() == []
    member.nack(0)
    assert service.dead() == [0]
    assert member.offsets == [0, 0]


def test_a_seek_back_brings_finished_messages_again() -> None:
    service = QueueService()
    service.configure(retention=1)
    member = service.member()
    service.publish_many(4)
    member.ack(0, 1, 2)
    member.take_new()
    service.do(Seek("t", "g", offset=1))
    assert member.offsets == [1, 2, 3]


def test_a_seek_back_brings_what_is_in_flight_again_without_its_failures(
    service: QueueService,
) -> None:
    member = service.member()
    service.publish_many(2)
    member.nack(0)
    assert member.held[0, 0] == 1
    member.take_new()
    service.do(Seek("t", "g", offset=0))
    assert member.offsets == [0, 1]
    assert member.held[0, 0] == 0


def test_a_seek_to_the_end_leaves_only_what_comes(service: QueueService) -> None:
    member = service.member(credit=2)
    service.publish_many(5)
    member.take_new()
    service.do(Seek("t", "g", offset=END))
    member.credit(10)
    assert member.take_new() == []
    service.publish_many(1)
    assert member.take_new() == [5]


def test_a_message_whose_ttl_is_over_is_not_delivered(service: QueueService) -> None:
    service.member(credit=0)
    service.publish(ttls=[100, 0])
    service.advance(100)
    assert service.member().offsets == [1]


@pytest.mark.parametrize("mode", [SHARED, KEYED])
def test_a_message_whose_ttl_is_over_is_not_delivered_before_the_log_says_so(
    mode: GroupMode,
) -> None:
    """The log hears of it with its next entry, which the leader does not wait for."""
    service = QueueService()
    service.configure()
    member = service.member(mode, credit=0)
    service.publish(ttls=[50, 0, 50])
    service.now = LogTime(service.now + 60)
    member.attach()
    assert (member.offsets, service.unfinished()) == ([1], [0, 1, 2])
    service.tick()
    assert service.unfinished() == [1]
