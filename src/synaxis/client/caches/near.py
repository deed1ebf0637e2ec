"""The near cache: decoded values of one cache in this process, least recently used out first.

``OrderedDict`` instead of ``cachetools``: a hit is two calls into C, each of them one step for
other threads, so that threads of the blocking twin may look without a lock.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import inf

from synaxis.caches.commands import Reading
from synaxis.caches.lru import LINE_OVERHEAD_BYTES
from synaxis.client.caches.codecs import RAW, Value

__all__ = ["COPY_OVERHEAD_BYTES", "NO_LEASE", "Held", "Lease", "NearCache", "Tally"]

COPY_OVERHEAD_BYTES = LINE_OVERHEAD_BYTES + 400
"""What a copy takes besides key and value; ``benchmarks/cache_memory.py`` measures it."""
DECODED_FACTOR = 4
"""Objects take about so much more memory than the bytes that they were decoded from."""


class Lease:
    """Until when what one stream brought may be used: seconds of ``clock.now``."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = -inf


NO_LEASE = Lease()
"""Of what was never more than an answer."""


class Held:
    """A record that this client has, or the knowledge that there is none (``reading`` None)."""

    __slots__ = ("due", "lease", "reading", "size", "soft_at", "stale", "until", "value")

    def __init__(self, reading: Reading | None, value: Value, lease: Lease, since: float) -> None:
        """Note a reading that was asked for at ``since`` (seconds of ``clock.now``)."""
        self.reading = reading
        self.value = value
        self.lease = lease
        self.size = 0
        self.stale = False
        """Nobody vouches for it: it came from some replica, or its lease is over."""
        self.until = inf
        """When its time to live is over."""
        self.soft_at = inf
        """From when it should be renewed."""
        if reading is not None:
            if reading.ttl_ms:
                self.until = since + reading.ttl_ms / 1000
            if reading.soft_ms:
                self.soft_at = since + reading.soft_ms / 1000
        self.due = min(self.until, self.soft_at)
        """Until then a hit needs no second thought."""

    def is_good(self, moment: float) -> bool:
        """Whether it may be served as the truth."""
        return moment < self.lease.until and moment < self.until


class Tally:
    """Counts of one cache; see ``CacheStats``."""

    __slots__ = ("evictions", "far_hits", "invalidations", "loads", "misses", "near_hits")

    def __init__(self) -> None:
        self.near_hits = 0
        self.far_hits = 0
        self.misses = 0
        self.loads = 0
        self.evictions = 0
        self.invalidations = 0


class NearCache:
    """See the module. ``items`` may be looked at directly: a hit needs ``Held.is_good``."""

    def __init__(self, tally: Tally, drop: Callable[[str], None]) -> None:
        """``drop`` is told of each key that had to make room."""
        self.items: OrderedDict[str, Held] = OrderedDict()
        """User's key -> what is held; the one used last is last. Never replaced by another."""
        self.bytes = 0
        self.bytes_max = inf
        self.entries_max = inf
        self._tally = tally
        self._drop = drop

    def keep(self, key: str, held: Held) -> None:
        """Hold ``key`` as the one used last; others may have to go, or itself if it is too big."""
        self.forget(key)
        reading = held.reading
        held.size = COPY_OVERHEAD_BYTES + len(key)
        if reading is not None:
            factor = 1 if reading.flags == RAW else DECODED_FACTOR
            held.size += factor * len(reading.value)
        self.items[key] = held
        self.bytes += held.size
        self.shrink()

    def shrink(self) -> None:
        """Let the least recently used go until the bounds are kept."""
        items = self.items
        while items and (self.bytes > self.bytes_max or len(items) > self.entries_max):
            key, held = items.popitem(last=False)
            self.bytes -= held.size
            self._tally.evictions += 1
            self._drop(key)

    def forget(self, key: str) -> Held | None:
        """Let go of ``key``; returns what was held."""
        held = self.items.pop(key, None)
        if held is not None:
            self.bytes -= held.size
        return held

    def forget_lost(self) -> None:
        """Let go of what no lease covers any more: it was kept for readers of stale values."""
        for key in [key for key, held in self.items.items() if held.lease.until == -inf]:
            self.forget(key)
