"""The nouns of the cache: what clients and homes put into the log, and what comes back.

A *key* is written ``cache/name``: the part before the first slash names the cache. The *home* of
a key is the leader of its shard. A *version* is ``era << 40 | counter``: every change of any record
of a shard gets the next one, so versions of one key only grow, also after the shard lost its
memory. Values are opaque bytes; ``flags`` tell the SDK how to read them, and ``INTEGER`` is the
only flag that means something here. Durations are milliseconds; log time is milliseconds since
1970.

Tags 140-179; those of ``bus`` are 180-199.
"""

from enum import IntEnum
from typing import NewType

import msgspec

from synaxis.ids import LogTime

__all__ = [
    "ABSENT",
    "ANY_VERSION",
    "INTEGER",
    "Add",
    "AgentId",
    "AgentKind",
    "Backing",
    "CacheCensus",
    "CacheCommand",
    "CacheReply",
    "Clear",
    "Counted",
    "DescribeCaches",
    "DescribeKey",
    "Enlist",
    "Evict",
    "Fill",
    "Item",
    "KeyInfo",
    "Lookup",
    "Put",
    "Reading",
    "Readings",
    "Remove",
    "Removed",
    "Retire",
    "ShardCensus",
    "Stored",
    "Version",
    "WriteBack",
    "Written",
]

AgentId = NewType("AgentId", int)
"""A random number from 1 to 2**63 - 1 that an agent draws for its life."""
Version = NewType("Version", int)
ANY_VERSION = -1
"""As a condition: whatever is stored."""
ABSENT = 0
"""As a condition: only if nothing is stored. As a version: nothing is."""
INTEGER = 3
"""The flag of values that ``Add`` understands: decimal digits in ASCII."""


class Backing(IntEnum):
    """What becomes of a write beside the cluster's memory."""

    NONE = 0
    THROUGH = 1
    """Answered when the backing store has it too."""
    BEHIND = 2
    """Answered at once; the backing store gets it in order, from a replicated queue."""


class AgentKind(IntEnum):
    """What an agent may hold."""

    SHARER = 0
    """Lines in state S only: a client's near cache."""
    OWNER = 1
    """Also E and M: a node's agent."""


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record as somebody wants it to be. 0 stands for "never" in durations."""

    key: str
    value: bytes
    flags: int = 0
    ttl_ms: int = 0
    """It is gone then."""
    soft_ms: int = 0
    """It is served from then on while somebody renews it."""
    idle_ms: int = 0
    """It is gone when nobody read it for so long. Such records are not held by agents."""
    tags: tuple[str, ...] = ()
    if_version: int = ANY_VERSION


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record as its home reads it. Times left are counted from when the home looked."""

    value: bytes
    flags: int
    version: Version
    ttl_ms: int = 0
    """Left; 0: it does not end."""
    soft_ms: int = 0
    """Left until it should be renewed; 0: never, less than 0: since when."""
    tags: tuple[str, ...] = ()
    idle_ms: int = 0
    """It ends when nobody read it for so long: not to be held, for only its home sees who reads."""


# --- commands of clients -------------------------------------------------------------------


class Put(msgspec.Struct, frozen=True, array_like=True, tag=140, gc=False):
    """Store records; answered with Stored. The items are one atomic step.

    If an item's condition does not hold, none is stored and the answer names all such items.
    """

    items: tuple[Item, ...]
    backing: Backing = Backing.NONE
    fill: int = 0
    """A token of ``bus.Reserved``: store only while that reservation lasts (one item)."""


class Add(msgspec.Struct, frozen=True, array_like=True, tag=141, gc=False):
    """Add to an integer; answered with Counted. An absent one starts at ``initial``."""

    key: str
    delta: int
    initial: int = 0
    ttl_ms: int = 0
    """Of a record that this creates; an existing one keeps its own."""
    backing: Backing = Backing.NONE


class Remove(msgspec.Struct, frozen=True, array_like=True, tag=142, gc=False):
    """Remove records; answered with Removed. ``if_version`` is for a single key."""

    keys: tuple[str, ...]
    if_version: int = ANY_VERSION
    backing: Backing = Backing.NONE


class Clear(msgspec.Struct, frozen=True, array_like=True, tag=143):
    """Remove all records of ``cache`` that carry ``tag`` (all, if it is empty), in this shard.

    Costs the same for one record as for a million: it leaves a stamp; what is older is void.
    """

    cache: str
    tag: str = ""


# --- commands of the home ------------------------------------------------------------------


