"""Records in a real Redis: what it keeps, what it refuses, and what happens while it is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from support.redis_server import NEEDS_REDIS, RedisServer
from synaxis.backends.backing_store import Change
from synaxis.backends.redis_store import KEY_PREFIX, RedisStore
from synaxis.caches.commands import Item, Version
from synaxis.errors import BackingUnavailable

pytestmark = [*NEEDS_REDIS]

KEY = "users/7"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    found = RedisStore(server.url, "cluster", 0.5, tombstone_ms=60_000)
    yield found
    await found.aclose()


def change(version: int, value: bytes | None = b"x", key: str = KEY, ttl_ms: int = 0) -> Change:
    item = None if value is None else Item(key, value, 0, ttl_ms)
    return Change(key, Version(version), item)


async def value_of(store: RedisStore, key: str = KEY) -> bytes | None:
    (found,) = await store.read_many([key])
    return None if found is None else found.value


async def test_a_record_comes_back_as_it_was(store: RedisStore) -> None:
    item = Item(KEY, b"\x00\xff", 5, 60_000, 30_000, 10_000, ("a", "b"))
    other = Item("users/8", b"")
    await store.write_many([Change(KEY, Version(1), item), Change("users/8", Version(2), other)])
    found, missing, plain = await store.read_many([KEY, "users/9", "users/8"])
    assert found is not None
    assert (found.value, found.flags, found.idle_ms, found.tags) == (
        b"\x00\xff",
        5,
        10_000,
        ("a", "b"),
    )
    assert 59_000 < found.ttl_ms <= 60_000
    assert 29_000 < found.soft_ms <= 30_000
    assert (missing, plain) == (None, other)


async def test_an_older_write_that_comes_late_changes_nothing(store: RedisStore) -> None:
    await store.write_many([change(5, b"new")])
    await store.write_many([change(4, b"old"), change(5, b"again")])
    assert await value_of(store) == b"new"


@pytest.mark.parametrize("version", [2**53 + 1, 2**62, 9_999_999_999])
async def test_versions_compare_exactly(store: RedisStore, version: int) -> None:
    """Numbers of Lua are exact up to 2**53 only."""
    await store.write_many([change(version, b"first")])
    await store.write_many([change(version - 1, b"older")])
    assert await value_of(store) == b"first"
    await store.write_many([change(version + 1, b"newer")])
    assert await value_of(store) == b"newer"


async def test_a_removal_keeps_older_writes_out(store: RedisStore) -> None:
    await store.write_many([change(5), change(6, None)])
    await store.write_many([change(5, b"late")])
    assert await value_of(store) is None
    await store.write_many([change(7, b"new")])
    assert await value_of(store) == b"new"


async def test_the_end_of_a_record_keeps_older_writes_out(store: RedisStore) -> None:
    await store.write_many([change(5, ttl_ms=20)])
    assert await value_of(store) == b"x"
    await asyncio.sleep(0.03)
    assert await value_of(store) is None
    await store.write_many([change(4, b"late")])
    assert await value_of(store) is None


async def test_a_version_is_forgotten_in_the_end(server: RedisServer) -> None:
    store = RedisStore(server.url, "cluster", 0.5, tombstone_ms=20)
    await store.write_many([change(5, None), change(6, key="users/8", ttl_ms=20)])
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        assert client.dbsize() == 2
        await asyncio.sleep(0.1)
        assert client.dbsize() == 0
    await store.aclose()


async def test_a_cluster_that_was_founded_anew_writes_over_what_the_former_one_left(
    server: RedisServer, store: RedisStore
) -> None:
    """Its versions begin anew, so they are smaller."""
    await store.write_many([change(1 << 50, b"former")])
    heir = RedisStore(server.url, "heir", 0.5)
    assert await value_of(heir) == b"former"
    await heir.write_many([change(1, b"mine")])
    assert await value_of(store) == b"mine"
    await heir.aclose()


async def test_what_others_put_in_the_place_of_a_record_is_overwritten(
    server: RedisServer, store: RedisStore
) -> None:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.set(KEY_PREFIX + KEY, "text")
        client.hset(KEY_PREFIX + "users/8", mapping={"d": "1", "m": "text"})
    with pytest.raises(BackingUnavailable):
        await value_of(store)
    assert await value_of(store, "users/8") is None
    await store.write_many([change(1)])
    assert await value_of(store) == b"x"


async def test_a_server_that_is_away_is_unavailable_and_keeps_what_it_had(
    server: RedisServer, store: RedisStore
) -> None:
    await store.write_many([change(5, b"kept")])
    await store.ping()
    server.stop()
    for request in (store.ping(), store.write_many([change(6)]), store.read_many([KEY])):
        with pytest.raises(BackingUnavailable):
            await request
    server.start()
    assert await value_of(store) == b"kept"
    await store.write_many([change(4, b"old"), change(6, b"new")])
    assert await value_of(store) == b"new"


async def test_a_server_that_hangs_costs_the_timeout_and_no_more(
    server: RedisServer, store: RedisStore
) -> None:
    await store.ping()
    server.freeze()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(BackingUnavailable):
        await store.write_many([change(5)])
    assert asyncio.get_running_loop().time() - begun < 0.9
    server.thaw()
    await store.write_many([change(6, b"new")])
    assert await value_of(store) == b"new"


async def test_a_server_that_takes_no_writes_is_unavailable(
    server: RedisServer, store: RedisStore
) -> None:
    await store.write_many([change(5, b"kept")])
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.config_set("maxmemory", "1")
        for request in (store.ping(), store.write_many([change(6)])):
            with pytest.raises(BackingUnavailable):
                await request
        client.config_set("maxmemory", "0")
    assert await value_of(store) == b"kept"
