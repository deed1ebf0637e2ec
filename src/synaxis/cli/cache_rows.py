"""Records, lines, shards and caches as rows: the documented JSON of ``cache``."""

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from synaxis.cli.output import Column
from synaxis.cli.queue_rows import value_text
from synaxis.cli.sizes import format_size
from synaxis.client.caches.codecs import encode
from synaxis.client.caches.entries import Entry
from synaxis.client.caches.looking import CacheSize, LineView, ShardView

__all__ = [
    "CACHE_COLUMNS",
    "ENTRY_COLUMNS",
    "HOME_COLUMNS",
    "LINE_COLUMNS",
    "SHARD_COLUMNS",
    "SHARE_COLUMNS",
    "cache_row",
    "entry_row",
    "home_row",
    "line_row",
    "raw_value",
    "shard_row",
    "share_rows",
]

Row = dict[str, Any]


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


ENTRY_COLUMNS = (
    Column("KEY", "key"),
    Column("VALUE", "value", write=value_text),
    Column("VERSION", "version", number=True),
    Column("EXPIRES", "expires_at"),
    Column("TAGS", "tags", write=_names),
)
LINE_COLUMNS = (
    Column("KEY", "key"),
    Column("SHARD", "shard"),
    Column("HOME", "home"),
    Column("STATE", "state"),
    Column("OWNER", "owner"),
    Column("SHARERS", "sharers", write=_names),
    Column("VERSION", "version", number=True),
    Column("SIZE", "size_bytes", write=format_size, number=True),
    Column("EXPIRES", "expires_at"),
    Column("TAGS", "tags", write=_names),
    Column("TRANSACTION", "transaction"),
    Column("WAITING", "waiting", number=True),
)
CACHE_COLUMNS = (
    Column("CACHE", "cache"),
    Column("RECORDS", "records", number=True),
    Column("SIZE", "size_bytes", write=format_size, number=True),
)
SHARD_COLUMNS = (
    Column("SHARD", "shard"),
    Column("HOME", "home"),
    *CACHE_COLUMNS[1:],
    Column("HITS", "hits", number=True),
    Column("MISSES", "misses", number=True),
    Column("EVICTED", "evictions", number=True),
    Column("EXPIRED", "expirations", number=True),
    Column("AGENTS", "agents", number=True),
    Column("LINES", "lines", number=True),
    Column("PENDING", "pending", number=True),
    Column("INVALIDATED", "invalidations", number=True),
    Column("LEASES LOST", "lease_expiries", number=True),
    Column("DIRTY LOST", "dirty_lost", number=True),
)
HOME_COLUMNS = (
    Column("KEY", "key"),
    Column("SHARD", "shard"),
    Column("HOME", "home"),
)
SHARE_COLUMNS = (
    Column("NODE", "node_id"),
    Column("SHARDS", "shards", write=_names),
    Column("SHARE", "share", write=lambda share: f"{share:.0%}", number=True),
)


def entry_row(key: str, entry: Entry) -> Row:
    """Return one record; a value that is no text and no JSON stands under ``base64``."""
    value, encoded = _value(entry.value)
    return {
        "key": key,
        "value": value,
        "base64": encoded,
        "version": entry.version,
        "expires_at": _moment(entry.expires_at),
        "state": entry.state,
        "tags": list(entry.tags),
    }


def _value(value: object) -> tuple[object, str | None]:
    try:
        if isinstance(value, bytes):
            return value.decode(), None
        json.dumps(value)
    except (TypeError, ValueError):  # ours to print, not to understand
        payload = value if isinstance(value, bytes) else encode(value, None)[0]
        return None, base64.b64encode(payload).decode()
    return value, None


def raw_value(value: object) -> bytes:
    """Return a value as ``get --raw`` writes it: bytes as they are, everything else as JSON."""
    if isinstance(value, bytes):
        return value
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return encode(value, None)[0]


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def line_row(line: LineView) -> Row:
    """Return a line as its home sees it; nothing stored has version 0."""
    return {
        "key": line.key,
        "shard": line.shard,
        "home": line.home,
        "state": line.state,
        "owner": line.owner,
        "sharers": list(line.sharers),
        "version": line.version,
        "size_bytes": line.size,
        "expires_at": _moment(line.expires_at),
        "tags": list(line.tags),
        "transaction": line.transaction or None,
        "waiting": line.waiting,
    }


def shard_row(shard: ShardView) -> Row:
    """Return what a shard holds, and what happened to it since its home was started."""
    return {
        "shard": shard.shard,
        "home": shard.home,
        "records": sum(each.records for each in shard.caches),
        "size_bytes": sum(each.size for each in shard.caches),
        "hits": shard.hits,
        "misses": shard.misses,
        "evictions": shard.evictions,
        "expirations": shard.expirations,
        "agents": shard.agents,
        "lines": shard.lines,
        "pending": shard.pending,
        "invalidations": shard.invalidations,
        "lease_expiries": shard.lease_expiries,
        "dirty_lost": shard.dirty_lost,
    }


def cache_row(cache: CacheSize) -> Row:
    """Return what a cache holds."""
    return {"cache": cache.name, "records": cache.records, "size_bytes": cache.size}


def home_row(key: str, shard: str, home: str | None) -> Row:
    """Return where a key is at home."""
    return {"key": key, "shard": shard, "home": home}


def share_rows(shards: Iterable[ShardView]) -> list[Row]:
    """Return which part of all keys is at home on each node; keys spread evenly over shards."""
    led: dict[str | None, list[str]] = {}
    for each in shards:
        led.setdefault(each.home, []).append(each.shard)
    total = sum(map(len, led.values()))
    return [
        {"node_id": home, "shards": names, "share": round(len(names) / total, 4)}
        for home, names in sorted(led.items(), key=lambda each: each[0] or "")
    ]
