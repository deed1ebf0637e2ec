"""Records in Redis, one hash per key, written by a script that compares versions.

Redis may forget what it was told by the rules of its own configuration (``maxmemory-policy``,
``appendfsync``); what it keeps is never older than what it had before.

The hash of a key has the fields ``d`` (value), ``m`` (msgpack: flags, idle ms, tags), ``v``
(version, 19 digits, so that text compares as the number does), ``c`` (cluster, within which
versions compare), ``x`` and ``s`` (when it ends, and when it should be renewed, in ms of the Redis
server's clock). Without ``d`` it is a tombstone: it keeps the version for a while.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from synaxis.backends.backing_store import Change
from synaxis.caches.commands import Item
from synaxis.errors import BackingUnavailable

__all__ = ["RedisStore"]

KEY_PREFIX = "synaxis:cache:"
CONNECTIONS_MAX = 8
TOMBSTONE_MS = 10 * 60_000
"""How long a version is kept after its record ended or was removed: no write is under way for
longer, because none may take longer than the store's timeout."""

WRITE = """
local seen = redis.pcall('HMGET', KEYS[1], 'v', 'c')
if seen.err then
  redis.call('DEL', KEYS[1])
  seen = {false, false}
end
local version, cluster, keep = ARGV[1], ARGV[2], ARGV[3]
if seen[1] and seen[2] == cluster and seen[1] >= version then
  return 0
end
redis.call('HSET', KEYS[1], 'v', version, 'c', cluster)
redis.call('HDEL', KEYS[1], 'd', 'm', 'x', 's')
redis.call('PERSIST', KEYS[1])
if #ARGV == 3 then
  redis.call('PEXPIRE', KEYS[1], keep)
  return 1
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1], 'd', ARGV[4], 'm', ARGV[5])
if ARGV[6] ~= '0' then
  redis.call('HSET', KEYS[1], 'x', string.format('%.0f', now + ARGV[6]))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[6] + keep))
end
if ARGV[7] ~= '0' then
  redis.call('HSET', KEYS[1], 's', string.format('%.0f', now + ARGV[7]))
end
return 1
"""
"""ARGV: version, cluster, ms to keep a version, and unless it is a removal: value, meta, ttl and
soft ttl in ms (0: none). HSET is first: when memory is full it fails before anything is done."""

Found = TypeVar("Found")


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    flags: int
    idle_ms: int
    tags: tuple[str, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Meta).decode


class RedisStore:
    """Implements ``BackingStore`` for a single Redis (or a primary behind one address)."""

    def __init__(
        self, url: str, cluster_id: str, timeout_s: float, tombstone_ms: int = TOMBSTONE_MS
    ) -> None:
        """Connect when it is first used.

        Raises:
            ValueError: ``url`` cannot be read.
        """
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # Once, at once: a connection that was pooled may have died with an earlier server.
            retry=Retry(NoBackoff(), 1),
        )
        self._client = Redis(connection_pool=self._pool)
        self._script = self._client.register_script(WRITE)
        self._cluster_id = cluster_id
        self._timeout_s = timeout_s
        self._tombstone_ms = str(tombstone_ms)

    async def read_many(self, keys: Sequence[str]) -> list[Item | None]:
        """Read; see ``BackingStore``."""
        pipeline: Any  # awaited as a whole
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for key in keys:
                pipeline.hmget(KEY_PREFIX + key, ["d", "m", "x", "s"])
            (seconds, micros), *rows = await self._answer(pipeline.execute())
        now_ms = seconds * 1000 + micros // 1000
        return [_item(key, row, now_ms) for key, row in zip(keys, rows, strict=True)]

    async def write_many(self, changes: Sequence[Change]) -> None:
        """Write; see ``BackingStore``."""
        pipeline: Any  # awaited as a whole
        async with self._client.pipeline(transaction=False) as pipeline:
            # With every batch: a server that was restarted has forgotten it.
            pipeline.script_load(WRITE)
            for change in changes:
                name = KEY_PREFIX + change.key
                pipeline.evalsha(self._script.sha, 1, name, *self._arguments(change))
            await self._answer(pipeline.execute())

    def _arguments(self, change: Change) -> list[Any]:
        version, item = f"{change.version:019d}", change.item
        fence = [version, self._cluster_id, self._tombstone_ms]
        if item is None:
            return fence
        meta = _encode(_Meta(item.flags, item.idle_ms, item.tags))
        return [*fence, item.value, meta, item.ttl_ms, item.soft_ms]

    async def ping(self) -> None:
        """Write something that nobody reads: a server that is read-only or full is unavailable."""
        await self._answer(self._client.set(KEY_PREFIX, b"", px=1_000))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._pool.aclose()

    async def _answer(self, request: Awaitable[Found]) -> Found:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await request
        except (RedisError, OSError, TimeoutError) as error:
            raise BackingUnavailable(f"the store behind the cache: {error!r}") from error


def _item(key: str, row: Sequence[bytes | None], now_ms: int) -> Item | None:
    value, meta, ends_at, soft_at = row
    if value is None or meta is None:
        return None
    ttl_ms = soft_ms = 0
    if ends_at is not None:
        ttl_ms = int(ends_at) - now_ms
        if ttl_ms <= 0:
            return None
    if soft_at is not None:
        soft_ms = max(int(soft_at) - now_ms, 1)
    try:
        found = _decode(meta)
    except msgspec.DecodeError:
        return None  # not written by us
    return Item(key, value, found.flags, ttl_ms, soft_ms, found.idle_ms, found.tags)
