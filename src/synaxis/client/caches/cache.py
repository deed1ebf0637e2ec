"""``cluster.cache(name)``: the facade of one cache.

``get`` and ``peek`` spell out the path of a hit, with what they need in slots: it runs a million
times a second, and every call that it does not make counts.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

from synaxis.client.caches.codecs import Value
from synaxis.client.caches.decorating import Decorator, Wrapping, decorator
from synaxis.client.caches.entries import MISS, CacheStats, Entry, EntryState
from synaxis.client.caches.filling import Filler, Recipe
from synaxis.client.caches.near import Held
from synaxis.client.caches.options import (
    BY_CACHE,
    ByCache,
    Consistency,
    Duration,
    Loader,
    Plan,
    checked_consistency,
)
from synaxis.client.caches.service import CacheService
from synaxis.client.caches.writable import WritableCache
from synaxis.client.clock import now, wall_now
from synaxis.errors import InvalidArgument

__all__ = ["Cache"]


class Cache(WritableCache):
    """Records under keys, kept by the cluster and, with ``near``, by this process.

    Making one costs nothing and asks nobody; handles of one name share a near cache. What a near
    cache returns is the same object for all who ask: treat it as read-only.
    """

    __slots__ = (
        "_filler",
        "_loader",
        "_near_get",
        "_recipe",
        "_tally",
        "_touch",
    )

    def __init__(self, service: CacheService, plan: Plan) -> None:
        super().__init__(service, plan)
        self._filler = Filler(self._engine)
        self._loader = plan.loader
        self._recipe = None if plan.loader is None else Recipe(plan.loader, plan.terms)
        shelf = self._engine.shelf
        near = shelf.near if plan.near else None
        items: OrderedDict[str, Held] = OrderedDict() if near is None else near.items
        self._near_get = items.get
        self._touch = items.move_to_end
        self._tally = shelf.tally

    # --- reading ----------------------------------------------------------------------------

    def peek(self, key: str) -> Value:
        """Return what the near cache has, or ``synaxis.MISS``; never does I/O.

        May be called from any thread.
        """
        held = self._near_get(key)
        if held is not None:
            moment = now()
            if moment < held.lease.until and moment < held.until and held.value is not MISS:
                try:
                    self._touch(key)
                except KeyError:  # another thread has dropped it since
                    return held.value
                self._tally.near_hits += 1
                return held.value
        return MISS

    async def get(
        self, key: str, default: Value = None, *, consistency: Consistency = "coherent"
    ) -> Value:
        """Return the value of ``key``, or ``default``.

        A cache with a ``loader`` calls it when there is no value; see ``get_or_load``.

        Args:
            key: any text; 512 bytes with the name of the cache.
            default: returned when there is no value.
            consistency: ``"coherent"``: what was stored last, by whomever. ``"stale_ok"``: what
                any replica has or, when none answers, what the near cache once had.

        Raises:
            NoQuorum, RequestTimeout, ConnectionFailed: the cluster gave no answer in time.
            BackingUnavailable: only the backing store could know, and it does not answer.
            InvalidArgument: the key is malformed, or the value was written by another codec.
        """
        held = self._near_get(key)
        if held is not None:
            moment = now()
            if moment < held.lease.until and moment < held.due:
                value = held.value
                if value is not MISS:
                    self._touch(key)
                    self._tally.near_hits += 1
                    return value
        return await self._get(key, default, consistency)

    async def _get(self, key: str, default: Value, consistency: Consistency) -> Value:
        """Return the value when ``get`` had no simple hit."""
        checked_consistency(consistency)
        stale_ok = consistency == "stale_ok"
        if self._recipe is not None:
            value = await self._load(key, self._recipe, stale_ok=stale_ok)
            return default if value is None else value
        held = await self._find(key, stale_ok=stale_ok)
        return default if held.reading is None else held.value

    async def _find(self, key: str, *, stale_ok: bool) -> Held:
        held = self._near_get(key)
        if held is not None and held.is_good(now()):
            self._touch(key)
            self._tally.near_hits += held.reading is not None
        else:
            held = await self._engine.find_one(key, stale_ok=stale_ok)
            self._tally.far_hits += held.reading is not None
        self._tally.misses += held.reading is None
        return held

    async def entry(self, key: str, *, consistency: Consistency = "coherent") -> Entry | None:
        """Return the value with its version and end; None if there is none.

        Raises:
            SynaxisError: as ``get``.
        """
        checked_consistency(consistency)
        held = await self._find(key, stale_ok=consistency == "stale_ok")
        return None if held.reading is None else _entry(held)

    async def get_many(
        self, keys: Iterable[str], *, consistency: Consistency = "coherent"
    ) -> dict[str, Value]:
        """Return the values of those keys that have one. Calls no loader.

        Raises:
            SynaxisError: as ``get``; one key that cannot be read is enough.
        """
        checked_consistency(consistency)
        found: dict[str, Held] = {}
        moment = now()
        wanted = list(dict.fromkeys(keys))
        for key in wanted:
            held = self._near_get(key)
            if held is not None and held.is_good(moment):
                self._touch(key)
                found[key] = held
        self._tally.near_hits += sum(each.reading is not None for each in found.values())
        rest = [key for key in wanted if key not in found]
        if rest:
            asked = await self._engine.find(rest, stale_ok=consistency == "stale_ok")
            self._tally.far_hits += sum(each.reading is not None for each in asked.values())
            found |= asked
        values = {key: found[key].value for key in wanted if found[key].reading is not None}
        self._tally.misses += len(wanted) - len(values)
        return values

    # --- loading ----------------------------------------------------------------------------

    async def get_or_load(  # noqa: PLR0913  # the one place where the options have names
        self,
        key: str,
        loader: Loader | None = None,
        *,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
        cache_none: bool = False,
        consistency: Consistency = "coherent",
    ) -> Value:
        """Return the value of ``key``; if there is none, what ``loader(key)`` returns.

        The loader, a function or coroutine function, runs once in this process however many wait
        for the value, and once in the cluster for as long as a reservation lasts (10 s). What it
        returns is stored unless the key is written meanwhile. After ``soft_ttl`` the old value is
        returned while one client loads a new one.

        Args:
            key: see ``get``.
            loader: default: the cache's.
            ttl: see ``set``; so are ``soft_ttl`` and ``tags``.
            soft_ttl: from then on the value is due to be renewed.
            tags: for ``invalidate_tag``.
            cache_none: store None too; else it is returned, and the next reader loads again.
            consistency: see ``get``; with ``"stale_ok"`` the loader is also called, and its value
                not stored, when the cluster does not answer.

        Raises:
            Exception: whatever the loader raises, to all who wait for it.
            SynaxisError: as ``get``.
        """
        if (value := self.fresh(key)) is not MISS:
            return value
        checked_consistency(consistency)
        chosen = loader or self._loader
        if chosen is None:
            raise InvalidArgument("there is no loader: give one here or to cluster.cache")
        recipe = Recipe(chosen, self._plan.terms_of(ttl, soft_ttl, tags), cache_none)
        return await self._load(key, recipe, stale_ok=consistency == "stale_ok")

    def fresh(self, key: str) -> Value:
        """Return what the near cache has and nobody need renew, or ``synaxis.MISS``."""
        held = self._near_get(key)
        if held is not None:
            moment = now()
            if moment < held.lease.until and moment < held.due and held.value is not MISS:
                try:
                    self._touch(key)
                except KeyError:  # another thread has dropped it since
                    return held.value
                self._tally.near_hits += 1
                return held.value
        return MISS

    async def _load(self, key: str, recipe: Recipe, *, stale_ok: bool = False) -> Value:
        held = self._near_get(key)
        if held is not None and held.reading is not None and held.is_good(now()):
            self._touch(key)
            self._tally.near_hits += 1
            self._filler.renew_if_due(key, held, recipe)
            return held.value
        return await self._filler.get(key, recipe, stale_ok=stale_ok)

    def cached(
        self,
        key: str,
        *,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
        cache_none: bool = False,
    ) -> Decorator:
        """Return a decorator for coroutine functions whose results are to be cached.

        Args:
            key: a template over the arguments of the function, by name: ``"u:{user_id}"``. ``self``
                and ``cls`` do not count.
            ttl: see ``set``; so is ``soft_ttl``.
            soft_ttl: see ``get_or_load``.
            tags: templates as ``key``.
            cache_none: whether None is stored too.

        The function gets ``key(*args)``, which returns the key of a call, and
        ``invalidate(*args)``, which removes its result.

        Raises:
            InvalidArgument: the template names what is no argument, or it is no coroutine function.
        """
        terms = self._plan.terms_of(ttl, soft_ttl)
        wrapping = Wrapping(self.fresh, self._load, self.delete)
        return decorator(wrapping, key, terms, tuple(tags), cache_none=cache_none)

    # --- looking ----------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        """Return what happened to this cache in this client."""
        tally, near = self._tally, self._engine.shelf.near
        return CacheStats(
            hits=tally.near_hits + tally.far_hits,
            misses=tally.misses,
            near_hits=tally.near_hits,
            loads=tally.loads,
            evictions=tally.evictions,
            invalidations=tally.invalidations,
            lease_expiries=self._engine.service.lease_expiries,
            entries=0 if near is None else len(near.items),
            bytes=0 if near is None else near.bytes,
        )


def _entry(held: Held) -> Entry:
    assert held.reading is not None
    moment = now()
    state: EntryState = "stale" if held.stale else "due" if moment >= held.soft_at else "fresh"
    ends_at: Any = None
    if held.until != inf:
        ends_at = datetime.fromtimestamp(wall_now(), UTC) + timedelta(seconds=held.until - moment)
    return Entry(held.value, held.reading.version, ends_at, state, held.reading.tags)
