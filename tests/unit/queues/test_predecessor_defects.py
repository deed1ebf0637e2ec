"""The defects Q1 to Q7 of the queue that Synaxis replaces; each name says the cause."""

from collections import Counter

import pytest

from support.queue_service import EXCLUSIVE, LEADER, QueueService, parts_of
from synaxis.errors import StorageCorrupt
from synaxis.ids import Sequence
from synaxis.queues.commands import Ack, PurgeDead, Redrive
from synaxis.queues.placement import partition_of_key, shard_of
from synaxis.queues.questions import BrowseDead, Page
from synaxis.queues.units import heads, open_unit
from synaxis.topics import Retention


def test_q1_an_acknowledgement_of_the_last_message_does_not_acknowledge_those_before_it() -> None:
    service = QueueService()
    service.configure()
    service.publish_many(5)
    first = service.member()
    assert first.take_new() == [0, 1, 2, 3, 4]
    first.ack(4)
    first.leave()
    second = service.member()
    assert second.take_new() == [0, 1, 2, 3]


def test_q2_a_group_of_the_same_name_on_another_topic_is_another_group() -> None:
    service = QueueService()
    service.configure("t", 1)
    service.configure("u", 2)
    service.publish(b"of t", topic="t")
    service.publish(b"of u", topic="u")
    first = service.member(topic="t")
    first.ack(0)
    second = service.member(topic="u")
    assert second.bodies == [b"of u"]
    assert service.unfinished(topic="u") == [0]


def test_q2_an_offset_of_one_partition_says_nothing_about_another() -> None:
    service = QueueService()
    service.configure(partitions=2)
    service.publish_many(1, partition=0)
    service.publish_many(1, partition=1)
    service.member().ack(0, partition=0)
    assert service.unfinished(1) == [0]


def test_q2_an_acknowledgement_does_not_remove_the_message_for_other_groups() -> None:
    service = QueueService()
    service.configure()
    service.publish(b"for both")
    first, second = service.member(group="g"), service.member(group="h", credit=0)
    first.ack()
    second.attach()
    assert second.bodies == [b"for both"]


def test_q3_every_partition_has_exactly_one_shard_and_the_others_refuse_it() -> None:
    services = [QueueService(number=number, shards=3) for number in range(3)]
    for service in services:
        service.configure(partitions=7)
    for partition in range(7):
        owner = shard_of("t", partition, 3)
        for number, service in enumerate(services):
            command = service.publishing(b"m", partition=partition)
            if number == owner:
                service.do(command)
            else:
                assert service.refused(command).code == "not_found"
    assert sum(len(service.info().partitions) for service in services) == 7


def test_q3_a_replica_that_is_told_the_same_has_the_same_state_and_the_same_bytes() -> None:
    replicas = [QueueService(leads=False) for _ in range(2)]
    for service in replicas:
        service.configure()
        service.publish(b"a", b"b", keys=["x", ""], ttls=[50, 0])
        service.member(credit=0).nack(1, delay=-1)
        service.advance(60)
    first, second = replicas
    assert first.machine.snapshot() == second.machine.snapshot()
    assert first.store.segments == second.store.segments


def test_q4_the_partition_of_a_key_is_the_same_in_every_process() -> None:
    """Pinned: a change would move keys, and break their order, with an upgrade."""
    assert partition_of_key(b"user-1", 16) == 4
    assert partition_of_key(b"user-2", 16) == 14


def test_q4_a_thousand_keys_use_all_partitions_about_evenly() -> None:
    counts = Counter(partition_of_key(b"user-%d" % number, 6) for number in range(1_000))
    assert sorted(counts) == list(range(6))
    assert min(counts.values()) > 100
    assert max(counts.values()) < 250


def test_q5_a_damaged_message_is_refused_instead_of_delivered() -> None:
    service = QueueService()
    service.configure()
    service.publish(b"precious")
    unit = bytes(service.store.segments[1])
    assert open_unit(unit)[1] == b"precious"
    with pytest.raises(StorageCorrupt):
        open_unit(unit.replace(b"precious", b"precooked"[:8]))


def test_q5_a_torn_tail_is_told_from_what_is_whole() -> None:
    """So that it is cut off at the start and what is published after it can be read."""
    service = QueueService()
    service.configure()
    service.publish(b"one")
    whole = len(service.store.segments[1])
    service.publish(b"two")
    torn = bytes(service.store.segments[1][:-1])
    assert [at + length for at, length, _ in heads(torn)] == [whole]


def test_q5_what_is_consumed_gives_its_space_back() -> None:
    service = QueueService()
    service.configure()
    member = service.member()
    for _ in range(50):
        service.publish(b"m" * 100)
        member.ack()
    (partition,) = service.info().partitions
    assert (partition.messages, partition.size) == (0, 0)
    assert service.machine.shard.segments.stored_bytes == 0


def test_q5_a_batch_is_one_operation_of_the_store_not_one_for_each_message() -> None:
    service = QueueService(leads=False)
    service.configure()
    command = service.publishing(*[b"m"] * 500)
    service.machine.apply(LEADER, Sequence(0), command, service.now)
    assert len(service.machine.take_store()) == 1


