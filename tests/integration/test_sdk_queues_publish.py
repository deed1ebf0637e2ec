"""How single publishes become batches, and what the client does when a batch gets no answer."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.client.queues import publisher as bounds
from synaxis.effects import Refused
from synaxis.queues.commands import Publish
from synaxis.queues.placement import partition_of_key
from synaxis.wire import client as wire


def publishes(node: FakeNode) -> list[Publish]:
    return [
        message.submission.command
        for message in node.messages
        if isinstance(message, wire.Call) and isinstance(message.submission.command, Publish)
    ]


async def topic_of(
    fake: FakeCluster, cluster: synaxis.AsyncSynaxis, partitions: int = 4
) -> synaxis.Topic:
    """Return a topic whose shards and sessions are known, so that the next turn is one turn."""
    await cluster.topics.create("t", partitions)
    topic = cluster.topic("t")
    for partition in range(partitions):
        await topic.publish(b"warm", partition=partition)
    for node in fake.nodes.values():
        node.frames.clear()
    return topic


async def test_what_is_published_in_one_turn_is_one_batch() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        receipts = await asyncio.gather(*(topic.publish(b"%d" % n) for n in range(100)))
        (command,) = publishes(fake["n1"])
        assert command.batch.count == 100
        assert [each.offset for each in receipts] == list(range(1, 101))
        assert {each.partition for each in receipts} == {command.partition}
        assert not any(each.duplicate for each in receipts)


async def test_each_turn_goes_to_another_partition() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        receipts = [await topic.publish(b"x") for _ in range(8)]
        assert sorted(each.partition for each in receipts) == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_a_key_stays_in_its_partition() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        keys: list[str | bytes] = ["a", b"b", "c", "d", "ü"]
        receipts = await asyncio.gather(*(topic.publish(b"x", key=key) for key in keys * 2))
        for key, one, two in zip(keys, receipts[:5], receipts[5:], strict=True):
            raw = key if isinstance(key, bytes) else key.encode()
            assert one.partition == two.partition == partition_of_key(raw, 4)
            assert one.offset < two.offset


async def test_a_partition_may_be_named_if_it_exists() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        assert (await topic.publish(b"x", partition=2)).partition == 2
        with pytest.raises(synaxis.InvalidArgument, match="partitions 0 to 3, not 4"):
            await topic.publish(b"x", partition=4)


async def test_a_message_whose_id_is_known_is_not_stored_again() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        first = await topic.publish(b"x", message_id="m")
        again = await topic.publish(b"x", message_id="m")
        assert again == synaxis.Receipt(first.partition, first.offset, duplicate=True)


async def test_the_first_publish_learns_of_the_topic_from_any_node() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await cluster.topics.create("t", 4)
        async with fake.client() as another:
            topic = another.topic("t")
            both = await asyncio.gather(topic.publish(b"x", key="k"), topic.publish(b"y"))
            assert both[0].partition == partition_of_key(b"k", 4)


async def test_a_topic_that_does_not_exist_is_told_to_everybody_who_waits() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = cluster.topic("nowhere")
        outcomes = await asyncio.gather(
            topic.publish(b"x"), topic.publish(b"y", key="k"), return_exceptions=True
        )
        assert [type(each) for each in outcomes] == [synaxis.NotFound] * 2
        with pytest.raises(synaxis.NotFound):
            await topic.publish_many([b"x"])


async def test_a_topic_that_was_made_anew_with_more_partitions_is_noticed() -> None:
    async with FakeCluster() as fake, fake.client() as cluster, fake.client() as admin:
        topic = await topic_of(fake, cluster)
        await admin.topics.delete("t")
        with pytest.raises(synaxis.NotFound):
            await topic.publish(b"x")
        await admin.topics.create("t", 8)
        receipts = [await topic.publish(b"x") for _ in range(8)]
        assert {each.partition for each in receipts} == set(range(8))


# --- order, retries, doubt ------------------------------------------------------------------


async def test_while_a_batch_is_on_its_way_the_next_one_grows() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        node = fake["n1"]
        kept: list[wire.Call] = []

        def keep(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and isinstance(message.submission.command, Publish):
                kept.append(message)
                return len(kept) == 1
            return False

        node.intercept = keep
        first = topic.publish(b"1")
        await fake.until(lambda: kept)
        others = []
        for n in range(3):
            others.append(topic.publish(b"%d" % n))
            await asyncio.sleep(0)
        assert len(kept) == 1
        fake.apply(kept[0].submission, (node.doors[-1], kept[0].id), kept[0].group)
        await asyncio.gather(first, *others)
        assert [call.submission.command.batch.count for call in kept] == [1, 3]  # type: ignore[union-attr]
        assert [call.submission.command.sequence for call in kept] == [2, 3]  # type: ignore[union-attr]


async def test_a_batch_keeps_its_number_when_its_leader_dies() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        leader = fake["n1"]

        def apply_and_die(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call):
                node.mute = True
                fake.apply(message.submission, (node.doors[-1], message.id), message.group)
                leader.break_connections()
                fake.elect("n2")
                return True
            return False

        leader.intercept = apply_and_die
        receipt = await topic.publish(b"x")
        assert receipt == synaxis.Receipt(0, 1)
        assert (await topic.publish(b"y")).offset == 2


async def test_a_batch_outlives_its_session() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        node = fake["n1"]

        def apply_and_expire(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call):
                node.intercept = None
                node.mute = True
                fake.apply(message.submission, (node.doors[-1], message.id), message.group)
                node.mute = False
                fake.expire(message.submission.session)
                node.break_connections()
                return True
            return False

        node.intercept = apply_and_expire
        receipt = await topic.publish(b"x")
        assert receipt == synaxis.Receipt(0, 1)
        assert len({(each.producer, each.sequence) for each in publishes(node)}) == 1
        calls = [each for each in node.messages if isinstance(each, wire.Call)]
        assert len({call.submission.session for call in calls}) == 2


def refuse(fake: FakeCluster, times: int, code: str, **details: object) -> Iterator[None]:
    """Let the log refuse the next ``times`` publishes; ends when it has."""
    node = fake["n1"]
    left = times

    def refuse(_node: FakeNode, message: wire.ClientMessage) -> bool:
        nonlocal left
        if left and isinstance(message, wire.Call):
            left -= 1
            number, sequence = message.submission.session, message.submission.sequence
            body = Refused(code, "no", details)
            fake.sessions[number].replies[sequence] = body
            fake.answer((node.doors[-1], message.id), body)
            return True
        return False

    node.intercept = refuse
    yield
    assert left == 0


async def test_an_overloaded_shard_is_asked_again_under_another_command_of_the_session() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        for _ in refuse(fake, 2, "overloaded", retry_after=0.01):
            assert await topic.publish(b"x") == synaxis.Receipt(0, 1)
        calls = [each for each in fake["n1"].messages if isinstance(each, wire.Call)]
        assert len({call.submission.sequence for call in calls}) == 3
        assert len({each.sequence for each in publishes(fake["n1"])}) == 1


async def test_a_shard_that_stays_overloaded_is_reported_as_such() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.2) as cluster:
        topic = await topic_of(fake, cluster, 1)
        for _ in refuse(fake, 1, "overloaded", retry_after=5):
            with pytest.raises(synaxis.Overloaded):
                await topic.publish(b"x")


async def test_no_answer_in_time_is_an_unknown_outcome() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.3) as cluster:
        topic = await topic_of(fake, cluster, 1)
        fake["n1"].intercept = lambda _, message: isinstance(message, wire.Call)
        sent = topic.publish(b"x")
        await asyncio.sleep(0)
        waiting = topic.publish(b"y")
        with pytest.raises(synaxis.OutcomeUnknown):
            await sent
        with pytest.raises(synaxis.ClusterError):
            await waiting


async def test_messages_that_never_left_are_known_not_to_be_stored() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.3) as cluster:
        await cluster.topics.create("t", 1)
        topic = cluster.topic("t")
        fake["n1"].intercept = lambda _, message: isinstance(message, wire.Call)
        with pytest.raises(synaxis.ClusterError) as caught:
            await topic.publish(b"x")
        assert not isinstance(caught.value, synaxis.OutcomeUnknown)
        assert caught.value.retryable


async def test_a_message_that_was_cancelled_before_it_left_does_not_leave() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        unwanted, wanted = topic.publish(b"x", key="k"), topic.publish(b"y", priority=3)
        unwanted.cancel()
        await wanted
        (command,) = publishes(fake["n1"])
        assert (command.batch.count, command.batch.key_hashes) == (1, b"")
        assert command.batch.priorities == b"\x03"


# --- bounds ---------------------------------------------------------------------------------


async def test_a_message_that_fits_no_frame_is_refused_here() -> None:
    async with FakeCluster() as fake:
        fake.frame_bytes_max = 100_000
        async with fake.client() as cluster:
            topic = await topic_of(fake, cluster, 1)
            for key in (None, "k"):
                with pytest.raises(synaxis.LimitExceeded, match="frame_bytes_max") as caught:
                    await topic.publish(b"x" * 90_000, key=key)
                assert caught.value.details["limit"] == "frame_bytes_max"
            with pytest.raises(synaxis.LimitExceeded):
                await topic.publish_many([b"x" * 90_000])
            await topic.publish(b"x" * 80_000)


async def test_no_frame_is_longer_than_the_node_accepts() -> None:
    async with FakeCluster() as fake:
        fake.frame_bytes_max = 200_000
        async with fake.client() as cluster:
            topic = await topic_of(fake, cluster)
            await asyncio.gather(
                *(topic.publish(b"x" * 20_000, partition=n % 4) for n in range(60))
            )
            frames = [msgspec.msgpack.encode(frame) for frame in fake["n1"].frames if frame]
            assert max(map(len, frames)) <= 200_000


async def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds.Publisher, "batch_messages_max", 10)
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        await asyncio.gather(*(topic.publish(b"x") for _ in range(25)))
        assert [each.batch.count for each in publishes(fake["n1"])] == [10, 10, 5]


async def test_what_is_on_its_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "UNACKED_MESSAGES_MAX", 1)
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 4)
        most = 0
        node, publisher = fake["n1"], cluster._queue_service.publisher

        def look(_node: FakeNode, _message: wire.ClientMessage) -> bool:
            nonlocal most
            most = max(most, publisher.unacked_messages)
            return False

        node.intercept = look
        receipts = await asyncio.gather(*(topic.publish(b"x", partition=n % 4) for n in range(8)))
        assert sorted(each.partition for each in receipts) == [0, 0, 1, 1, 2, 2, 3, 3]
        assert most == 2  # a batch of two may leave while nothing is on its way


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ACCEPTED_MESSAGES_MAX", 3)
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 1)
        accepted = [topic.publish(b"x") for _ in range(3)]
        with pytest.raises(synaxis.LimitExceeded, match="accepted_messages_max is 3"):
            _ = topic.publish(b"x")
        await asyncio.gather(*accepted)
        await topic.publish(b"x")


# --- many -----------------------------------------------------------------------------------


async def test_receipts_of_many_are_in_the_order_of_the_messages() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        messages = [
            synaxis.Publication(b"%d" % n, key=f"k{n % 7}") if n % 2 else b"%d" % n
            for n in range(200)
        ]
        receipts = await topic.publish_many(messages)
        stored = {
            (each.partition, each.offset): each.value for each in await topic.peek(limit=1000)
        }
        assert [stored[each.partition, each.offset] for each in receipts] == [
            b"%d" % n for n in range(200)
        ]


async def test_many_are_taken_from_a_generator_as_room_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds.Publisher, "batch_messages_max", 5)
    monkeypatch.setattr(bounds, "UNACKED_MESSAGES_MAX", 10)
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        most = 0

        def source() -> Iterator[bytes]:
            nonlocal most
            for n in range(300):
                most = max(most, cluster._queue_service.publisher.accepted_messages)
                yield b"%d" % n

        assert len(await topic.publish_many(source())) == 300
        assert most <= 15


async def test_a_malformed_one_among_many_is_refused_and_leaves_nothing_waiting() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        with pytest.raises(synaxis.InvalidArgument):
            await topic.publish_many([b"x", synaxis.Publication(b"y", priority=10)])
        await fake.until(lambda: cluster._queue_service.publisher.accepted_messages == 0)


async def test_each_of_many_may_have_its_own_fate() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster, 2)
        node = fake["n1"]

        def refuse(_node: FakeNode, message: wire.ClientMessage) -> bool:
            match message:
                case wire.Call(number, _, wire.Submission(command=Publish(partition=1))):
                    fake.answer((node.doors[-1], number), Refused("not_found", "gone", {}))
                    return True
                case _:
                    return False

        node.intercept = refuse
        messages = [synaxis.Publication(b"x", partition=n % 2) for n in range(4)]
        outcomes = await topic.publish_each(messages)
        assert [type(each) for each in outcomes] == [synaxis.Receipt, synaxis.NotFound] * 2
        with pytest.raises(synaxis.NotFound) as caught:
            await topic.publish_many(messages)
        assert caught.value.details["stored"] == 2


async def test_nothing_is_published_by_an_empty_list() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        assert await topic.publish_many([]) == []
        assert publishes(fake["n1"]) == []


# --- the end --------------------------------------------------------------------------------


async def test_draining_waits_for_what_is_published() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await topic_of(fake, cluster)
        futures = [topic.publish(b"x") for _ in range(10)]
        assert await cluster.drain(timeout=2)
        assert all(future.done() for future in futures)


async def test_closing_tells_those_who_still_wait() -> None:
    async with FakeCluster() as fake:
        async with fake.client() as cluster:
            topic = await topic_of(fake, cluster)
            fake["n1"].intercept = lambda _, message: isinstance(message, wire.Call)
            sent = topic.publish(b"x")
            await asyncio.sleep(0)
            assert not await cluster.drain(timeout=0.05)
        with pytest.raises(synaxis.ClusterError):
            await sent
        with pytest.raises(RuntimeError, match="closed"):
            _ = topic.publish(b"x")
