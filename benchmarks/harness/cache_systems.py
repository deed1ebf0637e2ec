"""Caches as their users meet them: Synaxis with three nodes, and Redis through redis-py's asyncio.

Values have 256 bytes. A client is one process; concurrency is the number of its tasks.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import redis.asyncio

import synaxis
from benchmarks.harness.peers import Redis
from benchmarks.harness.synaxis_cluster import SynaxisCluster
from benchmarks.harness.systems import MESSAGE_BYTES, System

__all__ = ["KEYS", "VALUE", "CacheClient", "CacheSystem", "RedisCache", "SynaxisCaches"]

KEYS = 10_000
"""Keys that are read and written."""
VALUE = bytes(MESSAGE_BYTES)
_CONNECTIONS = 128


class CacheClient(Protocol):
    """One client process' access to a cache."""

    def get(self, key: str, /) -> Awaitable[Any]:
        """Read one key."""
        ...

    def set(self, key: str, value: bytes, /) -> Awaitable[object]:
        """Write one key."""
        ...

    def get_many(self, keys: list[str], /) -> Awaitable[object]:
        """Read many keys in the system's best form."""
        ...

    def set_many(self, items: Mapping[str, bytes], /) -> Awaitable[object]:
        """Write many keys in the system's best form."""
        ...


class CacheSystem(System, Protocol):
    """Servers that cache."""

    def connect(self) -> AbstractAsyncContextManager[CacheClient]:
        """Open one client."""
        ...


class SynaxisCaches:
    """Three node processes with default settings; a record is in the memory of a majority."""

    durability = "memory of a majority of 3"

    def __init__(self, *, near: bool = False) -> None:
        self.name = "synaxis"
        self.cluster = SynaxisCluster(3)
        self._near = near

    def unavailable(self) -> str | None:
        """See System."""
        return None

    def start(self) -> None:
        """See System."""
        self.cluster.start()

    def stop(self) -> None:
        """See System."""
        self.cluster.stop()

    def server_pids(self) -> list[int]:
        """See System."""
        return self.cluster.server_pids()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[CacheClient]:
        """Open one client."""
        async with synaxis.connect(self.cluster.urls) as cluster:
            yield cluster.cache("bench", near=self._near, codec="bytes")


class RedisCache:
    """One redis-server without persistence, and redis-py."""

    name = "redis"
    durability = "memory of one node"

    def __init__(self) -> None:
        self._redis = Redis(durable=False)

    def unavailable(self) -> str | None:
        """See System."""
        return self._redis.unavailable()

    def start(self) -> None:
        """See System."""
        self._redis.start()

    def stop(self) -> None:
        """See System."""
        self._redis.stop()

    def server_pids(self) -> list[int]:
        """See System."""
        return self._redis.server_pids()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._redis.port

    def connect(self) -> AbstractAsyncContextManager[CacheClient]:
        """Open a pool of connections."""
        return self.connected(self.port)

    @staticmethod
    @asynccontextmanager
    async def connected(port: int) -> AsyncIterator[CacheClient]:
        """Open a pool of connections to the server at ``port``."""
        pool = redis.asyncio.BlockingConnectionPool(
            host="127.0.0.1", port=port, max_connections=_CONNECTIONS, timeout=None
        )
        async with redis.asyncio.Redis.from_pool(pool) as client:
            yield _RedisClient(client)


class _RedisClient:
    """Plain GET and SET, MGET and a pipeline of SET."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.get = client.get
        self.set = client.set
        self._client = client

    async def get_many(self, keys: list[str]) -> object:
        """Read with MGET, which is faster than a pipeline of GET."""
        return await self._client.mget(keys)

    async def set_many(self, items: Mapping[str, bytes]) -> object:
        """Write with MSET."""
        return await self._client.mset(dict(items))
