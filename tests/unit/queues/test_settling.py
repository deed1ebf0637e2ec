"""What becomes of messages that a group was given: finished, again, or dead."""

from typing import Any

import pytest

from support.queue_service import (
    EXCLUSIVE,
    KEYED,
    LEADER,
    SHARED,
    QueueService,
    TestMember,
    parts_of,
)
from synaxis.effects import Refused
from synaxis.queues.commands import Ack, Expire, GroupMode, Nack, Part, Reject, Settled
from synaxis.queues.limits import QueueLimits

MODES = (SHARED, KEYED, EXCLUSIVE)


def stocked(messages: int = 5, **config: Any) -> QueueService:
    """Return a shard alone, without a leader's half, that stores some messages."""
    service = QueueService(leads=False)
    service.configure(**config)
    service.publish_many(messages)
    return service


def send(
    kind: Any, member: TestMember, *offsets: int, failures: int = 0, more: tuple[Any, ...] = ()
) -> Settled:
    command = kind("t", "g", member.number, parts_of(0, offsets, failures), *more)
    reply = member.service.do(command, member.session)
    assert isinstance(reply, Settled), reply
    return reply


def ack(member: TestMember, *offsets: int, failures: int = 0) -> Settled:
    return send(Ack, member, *offsets, failures=failures)


def nack(member: TestMember, *offsets: int, failures: int = 0, delay: int = 0) -> Settled:
    return send(Nack, member, *offsets, failures=failures, more=(delay, "no"))


def reject(member: TestMember, *offsets: int, failures: int = 0) -> Settled:
    return send(Reject, member, *offsets, failures=failures, more=("bad",))


def failed(service: QueueService, offset: int) -> int:
    return service.machine.shard.topic("t").group("g").progress[0].failed(offset)


# --- acknowledging ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_an_acknowledged_message_is_finished(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    assert ack(member, 0, 1) == Settled(2)
    assert service.unfinished() == [2, 3, 4]


