"""Consuming: who gets what, in which order, and what becomes of it when things break."""

import asyncio
import gc
import threading
from collections.abc import Sequence

import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.client.queues.options import ConsumeMode
from synaxis.ids import GroupId
from synaxis.queues.commands import Ack, Attach, Credit, Join, Leave, Part, Release, Yield
from synaxis.wire import client as wire


def said(node: FakeNode, kind: type) -> list[wire.Member]:
    return [
        each
        for each in node.messages
        if isinstance(each, wire.Member) and isinstance(each.message, kind)
    ]


def calls(node: FakeNode, kind: type) -> list[wire.Submission]:
    return [
        each.submission
        for each in node.messages
        if isinstance(each, wire.Call) and isinstance(each.submission.command, kind)
    ]


async def filled(
    cluster: synaxis.AsyncSynaxis, messages: Sequence[object], partitions: int = 4
) -> synaxis.Topic:
    await cluster.topics.create(
        "t", partitions, backoff=synaxis.Backoff(0.01, 0.01), max_deliveries=3
    )
    topic = cluster.topic("t")
    await topic.publish_many(messages)
    return topic


async def lag(topic: synaxis.Topic, group: str = "g") -> int:
    return (await topic.groups.info(group)).lag


async def test_messages_arrive_as_they_were_published() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [])
        receipt = await topic.publish({"n": 1}, key="k", headers={"a": "b"}, message_id="m")
        async with topic.consume("g") as consumer:
            message = await anext(consumer)
            assert (message.value, message.key, message.headers) == ({"n": 1}, "k", {"a": "b"})
            assert (message.topic, message.partition, message.offset) == (
                "t",
                receipt.partition,
                receipt.offset,
            )
            assert (message.failures, message.deliveries, message.message_id) == (0, 1, "m")
            assert message.published_at.tzinfo is not None
            await message.ack()
        assert await lag(topic) == 0


async def test_acknowledgements_of_one_turn_are_one_command_of_merged_ranges() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"] * 20, 1)
        async with topic.consume("g", concurrency=20) as consumer:
            messages = [await anext(consumer) for _ in range(20)]
            await asyncio.gather(*(message.ack() for message in messages))
        (submission,) = calls(fake["n1"], Ack)
        assert isinstance(submission.command, Ack)
        assert submission.command.parts == (Part(0, 0, 19),)


async def test_no_more_than_concurrency_are_out() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"] * 10)
        async with topic.consume("g", concurrency=2) as consumer:
            first, _ = [await anext(consumer) for _ in range(2)]
            waiting = asyncio.ensure_future(anext(consumer))  # a waiting reader
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await first.ack()
            await (await waiting).ack()


async def test_a_body_settles_its_message() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"], 1)
        async with topic.consume("g") as consumer:
            with pytest.raises(ZeroDivisionError):
                async with await anext(consumer):
                    _ = 1 / 0
            message = await anext(consumer)
            assert message.failures == 1
            with pytest.raises(asyncio.CancelledError):
                async with message:
                    raise asyncio.CancelledError
            message = await anext(consumer)
            assert message.failures == 1, "given back without blame"
            async with message:
                pass
        assert await lag(topic) == 0


async def test_a_body_may_settle_its_message_itself() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x", b"y"], 1)
        async with topic.consume("g") as consumer:
            async with await anext(consumer) as message:
                await message.reject("no good")
            async with await anext(consumer) as message:
                await message.ack()
                with pytest.raises(synaxis.LeaseLost, match="settled already: acknowledged"):
                    message.ack()  # type: ignore[unused-awaitable]
        (dead,) = [each async for each in topic.dead_letters("g").browse()]
        assert (dead.reason, dead.error, dead.value) == ("rejected", "no good", b"x")


