"""The blocking twin of queues: the same names, for threads."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Sequence

import pytest

import synaxis
from support.fake_cluster import FakeCluster
from synaxis.client import sync_queues as twins
from synaxis.client.queues.batch import Batch
from synaxis.client.queues.dead_letters import DeadLetters
from synaxis.client.queues.groups import Groups
from synaxis.client.queues.topics import Topics

TWINS = [
    (Topics, twins.BlockingTopics, {}),
    (synaxis.Topic, twins.BlockingTopic, {}),
    (synaxis.Consumer, twins.BlockingConsumer, {"aclose": "close"}),
    (synaxis.Message, twins.BlockingMessage, {}),
    (Batch, twins.BlockingBatch, {}),
    (Groups, twins.BlockingGroups, {}),
    (DeadLetters, twins.BlockingDeadLetters, {"group": "count"}),
]
INTERNAL = {"fate", "keeper", "key_hash", "out", "place", "waiter"}


def public(kind: type) -> set[str]:
    bases = [base for base in kind.__mro__ if base.__module__.startswith("synaxis")]
    names = {name for base in bases for name in vars(base)}
    return {name for name in names if not name.startswith("_")} - INTERNAL


@pytest.mark.parametrize(("original", "twin", "renamed"), TWINS)
def test_the_twins_have_the_same_names(original: type, twin: type, renamed: dict[str, str]) -> None:
    assert {renamed.get(name, name) for name in public(original)} <= public(twin)


@pytest.mark.parametrize(("original", "twin"), [pair[:2] for pair in TWINS])
def test_the_twins_take_the_same_arguments(original: type, twin: type) -> None:
    for name in public(original) & public(twin):
        method = getattr(original, name)
        if inspect.isfunction(method):
            expected = inspect.signature(method).parameters
            assert inspect.signature(getattr(twin, name)).parameters.keys() == expected.keys()


async def blocking(use: Callable[[synaxis.Synaxis], object]) -> None:
    """Run ``use`` in a thread with a blocking client."""
    async with FakeCluster() as fake:

        def work() -> None:
            with synaxis.Synaxis(fake.url, timeout=2.0) as cluster:
                cluster.topics.create("t", 2, backoff=synaxis.Backoff(0, 0))
                use(cluster)

        await asyncio.to_thread(work)


async def test_threads_publish_and_consume() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        topic = cluster.topic("t", codec="json")
        assert topic.publish({"n": 0}, key="k").offset == 0
        assert len(topic.publish_many([{"n": n} for n in range(1, 5)])) == 4
        assert [type(each) for each in topic.publish_each([{"n": 5}])] == [synaxis.Receipt]
        seen = []
        with topic.consume("g", name="me") as consumer:
            for message in consumer:
                with message:
                    seen.append(message.value["n"])
                if len(seen) == 6:
                    break
            assert (message.topic, message.headers, message.failures) == ("t", {}, 0)
        assert sorted(seen) == list(range(6))
        assert topic.groups.info("g").lag == 0
        assert [each.name for each in cluster.topics.list()] == ["t"]

    await blocking(use)


async def test_a_body_settles_its_message() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        topic = cluster.topic("t")
        topic.publish(b"x")
        with topic.consume("g") as consumer:
            with pytest.raises(ZeroDivisionError), next(consumer):
                _ = 1 / 0
            again = next(consumer)
            assert again.failures == 1
            again.extend(5)
            again.release()
            third = next(consumer)
            third.reject("no")
            with pytest.raises(synaxis.LeaseLost):
                third.ack()
        letters = topic.dead_letters("g")
        with letters.browse() as found:
            assert [each.error for each in found] == ["no"]
        assert letters.count() == letters.redrive() == 1
        assert letters.purge() == 0

    await blocking(use)


async def test_threads_fetch_batches() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        topic = cluster.topic("t")
        assert not topic.fetch("g", wait=0.01)
        topic.publish_many(range(4))
        seen: list[int] = []
        while len(seen) < 4:
            with topic.fetch("g") as batch:
                seen += [message.value for message in batch]
                assert isinstance(batch[0], twins.BlockingMessage)
                assert len(batch[:1]) == 1
                assert len(batch.unsettled) == len(batch)
        assert sorted(seen) == [0, 1, 2, 3]
        topic.publish(b"x")
        topic.fetch("g").nack()
        topic.fetch("g").release()
        topic.fetch("g").ack()
        assert not topic.fetch("g", wait=0).lost

    await blocking(use)


async def test_a_handler_runs_in_many_threads() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        topic = cluster.topic("t")
        topic.publish_many(range(12))
        together = threading.Barrier(3)
        seen: list[int] = []

        def handler(message: twins.BlockingMessage) -> None:
            together.wait(5)
            seen.append(message.value)
            if len(seen) == 12:
                threading.Thread(target=cluster.drain).start()

        topic.process(handler, group="g", concurrency=3)
        assert sorted(seen) == list(range(12))
        assert topic.groups.info("g").lag == 0

    await blocking(use)


async def test_a_callback_may_block() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        topic = cluster.topic("t")
        topic.publish_many(range(4))
        revoked: list[int] = []

        def on_revoke(partitions: Sequence[int]) -> None:
            topic.info()  # which needs the loop
            revoked.extend(partitions)

        with topic.consume("g", mode="exclusive", on_revoke=on_revoke) as one:
            while one.partitions != [0, 1]:
                time.sleep(0.01)  # a thread has no other way to wait for this
            with topic.consume("g", mode="exclusive") as two:
                while not two.partitions:
                    time.sleep(0.01)
                assert revoked == two.partitions

    await blocking(use)


async def test_people_look_and_mend_from_threads() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        topic = cluster.topic("t")
        topic.publish_many(range(4))
        assert topic.info().messages == 4
        assert len(topic.peek()) == 4
        topic.pause()
        assert cluster.topics.get("t").paused
        topic.resume()
        with topic.consume("g"):
            pass
        topic.groups.seek("g", offset="end")
        assert [each.lag for each in topic.groups.list()] == [0]
        topic.groups.delete("g")
        topic.publish(b"x")
        assert topic.purge() == 1
        assert cluster.topics.update("t", max_deliveries=7).max_deliveries == 7
        cluster.topics.delete("t")
        assert cluster.topics.list() == []

    await blocking(use)
