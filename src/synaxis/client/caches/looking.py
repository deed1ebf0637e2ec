"""Looking at caches from outside: ``cluster.caches``. Costs the homes a look at plain state."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast

from synaxis.caches.commands import DescribeCaches, DescribeKey, KeyInfo, ShardCensus
from synaxis.client.caches.options import plan
from synaxis.client.caches.service import CacheService
from synaxis.ids import GroupId

__all__ = ["CacheAdmin", "CacheSize", "LineView", "ShardView"]

MesiState = Literal["M", "E", "S", "I"]


@dataclass(frozen=True, slots=True)
class LineView:
    """A key as its home sees it."""

    key: str
    """With its cache: ``users/42``."""
    shard: str
    home: str | None
    """The node that leads the shard."""
    state: MesiState
    """``M``: its owner may have written it without telling; ``E``: it has an owner; ``S``: it is in
    near caches; ``I``: nobody holds it, and only the home has it."""
    owner: str | None
    sharers: tuple[str, ...]
    """Clients by their names, and nodes."""
    version: int
    """0: nothing is stored."""
    size: int
    """Bytes of the value."""
    expires_at: datetime | None
    tags: tuple[str, ...]
    transaction: str
    """What is under way for it; empty if nothing is."""
    waiting: int
    """Transactions that wait for that."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """What a shard has of a cache."""

    name: str
    records: int
    size: int
    """Bytes of keys and values."""


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard as its leader sees it. Counts are since that node's start."""

    shard: str
    home: str | None
    caches: tuple[CacheSize, ...]
    hits: int
    misses: int
    evictions: int
    expirations: int
    agents: int
    """Near caches of clients and nodes that may hold copies."""
    lines: int
    """Copies, counted once for each that holds it."""
    pending: int
    """Writes that the backing store does not have yet."""
    invalidations: int
    lease_expiries: int
    dirty_lost: int
    """Writes of policy ``back`` that were, or may have been, lost with their owner."""


class CacheAdmin:
    """See the module."""

    def __init__(self, service: CacheService) -> None:
        self._service = service
        self._caller = service.context.caller

    def shard_of(self, cache: str, key: str) -> str:
        """Return the shard that keeps ``key`` of ``cache``; asks nobody.

        Raises:
            InvalidArgument, LimitExceeded: a name is malformed.
            NotFound: the cluster keeps no caches.
        """
        return self._service.group_of(plan(cache).full_key(key))

    async def line(self, cache: str, key: str) -> LineView:
        """Return who holds ``key`` of ``cache``, and what is under way for it.

        Raises:
            InvalidArgument, LimitExceeded: a name is malformed.
            SynaxisError: no answer in time.
        """
        full = plan(cache).full_key(key)
        group = self._service.group_of(full)
        answer = await self._caller.query(group, DescribeKey(full))
        assert isinstance(answer.body, KeyInfo)
        info = answer.body
        ends_at = datetime.fromtimestamp(info.expires_at / 1000, UTC) if info.expires_at else None
        return LineView(
            info.key,
            group,
            self._home(group),
            cast("MesiState", info.state),
            info.owner,
            info.sharers,
            info.version,
            info.value_bytes,
            ends_at,
            info.tags,
            info.transaction,
            info.waiting,
        )

    async def shards(self, cache: str = "") -> list[ShardView]:
        """Return all shards; ``cache`` leaves out the sizes of other caches.

        Raises:
            NotFound: the cluster keeps no caches.
            SynaxisError: a shard gave no answer in time.
        """
        groups = self._service.groups()
        return list(await asyncio.gather(*(self._shard(group, cache) for group in groups)))

    async def list(self, prefix: str = "") -> list[CacheSize]:
        """Return the caches that hold something and whose names start with ``prefix``, by name.

        Raises:
            SynaxisError: as ``shards``.
        """
        parts = [each for shard in await self.shards() for each in shard.caches]
        return joined(each for each in parts if each.name.startswith(prefix))

    async def _shard(self, group: GroupId, cache: str) -> ShardView:
        answer = await self._caller.query(group, DescribeCaches(cache))
        assert isinstance(answer.body, ShardCensus)
        census = answer.body
        return ShardView(
            group,
            self._home(group),
            tuple(CacheSize(each.cache, each.records, each.bytes) for each in census.caches),
            census.hits,
            census.misses,
            census.evictions,
            census.expirations,
            census.agents,
            census.lines,
            census.pending,
            census.invalidations,
            census.lease_expiries,
            census.dirty_lost,
        )

    def _home(self, group: GroupId) -> str | None:
        """Return the node that has just answered for ``group``."""
        leader = self._service.context.router.leader(group)
        return None if leader is None else leader.welcome.node_id


def joined(parts: Iterable[CacheSize]) -> list[CacheSize]:
    """Return the sums per cache, by name."""
    sums: dict[str, CacheSize] = {}
    for part in parts:
        known = sums.get(part.name, CacheSize(part.name, 0, 0))
        size = CacheSize(part.name, known.records + part.records, known.size + part.size)
        sums[part.name] = size
    return [sums[name] for name in sorted(sums)]
