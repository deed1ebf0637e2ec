"""What a publish does: refuse, recognise, store."""

from array import array
from typing import Any

import msgspec
import pytest

from support.queue_service import QueueService, batch_of, parts_of
from synaxis.errors import Overloaded
from synaxis.queues.commands import Ack, Publish, Published
from synaxis.queues.limits import QueueLimits
from synaxis.queues.questions import Browse, Page
from synaxis.queues.units import HEAD_BYTES
from synaxis.topics import Retention


def shard(limits: QueueLimits | None = None, **config: Any) -> QueueService:
    """Return a shard with a topic, without a leader's half."""
    service = QueueService(leads=False, limits=limits or QueueLimits())
    service.configure(**config)
    return service


def stored(service: QueueService) -> list[bytes]:
    """Return the bodies of everything that is stored."""
    page = service.machine.query(Browse("t", 0, 0, 1_000), service.now)
    assert isinstance(page, Page), page
    return service.store.records(page.slices)


def sizes() -> int:
    """Return what a unit of one message takes beyond its record."""
    return HEAD_BYTES + 4


def test_offsets_count_from_zero_without_gaps() -> None:
    service = shard()
    assert service.publish(b"a", b"b") == Published(0)
    assert service.publish(b"c") == Published(2)
    assert stored(service) == [b"a", b"b", b"c"]


def test_partitions_count_for_themselves() -> None:
    service = shard(partitions=2)
    service.publish(b"a", b"b", partition=0)
    assert service.publish(b"c", partition=1) == Published(0)


def test_publishing_to_what_does_not_exist_is_refused() -> None:
    service = shard(partitions=2)
    for topic, partition in (("nothing", 0), ("t", 2), ("t", -1)):
        command = service.publishing(b"a", topic=topic, partition=partition)
        assert service.refused(command).code == "not_found"


def test_an_offset_is_not_used_again_when_its_message_is_gone() -> None:
    service = shard()
    service.publish(b"a")
    service.member(credit=0).ack(0)
    assert service.info().partitions[0].messages == 0
    assert service.publish(b"b") == Published(1)


# --- batches that come again ------------------------------------------------------------------


def test_a_batch_that_comes_again_is_stored_once() -> None:
    service = shard()
    command = service.publishing(b"a", b"b")
    service.publish(b"before")
    assert service.do(command) == Published(1)
    assert service.do(command) == Published(1, duplicate=True)
    assert stored(service) == [b"before", b"a", b"b"]


def test_a_batch_is_recognised_in_whatever_session_it_comes_again() -> None:
    service = shard()
    command = service.publishing(b"a")
    member = service.member(credit=0)
    service.do(command, member.session)
    service.end_session(member.session)
    assert service.do(command) == Published(0, duplicate=True)


def test_a_batch_is_recognised_after_its_messages_are_gone() -> None:
    service = shard()
    command = service.publishing(b"a")
    service.do(command)
    service.member(credit=0).ack(0)
    assert service.do(command) == Published(0, duplicate=True)
    assert service.unfinished() == []


def test_equal_sequences_of_two_producers_and_of_two_partitions_are_different_batches() -> None:
    service = shard(partitions=2)
    command = service.publishing(b"a")
    other = msgspec.structs.replace(command, producer=2)
    elsewhere = msgspec.structs.replace(command, partition=1)
    assert service.do(command) == Published(0)
    assert service.do(other) == Published(1)
    assert service.do(elsewhere) == Published(0)


def test_a_batch_that_was_refused_is_not_remembered() -> None:
    service = shard(partition_bytes_max=sizes() + 10)
    service.publish(b"x" * 10)
    command = service.publishing(b"y" * 10)
    assert service.refused(command).code == "overloaded"
    service.member(credit=0).ack(0)
    assert service.do(command) == Published(1)


def test_sequences_may_have_gaps() -> None:
    service = shard()
    for sequence in (1, 5, 9):
        assert isinstance(service.do(Publish("t", 0, 7, sequence, batch_of(b"a"))), Published)
    assert len(stored(service)) == 3