@pytest.mark.parametrize("mode", MODES)
def test_acknowledging_out_of_order_never_moves_the_floor_over_a_gap(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    for offset in (4, 2, 1):
        ack(member, offset)
        assert service.progress().floor == 0
    ack(member, 0)
    assert service.progress().floor == 3
    assert service.unfinished() == [3]


@pytest.mark.parametrize("mode", MODES)
def test_acknowledging_twice_counts_once(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    ack(member, 0, 1)
    assert ack(member, 0, 1, 2).done == 1
    assert service.group().acked == 3


def test_a_range_counts_only_what_was_not_finished() -> None:
    service = stocked()
    member = service.member(credit=0)
    ack(member, 1, 3)
    command = Ack("t", "g", member.number, (Part(0, 0, 4),))
    assert service.do(command, member.session) == Settled(3)


def test_messages_that_do_not_exist_yet_cannot_be_acknowledged_in_advance() -> None:
    service = stocked(2)
    member = service.member(credit=0)
    command = Ack("t", "g", member.number, (Part(0, 0, 50),))
    assert service.do(command, member.session) == Settled(2)
    service.publish_many(1)
    assert service.unfinished() == [2]


def test_what_one_group_acknowledges_is_unfinished_for_another() -> None:
    service = stocked()
    member = service.member(credit=0)
    service.member(group="other", credit=0)
    ack(member, 0, 1)
    assert service.unfinished(group="other") == [0, 1, 2, 3, 4]


def test_a_command_with_a_partition_that_is_not_here_does_nothing_at_all() -> None:
    service = stocked()
    member = service.member(credit=0)
    for kind in (Ack, Nack, Reject):
        command = kind("t", "g", member.number, (Part(0, 0, 0), Part(7, 0, 0)))
        assert service.refused(command, member.session).code == "not_found"
    assert service.unfinished() == [0, 1, 2, 3, 4]
    assert failed(service, 0) == 0


@pytest.mark.parametrize("kind", [Ack, Nack, Reject])
def test_settling_in_a_group_that_nobody_joined_is_refused(kind: Any) -> None:
    service = stocked()
    assert service.refused(kind("t", "nobody", 1, parts_of(0, [0]))).code == "not_found"
    assert service.refused(kind("nothing", "g", 1, parts_of(0, [0]))).code == "not_found"


# --- fencing ----------------------------------------------------------------------------------


def test_shared_accepts_a_late_acknowledgement_because_the_work_is_done() -> None:
    service = stocked()
    member = service.member(credit=0)
    nack(member, 0)
    assert ack(member, 0, failures=0) == Settled(1)
    assert failed(service, 0) == 0


def test_shared_accepts_an_acknowledgement_of_a_member_that_left() -> None:
    service = stocked()
    member = service.member(credit=0)
    member.leave()
    assert ack(member, 0) == Settled(1)


def test_shared_counts_a_late_acknowledgement_of_a_dead_letter_for_nothing() -> None:
    service = stocked()
    member = service.member(credit=0)
    reject(member, 0)
    assert ack(member, 0) == Settled(0)
    assert service.dead() == [0]


@pytest.mark.parametrize("mode", [KEYED, EXCLUSIVE])
def test_ordered_groups_refuse_an_acknowledgement_that_was_overtaken(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    nack(member, 0)
    assert ack(member, 0, 1, failures=0) == Settled(1, (Part(0, 0, 0, 0),))
    assert service.unfinished() == [0, 2, 3, 4]
    assert ack(member, 0, failures=1) == Settled(1)


@pytest.mark.parametrize("mode", [KEYED, EXCLUSIVE])
def test_ordered_groups_refuse_a_number_of_failures_that_never_was(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    assert ack(member, 0, 1, failures=2) == Settled(0, (Part(0, 0, 1, 2),))


@pytest.mark.parametrize("mode", [KEYED, EXCLUSIVE])
def test_ordered_groups_fence_members_that_left(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    member.leave()
    refused = service.refused(Ack("t", "g", member.number, parts_of(0, [0])), member.session)
    assert refused.code == "consumer_fenced"
    assert service.unfinished() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Nack, Reject])
def test_every_mode_fences_failures_of_members_that_left(mode: GroupMode, kind: Any) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    member.leave()
    refused = service.refused(kind("t", "g", member.number, parts_of(0, [0])), member.session)
    assert refused.code == "consumer_fenced"
    assert (failed(service, 0), service.dead()) == (0, [])


@pytest.mark.parametrize("send_one", [ack, nack, reject])
def test_exclusive_refuses_whoever_does_not_own_the_partition(send_one: Any) -> None:
    service = stocked()
    service.member(EXCLUSIVE, credit=0)
    second = service.member(EXCLUSIVE, credit=0)
    assert send_one(second, 0, 1) == Settled(0, (Part(0, 0, 1, 0),))
    assert service.unfinished() == [0, 1, 2, 3, 4]
    assert failed(service, 0) == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_counts_once_for_each_delivery(mode: GroupMode) -> None:
    service = stocked()
    member = service.member(mode, credit=0)
    assert nack(member, 0) == Settled(1)
    assert nack(member, 0) == Settled(0, (Part(0, 0, 0, 0),))
    assert reject(member, 0) == Settled(0, (Part(0, 0, 0, 0),))
    assert failed(service, 0) == 1
    assert service.dead() == []


def test_what_is_finished_cannot_fail_any_more() -> None:
    service = stocked()
    member = service.member(credit=0)
    ack(member, 0)
    assert nack(member, 0) == Settled(0, (Part(0, 0, 0, 0),))
    assert reject(member, 0, 1) == Settled(1, (Part(0, 0, 0, 0),))
    assert service.dead() == [1]


def test_what_does_not_exist_yet_cannot_fail() -> None:
    service = stocked(1)
    member = service.member(credit=0)
    assert nack(member, 0, 1, 2) == Settled(1, (Part(0, 1, 2, 0),))
    service.publish_many(2)
    assert failed(service, 1) == 0


# --- failing ----------------------------------------------------------------------------------


def test_a_message_becomes_a_dead_letter_with_the_last_of_max_deliveries() -> None:
    service = stocked(2, max_deliveries=3)
    member = service.member(credit=0)
    for failures in range(2):
        nack(member, 0, failures=failures)
        assert service.dead() == []
    nack(member, 0, failures=2)
    assert service.dead() == [0]
    assert service.unfinished() == [1]
    letter = service.machine.shard.topic("t").group("g").progress[0].dead[0]
    assert (letter.reason, letter.failures, letter.error) == ("max_deliveries", 3, "no")


def test_with_one_delivery_the_first_failure_is_the_end() -> None:
    service = stocked(1, max_deliveries=1)
    nack(service.member(credit=0), 0)
    assert service.dead() == [0]


def test_a_rejected_message_is_dead_at_once() -> None:
    service = stocked()
    member = service.member(credit=0)
    assert reject(member, 2) == Settled(1)
    letter = service.machine.shard.topic("t").group("g").progress[0].dead[2]
    assert (letter.reason, letter.failures, letter.error) == ("rejected", 1, "bad")


def test_a_dead_letter_knows_when_it_failed_first_and_when_it_died() -> None:
    service = stocked(1, max_deliveries=2)
    member = service.member(credit=0)
    began = service.now
    nack(member, 0)
    service.advance(700)
    nack(member, 0, failures=1)
    letter = service.machine.shard.topic("t").group("g").progress[0].dead[0]
    assert (letter.first_failed_at, letter.dead_at) == (began, began + 700)


def test_failures_are_counted_for_people() -> None:
    service = stocked(3, max_deliveries=2)
    member = service.member(credit=0)
    nack(member, 0, 1)
    nack(member, 0, failures=1)
    reject(member, 2)
    group, tally = service.group(), service.machine.shard.tallies["t"]
    assert (group.redelivered, group.dead_lettered, group.acked) == (2, 2, 0)
    assert (tally.redelivered, tally.dead_lettered, tally.acked) == (2, 2, 0)


def test_a_delay_that_is_given_replaces_the_back_off() -> None:
    service = stocked(2, backoff_first_ms=10_000)
    member = service.member(credit=0)
    nack(member, 0, delay=77)
    send(Nack, member, 1)
    failures = service.machine.shard.topic("t").group("g").progress[0].failures
    assert failures[0].ready_at == service.now + 77
    assert 8_000 <= failures[1].ready_at - service.now <= 12_000


def test_an_acknowledgement_ends_the_count_of_failures() -> None:
    service = stocked()
    member = service.member(credit=0)
    nack(member, 0, 1)
    ack(member, 0, failures=1)
    progress = service.machine.shard.topic("t").group("g").progress[0]
    assert list(progress.failures) == [1]


def test_the_leader_lets_a_delivery_fail_on_its_own_word() -> None:
    service = stocked(1, max_deliveries=2)
    member = service.member(EXCLUSIVE, credit=0)
    for failures in range(2):
        parts = parts_of(0, [0], failures)
        expire = Expire("t", "g", member.number, parts, "lease_expired")
        assert service.do(expire, LEADER) == Settled(1)
        assert service.do(expire, LEADER) == Settled(0, parts)
    letter = service.machine.shard.topic("t").group("g").progress[0].dead[0]
    assert (letter.reason, letter.error) == ("max_deliveries", "lease_expired")


def test_the_leader_can_blame_a_member_that_is_gone() -> None:
    service = stocked(1)
    member = service.member(KEYED, credit=0)
    service.end_session(member.session)
    service.do(Expire("t", "g", member.number, parts_of(0, [0]), "session_lost"), LEADER)
    assert failed(service, 0) == 1


def test_beyond_the_limit_the_oldest_dead_letters_go_for_good() -> None:
    service = QueueService(leads=False, limits=QueueLimits(dead_letters_per_group_max=2))
    service.configure(partitions=2)
    for partition in (0, 1):
        for _ in range(2):
            service.publish_many(1, partition=partition)
    member = service.member(credit=0)
    for partition, offset in ((1, 0), (0, 0), (1, 1)):
        member.reject(offset, partition=partition)
        service.advance(1)
    assert (service.dead(0), service.dead(1)) == ([0], [1])
    assert [each.first for each in service.info().partitions] == [0, 1]


def test_a_dead_letter_keeps_its_message_stored() -> None:
    service = QueueService(leads=False)
    service.configure()
    for _ in range(3):
        service.publish_many(1)
    member = service.member(credit=0)
    reject(member, 1)
    ack(member, 0, 2)
    (partition,) = service.info().partitions
    assert (partition.first, partition.messages) == (1, 1)


def test_neighbours_that_are_refused_are_named_together() -> None:
    service = stocked()
    member = service.member(credit=0)
    ack(member, 0, 1, 3)
    reply = nack(member, 0, 1, 2, 3)
    assert reply == Settled(1, (Part(0, 0, 1, 0), Part(0, 3, 3, 0)))


def test_a_refusal_says_whom_the_group_does_not_know() -> None:
    service = stocked()
    service.member(KEYED, credit=0)
    reply = service.do(Ack("t", "g", 0xBAD, parts_of(0, [0])))
    assert isinstance(reply, Refused)
    assert "bad" in reply.message


@pytest.mark.parametrize("mode", [KEYED, EXCLUSIVE])
def test_an_acknowledgement_is_not_refused_for_its_neighbours(mode: GroupMode) -> None:
    """Else the leader believes the rest of the range in flight, its member does not, and nobody
    gets it for as long as the member lives."""
    service = stocked(6)
    member = service.member(mode, credit=0)
    service.do(Expire("t", "g", member.number, (Part(0, 2, 3),), "lease_expired"), LEADER)
    command = Ack("t", "g", member.number, (Part(0, 0, 5, 0),))
    assert service.do(command, member.session) == Settled(4, (Part(0, 2, 3, 0),))
    assert service.unfinished() == [2, 3]


@pytest.mark.parametrize("mode", MODES)
def test_an_acknowledgement_beyond_the_end_is_neither_done_nor_refused(mode: GroupMode) -> None:
    service = stocked(2)
    member = service.member(mode, credit=0)
    command = Ack("t", "g", member.number, (Part(0, 1, 9, 0), Part(0, 7, 9, 1)))
    assert service.do(command, member.session) == Settled(1)
    service.publish_many(2)
    assert service.unfinished() == [0, 2, 3]
