"""What a node tells of its queue shards at a scrape."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from synaxis.api import queue_census
from synaxis.api.queue_census import QueueCensus
from synaxis.ids import GroupId, LogIndex, LogTime, Sequence, SessionId, Term
from synaxis.observability.queue_counts import OTHER
from synaxis.observability.queue_metrics import ConsumerSample, QueueSample
from synaxis.queues.commands import (
    Ack,
    Attach,
    ConfigureTopic,
    GroupMode,
    Join,
    Nack,
    Part,
    Publish,
    RecordBatch,
    Reject,
    RemoveTopic,
)
from synaxis.queues.delivery.dispatcher import Dispatcher
from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.topics import TopicConfig, TopicRecord

if TYPE_CHECKING:
    from synaxis.nodes.base_node import BaseNode

SHARD = GroupId("queues/0")
SESSION = SessionId(5)


class Node:
    """As much of a node as the census looks at, with one shard."""

    def __init__(self, labels_max: int = 100) -> None:
        self.machine = QueueMachine(0, 1, QueueLimits())
        self.dispatcher = Dispatcher(self.machine, DeliveryLimits())
        self.applied_term = 1
        self.log = SimpleNamespace(
            ready=False, leading=None, term_at=lambda _: Term(self.applied_term)
        )
        self.now = LogTime(1_000)
        self.records: list[TopicRecord] = []
        self.sequence = 0
        replica = SimpleNamespace(
            machine=self.machine,
            log=self.log,
            applied_index=LogIndex(9),
            stamp=lambda: self.now,
        )
        node = SimpleNamespace(
            replicas={SHARD: replica, GroupId("locks/0"): SimpleNamespace(machine=None)},
            dispatchers={SHARD: self.dispatcher},
            cluster=SimpleNamespace(topics=SimpleNamespace(records=self.records)),
            store=SimpleNamespace(unflushed_bytes=77),
        )
        self.census = QueueCensus(cast("BaseNode", node), labels_max, labels_max)

    def lead(self, term: int = 1) -> None:
        self.log.ready, self.log.leading, self.applied_term = True, Term(term), term
        self.dispatcher.begin(self.now)
        self.census.leadership(SHARD)

    def follow(self, applied_term: int = 1) -> None:
        self.log.ready, self.log.leading, self.applied_term = False, None, applied_term
        self.dispatcher.end()
        self.census.leadership(SHARD)

    def apply(self, command: object) -> None:
        self.sequence += 1
        body = self.machine.apply(SESSION, Sequence(self.sequence), command, self.now)  # type: ignore[arg-type]
        assert type(body).__name__ != "Refused", body

    def create(self, topic: str) -> None:
        record = TopicRecord(topic, len(self.records) + 1, 1, TopicConfig(partitions=2))
        self.records.append(record)
        self.apply(ConfigureTopic(record))

    def publish(self, topic: str, count: int, partition: int = 0, delay_ms: int = 0) -> None:
        delays = (delay_ms,) * count if delay_ms else ()
        batch = RecordBatch(b"\x01\0\0\0" * count, b"x" * count, delays_ms=delays)
        self.apply(Publish(topic, partition, 7, self.sequence + 1, batch))

    def consume(self, topic: str, credit: int, group: str = "g", member: int = 1) -> None:
        self.apply(Join(topic, group, member, GroupMode.SHARED))
        self.dispatcher.demand(SESSION, Attach(topic, group, member, credit), object())
        assert self.dispatcher.wants_confirmation()
        self.dispatcher.confirmed(self.now)

    def consume_nothing(self, topic: str) -> None:
        self.apply(Join(topic, "g", 1, GroupMode.SHARED))

    async def sample(self) -> QueueSample:
        return await self.census.sample()

    async def consumer(self) -> ConsumerSample:
        [found] = (await self.sample()).consumers
        return found

    async def published(self, topic: str) -> int:
        return (await self.sample()).counted[topic][0]


@pytest.fixture
def node() -> Node:
    found = Node()
    found.create("orders")
    return found


async def test_a_follower_tells_only_what_lies_on_it(node: Node) -> None:
    node.publish("orders", 3)
    sample = await node.sample()
    assert (sample.topics, sample.consumers, sample.counted) == ((), (), {})
    assert [each.shard for each in sample.shards] == [SHARD]
    assert sample.shards[0].stored_bytes > 0
    assert sample.shards[0].index_bytes > 0
    assert sample.unflushed_bytes == 77


async def test_the_leader_sums_over_the_partitions_of_a_topic(node: Node) -> None:
    node.lead()
    node.publish("orders", 3, partition=0)
    node.publish("orders", 4, partition=1)
    [topic] = (await node.sample()).topics
    assert (topic.topic, topic.messages) == ("orders", 7)
    assert topic.stored_bytes == (await node.sample()).shards[0].stored_bytes


async def test_a_consumer_group_is_seen_as_it_is(node: Node) -> None:
    node.lead()
    node.publish("orders", 8)
    node.publish("orders", 2, partition=1, delay_ms=60_000)
    node.consume("orders", credit=6)
    node.apply(Ack("orders", "g", 1, (Part(0, 0, 1),)))
    node.apply(Reject("orders", "g", 1, (Part(0, 2, 2),), "bad"))
    node.apply(Nack("orders", "g", 1, (Part(0, 3, 3),), 5_000, "again"))
    node.now = LogTime(node.now + 2_500)
    assert await node.consumer() == ConsumerSample(
        "orders",
        "g",
        lag=7,
        oldest_age_s=2.5,
        in_flight=2,
        delayed=3,
        dead_letters=1,
        members=1,
    )
    assert (await node.sample()).delivered == 6


async def test_a_group_that_has_finished_everything_has_no_oldest_message(node: Node) -> None:
    node.lead()
    node.publish("orders", 2)
    node.consume("orders", credit=2)
    node.apply(Ack("orders", "g", 1, (Part(0, 0, 1),)))
    node.now = LogTime(node.now + 2_500)
    found = await node.consumer()
    assert (found.lag, found.oldest_age_s, found.in_flight) == (0, 0.0, 0)


async def test_a_node_counts_while_it_leads(node: Node) -> None:
    node.publish("orders", 100)
    node.lead()
    node.publish("orders", 3)
    node.follow()
    node.publish("orders", 50)
    assert await node.published("orders") == 3
    node.lead(term=3)
    node.publish("orders", 1)
    assert await node.published("orders") == 4


async def test_a_leader_that_slept_does_not_count_what_its_successor_did(node: Node) -> None:
    node.lead(term=1)
    node.publish("orders", 3)
    await node.sample()
    node.publish("orders", 50)
    node.follow(applied_term=2)
    assert await node.published("orders") == 3


async def test_other_groups_have_no_messages_to_count(node: Node) -> None:
    node.census.leadership(GroupId("locks/0"))
    assert not (await node.sample()).counted


async def test_beyond_the_limit_of_labels_everything_is_told_together() -> None:
    node = Node(labels_max=1)
    node.lead()
    for topic in ("a", "b", "c"):
        node.create(topic)
        node.publish(topic, 2)
        node.consume(topic, credit=1)
    sample = await node.sample()
    assert {each.topic: each.messages for each in sample.topics} == {"a": 2, OTHER: 4}
    assert {each.group: each.lag for each in sample.consumers} == {"g": 2, OTHER: 4}
    assert {topic: numbers[0] for topic, numbers in sample.counted.items()} == {"a": 2, OTHER: 4}


async def test_a_full_disk_of_this_node_is_told(node: Node) -> None:
    assert not (await node.sample()).refusing
    node.machine.refusing = "full"
    assert (await node.sample()).refusing


async def test_a_node_with_many_topics_goes_on_working_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_census, "LOOKS_PER_TURN", 10)
    node, turns = Node(), 0
    node.lead()
    for number in range(40):
        node.create(f"topic-{number}")

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work())
        sample = await node.sample()
        working.cancel()
    assert len(sample.topics) == 40
    assert turns >= 8


async def test_a_topic_may_be_removed_while_it_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_census, "LOOKS_PER_TURN", 1)
    node = Node()
    node.lead()
    for topic in ("a", "b", "c"):
        node.create(topic)
        node.consume_nothing(topic)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(node.sample())
        await asyncio.sleep(0)
        node.apply(RemoveTopic("c", 3))
        node.follow()
    assert {each.topic for each in looking.result().topics} == {"a", "b", "c"}
