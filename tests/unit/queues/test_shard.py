"""What a shard counts and plans, so that it need not look at everything."""

import pytest

from support.queue_service import QueueService
from synaxis.errors import NotFound
from synaxis.queues.commands import Ack, DeleteGroup, Part, Purge, PurgeDead, Redrive, Seek
from synaxis.queues.limits import QueueLimits
from synaxis.topics import Retention


def test_a_topic_that_is_not_there_is_named() -> None:
    made = QueueService()
    with pytest.raises(NotFound) as caught:
        made.machine.shard.topic("t")
    assert caught.value.details == {"topic": "t"}


def test_the_memory_of_the_indexes_is_counted_as_it_changes() -> None:
    made = QueueService()
    made.configure()
    shard, member = made.machine.shard, made.member()
    made.publish(keys=["a", "b"], delays=[1, 0], ids=["x", "y"])
    counted = shard.index_bytes
    assert counted == shard.topics["t"].partitions[0].memory_bytes() > 0
    made.advance(1, heard=[member])
    member.ack()
    assert 0 < shard.index_bytes < counted  # the ids and the producer are remembered
    made.remove()
    assert shard.index_bytes == 0


def test_a_restored_shard_has_the_same_plans() -> None:
    made = QueueService()
    made.configure(retention=Retention.LOG, retention_ms=1_000)
    made.member()
    made.publish(ttls=[0, 70, 50])
    made.advance(10)
    made.publish_many(1)
    index_bytes, due = made.machine.shard.index_bytes, made.machine.deadline()
    made.fail_over()
    assert (made.machine.shard.index_bytes, made.machine.deadline()) == (index_bytes, due)
    made.advance(60)
    assert made.machine.deadline() == made.now + 930


def test_a_topic_that_is_removed_leaves_no_plan_for_the_next_of_its_name() -> None:
    made = QueueService()
    made.configure(retention_ms=100)
    made.publish(ttls=[50])
    made.remove()
    made.configure(topic_id=2, retention_ms=100)
    made.advance(60)
    made.publish(ttls=[90])
    made.advance(40)
    assert made.info().partitions[0].messages == 1
    made.advance(50)
    assert made.info().partitions[0].messages == 0


def test_failures_and_dead_letters_count_as_memory_until_they_are_over() -> None:
    """A consumer that fails everything would else fill the memory that publishing is to respect."""
    made = QueueService()
    made.configure()
    shard, member = made.machine.shard, made.member()
    made.publish_many(5)
    counted = [shard.fates.bytes]
    for step in (
        lambda: member.nack(0, 1, delay=60_000),
        lambda: member.reject(2, 3),
        made.fail_over,
        lambda: made.do(Ack("t", "g", member.number, (Part(0, 0, 0, 1),))),
        lambda: made.do(Seek("t", "g", offset=0)),
        lambda: made.do(PurgeDead("t", "g", limit=1)),
        lambda: made.do(Redrive("t", "g")),
    ):
        step()
        counted.append(made.machine.shard.fates.bytes)
    assert counted == [0, 404, 810, 810, 608, 406, 203, 0]


@pytest.mark.parametrize("end", ["group", "topic", "purge"])
def test_nothing_of_that_is_left_of_what_is_removed(end: str) -> None:
    made = QueueService()
    made.configure()
    member = made.member()
    made.publish_many(3)
    member.nack(0, delay=60_000)
    member.reject(1)
    member.leave()
    match end:
        case "group":
            made.do(DeleteGroup("t", "g"))
        case "topic":
            made.remove()
        case _:
            made.do(Purge("t"))
    assert made.machine.shard.fates.bytes == 0


def test_a_shard_full_of_failures_takes_no_more_messages() -> None:
    made = QueueService(QueueLimits(shard_index_bytes_max=4_000))
    made.configure()
    member = made.member()
    made.publish_many(20)
    made.publish_many(1)
    member.nack(*range(20), delay=60_000)
    refused = made.refused(made.publishing(b"a"))
    assert refused.details["limit"] == "shard_index_bytes_max"
    member.ack()
