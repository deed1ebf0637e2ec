"""The leader of a shard carries its writes to the store behind it, and loads from there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from synaxis.backends.backing_store import Change
from synaxis.caches.commands import Backing, Item, Put, Remove, Version, Written
from synaxis.caches.limits import CacheLimits
from synaxis.caches.machine import CacheMachine
from synaxis.consensus.commands import Proposal
from synaxis.effects import Reply, refusal
from synaxis.errors import BackingUnavailable, NotLeader
from synaxis.ids import GroupId, LogIndex, LogTime, SessionId
from synaxis.ids import Sequence as Number
from synaxis.nodes import cache_backing
from synaxis.nodes.cache_backing import CacheBacking

if TYPE_CHECKING:
    from synaxis.caches.home import CacheHome
    from synaxis.consensus.replica import Replica
    from synaxis.nodes.driver import NodeDriver

SHARD = GroupId("caches/0")
NOW = LogTime(1_000_000)
BEHIND = Backing.BEHIND


class Store:
    """Remembers everything; ``up`` says whether it answers."""

    def __init__(self) -> None:
        self.batches: list[list[Change]] = []
        self.asked: list[list[str]] = []
        self.items: dict[str, Item] = {}
        self.up = True
        self.pings = 0

    def _check(self) -> None:
        if not self.up:
            raise BackingUnavailable("down")

    async def read_many(self, keys: Sequence[str]) -> list[Item | None]:
        self._check()
        self.asked.append(list(keys))
        return [self.items.get(key) for key in keys]

    async def write_many(self, changes: Sequence[Change]) -> None:
        self._check()
        self.batches.append(list(changes))

    async def ping(self) -> None:
        self.pings += 1
        self._check()

    async def aclose(self) -> None: ...


class Shard:
    """A led shard whose log decides at once: replica, home and driver in one."""

    def __init__(self, store: Store | None) -> None:
        self.group = SHARD
        self.machine = CacheMachine(CacheLimits(value_bytes_max=1_000))
        self.log = SimpleNamespace(ready=True)
        self.loads: list[str] = []
        self.told: list[tuple[list[str], list[str]]] = []
        """(keys found, keys absent)."""
        self.failed: list[str] = []
        self.available: list[bool] = []
        self.touched = 0
        self.refusing = False
        self.errors: list[Exception] = []
        self.now = NOW
        self.drained: Callable[[], None] = lambda: None
        self.backing = CacheBacking(
            cast("Replica", self), cast("CacheHome", self), cast("NodeDriver", self), store, self
        )
        self.backing.leadership()

    def do(self, command: Any) -> Any:
        reply = self.machine.apply(SessionId(1), Number(1), command, self.now)
        self.drained()
        return reply

    def put(self, key: str, value: bytes = b"v", backing: Backing = BEHIND, ttl_ms: int = 0) -> int:
        (version,) = self.do(Put((Item(key, value, 0, ttl_ms),), backing)).versions
        return int(version)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  # many things may make it true
                await asyncio.sleep(0.001)

    # replica

    def stamp(self) -> LogTime:
        return self.now

    # home

    def take_loads(self) -> list[str]:
        loads, self.loads = self.loads, []
        return loads

    def loaded(self, items: list[Item], absent: list[str]) -> None:
        self.told.append(([item.key for item in items], absent))

    def load_failed(self, keys: list[str]) -> None:
        self.failed += keys

    def backing_available(self, available: bool) -> None:
        self.available.append(available)

    # driver

    def follow(self, group: GroupId, drained: Callable[[], None]) -> None:
        assert group == SHARD
        self.drained = drained

    def touch(self, group: GroupId) -> None:
        self.touched += 1

    def propose(self, group: GroupId, proposal: Proposal, handle: Any) -> None:
        body: Any = refusal(NotLeader("no more"))
        if not self.refusing:
            assert isinstance(proposal.command, Written)
            body = self.machine.apply(SessionId(0), Number(0), proposal.command, self.now)
        loop = asyncio.get_running_loop()
        loop.call_soon(handle[0], handle[1], Reply(None, LogIndex(1), 0, body))
        loop.call_soon(self.drained)

    # host

    def broken(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_backing, "PING_S", 0.005)
    monkeypatch.setattr(cache_backing, "PAUSE_S_MIN", 0.001)
    monkeypatch.setattr(cache_backing, "PAUSE_S_MAX", 0.005)


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
async def shard(store: Store) -> AsyncIterator[Shard]:
    found = Shard(store)
    yield found
    found.backing.stop()
    assert not found.errors


def written(store: Store) -> list[tuple[str, bytes | None]]:
    changes = [change for batch in store.batches for change in batch]
    return [(each.key, None if each.item is None else each.item.value) for each in changes]


async def test_writes_reach_the_store_in_order_and_leave_the_queue(
    shard: Shard, store: Store
) -> None:
    for number in range(5):
        shard.put(f"c/{number}", b"%d" % number)
    shard.put("c/unbacked", backing=Backing.NONE)
    shard.do(Remove(("c/gone",), backing=BEHIND))
    await shard.backing.emptied()
    assert written(store) == [*((f"c/{n}", b"%d" % n) for n in range(5)), ("c/gone", None)]
    assert shard.backing.written == 6
    assert shard.backing.pending == 0


async def test_of_a_key_the_newest_is_written(shard: Shard, store: Store) -> None:
    *_, version = [shard.put("c/k", value) for value in (b"1", b"2", b"3")]
    await shard.backing.emptied()
    assert store.batches == [[Change("c/k", Version(version), Item("c/k", b"3"))]]


async def test_a_record_brings_its_end_with_it(shard: Shard, store: Store) -> None:
    shard.do(Put((Item("c/k", b"v", 2, 5_000, 3_000, 0, ("t",)),), BEHIND))
    shard.put("c/over", ttl_ms=100)
    shard.now = LogTime(NOW + 1_000)
    await shard.backing.emptied()
    first, over = (change.item for batch in store.batches for change in batch)
    assert first == Item("c/k", b"v", 2, 4_000, 2_000, 0, ("t",))
    assert over is None


async def test_large_values_go_in_several_batches(
    shard: Shard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_backing, "BATCH_BYTES", 250)
    for number in range(7):
        shard.put(f"c/{number}", b"x" * 100)
    await shard.backing.emptied()
    assert [len(batch) for batch in store.batches] == [3, 3, 1]


async def test_while_the_store_is_away_the_queue_grows_and_the_home_knows(
    shard: Shard, store: Store
) -> None:
    await shard.until(lambda: store.pings > 0)
    store.up = False
    shard.put("c/1")
    await shard.until(lambda: shard.available == [True, False])
    shard.put("c/2")
    await asyncio.sleep(0.02)
    assert shard.backing.pending == 2
    assert shard.backing.failures > 1
    assert not shard.backing.is_available
    store.up = True
    await shard.backing.emptied()
    assert shard.available == [True, False, True]
    assert [key for key, _ in written(store)] == ["c/1", "c/2"]


async def test_a_store_is_looked_at_though_nothing_is_to_be_done(
    shard: Shard, store: Store
) -> None:
    store.up = False
    await shard.until(lambda: shard.available == [True, False])
    store.up = True
    await shard.until(lambda: shard.available == [True, False, True])


async def test_what_the_log_did_not_take_is_written_again(shard: Shard, store: Store) -> None:
    shard.refusing = True
    shard.put("c/k")
    await shard.until(lambda: len(store.batches) > 1)
    shard.refusing = False
    await shard.backing.emptied()
    assert shard.available == [True]


async def test_who_leads_no_more_writes_no_more(shard: Shard, store: Store) -> None:
    await shard.until(lambda: store.pings > 0)
    shard.log.ready = False
    shard.backing.leadership()
    shard.put("c/k")
    shard.loads = ["c/k"]
    shard.drained()
    await asyncio.sleep(0.02)
    assert (store.batches, store.asked) == ([], [])
    shard.log.ready = True
    shard.backing.leadership()
    shard.backing.leadership()
    await shard.backing.emptied()
    assert len(store.batches) == 1


async def test_what_is_asked_for_is_loaded(shard: Shard, store: Store) -> None:
    store.items = {
        "c/1": Item("c/1", b"one"),
        "c/big": Item("c/big", b"x" * 2_000),  # from a time with other limits
    }
    shard.loads = ["c/1", "c/2", "c/big"]
    shard.drained()
    await shard.until(lambda: shard.touched > 0)
    assert shard.told == [([], ["c/2", "c/big"]), (["c/1"], [])]
    assert shard.backing.loaded == 1


async def test_what_was_loaded_enters_the_log_in_portions(
    shard: Shard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_backing, "FILL_BYTES", 250)
    keys = [f"c/{number}" for number in range(7)]
    store.items = {key: Item(key, b"x" * 100) for key in keys}
    shard.loads = list(keys)
    shard.drained()
    await shard.until(lambda: shard.touched > 0)
    assert [len(found) for found, _ in shard.told[1:]] == [3, 3, 1]


async def test_loads_fail_while_the_store_is_away(shard: Shard, store: Store) -> None:
    store.up = False
    shard.loads = ["c/1"]
    shard.drained()
    await shard.until(lambda: shard.failed == ["c/1"])
    await shard.until(lambda: not shard.backing.is_available)
    shard.loads = ["c/2"]
    shard.drained()
    await shard.until(lambda: shard.failed == ["c/1", "c/2"])
    assert store.asked == []


async def test_without_a_store_everything_that_needs_one_is_refused() -> None:
    shard = Shard(None)
    assert shard.available == [False]
    shard.loads = ["c/1"]
    shard.drained()
    assert shard.failed == ["c/1"]
    assert not shard.backing.is_available


async def test_a_broken_rule_stops_the_node(shard: Shard) -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    shard.machine.pending_writes = fail  # type: ignore[assignment,method-assign]
    await shard.until(lambda: bool(shard.errors))
    shard.errors.clear()
