"""Guards: what a protected resource does with fencing tokens.

A lock service can make sure that one holder at a time *believes* in its lock; only the resource
can refuse the write of a holder that was paused and does not know better. Every grant carries a
token higher than all before it; a guard remembers the highest it has seen and refuses lower ones.

Source: Kleppmann, "How to do distributed locking" (2016), the section on fencing.
"""

from synaxis.client.fencing.http import (
    FENCE_HEADER,
    FenceMiddleware,
    FenceStore,
    MemoryFenceStore,
    fence_middleware,
)
from synaxis.client.fencing.redis import AsyncRedisFence, RedisFence
from synaxis.client.fencing.sql import AsyncpgFence, FencedUpdate, SqlFence, SqliteFence, fence_sql

__all__ = [
    "FENCE_HEADER",
    "AsyncRedisFence",
    "AsyncpgFence",
    "FenceMiddleware",
    "FenceStore",
    "FencedUpdate",
    "MemoryFenceStore",
    "RedisFence",
    "SqlFence",
    "SqliteFence",
    "fence_middleware",
    "fence_sql",
]
