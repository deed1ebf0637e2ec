"""The blocking twin: the same names, for threads."""

import asyncio
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

import synaxis
from support.fake_cluster import FakeCluster
from synaxis.client import sync
from synaxis.client.caches.looking import CacheAdmin
from synaxis.client.election import Election
from synaxis.client.gates import Barrier, Latch
from synaxis.client.grants import Grant
from synaxis.client.lock_admin import LockAdmin
from synaxis.client.lock_many import GrantSet
from synaxis.client.portal import Portal
from synaxis.client.semaphore import Semaphore
from synaxis.client.sync_caches import BlockingCacheAdmin
from synaxis.locks.commands import Abandon, Acquire

TWINS = [
    (synaxis.AsyncSynaxis, synaxis.Synaxis, {"aclose": "close", "timeout": "cluster_id"}),
    (Grant, sync.BlockingGrant, {}),
    (GrantSet, sync.BlockingGrantSet, {}),
    (Semaphore, sync.BlockingSemaphore, {}),
    (Election, sync.BlockingElection, {}),
    (Barrier, sync.BlockingBarrier, {}),
    (Latch, sync.BlockingLatch, {}),
    (LockAdmin, sync.BlockingLockAdmin, {}),
    (CacheAdmin, BlockingCacheAdmin, {}),
]
INTERNAL = {
    *("again", "at", "begin_release", "converted", "granted", "grants", "held", "lose", "loss"),
    *("lost", "protect", "session_id", "share_lost", "unprotect", "valid_until"),
}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")} - INTERNAL


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


async def blocking(fake: FakeCluster, use: Callable[[synaxis.Synaxis], object]) -> None:
    """Run ``use`` in a thread with a blocking client."""

    def run() -> None:
        with synaxis.Synaxis(fake.url, timeout=2.0) as cluster:
            use(cluster)

    await asyncio.to_thread(run)


async def test_a_lock_is_held_by_with() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        with cluster.lock("orders/42", wait=10) as held:
            held.ensure()
            assert held.token > 0
            assert held.names == ("orders/42",)
            assert held.mode == "exclusive"
            assert held.remaining > 0
            assert cluster.try_lock("orders/42") is None
            held.safe()
        assert held.state == "released"
        grant = cluster.acquire("orders/42")
        assert grant.token > held.token
        assert grant.release() is True
        assert grant.release() is False

    async with FakeCluster() as fake:
        await blocking(fake, use)
        assert fake.sessions == {}, "closing has ended the session"


async def test_losing_a_lock_is_told_at_the_end_of_with() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        with (  # noqa: PT012  # leaving the lock is the point
            pytest.raises(synaxis.LockLost),
            cluster.lock("a") as held,
        ):
            assert not held.lost.is_set()
            assert cluster.locks.force_release("a", reason="test")
            fake_lost(held.token)
            assert held.lost.wait()
            with pytest.raises(synaxis.LockLost):
                held.ensure()

    async with FakeCluster() as fake:
        loop = asyncio.get_running_loop()

        def fake_lost(token: int) -> None:
            [session] = fake.sessions
            loop.call_soon_threadsafe(fake.lose, session, token, "force_released")

        await blocking(fake, use)


async def test_everything_else_has_its_twin() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        with cluster.lock("doc", mode="shared") as held:
            held.upgrade(wait=1)
            held.downgrade()
        with cluster.lock_many(["b", "a"]) as both:
            both.ensure()
            assert both.names == ("a", "b")
            assert both.tokens == {"a": both.token, "b": both.token}
            assert [state.name for state in cluster.locks.list()] == ["a", "b"]
        semaphore = cluster.semaphore("gpu", permits=4)
        with semaphore.acquire(weight=3):
            assert semaphore.try_acquire(2) is None
        with cluster.election("scheduler").campaign(b"me") as leadership:
            leader = cluster.election("scheduler").leader()
            assert leader is not None
            assert leader.token == leadership.token
            leadership.set_value(b"still me")
        latch = cluster.latch("done", count=1)
        assert latch.count_down() == 0
        latch.wait()
        assert cluster.barrier("step", parties=1).wait() == 1
        assert cluster.status().cluster_id == cluster.cluster_id == "cluster-1"
        assert cluster.ping() < 2
        assert cluster.locks.waits().edges == ()

    async with FakeCluster() as fake:
        await blocking(fake, use)


async def test_streams_are_iterators() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        with cluster.locks.watch("orders/") as changes:
            with cluster.lock("orders/1") as held:
                pass
            assert [next(changes).what for _ in range(2)] == ["granted", "released"]
        leaders = cluster.election("scheduler").observe()
        assert next(leaders) is None
        with cluster.election("scheduler").campaign(b"me"):
            leader = next(leaders)
            assert leader is not None
            assert leader.value == b"me"
        leaders.close()
        assert held.token

    async with FakeCluster() as fake:
        await blocking(fake, use)


async def test_threads_wait_on_their_own_account() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        grant = cluster.acquire("a")
        waiting = threading.Thread(target=lambda: cluster.acquire("a").release())
        waiting.start()
        time.sleep(0.05)
        assert grant.release()
        waiting.join()
        with cluster.lock("b"), pytest.raises(synaxis.DeadlockError):
            cluster.acquire("b", wait=None)

    async with FakeCluster() as fake:
        await blocking(fake, use)


def test_an_interrupted_wait_leaves_nothing_behind() -> None:
    server = Portal()
    server.start()
    fake = server.run(FakeCluster().__aenter__())
    try:
        with synaxis.Synaxis(fake.url, timeout=2.0) as cluster, cluster.lock("a"):
            interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
            interrupt.start()
            with pytest.raises(KeyboardInterrupt):
                cluster.acquire("a", wait=None, owner="somebody else")
            server.run(fake.seen(Acquire, Acquire, Abandon))
    finally:
        server.run(fake.__aexit__(None, None, None))
        server.stop()


async def test_errors_of_opening_reach_the_caller_and_leave_no_thread() -> None:
    async with FakeCluster() as fake:
        url = fake.url
    cluster = synaxis.Synaxis(url, timeout=0.2)
    with pytest.raises(synaxis.ConnectionFailed):
        await asyncio.to_thread(cluster.open)
    assert not cluster._portal.alive


async def test_a_closed_client_says_so() -> None:
    async with FakeCluster() as fake:
        cluster = synaxis.Synaxis(fake.url)
        await asyncio.to_thread(cluster.open)
        await asyncio.to_thread(cluster.close)
        await asyncio.to_thread(cluster.close)
        with pytest.raises(RuntimeError):
            cluster.status()


async def test_a_forked_child_is_told_to_open_its_own_client() -> None:
    def use(cluster: synaxis.Synaxis) -> None:
        cluster._portal._pid = os.getpid() + 1
        with pytest.raises(RuntimeError, match="fork"):
            cluster.ping()
        cluster._portal._pid = os.getpid()

    async with FakeCluster() as fake:
        await blocking(fake, use)