def test_q6_dead_letters_can_be_listed_redriven_and_purged() -> None:
    service = QueueService()
    service.configure(max_deliveries=1)
    service.publish(b"a", b"b", b"c")
    member = service.member()
    member.nack()
    page = service.machine.query(BrowseDead("t", "g", 0, 0, 10), service.now)
    assert isinstance(page, Page)
    assert [(letter.offset, letter.reason) for letter in page.dead] == [
        (0, "max_deliveries"),
        (1, "max_deliveries"),
        (2, "max_deliveries"),
    ]
    assert service.store.records(page.slices) == [b"a", b"b", b"c"]
    member.take_new()
    service.do(Redrive("t", "g", partition=0, offsets=(1,)))
    assert member.take_new() == [1]
    service.do(PurgeDead("t", "g", limit=1))
    assert service.dead() == [2]


def test_q6_a_message_dies_when_it_fails_not_when_somebody_consumes_again() -> None:
    service = QueueService(leads=False)
    service.configure(max_deliveries=1)
    service.publish(b"a")
    service.member(credit=0).nack(0)
    assert service.dead() == [0]


def test_q6_failures_are_counted_across_a_restart() -> None:
    service = QueueService()
    service.configure(max_deliveries=2)
    service.publish(b"a")
    member = service.member()
    member.nack()
    service.fail_over()
    member.attach()
    assert member.held == {(0, 0): 1}
    member.nack()
    service.fail_over()
    assert service.dead() == [0]


def test_q7_a_dead_consumer_gives_back_its_partitions_and_messages() -> None:
    service = QueueService()
    service.configure(partitions=2)
    for partition in (0, 1):
        service.publish_many(1, partition=partition)
    dead, alive = service.member(EXCLUSIVE), service.member(EXCLUSIVE)
    service.end_session(dead.session)
    service.advance(5_000, heard=[alive])
    assert {
        owner.owner for owner in service.machine.shard.topic("t").group("g").owners.values()
    } == {alive.number}
    assert sorted(set(alive.got)) == [(0, 0), (1, 0)]


def test_q7_a_consumer_that_falls_silent_loses_what_it_holds() -> None:
    service = QueueService()
    service.configure(visibility_ms=2_000, backoff_first_ms=0)
    service.publish_many(1)
    silent, other = service.member(), service.member()
    assert (silent.take_new(), other.take_new()) == ([0], [])
    silent.detach()
    service.advance(3_000, heard=[other])
    assert other.held == {(0, 0): 1}


def test_q7_a_consumer_of_an_older_generation_is_fenced() -> None:
    service = QueueService()
    service.configure()
    service.publish_many(1)
    old = service.member(EXCLUSIVE)
    service.end_session(old.session)
    service.member(EXCLUSIVE)
    refused = service.refused(Ack("t", "g", old.number, parts_of(0, [0])), old.session)
    assert refused.code == "consumer_fenced"


def test_q7_consuming_does_not_move_partitions() -> None:
    service = QueueService()
    service.configure(partitions=2)
    first, second = service.member(EXCLUSIVE), service.member(EXCLUSIVE)
    epochs = service.group().epoch
    for _ in range(3):
        service.publish_many(1, partition=0)
        service.publish_many(1, partition=1)
        first.ack()
        second.ack()
    assert service.group().epoch == epochs


def test_q7_a_message_can_be_given_back_extended_delayed_and_put_first() -> None:
    service = QueueService()
    service.configure(visibility_ms=2_000)
    service.publish(b"plain", b"urgent", b"late", priorities=[0, 9, 0], delays=[0, 0, 4_000])
    member = service.member(auto_extend=False)
    assert member.take_new() == [1, 0]
    assert member.extend(60_000, 0) == ()
    member.nack(1, delay=1_000)
    service.advance(1_000, heard=[member])
    assert member.take_new() == [1]
    member.ack(1)
    service.advance(3_000, heard=[member])
    assert member.take_new() == [2]
    assert (0, 0) in member.held


def test_q7_a_producer_that_repeats_a_batch_does_not_store_it_twice() -> None:
    service = QueueService()
    service.configure()
    command = service.publishing(b"a")
    assert service.do(command) != service.do(command)
    assert service.info().partitions[0].messages == 1


def test_q7_a_log_forgets_what_is_too_old() -> None:
    service = QueueService()
    service.configure(retention=Retention.LOG, retention_ms=1_000)
    service.publish(b"a")
    service.advance(1_000)
    assert service.info().partitions[0].messages == 0


def test_q7_a_long_queue_is_not_scanned_from_its_head_for_each_message() -> None:
    service = QueueService()
    service.configure()
    member = service.member(credit=1)
    service.publish_many(3_000)
    lane = service.dispatcher._desk.flows["t", "g"].lanes[0]
    for offset in range(100):
        member.ack(offset)
        member.credit(1)
    assert member.offsets == list(range(101))
    assert lane.estimate() == 3_000 - 101
