"""What a shard stores: records, when they end, and what is counted of them. Replicated.

Ends are kept in buckets of a second, so that a record with a ttl costs one list slot. Clearing by
tag leaves a *stamp*: records of the tag that are not newer are void, and swept later.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import msgspec

from synaxis.caches.commands import Item, Reading, Version
from synaxis.caches.placement import cache_of
from synaxis.ids import LogTime

__all__ = ["Census", "Record", "Records", "SavedRecord"]

BUCKET_MS = 1_000

SavedRecord = tuple[str, bytes, int, Version, LogTime, LogTime, int, tuple[str, ...]]


class Record(msgspec.Struct, gc=False):
    """One record. Times are log time; 0 stands for never."""

    value: bytes
    flags: int
    version: Version
    expires_at: LogTime
    soft_at: LogTime
    idle_ms: int
    tags: tuple[str, ...]
    used: bool = False
    """The leader's own, not replicated: it was read since the eviction hand passed."""


class Census(msgspec.Struct):
    """What one cache has in this shard; replicated in effect, because records are."""

    records: int = 0
    bytes: int = 0


class Records:
    """See the module."""

    def __init__(self) -> None:
        self.by_key: dict[str, Record] = {}
        self.bytes = 0
        """Keys and values."""
        self.census: dict[str, Census] = {}
        self.stamps: dict[str, Version] = {}
        """``cache`` or ``cache/tag`` -> records of it up to this version are void."""
        self.expired = 0
        """Removed because their time was over, since the start of this replica."""
        self._buckets: dict[int, list[str]] = {}
        self._ends: list[int] = []

    def live(self, key: str, now: LogTime) -> Record | None:
        """Return the record of ``key`` unless there is none, or it is void at ``now``."""
        record = self.by_key.get(key)
        if record is None or 0 < record.expires_at <= now:
            return None
        if self.stamps and self._is_stamped(key, record):
            return None
        return record

    def _is_stamped(self, key: str, record: Record) -> bool:
        stamps, cache = self.stamps, cache_of(key)
        if stamps.get(cache, 0) >= record.version:
            return True
        return any(stamps.get(f"{cache}/{tag}", 0) >= record.version for tag in record.tags)

    def store(self, item: Item, version: Version, now: LogTime) -> None:
        """Put a record in the place of what is there."""
        key = item.key
        before = self.by_key.get(key)
        # The key that is stored already is kept: equal keys in different places cost memory.
        expires_at = now + item.ttl_ms if item.ttl_ms else 0
        soft_at = now + item.soft_ms if item.soft_ms else 0
        self.by_key[key] = Record(
            item.value,
            item.flags,
            version,
            LogTime(expires_at),
            LogTime(soft_at),
            item.idle_ms,
            item.tags,
        )
        census = self.census.get(cache_of(key))
        if census is None:
            census = self.census[cache_of(key)] = Census()
        if before is None:
            census.records += 1
            grown = len(key) + len(item.value)
        else:
            grown = len(item.value) - len(before.value)
        census.bytes += grown
        self.bytes += grown
        if expires_at:
            self._schedule(key, expires_at)

    def remove(self, key: str) -> Record | None:
        """Take a record out, void or not."""
        record = self.by_key.pop(key, None)
        if record is not None:
            cache = cache_of(key)
            census = self.census[cache]
            census.records -= 1
            census.bytes -= len(key) + len(record.value)
            self.bytes -= len(key) + len(record.value)
            if not census.records:
                del self.census[cache]
        return record

    def _schedule(self, key: str, expires_at: int) -> None:
        number = expires_at // BUCKET_MS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = []
            heappush(self._ends, number)
        bucket.append(key)

    def deadline(self) -> LogTime | None:
        """Return when ``expire`` next has something to do."""
        return LogTime((self._ends[0] + 1) * BUCKET_MS) if self._ends else None

    def expire(self, now: LogTime) -> None:
        """Take out what ended in the seconds that are over."""
        while self._ends and (self._ends[0] + 1) * BUCKET_MS <= now:
            number = heappop(self._ends)
            for key in self._buckets.pop(number):
                record = self.by_key.get(key)
                # Not by the bucket of an earlier record of the key: a restored replica has none.
                if record is not None and record.expires_at // BUCKET_MS == number:
                    self.remove(key)
                    self.expired += 1

    def stamp(self, label: str, version: Version, labels_max: int) -> None:
        """Make void what carries ``label`` so far."""
        self.stamps.pop(label, None)
        if len(self.stamps) >= labels_max:
            self.sweep()
        self.stamps[label] = version

    def sweep(self) -> None:
        """Take out everything that is stamped, and the stamps."""
        for key in [key for key, each in self.by_key.items() if self._is_stamped(key, each)]:
            self.remove(key)
        self.stamps.clear()

    def read(self, key: str, now: LogTime) -> Reading | None:
        """Return the record as a reading at ``now``."""
        record = self.by_key.get(key)
        if record is None or (self.stamps and self._is_stamped(key, record)):
            return None
        record.used = True
        ttl_ms = soft_ms = 0
        if record.expires_at:
            ttl_ms = record.expires_at - now
            if ttl_ms <= 0:
                return None
        if record.soft_at:
            soft_ms = record.soft_at - now or -1
        version, tags, idle_ms = record.version, record.tags, record.idle_ms
        return Reading(record.value, record.flags, version, ttl_ms, soft_ms, tags, idle_ms)

    def save(self) -> list[SavedRecord]:
        """Return all records in their order, which is equal on all replicas."""
        return [
            (key, r.value, r.flags, r.version, r.expires_at, r.soft_at, r.idle_ms, r.tags)
            for key, r in self.by_key.items()
        ]

    def load(self, saved: list[SavedRecord], stamps: dict[str, Version]) -> None:
        """Become what ``save`` returned."""
        self.by_key = {each[0]: Record(*each[1:]) for each in saved}
        self.stamps = stamps
        self.bytes, self.census, self._buckets, self._ends = 0, {}, {}, []
        for key, record in self.by_key.items():
            census = self.census.setdefault(cache_of(key), Census())
            size = len(key) + len(record.value)
            census.records += 1
            census.bytes += size
            self.bytes += size
            if record.expires_at:
                self._buckets.setdefault(record.expires_at // BUCKET_MS, []).append(key)
        self._ends = list(self._buckets)
        heapify(self._ends)

    def keys(self) -> Iterator[str]:
        """Yield the keys as they are now."""
        return iter(tuple(self.by_key))
