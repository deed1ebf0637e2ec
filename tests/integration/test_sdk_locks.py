"""What a lock is to its holder, against nodes that speak the client protocol in this process."""

import asyncio
import pickle
from typing import Any

import pytest

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.consensus.commands import OpenSession
from synaxis.ids import SessionId
from synaxis.locks.commands import Abandon, Acquire, Convert, ForceRelease, Release
from synaxis.wire import client as wire


async def test_the_body_runs_under_the_lock_and_the_lock_is_released_after_it() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        async with cluster.lock("orders/42") as held:
            assert held.token > 0
            assert held.name == "orders/42"
            assert held.state == "held"
            held.ensure()
            assert await cluster.try_lock("orders/42") is None
        assert held.state == "released"
        assert fake.commands[-1] == Release(held.token)


async def test_tokens_grow() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        tokens = []
        for _ in range(3):
            async with cluster.lock("a") as held:
                tokens.append(held.token)
        assert tokens == sorted(set(tokens))


async def test_a_lock_object_serves_once() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        lock = cluster.lock("a")
        async with lock:
            pass
        with pytest.raises(RuntimeError):
            async with lock:
                pytest.fail("entered twice")


async def test_the_body_is_not_entered_without_the_lock() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other, one.lock("a"):
        with pytest.raises(synaxis.LockTimeout):
            async with other.lock("a", wait=0.02):
                pytest.fail("entered without the lock")


async def test_release_is_idempotent_and_says_whether_it_was_held() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        grant = await cluster.acquire("a")
        assert await grant.release() is True
        assert await grant.release() is False
        with pytest.raises(synaxis.LockNotHeld):
            grant.ensure()


async def test_commands_of_one_loop_turn_travel_in_one_frame() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await (await cluster.acquire("warm")).release()
        before = len(fake["n1"].frames)
        async with asyncio.TaskGroup() as tasks:
            for n in range(50):
                tasks.create_task(cluster.acquire(f"lock/{n}"))
        frames = [frame for frame in fake["n1"].frames[before:] if isinstance(frame[0], wire.Call)]
        assert [len(frame) for frame in frames] == [50]


async def test_replies_seen_out_of_order_are_acknowledged() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        holder = await other.acquire("taken")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(one.acquire("taken", wait=None))
            await fake.seen(Acquire, Acquire)
            await (await one.acquire("free")).release()
            await (await one.acquire("free")).release()
            last = fake.applied[-1]
            assert last.acked == 0, "the first command still waits"
            assert last.acked_above == (4,)
            await holder.release()
        await waiting.result().release()
        assert fake.applied[-1].acked == 5


async def test_different_tasks_of_a_process_wait_on_their_own_account() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:

        async def hold(cluster: synaxis.AsyncSynaxis, name: str, until: asyncio.Event) -> None:
            async with cluster.lock(name):
                await until.wait()

        # Without the tasks' own numbers this would look like two sessions in a deadlock.
        end = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hold(one, "x", end))
            tasks.create_task(hold(other, "y", end))
            await fake.until(lambda: len(fake.commands) == 2)
            tasks.create_task(hold(one, "y", end))
            tasks.create_task(hold(other, "x", end))
            await fake.until(lambda: len(fake.commands) == 4)
            end.set()


async def test_a_deadlock_names_its_cycle() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:

        async def both(cluster: synaxis.AsyncSynaxis, first: str, second: str) -> None:
            async with cluster.lock(first):
                await meet.wait()
                async with cluster.lock(second, wait=None):
                    pass

        meet = asyncio.Barrier(2)
        outcomes = await asyncio.gather(
            both(one, "x", "y"), both(other, "y", "x"), return_exceptions=True
        )
        errors = [outcome for outcome in outcomes if outcome is not None]
        assert [type(error) for error in errors] == [synaxis.DeadlockError]
        error = errors[0]
        assert isinstance(error, synaxis.DeadlockError)
        assert {step["waits_for"] for step in error.cycle} == {"x", "y"}
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own error, our own bytes
        assert copy.cycle == error.cycle


# --- cancellation ------------------------------------------------------------------------------


