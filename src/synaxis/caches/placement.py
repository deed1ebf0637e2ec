"""Which shard a key belongs to: equal in every process and version."""

from zlib import crc32

from synaxis.ids import GroupId

__all__ = ["cache_group", "cache_of", "shard_of"]


def shard_of(key: str, shards: int) -> int:
    """Return the number of the shard that has ``key``."""
    return crc32(key.encode()) % shards


def cache_group(key: str, shards: int) -> GroupId:
    """Return the group that has ``key``."""
    return _GROUPS.get(number := shard_of(key, shards)) or _name(number)


def cache_of(key: str) -> str:
    """Return the name of the cache that ``key`` is in."""
    return key.partition("/")[0]


_GROUPS: dict[int, GroupId] = {}


def _name(number: int) -> GroupId:
    return _GROUPS.setdefault(number, GroupId(f"caches/{number}"))
