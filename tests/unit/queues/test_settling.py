"""Messages are finished, come again, or die: once for each delivery, whoever says what when."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, LEADER, SHARED, QueueService, parts_of
from synaxis.effects import Refused
from synaxis.ids import SessionId
from synaxis.queues.backoff import backoff_ms
from synaxis.queues.commands import Ack, Expire, GroupMode, Nack, Part, Reject, Settled
from synaxis.queues.limits import QueueLimits
from synaxis.queues.progress import Progress

ALL = (SHARED, KEYED, EXCLUSIVE)
ORDERED = (KEYED, EXCLUSIVE)


def service(mode: GroupMode = SHARED, messages: int = 6, **config: object) -> QueueService:
    """A group with member 1, which was given all there is."""
    made = QueueService()
    made.configure(**{"max_deliveries": 3, "backoff_first_ms": 100, **config})  # type: ignore[arg-type]
    made.member(mode)
    if messages:
        made.publish_many(messages)
    return made


def progress(made: QueueService) -> Progress:
    return made.machine.shard.topics["t"].groups["g"].progress[0]


def expire(made: QueueService, *parts: Part, reason: str = "lease_expired") -> Settled:
    reply = made.do(Expire("t", "g", 1, parts, reason), LEADER)
    assert isinstance(reply, Settled)
    return reply


@pytest.mark.parametrize("mode", ALL)
def test_acks_in_any_order_do_not_pass_what_is_unfinished(mode: GroupMode) -> None:
    made = service(mode)
    assert made.members[0].ack(4, 2, 5) == Settled(3)
    assert made.progress().floor == 0
    assert made.unfinished() == [0, 1, 3]
    assert made.members[0].ack(0, 1) == Settled(2)
    assert made.progress().floor == 3


@pytest.mark.parametrize("mode", ALL)
def test_an_ack_that_is_repeated_does_nothing(mode: GroupMode) -> None:
    made = service(mode)
    command = Ack("t", "g", 1, (Part(0, 0, 2),))
    assert made.do(command) == Settled(3)
    assert made.do(command) == Settled(0)
    assert made.group().acked == made.machine.shard.tallies["t"].acked == 3


@pytest.mark.parametrize("mode", ALL)
def test_an_ack_of_what_is_not_there_yet_finishes_nothing(mode: GroupMode) -> None:
    made = service(mode, messages=2)
    assert made.do(Ack("t", "g", 1, (Part(0, 1, 9, 0), Part(0, 7, 9, 1)))) == Settled(1)
    made.publish_many(2)
    assert made.unfinished() == [0, 2, 3]


def test_a_shared_group_accepts_whoever_did_the_work() -> None:
    made = service()
    expire(made, Part(0, 0, 0))
    assert made.do(Ack("t", "g", 77, (Part(0, 0, 0, 0),)), SessionId(9)) == Settled(1)


@pytest.mark.parametrize("mode", ORDERED)
def test_an_ordered_group_accepts_only_its_members(mode: GroupMode) -> None:
    made = service(mode)
    assert made.refused(Ack("t", "g", 77, (Part(0, 0, 0),))).code == "consumer_fenced"


def test_an_exclusive_group_accepts_only_the_owner() -> None:
    made = service(EXCLUSIVE)
    part = Part(0, 0, 1)
    other = made.member(EXCLUSIVE)
    assert made.do(Ack("t", "g", other.number, (part,))) == Settled(0, (part,))
    assert made.do(Nack("t", "g", other.number, (part,))) == Settled(0, (part,))
    assert made.do(Ack("t", "g", 1, (part,))) == Settled(2)


@pytest.mark.parametrize("mode", ORDERED)
def test_an_ordered_group_refuses_what_another_delivery_has_overtaken(mode: GroupMode) -> None:
    made = service(mode)
    expire(made, Part(0, 1, 1))
    old, new = Part(0, 1, 1, 0), Part(0, 1, 1, 1)
    assert made.do(Ack("t", "g", 1, (old,))) == Settled(0, (old,))
    assert made.do(Ack("t", "g", 1, (new,))) == Settled(1)


@pytest.mark.parametrize("mode", ORDERED)
def test_an_ack_is_not_refused_for_its_neighbours(mode: GroupMode) -> None:
    """Else the leader believes the rest of the part in flight, its member does not, and nobody
    gets it for as long as the member lives."""
    made = service(mode)
    expire(made, Part(0, 2, 3))
    reply = made.do(Ack("t", "g", 1, (Part(0, 0, 5, 0),)))
    assert reply == Settled(4, (Part(0, 2, 3, 0),))
    assert made.unfinished() == [2, 3]


def test_what_is_refused_is_told_in_ranges() -> None:
    made = service()
    parts = (*parts_of(0, range(3), 2), *parts_of(0, [3], 1), *parts_of(0, [5], 1))
    assert made.do(Nack("t", "g", 1, parts)) == Settled(
        0, (Part(0, 0, 2, 2), Part(0, 3, 3, 1), Part(0, 5, 5, 1))
    )


@pytest.mark.parametrize("mode", ALL)
def test_a_failure_counts_once_for_each_delivery(mode: GroupMode) -> None:
    made = service(mode)
    assert made.members[0].nack(0, delay=500) == Settled(1)
    stale = Part(0, 0, 0, 0)
    assert made.do(Nack("t", "g", 1, (stale,))) == Settled(0, (stale,))
    assert expire(made, stale) == Settled(0, (stale,))
    assert made.do(Reject("t", "g", 1, (stale,))) == Settled(0, (stale,))
    assert progress(made).failures[0].count == 1


def test_a_nack_waits_for_as_long_as_it_says_and_else_for_the_back_off() -> None:
    made = service()
    made.members[0].nack(0, delay=500)
    made.members[0].nack(1, delay=-1)
    failures = progress(made).failures
    config = made.machine.shard.topics["t"].record.config
    assert failures[0].ready_at == made.now + 500
    assert failures[1].ready_at == made.now + backoff_ms(config, 1, 1)
    assert (failures[0].error, failures[0].first_at) == ("no", made.now)


def test_a_lost_lease_waits_for_the_back_off_too() -> None:
    made = service()
    expire(made, Part(0, 0, 0))
    config = made.machine.shard.topics["t"].record.config
    assert progress(made).failures[0].ready_at == made.now + backoff_ms(config, 0, 1)
    assert made.group().redelivered == 1


@pytest.mark.parametrize("mode", ALL)
def test_the_last_failure_makes_a_dead_letter(mode: GroupMode) -> None:
    made = service(mode, messages=1)
    first = made.now
    for _ in range(2):
        made.members[0].nack(0)
        made.advance(10, heard=made.members)
    assert made.dead() == []
    expire(made, Part(0, 0, 0, 2))
    letter = progress(made).dead[0]
    assert (letter.reason, letter.failures, letter.error) == ("max_deliveries", 3, "lease_expired")
    assert (letter.first_failed_at, letter.dead_at) == (first, made.now)
    assert made.unfinished() == []
    assert made.group().dead_lettered == made.machine.shard.tallies["t"].dead_lettered == 1
    assert made.group().redelivered == 2


def test_a_rejected_message_is_dead_at_once() -> None:
    made = service()
    assert made.members[0].reject(3) == Settled(1)
    letter = progress(made).dead[3]
    assert (letter.reason, letter.failures, letter.error) == ("rejected", 1, "bad")


def test_a_dead_letter_keeps_its_bytes_and_nothing_else_does() -> None:
    made = service(messages=0)
    for _ in range(3):
        made.publish_many(1)
    made.members[0].reject(1)
    made.members[0].ack(0, 2)
    assert made.info().partitions[0].messages == 1


def test_nacks_and_rejections_come_from_members_only() -> None:
    made = service()
    for kind in (Nack, Reject):
        refused = made.do(kind("t", "g", 77, (Part(0, 0, 0),)))
        assert isinstance(refused, Refused)
        assert refused.code == "consumer_fenced"


def test_nothing_of_a_command_is_done_when_a_part_of_it_is_wrong() -> None:
    made = service()
    parts = (Part(0, 0, 0), Part(1, 0, 0))
    for command in (Ack("t", "g", 1, parts), Nack("t", "g", 1, parts)):
        assert made.refused(command).code == "not_found"
    assert made.refused(Expire("t", "g", 1, parts, "session_lost"), LEADER).code == "not_found"
    assert made.unfinished() == list(range(6))
    assert progress(made).failures == {}


def test_beyond_the_limit_the_oldest_dead_letter_goes() -> None:
    made = QueueService(QueueLimits(dead_letters_per_group_max=2))
    made.configure(partitions=2)
    member = made.member()
    for partition in (1, 0, 1):
        made.publish_many(1, partition=partition)
        made.advance(1, heard=[member])
    for partition, offset in ((1, 0), (0, 0), (1, 1)):
        member.reject(offset, partition=partition)
        made.advance(1, heard=[member])
    assert (made.dead(0), made.dead(1)) == ([0], [1])
    assert made.info().partitions[1].messages == 1
    assert made.group().dead_lettered == 3


def test_each_group_has_a_fate_of_its_own_for_a_message() -> None:
    made = service(messages=1)
    other = made.member(group="h")
    made.members[0].ack(0)
    other.reject(0)
    assert (made.unfinished(), made.dead(), made.dead(group="h")) == ([], [], [0])
    assert made.info().partitions[0].messages == 1