async def test_a_message_that_fails_too_often_is_a_dead_letter_with_its_last_error() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"poison"])
        async with topic.consume("g") as consumer:
            for _ in range(3):
                await (await anext(consumer)).nack(0, error="bad")
        letters = topic.dead_letters("g")
        assert await letters.count() == 1
        (dead,) = [each async for each in letters.browse(reason="max_deliveries")]
        assert (dead.failures, dead.error, dead.payload) == (3, "bad", b"poison")
        assert dead.first_failed_at <= dead.dead_at
        assert [each async for each in letters.browse(reason="expired")] == []
        assert await letters.redrive(limit=5) == 1
        async with topic.consume("g") as consumer:
            again = await anext(consumer)
            assert again.failures == 0
            await again.reject()
        assert await letters.purge() == 1
        assert await letters.count() == 0


async def test_a_message_on_its_last_try_does_not_hold_up_others() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        await cluster.topics.create("t", 1, max_deliveries=2, backoff=synaxis.Backoff(0, 0))
        topic = cluster.topic("t")
        await topic.publish_many(range(3))
        async with topic.consume("g") as consumer:
            for message in [await anext(consumer) for _ in range(3)]:
                await message.nack()
            slow = await anext(consumer)
            assert slow.failures == 1
            await topic.publish_many(range(100, 120))
            for _ in range(20):
                message = await anext(consumer)
                assert message.failures == 0
                await message.ack()
            await slow.ack()
            for _ in range(2):
                message = await anext(consumer)
                assert message.failures == 1
                await message.ack()
        assert await lag(topic) == 0


async def test_a_message_may_be_kept_longer() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        async with topic.consume("g", visibility=1, auto_extend=False) as consumer:
            message = await anext(consumer)
            await message.extend(60)
            fake.advance(5_000)
            await message.ack()
        assert (await topic.groups.info("g")).redelivered == 0


async def test_without_extension_a_message_goes_to_others() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        async with topic.consume("g", visibility=1, auto_extend=False) as consumer:
            message = await anext(consumer)
            for _ in range(30):
                fake.advance(100)
            again = await anext(consumer)
            assert again.failures == 1
            with pytest.raises(synaxis.LeaseLost):
                await message.nack()
            await again.ack()


async def test_a_settlement_that_makes_no_sense_is_refused_here() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        async with topic.consume("g") as consumer:
            message = await anext(consumer)
            with pytest.raises(synaxis.InvalidArgument, match="delay must be"):
                _ = message.nack(-1)
            with pytest.raises(synaxis.InvalidArgument, match="seconds must be"):
                await message.extend(0)
            await message.nack(0, error="ü" * 2_000)
            await (await anext(consumer)).reject("\ud800" + "x" * 2_000)
        (dead,) = [each async for each in topic.dead_letters("g").browse()]
        assert dead.error == "?" + "x" * 1_023


# --- order ----------------------------------------------------------------------------------


async def test_keyed_messages_are_out_one_per_key() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        values = [synaxis.Publication(n, key=f"k{n % 3}") for n in range(9)]
        topic = await filled(cluster, values, 2)
        async with topic.consume("g", mode="keyed", concurrency=9) as consumer:
            seen: list[int] = []
            out = [await anext(consumer) for _ in range(3)]
            assert {message.key for message in out} == {"k0", "k1", "k2"}
            while len(seen) < 9:
                message = out.pop(0)
                seen.append(message.value)
                await message.ack()
                if len(seen) + len(out) < 9:
                    out.append(await anext(consumer))
        for key in range(3):
            assert [n for n in seen if n % 3 == key] == list(range(key, 9, 3))


@pytest.mark.parametrize("how", ["nack", "release"])
@pytest.mark.parametrize("mode", ["keyed", "exclusive"])
async def test_what_goes_back_is_not_overtaken(how: str, mode: ConsumeMode) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [synaxis.Publication(n, key="k") for n in range(50)], 2)
        seen: list[int] = []
        refused: set[int] = set()
        async with topic.consume("g", mode=mode, prefetch=8) as consumer:
            async for message in consumer:
                if message.value % 5 == 0 and message.value not in refused:
                    refused.add(message.value)
                    await (message.nack() if how == "nack" else message.release())
                    continue
                seen.append(message.value)
                await message.ack()
                if len(seen) == 50:
                    break
        assert seen == list(range(50))


