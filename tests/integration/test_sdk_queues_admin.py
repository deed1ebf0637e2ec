"""Topics, fetching, and everything by which people look at queues and mend them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.client.queues import fetching
from synaxis.queues.commands import Ack, Leave
from synaxis.wire import client as wire

# --- topics ---------------------------------------------------------------------------------


async def test_a_topic_is_created_once_whoever_asks() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        one = await cluster.topics.create("t", 3, retention="log", visibility=45)
        assert (one.partitions, one.retention, one.visibility) == (3, "log", 45.0)
        assert await cluster.topics.create("t", 3, retention="log", visibility=45) == one
        with pytest.raises(synaxis.AlreadyExists):
            await cluster.topics.create("t", 4)
        assert await cluster.topics.get("t") == one
        await cluster.topics.create("another")
        assert [each.name for each in await cluster.topics.list()] == ["another", "t"]
        assert [each.name for each in await cluster.topics.list("a")] == ["another"]


async def test_creating_a_topic_survives_a_leader_that_dies_before_answering() -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster:
        node = fake["n1"]

        def die(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Admin):
                node.break_connections()
                fake.elect("n2")
                return True
            return False

        node.intercept = die
        assert (await cluster.topics.create("t")).name == "t"


async def test_a_topic_can_be_used_only_when_its_shards_know_it() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        fake.queues.slow_to_learn = True
        async with asyncio.TaskGroup() as tasks:
            creating = tasks.create_task(cluster.topics.create("t"))
            await fake.until(lambda: "t" in fake.queues.topics)
            await asyncio.sleep(0.03)
            assert not creating.done()
            fake.queues.teach(fake.queues.topics["t"], fake.now)
        await cluster.topic("t").publish(b"x")


async def test_shards_that_never_learn_of_a_topic_are_named() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.1) as cluster:
        fake.queues.slow_to_learn = True
        with pytest.raises(synaxis.RequestTimeout, match=r"queues/. has not heard of topic 't'"):
            await cluster.topics.create("t")


async def test_an_update_changes_only_what_it_names() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 2, visibility=45)
        changed = await cluster.topics.update("t", max_deliveries=9, expired="dead_letter")
        assert (changed.visibility, changed.max_deliveries, changed.expired) == (
            45.0,
            9,
            "dead_letter",
        )
        assert changed.version == 2
        with pytest.raises(synaxis.NotFound):
            await cluster.topics.update("nowhere", max_deliveries=9)


async def test_what_the_cluster_does_for_all_topics_cannot_be_chosen() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", replication=3, durability="fsync")
        with pytest.raises(synaxis.InvalidArgument, match="replication must be 3, not 5"):
            await cluster.topics.create("u", replication=5)
        with pytest.raises(synaxis.InvalidArgument, match='durability must be "fsync"'):
            await cluster.topics.create("u", durability="os")  # type: ignore[arg-type]


async def test_a_paused_topic_delivers_nothing() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 2)
        topic = cluster.topic("t")
        await topic.pause()
        assert (await topic.info()).paused
        await topic.publish(b"x")
        assert not await topic.fetch("g", wait=0.05)
        await topic.resume()
        assert len(await topic.fetch("g", wait=2)) == 1


# --- looking --------------------------------------------------------------------------------


async def test_info_sums_over_all_shards() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 4)
        topic = cluster.topic("t")
        await topic.publish_many([synaxis.Publication(b"x", partition=n % 4) for n in range(8)])
        async with topic.consume("g", name="me", concurrency=3) as consumer:
            held = [await anext(consumer) for _ in range(3)]
            await held[0].ack()
            info = await topic.info()
            assert info.messages == 8, "batches are stored as a whole"
            assert [each.next_offset for each in info.partitions] == [2, 2, 2, 2]
            (group,) = info.groups
            assert (group.name, group.mode, group.lag, group.acked) == ("g", "shared", 7, 1)
            assert [member.name for member in group.members] == ["me"]
            assert [each.name for each in await topic.groups.list()] == ["g"]
        with pytest.raises(synaxis.NotFound, match="no consumer group 'h'"):
            await topic.groups.info("h")


async def test_peeking_takes_nothing_away() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 2)
        topic = cluster.topic("t", codec="json")
        await topic.publish_many([synaxis.Publication(n, partition=n % 2) for n in range(10)])
        assert [each.value for each in await topic.peek(1, 2)] == [5, 7, 9]
        assert len(await topic.peek(limit=7)) == 7
        assert (await topic.info()).messages == 10
        with pytest.raises(synaxis.InvalidArgument, match="offset belongs to a partition"):
            await topic.peek(offset=3)
        with pytest.raises(synaxis.InvalidArgument, match="partitions 0 to 1"):
            await topic.peek(2)


async def test_a_group_moves_to_an_offset_a_time_or_an_end() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 2, retention="log")
        topic = cluster.topic("t")
        await topic.publish_many([synaxis.Publication(b"x", partition=n % 2) for n in range(10)])
        fake.advance(1_000_000)
        later = datetime.fromtimestamp(fake.now / 1000, UTC) - timedelta(seconds=10)
        await topic.publish_many([synaxis.Publication(b"y", partition=n % 2) for n in range(4)])
        async with topic.consume("g"):
            pass
        for arguments, expected in [
            ({"offset": "end"}, 0),
            ({"offset": "start"}, 14),
            ({"offset": 4}, 6),
            ({"time": later}, 4),
            ({"offset": 6, "partition": 1}, 3),
        ]:
            await topic.groups.seek("g", **arguments)  # type: ignore[arg-type]
            assert (await topic.groups.info("g")).lag == expected, arguments
        await topic.groups.delete("g")
        assert await topic.groups.list() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "either an offset or a time"),
        ({"offset": 1, "time": datetime(2030, 1, 1, tzinfo=UTC)}, "either an offset or a time"),
        ({"time": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"offset": "middle"}, '"start" or "end"'),
        ({"offset": -1}, "offset must be 0 to"),
    ],
)
async def test_a_seek_that_says_nothing_clear_is_refused(
    arguments: dict[str, object], said: str
) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        with pytest.raises(synaxis.InvalidArgument, match=said):
            await cluster.topic("t").groups.seek("g", **arguments)  # type: ignore[arg-type]


async def test_purging_removes_what_is_stored() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 2)
        topic = cluster.topic("t")
        await topic.publish_many([synaxis.Publication(b"x", partition=n % 2) for n in range(10)])
        assert await topic.purge(1) == 5
        assert await topic.purge() == 5
        assert (await topic.info()).messages == 0


# --- dead letters ---------------------------------------------------------------------------


async def dead(cluster: synaxis.AsyncSynaxis, count: int = 6) -> synaxis.Topic:
    await cluster.topics.create("t", 3)
    topic = cluster.topic("t")
    await topic.publish_many([synaxis.Publication(n, partition=n % 3) for n in range(count)])
    async with topic.consume("g", concurrency=count) as consumer:
        for _ in range(count):
            message = await anext(consumer)
            await message.reject(f"bad {message.value}")
    return topic


async def test_a_limit_of_redriving_holds_for_all_shards_together() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await dead(cluster)
        letters = topic.dead_letters("g")
        assert await letters.redrive(limit=4) == 4
        assert await letters.count() == 2
        assert await letters.redrive() == 2
        assert await letters.redrive() == 0


async def test_dead_letters_are_chosen_by_partition_offset_and_reason() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await dead(cluster)
        letters = topic.dead_letters("g")
        assert await letters.redrive(partition=1, offsets=[1]) == 1
        assert await letters.purge(reason="expired") == 0
        assert await letters.purge(partition=0) == 2
        left = [each async for each in letters.browse()]
        assert [(each.partition, each.offset, each.value) for each in left] == [
            (1, 0, 1),
            (2, 0, 2),
            (2, 1, 5),
        ]
        assert [each.error for each in left] == ["bad 1", "bad 2", "bad 5"]
        assert len([each async for each in letters.browse(limit=2)]) == 2
        with pytest.raises(synaxis.InvalidArgument, match="name it"):
            await letters.redrive(offsets=[1])


async def test_dead_letters_of_a_group_that_is_not_there() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await dead(cluster, 1)
        letters = topic.dead_letters("nobody")
        with pytest.raises(synaxis.NotFound):
            await letters.count()
        with pytest.raises(synaxis.NotFound):
            await letters.redrive()
        with pytest.raises(synaxis.NotFound):
            _ = [each async for each in letters.browse()]


# --- fetching -------------------------------------------------------------------------------


async def test_fetching_returns_nothing_when_there_is_nothing() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 2)
        batch = await cluster.topic("t").fetch("g", wait=0.02)
        assert (len(batch), bool(batch)) == (0, False)


async def test_a_batch_is_settled_as_a_whole() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        await topic.publish_many(range(50))
        batch = await topic.fetch("g", max_messages=50)
        assert [message.value for message in batch] == list(range(50))
        assert [message.value for message in batch[10:12]] == [10, 11]
        await batch.ack()
        acks = [
            each.submission.command
            for each in fake["n1"].messages
            if isinstance(each, wire.Call) and isinstance(each.submission.command, Ack)
        ]
        assert [len(each.parts) for each in acks] == [1]
        assert not batch.unsettled
        assert (await topic.groups.info("g")).lag == 0


async def test_what_was_settled_alone_is_left_out_of_the_batch() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        await topic.publish_many(range(5))
        async with await topic.fetch("g") as batch:
            await batch[2].reject("no")
        info = await topic.groups.info("g")
        assert (info.lag, info.dead, info.acked) == (0, 1, 4)


async def test_a_batch_whose_body_fails_fails() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1, backoff=synaxis.Backoff(0, 0))
        topic = cluster.topic("t")
        await topic.publish_many(range(3))
        with pytest.raises(ZeroDivisionError):
            async with await topic.fetch("g"):
                _ = 1 / 0
        again = await topic.fetch("g")
        assert [message.failures for message in again] == [1, 1, 1]
        await again.release()
        third = await topic.fetch("g")
        assert [message.failures for message in third] == [1, 1, 1]
        await third.nack()


async def test_some_of_a_batch_may_be_lost() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        await topic.publish_many(range(4))
        batch = await topic.fetch("g", mode="keyed")
        await batch[0].ack()
        (session,) = fake.sessions
        fake.expire(session)
        left = len(batch) - 1
        with pytest.raises(synaxis.LeaseLost, match=f"{left} of {left} messages"):
            await batch.ack()
        assert list(batch.lost) == list(batch[1:])


async def test_leftovers_that_nobody_fetches_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LEFTOVERS_S", 0.05)
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 4)
        topic = cluster.topic("t")
        await topic.publish_many([synaxis.Publication(n, partition=n % 4) for n in range(40)])
        batch = await topic.fetch("g", max_messages=1)
        await batch.ack()

        async def in_flight() -> int:
            return (await topic.groups.info("g")).in_flight

        async with asyncio.timeout(5):
            while await in_flight():  # noqa: ASYNC110  # the cluster is asked
                await asyncio.sleep(0.01)
        assert (await topic.groups.info("g")).lag == 39
        seen: set[int] = set()
        while len(seen) < 39:
            batch = await topic.fetch("g", max_messages=10)
            seen |= {message.value for message in batch}
            await batch.ack()


async def test_a_member_that_nobody_fetches_by_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LEFTOVERS_S", 0.02)
    monkeypatch.setattr(fetching, "IDLE_LEAVE_S", 0.05)
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        await topic.fetch("g", wait=0)
        await fake.until(lambda: any(isinstance(each, Leave) for each in fake.commands))
        await topic.publish(b"x")
        assert len(await topic.fetch("g", wait=2)) == 1


async def test_fetches_in_parallel_share_a_member_and_get_everything_once() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 4)
        topic = cluster.topic("t")
        await topic.publish_many([synaxis.Publication(n, partition=n % 4) for n in range(1000)])
        seen: list[int] = []

        async def loop() -> None:
            while len(seen) < 1000:
                batch = await topic.fetch("g", max_messages=30, wait=0.2)
                seen.extend(message.value for message in batch)
                await batch.ack()

        await asyncio.gather(*(loop() for _ in range(5)))
        assert sorted(seen) == list(range(1000))
        assert len((await topic.groups.info("g")).members) == 1


async def test_a_fetch_that_is_cancelled_loses_nothing() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await topic.fetch("g", wait=60)
        await topic.publish(b"x")
        (message,) = await topic.fetch("g", wait=2)
        await message.ack()


async def test_a_fetch_from_nowhere_says_so_each_time() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        for _ in range(2):
            with pytest.raises(synaxis.NotFound):
                await cluster.topic("nowhere").fetch("g")
        await cluster.topics.create("nowhere", 1)
        assert not await cluster.topic("nowhere").fetch("g", wait=0.01)


@pytest.mark.parametrize("name", ["", "a b", "x" * 201])
async def test_a_name_is_checked_before_anything_is_asked(name: str) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        with pytest.raises(synaxis.InvalidArgument):
            cluster.topic(name)
        with pytest.raises(synaxis.InvalidArgument):
            await cluster.topics.create(name)
        with pytest.raises(synaxis.InvalidArgument):
            cluster.topic("t").consume(name)


async def test_fetching_goes_on_after_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LEFTOVERS_S", 0.02)
    monkeypatch.setattr(fetching, "IDLE_LEAVE_S", 0.05)
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        await topic.fetch("g", wait=0)
        assert await cluster.drain(1)
        await topic.publish(b"x")
        (message,) = await topic.fetch("g", wait=2)
        await asyncio.sleep(0.1)  # the timers of both members have had their turn
        await message.ack()
        assert (await topic.groups.info("g")).lag == 0
