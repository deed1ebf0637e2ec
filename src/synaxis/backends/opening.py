"""From a URL to a store."""

from synaxis.backends.backing_store import BackingStore
from synaxis.errors import ConfigError

__all__ = ["open_store"]


def open_store(url: str, cluster_id: str, timeout_s: float) -> BackingStore | None:
    """Return the store at ``url``, not connected yet; None without a URL.

    Args:
        url: where it is, with its credentials.
        cluster_id: within which versions of records compare.
        timeout_s: how long one batch may take.

    Raises:
        ConfigError: the URL cannot be read, or the client library is not installed.
    """
    if not url:
        return None
    try:
        from synaxis.backends.redis_store import RedisStore  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError(
            "cache_store_url needs the Redis client: pip install 'synaxis[redis]'",
            settings=["cache_store_url"],
        ) from error
    try:
        return RedisStore(url, cluster_id, timeout_s)
    except ValueError as error:
        raise ConfigError(f"cache_store_url: {error}", settings=["cache_store_url"]) from error
