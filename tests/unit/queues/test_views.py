"""Questions are answered, in pages, without changing anything."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, QueueService
from synaxis.effects import Refused
from synaxis.queues.commands import ABSENT
from synaxis.queues.questions import Browse, BrowseDead, DescribeTopic, Page
from synaxis.queues.views import PAGE_BYTES_MAX


def service(**config: object) -> QueueService:
    made = QueueService()
    made.configure(**config)  # type: ignore[arg-type]  # whatever a topic may be
    return made


def browse(made: QueueService, offset: int = 0, limit: int = 1_000) -> tuple[list[int], int]:
    """Return the offsets of a page, and where the next one begins."""
    page = made.machine.query(Browse("t", 0, offset, limit), made.now)
    assert isinstance(page, Page)
    return [each.first + n for each in page.slices for n in range(each.count)], page.next_offset


def browse_dead(made: QueueService, offset: int = 0, limit: int = 1_000) -> tuple[list[int], int]:
    page = made.machine.query(BrowseDead("t", "g", 0, offset, limit), made.now)
    assert isinstance(page, Page)
    assert len(page.slices) == len(page.dead)
    return [letter.offset for letter in page.dead], page.next_offset


def test_lag_counts_the_unfinished_whatever_their_state() -> None:
    made = service()
    member = made.member(credit=3)
    made.publish_many(4)
    made.publish(delays=[500])
    member.nack(0, delay=500)
    member.reject(1)
    info = made.progress()
    assert (info.lag, info.in_flight, info.delayed, info.dead, info.floor) == (4, 1, 2, 1, 0)
    member.ack(2)
    assert made.progress().lag == 3


def test_the_oldest_unfinished_message_has_an_age() -> None:
    made = service()
    member = made.member()
    assert made.progress().oldest_age_ms == 0
    made.publish_many(1)
    made.advance(100, heard=[member])
    made.publish_many(1)
    made.advance(30, heard=[member])
    assert made.progress().oldest_age_ms == 130
    member.ack(0)
    assert made.progress().oldest_age_ms == 30
    member.ack(1)
    assert made.progress().oldest_age_ms == 0


def test_members_and_partitions_are_described() -> None:
    made = service(partitions=2)
    made.member(EXCLUSIVE, name="one", credit=5)
    made.member(EXCLUSIVE, session=7, credit=0)
    made.publish(b"abc", b"d")
    group = made.group()
    assert (group.mode, group.epoch) == (EXCLUSIVE, 2)
    one, other = group.members
    assert (one.name, one.attached, one.in_flight, one.credit) == ("one", True, 2, 3)
    assert (other.session, other.attached, other.partitions) == (7, False, ())
    assert one.partitions == (0, 1)
    assert [each.owner for each in group.partitions] == [1, 1]
    stored = made.info().partitions[0]
    assert (stored.first, stored.next, stored.messages, stored.size) == (0, 2, 2, 12 + 8 + 4)


def test_keys_that_wait_are_counted() -> None:
    made = service()
    member = made.member(KEYED, credit=2)
    made.publish(keys=["a", "a", "b", "b", "", "c"])
    member.nack(0, delay=500)
    assert made.progress().blocked_keys == 1
    assert made.progress().in_flight == 1


def test_a_replica_that_does_not_lead_knows_no_members_hands() -> None:
    made = service()
    made.member()
    made.publish_many(1)
    made.dispatcher.end()
    assert (made.progress().in_flight, made.group().members[0].attached) == (0, False)


def test_messages_are_browsed_in_pages_across_batches() -> None:
    made = service()
    for size in (3, 2, 4):
        made.publish_many(size)
    assert browse(made, 0, 2) == ([0, 1], 2)
    assert browse(made, 2, 4) == ([2, 3, 4, 5], 6)
    assert browse(made, 6, 3) == ([6, 7, 8], ABSENT)
    assert browse(made, 3, 2) == ([3, 4], 5)
    assert browse(made, 9) == ([], ABSENT)


def test_browsing_skips_what_is_gone_and_consumes_nothing() -> None:
    made = service()
    member = made.member()
    for _ in range(3):
        made.publish_many(1)
    member.ack(1)
    assert browse(made) == ([0, 2], ABSENT)
    assert browse(made, 1, 1) == ([2], ABSENT)
    assert made.progress().lag == 2


def test_a_page_has_not_more_bytes_than_one_frame_can_bear() -> None:
    made = service()
    for _ in range(4):
        made.publish(b"m" * (PAGE_BYTES_MAX // 3))
    assert browse(made) == ([0, 1], 2)
    made.publish(*[b"m" * (PAGE_BYTES_MAX // 2)] * 3)
    assert browse(made, 4) == ([4], 5)


def test_a_message_larger_than_a_page_has_one_for_itself() -> None:
    made = service()
    made.publish(b"m" * 2 * (PAGE_BYTES_MAX // 2), b"m", b"m")
    made.publish(b"m" * (PAGE_BYTES_MAX - 10))
    assert browse(made, 3) == ([3], ABSENT)


def test_dead_letters_are_browsed_in_order_of_offset() -> None:
    made = service()
    member = made.member()
    made.publish_many(6)
    member.reject(4)
    member.reject(0, 2)
    assert browse_dead(made) == ([0, 2, 4], ABSENT)
    assert browse_dead(made, 1, 1) == ([2], 4)
    assert browse_dead(made, 4, 1) == ([4], ABSENT)
    page = made.machine.query(BrowseDead("t", "g", 0, 4, 1), made.now)
    assert isinstance(page, Page)
    letter = page.dead[0]
    assert (letter.reason, letter.failures, letter.error) == ("rejected", 1, "bad")


def test_dead_letters_have_pages_of_bytes_too() -> None:
    made = service()
    member = made.member()
    for _ in range(4):
        made.publish(b"m" * (PAGE_BYTES_MAX // 3))
    member.reject()
    assert browse_dead(made) == ([0, 1], 2)
    assert browse_dead(made, 2) == ([2, 3], ABSENT)


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (DescribeTopic("x"), "not_found"),
        (Browse("t", 5, 0, 1), "not_found"),
        (BrowseDead("t", "x", 0, 0, 1), "not_found"),
        (Browse("t", 0, 0, 0), "invalid_argument"),
        (Browse("t", 0, 0, 1_001), "invalid_argument"),
        (Browse("t", 0, -1, 1), "invalid_argument"),
        (BrowseDead("t", "g", 0, -1, 1), "invalid_argument"),
    ],
)
def test_a_wrong_question_is_refused(question: object, code: str) -> None:
    made = service()
    made.member()
    refused = made.machine.query(question, made.now)  # type: ignore[arg-type]  # one of many
    assert isinstance(refused, Refused)
    assert refused.code == code


def test_a_question_for_another_machine_is_refused() -> None:
    made = service()
    refused = made.machine.query(made.publishing(b"a"), made.now)
    assert isinstance(refused, Refused)
    assert "no question" in refused.message
