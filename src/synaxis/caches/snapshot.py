"""The form of a cache shard's snapshot."""

import msgspec

from synaxis.caches.commands import AgentId, AgentKind, Version
from synaxis.caches.pending import SavedWaiter, SavedWrite
from synaxis.caches.records import SavedRecord

__all__ = ["Snapshot", "decode", "encode"]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything, in an order that is equal on all replicas."""

    version: int
    stamps: dict[str, Version]
    records: list[SavedRecord]
    agents: list[tuple[AgentId, AgentKind, dict[int, Version], int]]
    writes: list[SavedWrite]
    waiters: list[SavedWaiter]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Snapshot).decode
