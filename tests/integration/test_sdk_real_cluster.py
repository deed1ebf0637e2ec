"""The SDK against real node processes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

import synaxis
from support.cluster_process import ClusterProcesses

Start = Callable[..., ClusterProcesses]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


async def start(cluster: Start, size: int) -> ClusterProcesses:
    return await asyncio.to_thread(cluster, size)


async def test_one_node_serves_every_part_of_the_sdk(cluster: Start) -> None:
    nodes = await start(cluster, 1)
    async with synaxis.connect(nodes.urls, name="ada") as one, synaxis.connect(nodes.urls) as other:
        await exclusion(one, other)
        await modes(one, other)
        await losses(one, other)
        await services(one, other)
        await observation(one, other)


async def exclusion(one: synaxis.AsyncSynaxis, other: synaxis.AsyncSynaxis) -> None:
    async with one.lock("orders/42", wait=10) as held:
        held.ensure()
        assert await other.try_lock("orders/42") is None
        with pytest.raises(synaxis.LockTimeout):
            await other.acquire("orders/42", wait=0.1)
        waiting = asyncio.get_running_loop().create_task(other.acquire("orders/42", wait=None))
        while not (state := await one.locks.get("orders/42")).waiters:
            pass
        assert (state.owner, state.token) == ("ada", held.token)
    grant = await waiting
    assert grant.token > held.token
    await grant.release()


async def modes(one: synaxis.AsyncSynaxis, other: synaxis.AsyncSynaxis) -> None:
    async with one.lock("doc", mode="shared") as held, one.lock_many(["a", "b"]) as both:
        assert both.names == ("a", "b")
        await held.upgrade(wait=2)
        assert await other.try_lock("doc", mode="shared") is None
        await held.downgrade()
        shared = await other.try_lock("doc", mode="shared")
        assert shared is not None
        await shared.release()
    async with one.lock("again", reentrant=True), one.lock("again", reentrant=True, wait=0):
        pass


async def losses(one: synaxis.AsyncSynaxis, other: synaxis.AsyncSynaxis) -> None:
    async def hold(name: str, **options: float) -> None:
        async with one.lock(name, max_hold=options.get("max_hold")):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    holding = asyncio.get_running_loop().create_task(hold("forced"))
    await entered.wait()
    assert await other.locks.force_release("forced", reason="test")
    with pytest.raises(synaxis.LockLost) as forced:
        await asyncio.wait_for(holding, 5)
    assert forced.value.reason == "force_released"
    with pytest.raises(synaxis.LockLost) as limited:
        await asyncio.wait_for(hold("limited", max_hold=0.3), 5)
    assert limited.value.reason == "max_hold"
    grant = await other.acquire("limited", wait=2)
    await grant.release()


async def services(one: synaxis.AsyncSynaxis, other: synaxis.AsyncSynaxis) -> None:
    async with one.semaphore("gpu", permits=4).acquire(weight=3):
        assert await other.semaphore("gpu", permits=4).try_acquire(2) is None
    places = await asyncio.gather(
        *(client.barrier("step", parties=2).wait() for client in (one, other))
    )
    assert sorted(places) == [1, 2]
    waiting = asyncio.get_running_loop().create_task(other.latch("done", count=1).wait())
    assert await one.latch("done", count=1).count_down() == 0
    await waiting


async def observation(one: synaxis.AsyncSynaxis, other: synaxis.AsyncSynaxis) -> None:
    async with other.locks.watch("seen/") as changes:
        async with one.lock("seen/1") as held:
            change = await anext(changes)
            assert (change.what, change.name, change.token) == ("granted", "seen/1", held.token)
        assert (await anext(changes)).what == "released"
    leaders = other.election("scheduler").observe()
    assert await anext(leaders) is None
    async with one.election("scheduler").campaign(b"ada") as leadership:
        leader = await anext(leaders)
        assert leader is not None
        assert (leader.token, leader.value) == (leadership.token, b"ada")
    assert await anext(leaders) is None


async def test_a_deadlock_between_two_processes_is_found(cluster: Start) -> None:
    nodes = await start(cluster, 1)
    async with synaxis.connect(nodes.urls) as one, synaxis.connect(nodes.urls) as other:
        meet = asyncio.Barrier(2)

        async def both(client: synaxis.AsyncSynaxis, first: str, second: str) -> None:
            async with client.lock(first):
                await meet.wait()
                async with client.lock(second, wait=None):
                    pass

        outcomes = await asyncio.gather(
            both(one, "x", "y"), both(other, "y", "x"), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [
            "DeadlockError",
            "NoneType",
        ]
        assert (await one.locks.waits()).deadlocks_total == 1


async def test_locks_and_waits_survive_the_death_of_the_leader(cluster: Start) -> None:
    nodes = await start(cluster, 3)
    async with synaxis.connect(nodes.urls) as one, synaxis.connect(nodes.urls) as other:
        async with one.lock("held") as held:
            waiting = asyncio.get_running_loop().create_task(other.acquire("held", wait=None))
            while not (await one.locks.get("held")).waiters:
                pass
            leader = await asyncio.to_thread(nodes.leader)
            leader.kill()
            async with one.lock("after", wait=10) as after:
                assert after.token > held.token
            await held.safe(timeout=10)
            held.ensure()
        grant = await asyncio.wait_for(waiting, 10)
        assert grant.token > after.token
        await grant.release()


async def test_cycles_go_on_while_leadership_is_handed_over(cluster: Start) -> None:
    nodes = await start(cluster, 3)
    async with synaxis.connect(nodes.urls) as client:
        tokens: list[int] = []

        async def cycle() -> None:
            for _ in range(200):
                async with client.lock("one"):
                    pass
                async with client.lock("same") as held:
                    tokens.append(held.token)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(cycle())
            for _ in range(2):
                leader = await asyncio.to_thread(nodes.leader)
                target = next(name for name in nodes.nodes if name != leader.node_id)
                await client.transfer_leadership("locks/0", target)
                while (await asyncio.to_thread(nodes.leader)).node_id != target:
                    pass
        assert tokens == sorted(set(tokens))
        assert len(tokens) == 800


async def test_cancelled_timed_out_and_failed_over_attempts_leave_nothing_behind(
    cluster: Start,
) -> None:
    nodes = await start(cluster, 3)
    random = Random(7)  # a test that can be repeated
    async with synaxis.connect(nodes.urls) as one, synaxis.connect(nodes.urls) as other:
        holders = 0

        async def attempt(client: synaxis.AsyncSynaxis) -> None:
            nonlocal holders
            with suppress(synaxis.LockTimeout):
                async with client.lock(
                    f"few/{random.randrange(4)}", wait=random.choice([0, 0.01, 1])
                ):
                    holders += 1
                    await asyncio.sleep(random.random() * 0.002)

        async def worker(client: synaxis.AsyncSynaxis) -> None:
            for _ in range(60):
                with suppress(TimeoutError):
                    async with asyncio.timeout(random.choice([0.001, 0.005, 0.02, 5])):
                        await attempt(client)

        async with asyncio.TaskGroup() as tasks:
            for number in range(24):
                tasks.create_task(worker((one, other)[number % 2]))
            await asyncio.sleep(0.5)
            leader = await asyncio.to_thread(nodes.leader)
            leader.kill()
        assert holders > 0
        async with asyncio.timeout(10):
            while await one.locks.list():  # noqa: ASYNC110  # only the cluster knows
                await asyncio.sleep(0.05)
        assert (await one.locks.waits()).edges == ()
