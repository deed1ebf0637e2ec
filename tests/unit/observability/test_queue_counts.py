"""Counters that follow the leadership of shards."""

import pytest

from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.observability.queue_counts import OTHER, LabelSlots, LedCounts
from synaxis.queues.commands import ConfigureTopic, Publish, RecordBatch, RemoveTopic
from synaxis.queues.limits import QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.topics import TopicConfig, TopicRecord

PUBLISHED = 0
NOW = LogTime(1_000)


class Replica:
    """A shard, as every replica of it would be."""

    def __init__(self) -> None:
        self.machine = QueueMachine(0, 1, QueueLimits())
        self.sequence = 0

    def create(self, topic: str, topic_id: int = 1) -> None:
        record = TopicRecord(topic, topic_id, 1, TopicConfig(partitions=1))
        self.machine.apply(SessionId(0), Sequence(0), ConfigureTopic(record), NOW)

    def remove(self, topic: str, topic_id: int = 1) -> None:
        self.machine.apply(SessionId(0), Sequence(0), RemoveTopic(topic, topic_id), NOW)

    def publish(self, topic: str, count: int) -> None:
        self.sequence += 1
        batch = RecordBatch(b"\x01\0\0\0" * count, b"x" * count)
        command = Publish(topic, 0, 7, self.sequence, batch)
        self.machine.apply(SessionId(1), Sequence(self.sequence), command, NOW)


@pytest.fixture
def replica() -> Replica:
    found = Replica()
    found.create("orders")
    return found


def published(counts: LedCounts) -> dict[str, int]:
    return {topic: numbers[PUBLISHED] for topic, numbers in counts.by_topic.items()}


def make(topics_max: int = 10) -> LedCounts:
    return LedCounts(LabelSlots(topics_max))


def test_only_what_happens_under_ones_own_leadership_is_counted(replica: Replica) -> None:
    counts = make()
    replica.publish("orders", 5)
    counts.begin("queues/0", replica.machine.shard)
    replica.publish("orders", 3)
    counts.look("queues/0", replica.machine.shard)
    assert published(counts) == {"orders": 3}


def test_the_sum_over_nodes_is_what_happened_however_often_the_leader_changes(
    replica: Replica,
) -> None:
    nodes = [make(), make(), make()]
    shard = replica.machine.shard
    for turn in range(9):
        leader = nodes[turn % 3]
        leader.begin("queues/0", shard)
        replica.publish("orders", turn)
        if turn % 2:
            leader.look("queues/0", shard)
        replica.publish("orders", 1)
        leader.end("queues/0", shard, complete=True)
    assert sum(published(each)["orders"] for each in nodes) == sum(range(9)) + 9


def test_a_counter_never_falls_when_leadership_goes_and_comes_back(replica: Replica) -> None:
    counts, shard = make(), replica.machine.shard
    counts.begin("queues/0", shard)
    replica.publish("orders", 4)
    counts.end("queues/0", shard, complete=True)
    replica.publish("orders", 100)
    counts.look("queues/0", shard)
    assert published(counts) == {"orders": 4}
    counts.begin("queues/0", shard)
    replica.publish("orders", 1)
    counts.look("queues/0", shard)
    assert published(counts) == {"orders": 5}


def test_what_the_next_leader_may_have_counted_is_left_to_it(replica: Replica) -> None:
    counts, shard = make(), replica.machine.shard
    counts.begin("queues/0", shard)
    replica.publish("orders", 4)
    counts.look("queues/0", shard)
    replica.publish("orders", 50)
    counts.end("queues/0", shard, complete=False)
    assert published(counts) == {"orders": 4}


def test_a_topic_is_told_before_anything_happens_to_it(replica: Replica) -> None:
    """Otherwise the first messages would be missing from every rate."""
    counts = make()
    counts.begin("queues/0", replica.machine.shard)
    counts.look("queues/0", replica.machine.shard)
    assert published(counts) == {"orders": 0}


def test_a_topic_that_is_created_meanwhile_is_counted_from_its_beginning(replica: Replica) -> None:
    counts, shard = make(), replica.machine.shard
    counts.begin("queues/0", shard)
    replica.create("mails", 2)
    replica.publish("mails", 6)
    counts.look("queues/0", shard)
    assert published(counts) == {"orders": 0, "mails": 6}


def test_a_topic_that_is_created_anew_goes_on_and_does_not_fall(replica: Replica) -> None:
    counts, shard = make(), replica.machine.shard
    counts.begin("queues/0", shard)
    replica.publish("orders", 6)
    counts.look("queues/0", shard)
    replica.remove("orders")
    replica.create("orders", 2)
    replica.publish("orders", 2)
    counts.look("queues/0", shard)
    assert published(counts) == {"orders": 8}


def test_topics_beyond_the_limit_are_counted_together(replica: Replica) -> None:
    counts, shard = make(topics_max=1), replica.machine.shard
    replica.create("mails", 2)
    replica.create("faxes", 3)
    counts.begin("queues/0", shard)
    replica.publish("orders", 1)
    replica.publish("mails", 2)
    replica.publish("faxes", 3)
    counts.look("queues/0", shard)
    assert published(counts) == {"orders": 1, OTHER: 5}


def test_a_removed_topic_leaves_its_label_to_another_and_no_counter_falls(replica: Replica) -> None:
    counts, shard = make(topics_max=1), replica.machine.shard
    replica.create("mails", 2)
    counts.begin("queues/0", shard)
    replica.publish("mails", 2)
    counts.look("queues/0", shard)
    replica.remove("orders")
    counts.keep({"mails"})
    replica.publish("mails", 1)
    counts.look("queues/0", shard)
    assert published(counts) == {OTHER: 2, "mails": 1}


def test_a_label_stays_with_its_name() -> None:
    slots: LabelSlots[str] = LabelSlots(2)
    assert [slots.has_room_for(name) for name in ("a", "b", "c", "a")] == [True, True, False, True]
    slots.keep({"b", "c"})
    assert slots.has_room_for("c")
    assert not slots.has_room_for("a")
