"""Values that are computed when they are missing: by one task here, by one client in the cluster.

Who may compute holds a reservation of the home. A write of the key voids it, and so does its time:
then the value is still good for those who waited here, but it is not stored.
"""

import asyncio
import inspect
import logging
from dataclasses import dataclass
from functools import partial

from synaxis.client.caches.codecs import Value, decode
from synaxis.client.caches.engine import Engine
from synaxis.client.caches.link import HomeLink
from synaxis.client.caches.near import Held
from synaxis.client.caches.options import Loader, Terms
from synaxis.client.clock import now
from synaxis.errors import ClusterError, LeaseLost, SynaxisError

__all__ = ["Filler", "Recipe"]

log = logging.getLogger(__name__)

AGAIN_PAUSE_S = 0.005
AGAIN_PAUSE_MAX_S = 0.2
RENEW_PAUSE_S = 1.0
"""After a renewal that was not ours to make, or that failed, before the next try."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the value of a key is made, and what becomes of it."""

    loader: Loader
    terms: Terms
    cache_none: bool = False


class Filler:
    """See the module; one per handle of a cache."""

    __slots__ = ("_engine", "_service", "_shelf", "_timeout_s")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._service = engine.service
        self._shelf = engine.shelf
        self._timeout_s = engine.service.context.caller.timeout_s

    async def get(self, key: str, recipe: Recipe, *, stale_ok: bool = False) -> Value:
        """Return what is stored under ``key``, or what its loader returns.

        With ``stale_ok`` the loader is also called when the cluster does not answer.

        Raises:
            SynaxisError: the cluster refused, or gave no answer in time.
            Exception: whatever the loader raises.
        """
        begin = partial(self._find_or_load, key, recipe, stale_ok=stale_ok)
        flights = self._shelf.flights
        joined = key in flights
        value = await flights.join(key, begin)
        self._shelf.tally.far_hits += joined
        return value

    async def _find_or_load(self, key: str, recipe: Recipe, *, stale_ok: bool) -> Value:
        token = 0
        try:
            found = await self._find_or_reserve(key, recipe, stale_ok=stale_ok)
        except ClusterError as error:
            if not stale_ok:
                raise
            log.warning("cache %s: loading without the cluster: %s", self._shelf.name, error)
        else:
            if isinstance(found, Held):
                self._shelf.tally.far_hits += 1
                return found.value
            token = found
        self._shelf.tally.misses += 1
        return await self._load_and_store(key, token, recipe)

    async def _find_or_reserve(self, key: str, recipe: Recipe, *, stale_ok: bool) -> Held | int:
        """Return what is stored, sooner or later, or the token under which it may be computed."""
        engine = self._engine
        full = engine.plan.full_key(key)
        pause_s = 0.0
        while True:
            held = await engine.find_one(key, stale_ok=stale_ok)
            if held.reading is None and engine.plan.back:
                held = await engine.find_at_home(key)  # which asks who owns the line, before ...
            if held.reading is not None:
                self.renew_if_due(key, held, recipe)
                return held
            link = self._link(full)  # ... it knows whether there is something to compute
            reserved = await link.reserve(full, renew=False, timeout_s=self._timeout_s)
            if reserved.token:
                return reserved.token
            if (reading := reserved.reading) is not None:
                value = decode(reading.value, reading.flags, engine.plan.codec)
                return Held(reading, value, link.lease, now())
            await asyncio.sleep(pause_s)  # somebody writes: it takes as long as it takes
            pause_s = min(2 * pause_s + AGAIN_PAUSE_S, AGAIN_PAUSE_MAX_S)

    def _link(self, full: str) -> HomeLink:
        return self._service.link(self._service.group_of(full))

    async def _load_and_store(self, key: str, token: int, recipe: Recipe) -> Value:
        """Load, and store if the reservation is still good; token 0: there is none."""
        surrendered = False
        try:
            value = await self._load(key, recipe)
            if token and (value is not None or recipe.cache_none):
                surrendered = await self._store(key, value, token, recipe)
        finally:
            if token and not surrendered:
                full = self._engine.plan.full_key(key)
                self._link(full).surrender(full, token)
        return value

    async def _store(self, key: str, value: Value, token: int, recipe: Recipe) -> bool:
        """Store a value that was loaded; returns whether the reservation is over."""
        plan = self._engine.plan
        item = plan.item(key, value, recipe.terms)
        try:
            await self._engine.put(item, fill=token)
        except LeaseLost:
            log.debug("%s was written meanwhile, or loaded for too long: not cached", item.key)
        except ClusterError as error:
            log.warning("%s was loaded, but may not be cached: %s", item.key, error)
            return False
        return True

    async def _load(self, key: str, recipe: Recipe) -> Value:
        self._shelf.tally.loads += 1
        value = recipe.loader(key)
        return await value if inspect.isawaitable(value) else value

    # --- renewal ----------------------------------------------------------------------------

    def renew_if_due(self, key: str, held: Held, recipe: Recipe) -> None:
        """Have a value renewed in the background when its soft time to live is over.

        One client in the cluster does; everybody else goes on with what there is.
        """
        renewals = self._shelf.renewals
        if now() < held.soft_at or key in renewals or self._service.context.closed:
            return
        renewals.add(key)
        self._service.spawn(self._renew(key, recipe))

    async def _renew(self, key: str, recipe: Recipe) -> None:
        renewals, pause_s = self._shelf.renewals, RENEW_PAUSE_S
        try:
            full = self._engine.plan.full_key(key)
            reserved = await self._link(full).reserve(full, renew=True, timeout_s=self._timeout_s)
            if reserved.token:
                await self._load_and_store(key, reserved.token, recipe)
                pause_s = 0.0
        except SynaxisError as error:
            log.warning("cache %s: %r was not renewed: %s", self._shelf.name, key, error)
        except Exception:
            log.exception("cache %s: the loader of %r failed", self._shelf.name, key)
        finally:
            asyncio.get_running_loop().call_later(pause_s, renewals.discard, key)