async def test_partitions_go_round_when_members_come_and_go() -> None:
    async with FakeCluster() as fake, fake.client() as cluster, fake.client() as another:
        topic = await filled(cluster, [])
        revoked: list[int] = []

        async def on_revoke(partitions: Sequence[int]) -> None:
            revoked.extend(partitions)

        async with topic.consume("g", mode="exclusive", on_revoke=on_revoke) as one:
            await fake.until(lambda: one.partitions == [0, 1, 2, 3])
            async with another.topic("t").consume("g", mode="exclusive") as two:
                await fake.until(lambda: len(one.partitions) == len(two.partitions) == 2)
                assert sorted(one.partitions + two.partitions) == [0, 1, 2, 3]
                assert sorted(revoked) == sorted(two.partitions)
            await fake.until(lambda: one.partitions == [0, 1, 2, 3])


async def test_a_partition_is_yielded_only_when_its_messages_are_settled() -> None:
    async with FakeCluster() as fake, fake.client() as cluster, fake.client() as another:
        topic = await filled(cluster, [synaxis.Publication(n, partition=n) for n in range(4)])
        async with topic.consume("g", mode="exclusive") as one:
            held = {message.partition: message for message in [await anext(one) for _ in range(4)]}
            async with another.topic("t").consume("g", mode="exclusive") as two:
                await fake.until(lambda: said(fake["n1"], Attach))
                await asyncio.sleep(0.05)
                assert not calls(fake["n1"], Yield)
                assert two.partitions == []
                for message in held.values():
                    await message.ack()
                await fake.until(lambda: len(two.partitions) == 2)


# --- breaking -------------------------------------------------------------------------------


async def test_a_new_leader_is_told_what_is_held() -> None:
    async with FakeCluster(2, queue_groups=1) as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"%d" % n for n in range(10)], 1)
        async with topic.consume("g", prefetch=3, concurrency=2) as consumer:
            held = [await anext(consumer) for _ in range(2)]
            fake.elect("n2")
            await fake.until(lambda: said(fake["n2"], Attach))
            attach = said(fake["n2"], Attach)[0].message
            assert isinstance(attach, Attach)
            told = {o for part in attach.holding for o in range(part.first, part.last + 1)}
            assert {message.offset for message in held} <= told
            seen = [message.offset for message in held]
            for message in held:
                await message.ack()
            while len(seen) < 10:
                message = await anext(consumer)
                seen.append(message.offset)
                await message.ack()
            assert sorted(seen) == list(range(10)), "nothing twice, nothing lost"


async def test_a_broken_connection_is_made_up_for() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"%d" % n for n in range(40)])
        seen: set[tuple[int, int]] = set()
        async with topic.consume("g", prefetch=4) as consumer:
            async for message in consumer:
                seen.add((message.partition, message.offset))
                await message.ack()
                if len(seen) % 10 == 0:
                    fake["n1"].break_connections()
                if len(seen) == 40:
                    break
        assert await lag(topic) == 0


async def test_when_the_session_ends_everything_begins_anew() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"], 1)
        async with topic.consume("g") as consumer:
            held = await anext(consumer)
            fake.expire(calls(fake["n1"], Join)[-1].session)
            with pytest.raises(synaxis.LeaseLost):
                await held.ack()
            again = await anext(consumer)
            assert again.offset == held.offset
            await again.ack()
        members = [each.command.member for each in calls(fake["n1"], Join)]  # type: ignore[union-attr]
        assert len(set(members)) == 2


