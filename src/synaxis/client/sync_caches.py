"""The blocking twin of caches; see ``sync``.

What is near is looked at in the calling thread, without the loop. Loaders and writers are plain
functions, called in the thread that waits; only renewals after ``soft_ttl`` have one of their own.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

from synaxis.client.caches.cache import Cache
from synaxis.client.caches.codecs import Value
from synaxis.client.caches.decorating import KeyMaker
from synaxis.client.caches.entries import MISS, CacheStats
from synaxis.client.caches.looking import CacheAdmin
from synaxis.client.caches.options import BY_CACHE, ByCache, Consistency, Duration, Loader
from synaxis.client.errands import borrowing, lend_thread, lending
from synaxis.client.twins import Twin, blocking

__all__ = ["BlockingCache", "BlockingCacheAdmin", "BlockingCachedFunction"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class BlockingCachedFunction(Protocol[P, R_co]):
    """A function whose results are cached."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached result, or the function's, which is cached then."""
        ...

    def __get__(self, instance: object, owner: type | None = None) -> "BlockingCachedMethod[R_co]":
        """Bind to an instance."""
        ...

    def key(self, *args: Value, **kwargs: Value) -> str:
        """Return the key of the call, without ``self`` or ``cls``."""
        ...

    def invalidate(self, *args: Value, **kwargs: Value) -> bool:
        """Remove the result of the call; returns whether there was one."""
        ...


class BlockingCachedMethod(Protocol[R_co]):
    """As ``BlockingCachedFunction``, bound."""

    def __call__(self, *args: Value, **kwargs: Value) -> R_co:
        """See ``BlockingCachedFunction``."""
        ...

    def key(self, *args: Value, **kwargs: Value) -> str:
        """See ``BlockingCachedFunction``."""
        ...

    def invalidate(self, *args: Value, **kwargs: Value) -> bool:
        """See ``BlockingCachedFunction``."""
        ...


class BlockingDecorator(Protocol):
    """What ``cached`` returns."""

    def __call__(self, function: Callable[P, R]) -> BlockingCachedFunction[P, R]:
        """Return the function that looks first."""
        ...


class BlockingCache(Twin[Cache]):
    """See ``Cache``. Any number of threads may use one."""

    def __repr__(self) -> str:
        return repr(self._original)

    @property
    def name(self) -> str:
        """Its name; handles of one name are one cache."""
        return self._original.name

    # --- reading ----------------------------------------------------------------------------

    def peek(self, key: str) -> Value:
        """Return what the near cache has, or ``synaxis.MISS``; see ``Cache.peek``."""
        return self._original.peek(key)

    def get(
        self, key: str, default: Value = None, *, consistency: Consistency = "coherent"
    ) -> Value:
        """Return the value of ``key``, or ``default``; see ``Cache.get``."""
        value = self._original.fresh(key)
        if value is MISS:
            original = self._original
            value = lend_thread(
                self._portal, lambda: original.get(key, default, consistency=consistency)
            )
        return value

    entry = blocking(Cache.entry)
    get_many = blocking(Cache.get_many)

    def get_or_load(  # noqa: PLR0913  # as the original
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
        """Return the value of ``key``, or what ``loader(key)`` does; see ``Cache.get_or_load``."""
        value = self._original.fresh(key)
        if value is not MISS:
            return value
        loading = None if loader is None else borrowing(loader)
        return lend_thread(
            self._portal,
            lambda: self._original.get_or_load(
                key,
                loading,
                ttl=ttl,
                soft_ttl=soft_ttl,
                tags=tags,
                cache_none=cache_none,
                consistency=consistency,
            ),
        )

    def cached(
        self,
        key: str,
        *,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
        cache_none: bool = False,
    ) -> BlockingDecorator:
        """Return a decorator for functions whose results are to be cached; see ``Cache.cached``."""
        original, portal = self._original, self._portal
        decorator = original.cached(
            key, ttl=ttl, soft_ttl=soft_ttl, tags=tags, cache_none=cache_none
        )

        def decorate(function: Callable[P, R]) -> BlockingCachedFunction[P, R]:
            maker = KeyMaker(function, (key,))
            skipped = maker.skipped
            inner = decorator(borrowing(function))

            @wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> R:
                found: R = original.fresh(maker.fill(key, args[skipped:], kwargs))
                if found is MISS:
                    return lend_thread(portal, lambda: inner(*args, **kwargs))
                return found

            def invalidate(*args: Value, **kwargs: Value) -> bool:
                return portal.run(inner.invalidate(*args, **kwargs))

            call.key = inner.key  # type: ignore[attr-defined]  # a function may have attributes
            call.invalidate = invalidate  # type: ignore[attr-defined]
            return call  # type: ignore[return-value]  # with them it is one

        return decorate

    # --- writing ----------------------------------------------------------------------------

    set = lending(Cache.set)
    add = lending(Cache.add)
    set_many = lending(Cache.set_many)
    incr = blocking(Cache.incr)
    decr = blocking(Cache.decr)
    delete = blocking(Cache.delete)
    delete_many = blocking(Cache.delete_many)
    invalidate_tag = blocking(Cache.invalidate_tag)
    clear = blocking(Cache.clear)

    def stats(self) -> CacheStats:
        """Return what happened to this cache in this client."""
        return self._original.stats()


class BlockingCacheAdmin(Twin[CacheAdmin]):
    """See ``CacheAdmin``."""

    line = blocking(CacheAdmin.line)
    shards = blocking(CacheAdmin.shards)
    list = blocking(CacheAdmin.list)

    def shard_of(self, cache: str, key: str) -> str:
        """Return the shard that keeps ``key`` of ``cache``; asks nobody."""
        return self._original.shard_of(cache, key)