def test_a_batch_older_than_the_memory_of_its_producer_has_an_unknown_outcome() -> None:
    service = shard(QueueLimits(sequences_per_producer_max=2))
    commands = [service.publishing(b"a") for _ in range(3)]
    for command in commands:
        service.do(command)
    assert service.refused(commands[0]).code == "outcome_unknown"
    assert service.do(commands[1]) == Published(1, duplicate=True)
    assert len(stored(service)) == 3


# --- message ids ------------------------------------------------------------------------------


def test_a_message_whose_id_is_known_is_not_stored_again() -> None:
    service = shard()
    service.publish(b"a", ids=["x"])
    assert service.publish(b"b", b"a", b"c", ids=["y", "x", "z"]) == Published(1, False, ((1, 0),))
    assert stored(service) == [b"a", b"b", b"c"]


def test_an_id_that_comes_twice_within_a_batch_is_stored_once() -> None:
    service = shard()
    assert service.publish(b"a", b"b", b"a", ids=["x", "", "x"]) == Published(0, False, ((2, 0),))
    assert stored(service) == [b"a", b"b"]


def test_messages_without_an_id_are_never_taken_for_each_other() -> None:
    service = shard()
    assert service.publish(b"a", b"a", ids=["", ""]).known == ()
    assert service.publish(b"a", ids=[""]).known == ()
    assert len(stored(service)) == 3


def test_a_batch_of_which_everything_is_known_stores_nothing() -> None:
    service = shard()
    service.publish(b"a", ids=["x"])
    assert service.publish(b"a", ids=["x"]) == Published(1, False, ((0, 0),))
    assert service.publish(b"b") == Published(1)


def test_an_id_is_forgotten_when_its_window_is_over() -> None:
    service = shard(dedup_window_ms=1_000)
    service.publish(b"a", ids=["x"])
    service.advance(999)
    assert service.publish(b"a", ids=["x"]).known == ((0, 0),)
    service.advance(1)
    assert service.publish(b"a", ids=["x"]) == Published(1)


def test_without_a_window_no_id_is_remembered() -> None:
    service = shard(dedup_window_ms=0)
    assert service.publish(b"a", b"a", ids=["x", "x"]).known == ()
    assert service.publish(b"a", ids=["x"]) == Published(2)


def test_the_columns_of_the_others_survive_taking_out_a_known_message() -> None:
    service = shard()
    service.publish(b"k", ids=["k"])
    service.publish(
        b"one",
        b"k",
        b"two",
        keys=["a", "b", "c"],
        priorities=[1, 2, 3],
        delays=[10, 20, 30],
        ttls=[100, 200, 300],
        ids=["o", "k", "t"],
    )
    partition = service.machine.shard.topic("t").partitions[0]
    specials = {
        offset: (each.priority, each.deliver_at - service.now, each.expires_at - service.now)
        for offset, each in partition.specials.items()
    }
    assert specials == {1: (1, 10, 100), 2: (3, 30, 300)}
    expected = array("I", batch_of(b"", b"", keys=["a", "c"]).key_hashes)
    assert array("I", partition.keys[1]) == expected
    assert stored(service) == [b"k", b"one", b"two"]


# --- what costs memory ------------------------------------------------------------------------


def test_plain_messages_leave_no_columns() -> None:
    service = shard()
    service.publish(b"a", b"b", keys=["", ""], priorities=[0, 0], delays=[0, 0], ttls=[0, 0])
    partition = service.machine.shard.topic("t").partitions[0]
    assert (partition.keys, partition.specials) == ({}, {})


def test_only_messages_that_are_not_plain_cost_memory() -> None:
    service = shard()
    service.publish(b"a", b"b", b"c", priorities=[0, 4, 0])
    assert list(service.machine.shard.topic("t").partitions[0].specials) == [1]


# --- limits -----------------------------------------------------------------------------------


