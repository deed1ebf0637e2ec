"""Keys with their cache, as the ``cache`` commands take them."""

from collections.abc import Iterable

from synaxis.errors import InvalidArgument

__all__ = ["by_cache", "split"]


def split(key: str) -> tuple[str, str]:
    """Return the cache and the key in it of ``users/42``.

    Raises:
        InvalidArgument: one of them is missing.
    """
    cache, slash, name = key.partition("/")
    if not cache or not slash or not name:
        raise InvalidArgument(f"{key!r} names no record: write CACHE/KEY, such as users/42")
    return cache, name


def by_cache(keys: Iterable[str]) -> dict[str, list[str]]:
    """Return the keys of each cache, in their order and each once.

    Raises:
        InvalidArgument: a cache or a key is missing.
    """
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        cache, name = split(key)
        found.setdefault(cache, []).append(name)
    return found