async def test_a_member_that_was_turned_away_leaves_before_it_joins_as_another() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"], 1)
        async with topic.consume("g") as consumer:
            await fake.until(lambda: said(fake["n1"], Attach))
            attach = said(fake["n1"], Attach)[-1]
            # As a leader would that was replaced before it heard of the Join.
            fake["n1"].push(wire.Failure(attach.id, "consumer_fenced", "who are you?", {}))
            await fake.until(lambda: len(said(fake["n1"], Attach)) == 2)
            (leave,) = calls(fake["n1"], Leave)
            assert isinstance(leave.command, Leave)
            assert isinstance(attach.message, Attach)
            assert leave.command.member == attach.message.member
            await (await anext(consumer)).ack()
        members = {each.command.member for each in calls(fake["n1"], Join)}  # type: ignore[union-attr]
        assert len(members) == 2


async def test_a_settlement_goes_on_when_nobody_waits_for_it_any_more() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.3) as cluster:
        topic = await filled(cluster, [b"x"])
        async with topic.consume("g") as consumer:
            message = await anext(consumer)
            node = fake["n1"]
            node.intercept = lambda _, each: isinstance(each, wire.Call)
            with pytest.raises(synaxis.OutcomeUnknown, match="goes on in the background"):
                await message.ack()
            assert consumer.unsettled == 1
            node.intercept = None
            node.break_connections()
            await fake.until(lambda: consumer.unsettled == 0)
        assert await lag(topic) == 0


async def test_a_topic_that_goes_ends_its_consumers() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [])
        async with topic.consume("g") as consumer:
            await cluster.topics.delete("t")
            with pytest.raises(synaxis.NotFound):
                await anext(consumer)


async def test_a_group_of_another_mode_cannot_be_joined() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [])
        async with topic.consume("g"):
            with pytest.raises(synaxis.InvalidArgument, match="shared"):
                await anext(topic.consume("g", mode="keyed"))


async def test_a_cluster_that_does_not_answer_ends_the_first_try() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.2) as cluster:
        topic = await filled(cluster, [])
        fake["n1"].intercept = lambda _, message: isinstance(message, wire.Call)
        with pytest.raises(synaxis.ClusterError):
            await anext(topic.consume("g"))


# --- credit ---------------------------------------------------------------------------------


async def test_no_more_is_sent_than_the_window_holds() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [synaxis.Publication(b"x", partition=0)] * 500)
        async with topic.consume("g", concurrency=1, prefetch=32) as consumer:
            await anext(consumer)
            await asyncio.sleep(0.05)
            assert 16 <= (await topic.groups.info("g")).in_flight <= 40


async def test_credit_is_topped_up_in_steps() -> None:
    async with FakeCluster(queue_groups=1) as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"] * 640, 1)
        async with topic.consume("g", prefetch=64) as consumer:
            for _ in range(640):
                _ = (await anext(consumer)).ack()
            grants = [each.message.more for each in said(fake["n1"], Credit)]  # type: ignore[union-attr]
            assert len(grants) <= 640 / 16


# --- leaving --------------------------------------------------------------------------------


async def test_leaving_gives_back_what_is_not_settled_without_blame() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"] * 10)
        async with topic.consume("g", concurrency=2) as consumer:
            held = await anext(consumer)
        assert calls(fake["n1"], Leave)
        info = await topic.groups.info("g")
        assert (info.in_flight, info.lag, info.members, info.redelivered) == (0, 10, (), 0)
        with pytest.raises(synaxis.LeaseLost):
            await held.ack()
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)


async def test_draining_waits_for_what_is_out_and_releases_the_rest() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"] * 10)
        consumer = topic.consume("g", concurrency=2)
        held = await anext(consumer)
        draining = asyncio.ensure_future(consumer.drain(2))  # beside the reader
        await fake.until(lambda: said(fake["n1"], Release))
        assert not draining.done()
        await held.ack()
        assert await draining
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)
        assert (await topic.groups.info("g")).lag == 9


async def test_draining_ends_in_time() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        consumer = topic.consume("g")
        await anext(consumer)
        assert not await cluster.drain(0.05)
        assert (await topic.groups.info("g")).in_flight == 0


