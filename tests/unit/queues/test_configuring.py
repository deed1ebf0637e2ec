"""A shard follows what the cluster says of topics, whatever comes twice or late."""

from typing import Any

from support.queue_service import LEADER, QueueService
from synaxis.queues.commands import ConfigureTopic, Finished, RemoveTopic
from synaxis.topics import TopicConfig, TopicRecord


def record(topic_id: int, version: int, **config: Any) -> ConfigureTopic:
    return ConfigureTopic(TopicRecord("t", topic_id, version, TopicConfig(partitions=1, **config)))


def test_news_are_taken_and_old_ones_are_not() -> None:
    made = QueueService()
    assert made.do(record(1, 2, visibility_ms=2_000), LEADER) == Finished(1)
    assert made.do(record(1, 2), LEADER) == Finished(0)
    assert made.do(record(1, 1), LEADER) == Finished(0)
    assert made.do(record(1, 3, visibility_ms=3_000), LEADER) == Finished(1)
    assert made.machine.shard.topics["t"].record.config.visibility_ms == 3_000


def test_a_change_keeps_messages_groups_and_members() -> None:
    made = QueueService()
    made.configure()
    member = made.member()
    made.publish_many(2)
    made.configure(max_deliveries=9)
    assert (member.ack(0, 1).done, member.over) == (2, None)


def test_a_topic_created_anew_has_nothing_of_the_former_one() -> None:
    made = QueueService()
    made.configure()
    member = made.member()
    made.publish_many(2)
    made.configure(topic_id=2)
    assert member.over is not None
    assert (made.info().groups, made.info().partitions[0].next) == ((), 0)
    assert made.machine.shard.segments.stored_bytes == 0
    other = made.member()
    made.publish_many(1)
    assert other.offsets == [0]


def test_late_news_of_a_former_topic_do_not_touch_the_present_one() -> None:
    made = QueueService()
    made.do(record(2, 1), LEADER)
    made.publish_many(1)
    assert made.do(record(1, 9), LEADER) == Finished(0)
    assert made.do(RemoveTopic("t", 1), LEADER) == Finished(0)
    assert made.info().partitions[0].messages == 1


def test_a_removed_topic_is_gone_with_its_bytes_and_its_members_are_told() -> None:
    made = QueueService()
    made.configure()
    member = made.member()
    made.publish_many(2)
    member.reject(0)
    assert made.do(RemoveTopic("t", 1), LEADER) == Finished(1)
    assert made.do(RemoveTopic("t", 1), LEADER) == Finished(0)
    assert member.over is not None
    assert made.refused(made.publishing(b"a")).code == "not_found"
    shard = made.machine.shard
    assert (shard.segments.stored_bytes, shard.index_bytes, shard.tallies) == (0, 0, {})