def test_a_full_partition_is_overloaded_until_something_is_consumed() -> None:
    maximum = 2 * sizes() + 20
    service = shard(partition_bytes_max=maximum)
    service.publish(b"x" * 10)
    service.publish(b"x" * 10)
    refused = service.refused(service.publishing(b"y"))
    assert refused.code == "overloaded"
    assert (refused.details["limit"], refused.details["maximum"]) == (
        "partition_bytes_max",
        maximum,
    )
    assert refused.details["retry_after"] > 0
    assert len(stored(service)) == 2
    service.member(credit=0).ack(0)
    assert service.publish(b"y") == Published(2)


def test_a_batch_that_would_never_fit_is_not_worth_a_retry() -> None:
    service = shard(partition_bytes_max=100)
    assert service.refused(service.publishing(b"x" * 101)).code == "limit_exceeded"
    assert service.publish(b"x" * 100) == Published(0)


def test_a_full_shard_is_overloaded() -> None:
    service = shard(QueueLimits(shard_bytes_max=100))
    service.publish(b"x" * 80)
    refused = service.refused(service.publishing(b"x" * 10))
    assert (refused.code, refused.details["limit"]) == ("overloaded", "shard_bytes_max")


def test_a_full_index_is_overloaded_until_something_is_consumed() -> None:
    service = shard(QueueLimits(shard_index_bytes_max=700))
    service.publish_many(2, priorities=[1, 1])
    refused = service.refused(service.publishing(b"x"))
    assert (refused.code, refused.details["limit"]) == ("overloaded", "shard_index_bytes_max")
    service.member(credit=0).ack(0, 1)
    assert service.publish(b"x") == Published(2)


def test_ids_of_a_batch_that_was_refused_are_not_remembered() -> None:
    service = shard(partition_bytes_max=sizes() + 10)
    service.publish(b"x" * 10)
    service.refused(service.publishing(b"y", ids=["y"]))
    service.member(credit=0).ack(0)
    assert service.publish(b"y", ids=["y"]) == Published(1)


def test_a_leader_whose_disk_is_full_lets_consumers_go_on() -> None:
    service = shard()
    member = service.member(credit=0)
    service.publish(b"a")
    service.machine.refusing = "the disk is full"
    with pytest.raises(Overloaded, match="the disk is full"):
        service.publish(b"b")
    service.do(Ack("t", "g", member.number, parts_of(0, [0])))
    assert service.unfinished() == []


# --- logs -------------------------------------------------------------------------------------


def test_a_log_that_is_too_large_lets_its_oldest_batches_go() -> None:
    service = shard(retention=Retention.LOG, partition_bytes_max=2 * (sizes() + 10))
    for body in (b"a", b"b", b"c"):
        service.publish(body * 10)
    assert stored(service) == [b"b" * 10, b"c" * 10]
    assert service.info().partitions[0].first == 1


def test_the_newest_batch_of_a_log_stays_even_if_it_is_too_large_with_its_head() -> None:
    service = shard(retention=Retention.LOG, partition_bytes_max=20)
    service.publish(b"a" * 20)
    service.publish(b"b" * 20)
    assert stored(service) == [b"b" * 20]


def test_what_a_log_let_go_is_finished_for_every_group() -> None:
    service = shard(retention=Retention.LOG, partition_bytes_max=sizes() + 10)
    service.member(credit=0)
    service.publish(b"a" * 10)
    service.publish(b"b" * 10)
    assert service.unfinished() == [1]


def test_a_dead_letter_of_a_log_does_not_crowd_out_what_is_alive() -> None:
    service = shard(retention=Retention.LOG, partition_bytes_max=2 * (sizes() + 10))
    member = service.member(credit=0)
    service.publish(b"a" * 10)
    member.reject(0)
    for body in (b"b", b"c", b"d"):
        service.publish(body * 10)
    assert stored(service) == [b"a" * 10, b"c" * 10, b"d" * 10]


def test_publishing_is_counted_for_people() -> None:
    service = shard()
    command = service.publishing(b"a", b"b", ids=["x", "y"])
    service.do(command)
    service.do(command)
    service.publish(b"a", b"c", ids=["x", "z"])
    tally = service.machine.shard.tallies["t"]
    assert (tally.published, tally.duplicates) == (3, 3)