class Enlist(msgspec.Struct, frozen=True, array_like=True, tag=144):
    """From now on ``agent`` may hold lines: the next home must wait for it."""

    agent: AgentId
    kind: AgentKind


class Retire(msgspec.Struct, frozen=True, array_like=True, tag=145):
    """These agents hold nothing, and their write ids are forgotten."""

    agents: tuple[AgentId, ...]


class WriteBack(msgspec.Struct, frozen=True, array_like=True, tag=146, gc=False):
    """An owner's write; answered with Stored, equal for an equal (agent, write_id).

    ``floor``: the agent knows the fate of all its writes below. ``removed``: it is a removal, of
    which only the item's key counts.
    """

    agent: AgentId
    write_id: int
    floor: int
    item: Item
    removed: bool = False
    backing: Backing = Backing.NONE


class Evict(msgspec.Struct, frozen=True, array_like=True, tag=147):
    """Forget records for want of room, or because nobody read them; (key, version) each."""

    records: tuple[tuple[str, Version], ...]


class Fill(msgspec.Struct, frozen=True, array_like=True, tag=148, gc=False):
    """Store what the backing store held, unless the key was written meanwhile."""

    items: tuple[Item, ...]


class Written(msgspec.Struct, frozen=True, array_like=True, tag=149):
    """The backing store has these (key, version), or something newer."""

    records: tuple[tuple[str, Version], ...]


CacheCommand = Put | Add | Remove | Clear | Enlist | Retire | WriteBack | Evict | Fill | Written


# --- replies -------------------------------------------------------------------------------


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=150, gc=False):
    """Versions in the order of the items; or nothing was stored, because of ``conflicts``."""

    versions: tuple[Version, ...]
    conflicts: tuple[tuple[int, Version], ...] = ()
    """(position of the item, version that is there)."""


class Counted(msgspec.Struct, frozen=True, array_like=True, tag=151, gc=False):
    """The sum."""

    value: int
    version: Version


class Removed(msgspec.Struct, frozen=True, array_like=True, tag=152, gc=False):
    """How many there were; of Clear: how many may have been."""

    count: int
    version: Version = Version(ABSENT)
    """Of Remove with ``if_version`` that did not hold: what is there."""


CacheReply = Stored | Counted | Removed


# --- questions -----------------------------------------------------------------------------


class Lookup(msgspec.Struct, frozen=True, array_like=True, tag=160, gc=False):
    """Read; answered with Readings. Asked with ``stale``, any replica answers at once."""

    keys: tuple[str, ...]
    load: bool = False
    """Absent ones are to be looked for in the backing store."""


class Readings(msgspec.Struct, frozen=True, array_like=True, tag=161, gc=False):
    """In the order of the keys."""

    readings: tuple[Reading | None, ...]


class DescribeKey(msgspec.Struct, frozen=True, array_like=True, tag=162):
    """Who holds ``key``? Answered with KeyInfo."""

    key: str


class KeyInfo(msgspec.Struct, frozen=True, array_like=True, tag=163):
    """A line as its home sees it (S13 ``get_cache_state``)."""

    key: str
    state: str
    """``M`` or ``E``: it has an owner who may or may not have written it; ``S``, ``I``."""
    owner: str | None
    """Agents by the names that they gave themselves: their numbers are their secrets."""
    sharers: tuple[str, ...]
    version: Version
    value_bytes: int
    expires_at: LogTime
    """0: never."""
    tags: tuple[str, ...]
    transaction: str
    """What is under way: "" or a bus transaction's name."""
    waiting: int
    """Transactions that wait for it."""


class DescribeCaches(msgspec.Struct, frozen=True, array_like=True, tag=164):
    """What is in this shard? Answered with ShardCensus. ``cache`` "" stands for all."""

    cache: str = ""


class CacheCensus(msgspec.Struct, frozen=True, array_like=True):
    """One cache in one shard."""

    cache: str
    records: int
    bytes: int
    """Keys and values."""


class ShardCensus(msgspec.Struct, frozen=True, array_like=True, tag=165):
    """See DescribeCaches. Counts of what happened are since the start of the node that answers."""

    caches: tuple[CacheCensus, ...]
    hits: int
    misses: int
    evictions: int
    expirations: int
    agents: int
    pending: int
    """Writes that the backing store does not have yet."""
    lines: int = 0
    """Lines that agents hold, counted once per agent; what follows only a home knows."""
    invalidations: int = 0
    lease_expiries: int = 0
    dirty_lost: int = 0
