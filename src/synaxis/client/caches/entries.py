"""What users get to see of a cache."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Literal

from synaxis.client.caches.codecs import Value

__all__ = ["MISS", "CacheStats", "Entry", "EntryState", "Miss"]

EntryState = Literal["fresh", "due", "stale"]


class Miss(Enum):
    """The type of ``MISS``."""

    MISS = "MISS"

    def __repr__(self) -> str:
        return "synaxis.MISS"

    __str__ = __repr__


MISS: Final = Miss.MISS
"""What ``peek`` returns for "not here": ``None`` may be a cached value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of a cache. The value may be shared with others: read it, do not change it."""

    value: Value
    version: int
    """Grows with every change of the key; for ``set(..., if_version=...)``."""
    expires_at: datetime | None
    """UTC, by this machine's clock; None: never."""
    state: EntryState
    """``fresh``; ``due``: its ``soft_ttl`` is over; ``stale``: read without asking the leader."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What happened to one cache in this client since it was opened; nearly exact under threads."""

    hits: int
    """Reads that found a value, here or in the cluster."""
    misses: int
    near_hits: int
    """Hits that cost no I/O."""
    loads: int
    """Calls of loaders."""
    evictions: int
    """Entries of the near cache that had to make room."""
    invalidations: int
    """Entries of the near cache that somebody overwrote or removed."""
    lease_expiries: int
    """How often the near cache was not believed in any more, because a home was silent."""
    entries: int
    """In the near cache now."""
    bytes: int
    """About what they take."""

    @property
    def hit_rate(self) -> float:
        """Hits of all reads, from 0 to 1; 0 before the first."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0
