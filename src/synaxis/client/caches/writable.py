"""The half of a cache that changes records."""

import inspect
from collections.abc import Iterable, Mapping

from synaxis.caches.commands import ABSENT, ANY_VERSION
from synaxis.client.caches.codecs import Value
from synaxis.client.caches.engine import Engine
from synaxis.client.caches.options import BY_CACHE, ByCache, Duration, Plan, checked_tags
from synaxis.client.caches.service import CacheService
from synaxis.errors import InvalidArgument, VersionConflict

__all__ = ["WritableCache"]

INTEGER_MAX = 2**63 - 1


class WritableCache:
    """Records under keys; see ``Cache``, which also reads them."""

    __slots__ = ("_engine", "_plan")

    def __init__(self, service: CacheService, plan: Plan) -> None:
        self._plan = plan
        self._engine = Engine(service, plan)

    def __repr__(self) -> str:
        return f"<Cache {self._plan.name}>"

    @property
    def name(self) -> str:
        """Its name; handles of one name are one cache."""
        return self._plan.name

    async def set(
        self,
        key: str,
        value: Value,
        *,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
        if_version: int | None = None,
    ) -> int:
        """Store ``value`` under ``key``; returns its version. Nobody reads the old one afterwards.

        Args:
            key: see ``get``.
            value: whatever the codec can express; at most 1 MiB then.
            ttl: how long it lives: seconds, ``"2h5m"`` or a timedelta. None: for ever. Default: the
                cache's.
            soft_ttl: see ``get_or_load``.
            tags: up to 16 texts; see ``invalidate_tag``.
            if_version: store only over this version, as ``entry`` shows it; 0: over nothing.

        Raises:
            VersionConflict: ``if_version`` is not what is stored.
            OutcomeUnknown: it may or may not be stored.
            BackingUnavailable: the backing store does not answer, and nothing is stored.
            SynaxisError: nothing is stored.
        """
        terms = self._plan.terms_of(ttl, soft_ttl, tags)
        condition = ANY_VERSION if if_version is None else _version(if_version)
        item = self._plan.item(key, value, terms, condition)
        if if_version is not None:
            await self._engine.fetch(key)
        await self._write_through(key, value)
        return await self._engine.put(item)

    async def add(
        self,
        key: str,
        value: Value,
        *,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store ``value`` if there is none; returns whether it was stored. Otherwise as ``set``."""
        try:
            await self.set(key, value, ttl=ttl, soft_ttl=soft_ttl, tags=tags, if_version=ABSENT)
        except VersionConflict:
            return False
        return True

    async def set_many(
        self,
        values: Mapping[str, Value],
        *,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
    ) -> None:
        """Store many values; those of one shard, as far as a frame goes, in one step.

        Raises:
            SynaxisError: as ``set``; some may be stored.
        """
        terms = self._plan.terms_of(ttl, soft_ttl, tags)
        items = [self._plan.item(key, value, terms) for key, value in values.items()]
        for key, value in values.items():
            await self._write_through(key, value)
        await self._engine.put_many(items)

    async def _write_through(self, key: str, value: Value) -> None:
        if self._plan.writer is not None:
            done = self._plan.writer(key, value)
            if inspect.isawaitable(done):
                await done

    async def incr(
        self,
        key: str,
        by: int = 1,
        *,
        initial: int = 0,
        ttl: Duration | ByCache | None = BY_CACHE,
    ) -> int:
        """Add ``by`` to the whole number under ``key``; returns the sum.

        Args:
            key: see ``get``.
            by: what to add; may be negative.
            initial: what to begin with when nothing is stored.
            ttl: of a record that this creates; an existing one keeps its own.

        Raises:
            InvalidArgument: something else is stored, or the sum does not fit 64 bits.
            SynaxisError: as ``set``.
        """
        if self._plan.writer is not None:
            raise InvalidArgument("a cache with a writer cannot count: it would not see the sum")
        by, initial, terms = _integer(by), _integer(initial), self._plan.terms_of(ttl)
        await self._engine.fetch(key)
        return await self._engine.add(key, by, initial, terms.ttl_ms)

    async def decr(
        self,
        key: str,
        by: int = 1,
        *,
        initial: int = 0,
        ttl: Duration | ByCache | None = BY_CACHE,
    ) -> int:
        """Subtract; see ``incr``."""
        return await self.incr(key, -_integer(by), initial=initial, ttl=ttl)

    async def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """Remove a record; returns whether there was one.

        Raises:
            VersionConflict: ``if_version`` is not what is stored.
            SynaxisError: as ``set``.
        """
        condition = ANY_VERSION if if_version is None else _version(if_version)
        if if_version is not None:
            await self._engine.fetch(key)
        return await self._engine.remove(key, condition)

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Remove records; returns how many there were. Raises as ``set``."""
        return await self._engine.remove_many(keys)

    async def invalidate_tag(self, tag: str) -> int:
        """Remove all records that carry ``tag``, in each shard in one step.

        Costs the same for one record as for a million. A backing store keeps what it has. Returns
        how many records there may have been. Raises as ``set``; some shards may be done then.
        """
        (checked,) = checked_tags((tag,))
        return await self._engine.clear(checked)

    async def clear(self) -> int:
        """Remove all records; otherwise as ``invalidate_tag``."""
        return await self._engine.clear()


def _version(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= INTEGER_MAX:
        raise InvalidArgument(f"a version is a whole number, as entry() shows it, not {value!r}")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > INTEGER_MAX:
        raise InvalidArgument(f"numbers to count with are whole and have 64 bits, not {value!r}")
    return value
