"""What an agent and a home say to each other: the bus of the textbook, as messages to the home.

An agent attaches to the leader of a shard and so opens a *stream*: everything below belongs to one
stream, and what arrives on another than the present one is ignored by both sides. A stream ends
with the connection, the leadership or the lease; the agent then drops all its lines.

``request`` numbers an agent's wishes, ``seq`` the grants and probes of a home, both from 1 and
never twice in their sender's life (reference: rules 1-3 of ``DESIGN.md``).

Tags 180-199.
"""

from enum import IntEnum

import msgspec

from synaxis.caches.commands import AgentId, AgentKind, Backing, Item, Reading, Version

__all__ = [
    "NO_ROOM",
    "NO_STORE",
    "AgentMessage",
    "Attach",
    "Attached",
    "BusRd",
    "BusRdX",
    "BusUpgr",
    "Detach",
    "Detached",
    "Dirty",
    "Down",
    "Flush",
    "Flushed",
    "Grant",
    "HomeMessage",
    "Inv",
    "InvTag",
    "LineState",
    "ProbeAck",
    "Renew",
    "Renewed",
    "Reserve",
    "Reserved",
    "Surrender",
]


NO_ROOM = Version(-1)
NO_STORE = Version(-2)


class LineState(IntEnum):
    """MESI (Papamarcos & Patel 1984). A node of the cluster may own; a client only shares."""

    I = 0  # noqa: E741  # the letter of the protocol
    S = 1
    E = 2
    M = 3


class Dirty(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A write of an owner that the home has not confirmed."""

    write_id: int
    base: Version
    """The version that it replaces."""
    item: Item
    removed: bool = False
    backing: Backing = Backing.NONE
    answered: bool = False
    """Policy ``back``: somebody counts on it already."""


# --- agent to home -------------------------------------------------------------------------


class Attach(msgspec.Struct, frozen=True, array_like=True, tag=180):
    """First on a stream: "I hold no line". Answered with Attached.

    ``dirty`` is what earlier streams left unconfirmed; each is answered with Flushed.
    """

    agent: AgentId
    kind: AgentKind
    name: str = ""
    """For people."""
    dirty: tuple[Dirty, ...] = ()


class Renew(msgspec.Struct, frozen=True, array_like=True, tag=181, gc=False):
    """Prolong the lease from the moment at which this was sent. Answered with Renewed."""

    nonce: int


class BusRd(msgspec.Struct, frozen=True, array_like=True, tag=182, gc=False):
    """I want to read it. Answered with Grant, as are BusRdX and BusUpgr."""

    request: int
    key: str
    load: bool = False
    """If absent, look in the backing store."""
    back: bool = False
    """If it is granted E, it may be written without telling the home at once: policy ``back``."""


class BusRdX(msgspec.Struct, frozen=True, array_like=True, tag=183, gc=False):
    """I want to write it, and hold no copy."""

    request: int
    key: str
    back: bool = False


class BusUpgr(msgspec.Struct, frozen=True, array_like=True, tag=184, gc=False):
    """I want to write it, and hold a copy; a hint only, because the copy may be void by now."""

    request: int
    key: str
    back: bool = False


class ProbeAck(msgspec.Struct, frozen=True, array_like=True, tag=185, gc=False):
    """Done as probe ``seq`` demanded."""

    key: str
    seq: int
    dirty: Dirty | None = None


class Flush(msgspec.Struct, frozen=True, array_like=True, tag=186, gc=False):
    """I wrote it under grant ``grant``. Answered with Flushed.

    ``floor``: I know the fate of all my writes with lower ids.
    """

    key: str
    grant: int
    floor: int
    dirty: Dirty


class Reserve(msgspec.Struct, frozen=True, array_like=True, tag=187, gc=False):
    """May I compute the value of ``key``? One agent in the cluster may. Answered with Reserved.

    With ``renew`` there is a value that should be renewed: who may not is told so at once. Without,
    it waits until there is a value, or until it may.
    """

    request: int
    key: str
    renew: bool = False


class Surrender(msgspec.Struct, frozen=True, array_like=True, tag=188, gc=False):
    """I computed nothing: let others try. Also takes back a Reserve that still waits."""

    key: str
    token: int
    request: int = 0


class Detach(msgspec.Struct, frozen=True, array_like=True, tag=189):
    """I dropped all lines and will not come back. Not answered."""


AgentMessage = (
    Attach | Renew | BusRd | BusRdX | BusUpgr | ProbeAck | Flush | Reserve | Surrender | Detach
)


# --- home to agent -------------------------------------------------------------------------


class Attached(msgspec.Struct, frozen=True, array_like=True, tag=190):
    """Lines may be used for ``lease_ms`` from the moment at which Attach was sent."""

    lease_ms: int


class Renewed(msgspec.Struct, frozen=True, array_like=True, tag=191, gc=False):
    """A quorum has confirmed this home since Renew ``nonce`` arrived."""

    nonce: int


class Grant(msgspec.Struct, frozen=True, array_like=True, tag=192, gc=False):
    """The record, and in which state it may be kept; state I: serve who waits, keep nothing."""

    request: int
    key: str
    seq: int
    state: LineState
    reading: Reading | None
    unavailable: bool = False
    """It is not here, and the backing store could not be asked."""


class Inv(msgspec.Struct, frozen=True, array_like=True, tag=193, gc=False):
    """Drop the line. Answered with ProbeAck."""

    key: str
    seq: int


class Down(msgspec.Struct, frozen=True, array_like=True, tag=194, gc=False):
    """Become a sharer. Answered with ProbeAck."""

    key: str
    seq: int


class InvTag(msgspec.Struct, frozen=True, array_like=True, tag=195, gc=False):
    """Drop the lines of ``cache`` that carry ``tag`` (all, if it is empty).

    Answered with ProbeAck, whose key is ``cache``.
    """

    cache: str
    tag: str
    seq: int


class Flushed(msgspec.Struct, frozen=True, array_like=True, tag=196, gc=False):
    """What became of a write: its version, or why there is none.

    0: others wrote, or may write, meanwhile; it will never be done. ``NO_ROOM``: the shard is full.
    ``NO_STORE``: it is to be written through, and the store behind the cache does not answer.
    """

    key: str
    write_id: int
    version: Version


class Reserved(msgspec.Struct, frozen=True, array_like=True, tag=197, gc=False):
    """``token`` not 0: you may, and store with it. Else: ``reading``, or somebody else does it."""

    request: int
    key: str
    token: int
    lease_ms: int = 0
    """How long the token is good."""
    reading: Reading | None = None


class Detached(msgspec.Struct, frozen=True, array_like=True, tag=198):
    """The stream is over: drop all lines and attach anew."""

    reason: str = ""


HomeMessage = Attached | Renewed | Grant | Inv | Down | InvTag | Flushed | Reserved | Detached