async def test_a_cancelled_wait_leaves_the_queue() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        grant = await one.acquire("a")
        waiting = asyncio.get_running_loop().create_task(other.acquire("a", wait=None))
        await fake.seen(Acquire, Acquire)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await fake.seen(Acquire, Acquire, Abandon)
        assert (await one.locks.get("a")).waiters == ()
        await grant.release()
        assert await one.try_lock("a") is not None


async def test_a_cancelled_acquire_whose_grant_is_on_its_way_gives_it_back() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        acquiring = asyncio.get_running_loop().create_task(cluster.acquire("a"))

        def cancel(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and isinstance(message.submission.command, Acquire):
                acquiring.cancel()
            return False

        fake["n1"].intercept = cancel
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        await fake.seen(Acquire, Abandon)
        fake["n1"].intercept = None
        assert await cluster.try_lock("a") is not None


async def test_an_acquire_that_was_never_sent_is_just_forgotten() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await (await cluster.acquire("warm")).release()
        fake["n1"].break_connections()
        fake.elect(None)
        await asyncio.sleep(0.02)
        acquiring = asyncio.get_running_loop().create_task(cluster.acquire("a"))
        await asyncio.sleep(0)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        fake.elect("n1")
        await (await cluster.acquire("b")).release()
        assert Abandon not in [type(command) for command in fake.commands]


async def test_a_release_goes_on_when_its_caller_is_cancelled() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        entered = asyncio.Event()

        async def body() -> None:
            async with cluster.lock("a"):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.get_running_loop().create_task(body())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.seen(Acquire, Release)


# --- loss --------------------------------------------------------------------------------------


async def test_a_forced_loss_cancels_the_body_and_raises_lock_lost() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        tokens: list[int] = []

        async def body() -> None:
            async with cluster.lock("a") as held:
                tokens.append(held.token)
                fake.lose(held.session_id, held.token, "force_released")
                await asyncio.Event().wait()

        with pytest.raises(synaxis.LockLost) as caught:
            await body()
        assert caught.value.reason == "force_released"
        assert caught.value.token == tokens[0]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_an_outer_cancellation_wins_over_the_loss() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        cleaning_up = asyncio.Event()

        async def body() -> None:
            async with cluster.lock("a") as held:
                fake.lose(held.session_id, held.token, "force_released")
                try:
                    await asyncio.Event().wait()
                finally:
                    cleaning_up.set()
                    await asyncio.Event().wait()

        task = asyncio.get_running_loop().create_task(body())
        await cleaning_up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_body_that_ends_in_ignorance_of_the_loss_still_raises() -> None:
    async with FakeCluster() as fake, fake.client() as cluster, fake.client() as admin:
        with pytest.raises(synaxis.LockLost):
            async with cluster.lock("a"):
                assert await admin.locks.force_release("a", reason="test")


async def test_with_event_the_body_goes_on_and_leaving_raises_nothing() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        async with cluster.lock("a", on_loss="event") as held:
            assert not held.lost.is_set()
            fake.lose(held.session_id, held.token, "force_released")
            await held.lost.wait()
            with pytest.raises(synaxis.LockLost):
                held.ensure()
        assert held.state == "lost"


async def test_a_function_is_called_with_the_loss() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        told: list[synaxis.LockLost] = []
        async with cluster.lock("a", on_loss=told.append) as held:
            fake.lose(held.session_id, held.token, "force_released")
            await held.lost.wait()
            await asyncio.sleep(0)
        assert [error.reason for error in told] == ["force_released"]


async def test_both_locks_of_a_body_are_lost_with_their_session() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        tokens: list[int] = []

        async def body() -> None:
            async with cluster.lock("outer") as outer, cluster.lock("inner"):
                tokens.append(outer.token)
                fake.expire(SessionId(outer.session_id))
                await outer.safe()
                await asyncio.Event().wait()

        with pytest.raises(synaxis.LockLost) as caught:
            await body()
        assert caught.value.token == tokens[0]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_an_error_of_the_body_is_not_replaced_by_the_loss() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:

        async def body() -> None:
            async with cluster.lock("a") as held:
                fake.lose(held.session_id, held.token, "force_released")
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise ValueError("mine") from None

        with pytest.raises(ValueError, match="mine") as caught:
            await body()
        assert "force_released" in caught.value.__notes__[0]


async def test_max_hold_ends_the_grant_by_the_clock_of_the_client_too() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        with pytest.raises(synaxis.LockLost) as caught:
            async with cluster.lock("a", max_hold=0.1):
                await asyncio.Event().wait()
        assert caught.value.reason == "max_hold"


# --- modes, re-entry, several --------------------------------------------------------------------


async def test_shared_holders_share_and_one_of_them_upgrades_alone() -> None:
    async with (
        FakeCluster() as fake,
        fake.client() as one,
        fake.client() as other,
        one.lock("doc", mode="shared") as held,
    ):
        async with other.lock("doc", mode="shared"):
            with pytest.raises(synaxis.LockTimeout):
                await held.upgrade(wait=0)
            assert str(held.mode) == "shared"
        before = held.token
        await held.upgrade(wait=1)
        assert held.mode == "exclusive"
        assert held.token > before
        assert await other.try_lock("doc", mode="shared") is None
        await held.downgrade()
        assert await other.try_lock("doc", mode="shared") is not None
        held.ensure()


async def test_an_upgraded_grant_is_lost_under_its_new_token() -> None:
    async with (
        FakeCluster() as fake,
        fake.client() as cluster,
        cluster.lock("doc", mode="shared", on_loss="event") as held,
    ):
        await held.upgrade()
        fake.lose(held.session_id, held.token, "force_released")
        await held.lost.wait()


async def test_a_cancelled_upgrade_is_undone_and_the_grant_stays_shared() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        shared = await other.acquire("doc", mode="shared")
        async with one.lock("doc", mode="shared") as held:
            upgrading = asyncio.get_running_loop().create_task(held.upgrade(wait=None))
            await fake.seen(Acquire, Acquire, Convert)
            upgrading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upgrading
            await fake.seen(Acquire, Acquire, Convert, Abandon)
            assert held.mode == "shared"
            held.ensure()
        assert await shared.release()


async def test_an_upgrade_of_a_lost_grant_says_that_it_is_lost() -> None:
    async with (
        FakeCluster() as fake,
        fake.client() as one,
        fake.client() as other,
        one.lock("doc", mode="shared", on_loss="event") as held,
    ):
        await other.locks.force_release("doc", reason="test")
        with pytest.raises(synaxis.LockLost):
            await held.upgrade()
        assert held.lost.is_set()


async def test_a_reentrant_lock_is_entered_again_by_its_owner_only() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        async with cluster.lock("a", reentrant=True) as outer:
            async with cluster.lock("a", reentrant=True) as inner:
                assert inner.token == outer.token
            outer.ensure()
            with pytest.raises(synaxis.LockTimeout):
                await asyncio.create_task(  # another task is the point
                    cluster.acquire("a", reentrant=True, wait=0)
                )
        assert await cluster.try_lock("a") is not None


async def test_all_entries_of_a_reentrant_lock_are_lost_together() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:

        async def body() -> None:
            async with cluster.lock("a", reentrant=True), cluster.lock("a", reentrant=True) as held:
                fake.lose(held.session_id, held.token, "force_released")
                await asyncio.Event().wait()

        with pytest.raises(synaxis.LockLost):
            await body()


async def test_a_named_owner_may_enter_from_any_task() -> None:
    async with (
        FakeCluster() as fake,
        fake.client() as cluster,
        cluster.lock("a", reentrant=True, owner="job 7") as outer,
    ):
        inner = await asyncio.create_task(  # another task is the point
            cluster.acquire("a", reentrant=True, owner="job 7", wait=0)
        )
        assert inner.token == outer.token
        await inner.release()


async def test_lock_many_holds_all_or_none() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        async with one.lock_many(["b", "a", "b"]) as held:
            assert held.names == ("a", "b")
            assert held.tokens == {"a": held.token, "b": held.token}
            held.ensure()
            with pytest.raises(synaxis.LockTimeout):
                async with other.lock_many(["b", "c"], wait=0.02):
                    pytest.fail("entered without b")
            assert await other.try_lock("c") is not None
        assert await other.try_lock("a") is not None


async def test_lock_many_over_groups_has_a_token_each_and_one_loss() -> None:
    names = [f"name/{n}" for n in range(8)]
    async with FakeCluster(lock_groups=3) as fake, fake.client() as cluster:
        async with cluster.lock_many(names, on_loss="event") as held:
            assert held.names == tuple(names)
            assert set(held.tokens) == set(names)
            with pytest.raises(synaxis.InvalidArgument):
                _ = held.token
            assert len(held.grants) > 1
            lost = held.lost
            held.grants[0].lose("session_expired")
            assert lost.is_set()
        acquired = [command.names for command in fake.commands if isinstance(command, Acquire)]
        assert sorted(name for group in acquired for name in group) == names


@pytest.mark.parametrize("names", [[], "text", [3]])
async def test_lock_many_refuses_what_is_no_list_of_names(names: Any) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        with pytest.raises(synaxis.InvalidArgument):
            cluster.lock_many(names)


@pytest.mark.parametrize(
    "options", [{"mode": "x"}, {"wait": -1}, {"max_hold": -1}, {"wait": float("nan")}]
)
async def test_options_out_of_range_are_refused_before_anything_is_sent(options: Any) -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        with pytest.raises(synaxis.InvalidArgument):
            cluster.lock("a", **options)
        with pytest.raises(TypeError):
            cluster.lock("a", tiemout=3)  # type: ignore[call-arg]  # the point
        with pytest.raises(synaxis.InvalidArgument):
            cluster.lock(42)  # type: ignore[arg-type]  # the point
        with pytest.raises(synaxis.InvalidArgument):
            cluster.lock("\ud800")
        assert fake.applied == []


async def test_values_of_a_wrong_type_never_reach_the_wire() -> None:
    wrong: Any = 1.5
    async with FakeCluster() as fake, fake.client() as cluster:
        with pytest.raises(synaxis.InvalidArgument):
            cluster.lock("a", priority=wrong)
        with pytest.raises(synaxis.InvalidArgument):
            cluster.semaphore("a", permits=2).acquire(weight=wrong)
        with pytest.raises(synaxis.InvalidArgument):
            cluster.election("a").campaign(wrong)
        with pytest.raises(synaxis.InvalidArgument):
            await cluster.locks.force_release("a", reason=wrong)
        with pytest.raises(synaxis.InvalidArgument):
            await cluster.locks.list(wrong)
        with pytest.raises(synaxis.InvalidArgument):
            cluster.locks.watch(wrong)
        with pytest.raises(synaxis.InvalidArgument):
            await cluster.add_member("n9", wrong)
        async with cluster.lock("a") as held:
            with pytest.raises(synaxis.InvalidArgument):
                await held.set_value(wrong)
        assert len(fake["n1"].hellos) == 1, "the connection was never broken"


# --- administration ------------------------------------------------------------------------------


async def test_locks_are_listed_with_owner_token_age_and_queue() -> None:
    async with FakeCluster() as fake, fake.client(name="ada") as one, fake.client() as other:
        async with one.lock("orders/1") as held, one.lock("users/1"):
            waiting = asyncio.get_running_loop().create_task(other.acquire("orders/1", wait=None))
            await fake.seen(Acquire, Acquire, Acquire)
            [state] = await other.locks.list("orders/")
            assert (state.owner, state.mode, state.token) == ("ada", "exclusive", held.token)
            assert state.age is not None
            assert [(each.position, each.mode) for each in state.waiters] == [(1, "exclusive")]
            assert [each.name for each in await one.locks.list()] == ["orders/1", "users/1"]
            assert [each.name for each in await one.locks.list(limit=1)] == ["orders/1"]
            graph = await one.locks.waits()
            assert [edge.name for edge in graph.edges] == ["orders/1"]
        await (await waiting).release()
        free = await one.locks.get("orders/1")
        assert (free.owner, free.waiters) == (None, ())


async def test_force_release_takes_only_the_named_grant() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as admin:
        async with one.lock("a", on_loss="event") as held:
            assert not await admin.locks.force_release("a", reason="old", token=held.token - 1)
            assert await admin.locks.force_release("a", reason="new", token=held.token)
        assert [type(command) for command in fake.commands][1:3] == [ForceRelease] * 2


async def test_watchers_see_what_happens_to_names_under_their_prefix() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as watcher:
        async with watcher.locks.watch("orders/") as changes:
            async with one.lock("users/1"):
                pass
            async with one.lock("orders/1") as held:
                pass
            first, second = await anext(changes), await anext(changes)
        assert (first.what, first.name, first.token) == ("granted", "orders/1", held.token)
        assert second.what == "released"
        await fake.until(lambda: isinstance(fake["n1"].messages[-1], wire.Cancel))


async def test_a_stream_left_by_break_is_cancelled() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        stream = cluster.locks.watch("orders/")
        await stream.started()
        async with cluster.lock("orders/1"):
            async for _change in stream:
                break
        del stream
        await fake.until(lambda: any(isinstance(m, wire.Cancel) for m in fake["n1"].messages))


async def test_an_unbuffered_reader_is_told_instead_of_filling_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synaxis.client.watching.BUFFERED_MAX", 2)
    async with FakeCluster() as fake, fake.client() as cluster, cluster.locks.watch() as changes:
        for _ in range(3):
            async with cluster.lock("a"):
                pass
        assert (await anext(changes)).what == "granted"
        assert (await anext(changes)).what == "released"
        with pytest.raises(synaxis.LimitExceeded):
            await anext(changes)


# --- what stands on locks ------------------------------------------------------------------------


async def test_a_semaphore_counts_by_weight() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        semaphore = other.semaphore("gpu", permits=4)
        async with one.semaphore("gpu", permits=4).acquire(weight=3):
            assert await semaphore.try_acquire(2) is None
            grant = await semaphore.try_acquire(1)
            assert grant is not None
            await grant.release()
            await semaphore.resize(8)
            assert await semaphore.try_acquire(5) is not None


async def test_a_leader_is_observed_from_its_campaign_to_its_end() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as watcher:
        seen = asyncio.Queue[synaxis.Leader | None]()

        async def observe() -> None:
            async for leader in watcher.election("scheduler").observe():
                seen.put_nowait(leader)

        observing = asyncio.get_running_loop().create_task(observe())
        assert await seen.get() is None
        async with one.election("scheduler").campaign(b"one") as leadership:
            leader = await seen.get()
            assert leader is not None
            assert (leader.token, leader.value) == (leadership.token, b"one")
            assert await watcher.election("scheduler").leader() == leader
            await leadership.set_value(b"two")
            leader = await seen.get()
            assert leader is not None
            assert leader.value == b"two"
        assert await seen.get() is None
        observing.cancel()
        await asyncio.gather(observing, return_exceptions=True)


async def test_a_barrier_lets_all_pass_when_the_last_has_come() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        positions = await asyncio.gather(
            one.barrier("step", parties=3).wait(),
            other.barrier("step", parties=3).wait(),
            other.barrier("step", parties=3).wait(),
        )
        assert sorted(positions) == [1, 2, 3]
        with pytest.raises(synaxis.LockTimeout):
            await one.barrier("step", parties=3).wait(0.02)


async def test_a_latch_opens_for_good() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        waiting = asyncio.get_running_loop().create_task(other.latch("done", count=2).wait())
        await fake.until(lambda: fake.commands)
        latch = one.latch("done", count=2)
        assert await latch.remaining() == 2
        assert await latch.count_down() == 1
        assert await latch.count_down() == 0
        await waiting
        await latch.wait(0)
        await latch.delete()
        assert await latch.remaining() == 2


async def test_the_cluster_can_be_asked_and_changed() -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster:
        assert cluster.cluster_id == "cluster-1"
        assert (await cluster.status()).cluster_id == "cluster-1"
        assert await cluster.members() == ()
        assert await cluster.add_member("n9", "host:7401") == "AddMember"
        assert await cluster.remove_member("n9") == "RemoveMember"
        assert await cluster.transfer_leadership("locks/0", "n2") == "TransferLeadership"
        assert await cluster.ping() < 2


async def test_sessions_are_opened_with_ttl_and_name_and_closed_at_the_end() -> None:
    async with FakeCluster() as fake:
        opened: list[OpenSession] = []

        def note(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and isinstance(
                command := message.submission.command, OpenSession
            ):
                opened.append(command)
            return False

        fake["n1"].intercept = note
        async with fake.client(name="ada", session_ttl=7) as cluster:
            await cluster.acquire("a")
            assert len(fake.sessions) == 1
        assert opened == [OpenSession(7000, "ada")]
        assert fake.sessions == {}
