"""Group commit with its real thread; the disk can be held and broken."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from support.faulty_directory import FaultyDirectory, FaultyFile
from support.log_script import CLUSTER, LOCKS, Groups, entries, entry, open_log, persist, vote
from synaxis.errors import StorageError
from synaxis.storage.group_commit import BATCH_ITEMS_MAX, GroupCommit


class HeldFile(FaultyFile):
    def __init__(self, directory: "HeldDirectory", name: str) -> None:
        super().__init__(directory, name)
        self._held = directory

    def sync(self) -> None:
        if self._held.watched:
            self._held.syncing.release()
            assert self._held.let_go.acquire(timeout=10)
        super().sync()


class HeldDirectory(FaultyDirectory):
    """Every sync waits for ``let_go`` once ``watched``; ``syncing`` counts those that began."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = False
        self.syncing = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def append(self, name: str) -> FaultyFile:
        super().append(name)
        return HeldFile(self, name)


async def until_syncing(directory: HeldDirectory) -> None:
    assert await asyncio.to_thread(directory.syncing.acquire, timeout=10)


def recover(directory: FaultyDirectory) -> Groups:
    return open_log(FaultyDirectory(directory.after_crash()))[1]


def never(error: StorageError) -> None:
    pytest.fail(f"unexpected failure: {error}")


async def test_callbacks_run_on_the_loop_in_order_and_only_when_the_entry_is_durable() -> None:
    directory = FaultyDirectory()
    commit = GroupCommit(open_log(directory)[0], asyncio.get_running_loop(), never)
    order: list[int] = []

    def check(index: int) -> Callable[[], None]:
        def done() -> None:
            assert threading.current_thread() is threading.main_thread()
            assert index <= len(recover(directory)[LOCKS].entries)
            order.append(index)

        return done

    for index in range(1, 101):
        commit.submit(LOCKS, persist(entry(index)), check(index))
        if index % 7 == 0:
            await asyncio.sleep(0)
    await commit.aclose()
    assert order == list(range(1, 101))


async def test_what_arrives_while_the_disk_works_becomes_one_batch() -> None:
    directory = HeldDirectory()
    log, _ = open_log(directory)
    observed: list[int] = []
    commit = GroupCommit(
        log, asyncio.get_running_loop(), never, lambda _, size: observed.append(size)
    )
    directory.watched = True
    done: list[int] = []
    commit.submit(LOCKS, persist(entry(1)), lambda: done.append(1))
    await until_syncing(directory)
    for index in range(2, 50):
        commit.submit(LOCKS, persist(entry(index)), partial(done.append, index))
    commit.submit(CLUSTER, persist(entry(1)), lambda: done.append(50))
    assert commit.backlog == 49
    directory.let_go.release()
    await until_syncing(directory)
    assert done == [1]
    directory.let_go.release()
    directory.watched = False
    await commit.aclose()
    assert done == list(range(1, 51))
    assert len(observed) == 2
    assert sum(observed) <= log.bytes_written


async def test_a_batch_has_a_bounded_number_of_submissions() -> None:
    directory = HeldDirectory()
    commit = GroupCommit(open_log(directory)[0], asyncio.get_running_loop(), never)
    directory.watched = True
    done: list[int] = []
    commit.submit(LOCKS, persist(entry(1)), lambda: done.append(1))
    await until_syncing(directory)
    for index in range(2, BATCH_ITEMS_MAX + 10):
        commit.submit(LOCKS, persist(entry(index)), lambda: done.append(1))
    directory.let_go.release()
    await until_syncing(directory)
    assert commit.backlog == 8
    directory.watched = False
    directory.let_go.release()
    await commit.aclose()
    assert len(done) == BATCH_ITEMS_MAX + 9


async def test_after_a_failure_nothing_is_acknowledged_and_the_failure_is_told_once() -> None:
    directory = HeldDirectory()
    failures: list[StorageError] = []
    failed = asyncio.Event()

    def on_failure(error: StorageError) -> None:
        failures.append(error)
        failed.set()

    commit = GroupCommit(open_log(directory)[0], asyncio.get_running_loop(), on_failure)
    directory.watched = True
    directory.fail_at = len(directory.operations) + 2  # write, sync
    done: list[int] = []
    for index in range(1, 4):
        commit.submit(LOCKS, persist(entry(index)), lambda: done.append(1))
    await until_syncing(directory)
    commit.submit(LOCKS, persist(entry(4)), lambda: done.append(1))
    directory.let_go.release()
    await failed.wait()
    commit.submit(LOCKS, persist(entry(5)), lambda: done.append(1))
    await commit.aclose()
    assert done == []
    assert [error.message for error in failures] == ["sync failed"]
    assert recover(directory) == {}


async def test_a_bug_in_the_writer_is_a_failure_of_the_disk_to_the_node() -> None:
    failed: asyncio.Future[StorageError] = asyncio.get_running_loop().create_future()
    directory = FaultyDirectory()
    commit = GroupCommit(open_log(directory)[0], asyncio.get_running_loop(), failed.set_result)
    commit.submit(LOCKS, None, lambda: None)  # type: ignore[arg-type]  # the bug
    error = await failed
    assert isinstance(error.__cause__, AttributeError)
    await commit.aclose()


async def test_closing_writes_what_was_submitted_and_seals_the_log() -> None:
    directory = FaultyDirectory()
    commit = GroupCommit(open_log(directory)[0], asyncio.get_running_loop(), never)
    done: list[int] = []
    commit.submit(LOCKS, persist(*entries(1, 9), hard_state=vote(1)), lambda: done.append(1))
    await commit.aclose()
    assert done == [1]
    before = len(directory.operations)
    rebooted = FaultyDirectory(directory.after_crash())
    assert open_log(rebooted)[1][LOCKS].entries == list(entries(1, 9))
    # A sealed log needs no copy of its last segment: the seal goes, the states are appended,
    # the votes are rewritten.
    assert rebooted.operations == ["truncate", "write", "sync", "replace"]
    assert len(directory.operations) == before


async def test_an_idle_writer_wakes_for_every_single_submission() -> None:
    directory = FaultyDirectory()
    commit = GroupCommit(open_log(directory)[0], asyncio.get_running_loop(), never)
    for index in range(1, 300):
        durable = asyncio.Event()
        commit.submit(LOCKS, persist(entry(index)), durable.set)
        await durable.wait()
    await commit.aclose()
    assert len(recover(directory)[LOCKS].entries) == 299