async def test_a_loop_that_is_left_by_break_leaves_the_group() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"] * 3)
        async for message in topic.consume("g"):
            async with message:
                break
        gc.collect()
        await fake.until(lambda: len(calls(fake["n1"], Leave)) == 2)
        assert await lag(topic) == 2


async def test_closing_the_client_leaves_its_groups() -> None:
    async with FakeCluster() as fake:
        async with fake.client() as cluster:
            topic = await filled(cluster, [b"x"])
            await anext(topic.consume("g"))
        assert len(calls(fake["n1"], Leave)) == 2


# --- handlers -------------------------------------------------------------------------------


async def test_a_handler_is_called_for_all_in_parallel() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, list(range(20)))
        running = most = 0
        seen: list[int] = []

        async def handler(message: synaxis.Message) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            if message.value == 7 and not message.failures:
                raise ValueError(7)
            seen.append(message.value)

        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(topic.process(handler, group="g", concurrency=5))
            await fake.until(lambda: len(seen) == 20)
            work.cancel()
        assert sorted(seen) == list(range(20))
        assert most == 5
        info = await topic.groups.info("g")
        assert (info.lag, info.redelivered, info.members) == (0, 1, ())


async def test_a_handler_that_is_cancelled_gives_its_message_back() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        begun = asyncio.Event()

        async def handler(_message: synaxis.Message) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(topic.process(handler, group="g"))
            await begun.wait()
            work.cancel()
        info = await topic.groups.info("g")
        assert (info.lag, info.in_flight, info.redelivered) == (1, 0, 0)


async def test_draining_the_client_ends_its_handlers() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        done = asyncio.Event()

        async def handler(_message: synaxis.Message) -> None:
            done.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(topic.process(handler, group="g"))
            await done.wait()
            assert await cluster.drain(2)
        assert await lag(topic) == 0


# --- signs of life --------------------------------------------------------------------------


async def test_a_handler_that_blocks_the_loop_keeps_its_messages() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"x"])
        async with topic.consume("g", visibility=1) as consumer:
            message = await anext(consumer)
            service = cluster._queue_service
            await fake.until(lambda: service.lifeline._router is not None)
            sessions = [fake.sessions[each.session] for each in calls(fake["n1"], Join)]
            before = [each.keep_alives for each in sessions]
            await fake.until(
                lambda: all(
                    now.keep_alives >= then + 2 for now, then in zip(sessions, before, strict=True)
                )
            )
            await message.ack()


async def test_the_thread_tells_the_loop_of_a_session_that_is_gone() -> None:
    async with FakeCluster() as fake, fake.client(session_ttl=60) as cluster:
        service = cluster._queue_service
        session = await service.caller.session(GroupId("queues/0"))
        over: list[str] = []
        session.when_over["me"] = lambda: over.append("over")
        service.lifeline.watch("me", session, 300)
        await fake.until(lambda: fake.sessions[session.id].keep_alives >= 2)
        fake.expire(session.id)
        await fake.until(lambda: over)


async def test_there_is_no_thread_before_the_first_consumer() -> None:
    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name == "synaxis-loop"]

    async with FakeCluster() as fake:
        async with fake.client() as cluster:
            topic = await filled(cluster, [b"x"])
            assert len(threads()) == 0
            async with topic.consume("g"):
                assert len(threads()) == 1
        assert len(threads()) == 0, "and none after the client"


@pytest.mark.parametrize("mode", ["shared", "keyed", "exclusive"])
async def test_a_released_message_makes_room_for_the_next_one(mode: ConsumeMode) -> None:
    """Its place among those that are out leaked: with one at a time the consumer was deaf."""
    async with FakeCluster() as fake, fake.client() as cluster:
        topic = await filled(cluster, [b"one", b"two"], 1)
        async with topic.consume("g", mode=mode, concurrency=1) as consumer, asyncio.timeout(5):
            for _ in range(3):
                message = await anext(consumer)
                await message.release()
            while consumer.unsettled:  # noqa: ASYNC110  # a count is no event
                await asyncio.sleep(0.01)
