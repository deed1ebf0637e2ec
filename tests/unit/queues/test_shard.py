"""What a shard counts and plans, so that it need not look at everything."""

import pytest

from support.queue_service import QueueService
from synaxis.errors import NotFound
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
