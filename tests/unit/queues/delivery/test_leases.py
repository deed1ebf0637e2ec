"""When messages are taken from a member, and whether that counts as a failure."""

import pytest

from support.queue_service import QueueService, TestMember, parts_of
from synaxis.queues.commands import Begin

VISIBILITY = 5_000
LEASE_OVER = VISIBILITY + 100
"""A lease is over for certain; looks are some milliseconds apart."""


@pytest.fixture
def service() -> QueueService:
    made = QueueService()
    made.configure(visibility_ms=VISIBILITY, backoff_first_ms=0, max_deliveries=5)
    return made


def failures(service: QueueService, *offsets: int) -> list[int]:
    progress = service.machine.shard.topic("t").group("g").progress[0]
    return [progress.failed(offset) for offset in offsets]


def begin(member: TestMember, *offsets: int) -> None:
    member.demand(Begin("t", "g", member.number, member.parts(offsets, 0)))


# --- silence and extension ------------------------------------------------------------------


def test_a_silent_member_loses_what_it_holds(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    service.advance(VISIBILITY - 1)
    assert failures(service, 0) == [0]
    service.advance(1)
    assert failures(service, 0) == [1]
    assert member.offsets == [0]  # it was silent: it gets no more


def test_keep_alives_of_the_session_extend_the_leases(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    service.advance(5 * VISIBILITY, heard=[member])
    assert failures(service, 0) == [0]
    assert member.offsets == [0]


def test_the_keep_alives_of_another_session_do_not(service: QueueService) -> None:
    service.member()
    service.publish_many(1)
    other = service.member()
    service.advance(LEASE_OVER, heard=[other])
    assert failures(service, 0) == [1]
    assert other.offsets == [0]


def test_a_member_that_is_heard_again_is_given_messages_again(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    service.advance(LEASE_OVER)
    service.heard(member.session)
    assert member.offsets == [0, 0]
    assert member.held[0, 0] == 1


def test_without_auto_extend_keep_alives_do_not_extend(service: QueueService) -> None:
    member = service.member(auto_extend=False)
    service.publish_many(1)
    service.advance(VISIBILITY - 1, heard=[member])
    assert failures(service, 0) == [0]
    service.advance(100, heard=[member])
    assert failures(service, 0) == [1]


def test_a_lease_that_is_extended_by_hand_ends_later(service: QueueService) -> None:
    member = service.member(auto_extend=False)
    service.publish_many(2)
    assert member.extend(20_000, 0) == ()
    service.advance(LEASE_OVER, heard=[member])
    assert failures(service, 0, 1) == [0, 1]
    service.advance(15_000, heard=[member])
    assert failures(service, 0) == [1]


def test_a_long_extension_outlives_silence_with_auto_extend(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    member.extend(20_000, 0)
    service.advance(19_900)
    assert failures(service, 0) == [0]
    service.advance(200)
    assert failures(service, 0) == [1]


def test_a_short_extension_does_not_shorten_what_keep_alives_give(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    member.extend(1, 0)
    service.advance(VISIBILITY - 100)
    assert failures(service, 0) == [0]


def test_a_short_extension_without_auto_extend_ends_soon(service: QueueService) -> None:
    member = service.member(auto_extend=False)
    service.publish_many(1)
    member.extend(100, 0)
    service.advance(200, heard=[member])
    assert failures(service, 0) == [1]


def test_what_is_not_held_cannot_be_extended(service: QueueService) -> None:
    member, other = service.member(credit=1), service.member(credit=1)
    service.publish_many(3)
    mine, foreign = member.offsets[0], other.offsets[0]
    assert member.extend(10_000, mine, foreign, 2) == parts_of(0, [foreign, 2])


def test_the_visibility_of_the_member_counts_before_that_of_the_topic(
    service: QueueService,
) -> None:
    service.member(visibility_ms=1_000)
    service.publish_many(1)
    service.advance(1_100)
    assert failures(service, 0) == [1]


def test_the_leaders_own_stall_is_forgiven(service: QueueService) -> None:
    service.member()
    service.publish_many(1)
    service.stall(10 * VISIBILITY)
    assert failures(service, 0) == [0]
    service.advance(VISIBILITY - 1)
    assert failures(service, 0) == [0]
    service.advance(100)
    assert failures(service, 0) == [1]


def test_a_stall_is_forgiven_without_auto_extend_too(service: QueueService) -> None:
    member = service.member(auto_extend=False)
    service.publish_many(1)
    service.stall(10 * VISIBILITY)
    assert failures(service, 0) == [0]
    service.advance(LEASE_OVER, heard=[member])
    assert failures(service, 0) == [1]


def test_an_end_is_proposed_once_and_the_message_stays_in_flight_until_it_is_decided(
    service: QueueService,
) -> None:
    service.member()
    service.publish_many(1)
    service.calm = True
    service.advance(3 * VISIBILITY)
    assert len(service.dispatcher.take_commands()) == 1
    assert service.dispatcher.load("t", "g") == (1, 0)


def test_what_was_acknowledged_while_its_end_was_proposed_is_finished(
    service: QueueService,
) -> None:
    member = service.member()
    service.publish_many(1)
    service.calm = True
    service.advance(LEASE_OVER)
    assert member.ack(0).done == 1
    service.calm = False
    service.pump()
    assert service.unfinished() == []
    assert member.offsets == [0]


# --- blame ----------------------------------------------------------------------------------


def test_a_lost_session_counts_a_failure(service: QueueService) -> None:
    member = service.member()
    service.publish_many(2)
    other = service.member()
    service.end_session(member.session)
    assert failures(service, 0, 1) == [1, 1]
    assert other.offsets == [0, 1]


def test_a_polite_leave_and_a_release_do_not(service: QueueService) -> None:
    member = service.member()
    service.publish_many(2)
    member.release(0)
    member.leave()
    assert failures(service, 0, 1) == [0, 0]
    assert service.member().held == {(0, 0): 0, (0, 1): 0}


def test_a_fail_over_does_not(service: QueueService) -> None:
    member = service.member()
    service.publish_many(1)
    service.fail_over()
    member.attach()
    assert member.held == {(0, 0): 0}


def test_a_message_that_kills_its_members_ends_among_the_dead_letters(
    service: QueueService,
) -> None:
    service.configure(max_deliveries=3)
    service.publish_many(1)
    for deaths in (1, 2, 3):
        member = service.member()
        assert member.offsets == [0]
        service.end_session(member.session)
        assert failures(service, 0) == [deaths if deaths < 3 else 0]
    assert service.dead() == [0]


def test_fresh_messages_of_a_dead_member_are_blamed_begun_or_not(service: QueueService) -> None:
    member = service.member(announces=True)
    service.publish_many(2)
    begin(member, 0)
    service.end_session(member.session)
    assert failures(service, 0, 1) == [1, 1]


def test_what_failed_before_is_blamed_only_if_it_was_begun(service: QueueService) -> None:
    first = service.member(announces=True)
    service.publish_many(2)
    service.end_session(first.session)
    second = service.member(announces=True)
    begin(second, 1)
    service.end_session(second.session)
    assert failures(service, 0, 1) == [1, 2]
    assert service.member().held == {(0, 0): 1, (0, 1): 2}


def test_a_member_that_does_not_announce_is_blamed_for_all_it_held(service: QueueService) -> None:
    for _ in range(2):
        member = service.member(credit=2)
        if not service.machine.shard.topic("t").partitions[0].next_offset:
            service.publish_many(2)
        service.end_session(member.session)
    assert failures(service, 0, 1) == [2, 2]


def test_what_a_silent_member_had_not_begun_is_not_blamed_again(service: QueueService) -> None:
    member = service.member(announces=True)
    service.publish_many(2)
    member.nack(0, 1)
    begin(member, 0)
    service.advance(LEASE_OVER)
    assert failures(service, 0, 1) == [2, 1]


def test_what_a_member_holds_across_a_fail_over_counts_as_begun(service: QueueService) -> None:
    member = service.member(announces=True)
    service.publish_many(1)
    member.nack(0)
    service.fail_over()
    member.attach(holding=[(0, 0)])
    service.end_session(member.session)
    assert failures(service, 0) == [2]


def test_beginning_what_is_not_held_is_stale(service: QueueService) -> None:
    member = service.member(announces=True)
    service.publish_many(1)
    begin(member, 0)
    assert member.extended[-1].stale == ()
    member.demand(Begin("t", "g", member.number, parts_of(0, [0, 7])))
    assert member.extended[-1].stale == parts_of(0, [7])


def test_leases_begin_anew_when_a_member_joins_with_another_visibility(
    service: QueueService,
) -> None:
    member = service.member(visibility_ms=600_000)
    service.publish_many(1)
    member.join(visibility_ms=1_000)
    service.advance(999)
    assert failures(service, 0) == [0]
    service.advance(1)
    assert failures(service, 0) == [1]


def test_after_a_stall_the_next_look_is_still_to_come(service: QueueService) -> None:
    """A look that was due in the past would be taken again and again."""
    service.stall(60_000)
    service.member()
    service.publish_many(1)
    assert service.dispatcher.deadline() == service.now + VISIBILITY
