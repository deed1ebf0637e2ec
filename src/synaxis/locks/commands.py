"""The nouns of the lock service: what clients ask, what they are told, what watchers see.

Durations are milliseconds. ``wait_ms``: 0 = do not wait, -1 = wait for ever.
"""

from enum import IntEnum
from typing import Any

import msgspec

from synaxis.ids import FencingToken, LogTime, Sequence, SessionId

__all__ = [
    "Abandon",
    "Acquire",
    "BarrierEnter",
    "Convert",
    "DescribeLock",
    "DescribeWaits",
    "Done",
    "ForceRelease",
    "Granted",
    "Holder",
    "LatchCount",
    "LatchState",
    "LatchWait",
    "ListLocks",
    "LockCommand",
    "LockEvent",
    "LockEventType",
    "LockInfo",
    "LockKind",
    "LockList",
    "LockMode",
    "LockQuery",
    "LockReply",
    "Release",
    "SetPermits",
    "SetValue",
    "WaitEdge",
    "WaitGraphInfo",
    "Waiter",
]

WAIT_FOREVER_MS = -1


class LockKind(IntEnum):
    """Name spaces: a lock and a semaphore may share a name without touching each other."""

    LOCK = 0
    SEMAPHORE = 1
    ELECTION = 2


class LockMode(IntEnum):
    """How a lock is held."""

    EXCLUSIVE = 0
    SHARED = 1


class Acquire(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """Take every resource in ``names`` together, or none (one grant, one token).

    Replies: Granted; Refused with lock_timeout, deadlock, limit_exceeded, invalid_argument.
    """

    names: tuple[str, ...]
    wait_ms: int = WAIT_FOREVER_MS
    mode: LockMode = LockMode.EXCLUSIVE
    kind: LockKind = LockKind.LOCK
    weight: int = 1
    """Semaphores: permits wanted."""
    permits: int = 1
    """Semaphores: capacity, fixed by the first acquire; later ones must agree (SetPermits)."""
    max_hold_ms: int = 0
    """The cluster takes the grant back after this long; 0 = no limit."""
    lock_delay_ms: int = 0
    """After a *forced* loss (expiry, max hold, force release) nobody gets it for this long."""
    priority: int = 0
    """Victim choice in a deadlock: the lowest loses. It does not reorder the queue."""
    reentrant: bool = False
    """The same (session, task) already holding every name gets the same token, counted."""
    value: bytes = b""
    """Shown to observers; the leader's proclamation in an election."""
    task: int = 0
    """Which of the session's concurrent flows asks (one number per asyncio task or thread).
    Re-entry and deadlocks are between (session, task) pairs: with 0 for all, a session that waits
    for a name it holds itself is a deadlock, because nothing says that another flow of it will
    release. The grant still belongs to the session, whichever task uses it."""


class Release(msgspec.Struct, frozen=True, array_like=True, tag=21, gc=False):
    """Give back one hold of the grant ``token``.

    Releasing what is not held is answered Done with ``changed=False``: it is idempotent, and a
    stale token can never free a newer grant.
    """

    token: FencingToken


class Abandon(msgspec.Struct, frozen=True, array_like=True, tag=22, gc=False):
    """Undo the command ``target`` of this session: leave the queue, or release its grant.

    An upgrade that has already happened is turned back, also to its old token. A target that has
    not arrived yet is refused when it comes.

    The abandoned wait is answered Refused("wait_abandoned"). Repeating it is harmless.
    """

    target: Sequence


class Convert(msgspec.Struct, frozen=True, array_like=True, tag=23, gc=False):
    """Atomically change the mode of a held grant: upgrade (may wait) or downgrade (never does).

    An upgrade waits ahead of all non-converting waiters; two upgraders of one name are a
    deadlock. The grant keeps its old mode until the conversion happens and if it fails. An
    upgrade yields a new, higher token in Granted; the old token is no longer held.
    """

    token: FencingToken
    mode: LockMode
    wait_ms: int = WAIT_FOREVER_MS


class ForceRelease(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """Take a resource away from whoever holds it (audited: who, why)."""

    name: str
    reason: str
    kind: LockKind = LockKind.LOCK
    token: FencingToken = FencingToken(0)
    """Only this grant; 0 = all holders."""


class SetPermits(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """Resize a semaphore; shrinking below what is held only delays later grants.

    The capacity set this way is kept until it is set to 0, which gives it back to the acquires.
    """

    name: str
    permits: int


class BarrierEnter(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """Wait until ``parties`` sessions' entries stand at the barrier, then all pass at once.

    A leaver (timeout, abandon, lost session) just shrinks the count, the others wait on.
    Replies Done; ``position`` is the arrival number within the generation, from 1.
    """

    name: str
    parties: int
    wait_ms: int = WAIT_FOREVER_MS


class LatchCount(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """Create the latch with ``count`` if new, and count it down by ``by`` (0 = only create).

    At zero all waiters pass and the latch stays open until deleted by ``by`` = -1.
    """

    name: str
    count: int
    by: int = 1


class LatchWait(msgspec.Struct, frozen=True, array_like=True, tag=28):
    """Wait until the latch is open; creates it with ``count`` if new."""

    name: str
    count: int
    wait_ms: int = WAIT_FOREVER_MS


class SetValue(msgspec.Struct, frozen=True, array_like=True, tag=29):
    """Change the value shown with a held grant (a leader proclaims anew)."""

    token: FencingToken
    value: bytes


LockCommand = (
    Acquire
    | Release
    | Abandon
    | Convert
    | ForceRelease
    | SetPermits
    | BarrierEnter
    | LatchCount
    | LatchWait
    | SetValue
)


class Granted(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """The grant is yours. ``at`` is the log time of the grant, ``holds`` the reentrant count."""

    token: FencingToken
    at: LogTime
    holds: int = 1


class Done(msgspec.Struct, frozen=True, array_like=True, tag=21, gc=False):
    """It is so now. ``changed`` is False when it already was."""

    changed: bool = True
    position: int = 0


class LatchState(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """What is left to count down; 0 = open."""

    remaining: int


LockReply = Granted | Done | LatchState


# --- questions and answers (reads; never in the log) ---------------------------------------


class ListLocks(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Resources whose name starts with ``prefix``, in name order, after ``after``."""

    prefix: str = ""
    after: str = ""
    limit: int = 1000
    kind: LockKind = LockKind.LOCK


class DescribeLock(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """One resource, or an empty LockInfo when it is free and unknown."""

    name: str
    kind: LockKind = LockKind.LOCK


class DescribeWaits(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """The wait-for graph as it is now."""


LockQuery = ListLocks | DescribeLock | DescribeWaits


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """One grant of a resource. Sessions are shown as 16 hex digits to people."""

    session: SessionId
    token: FencingToken
    mode: LockMode
    since: LogTime
    holds: int
    weight: int
    deadline: LogTime | None
    """When ``max_hold`` ends it."""
    value: bytes


class Waiter(msgspec.Struct, frozen=True, array_like=True):
    """One queued request; the list that holds it is in queue order."""

    session: SessionId
    sequence: Sequence
    mode: LockMode
    since: LogTime
    weight: int
    deadline: LogTime | None
    converting: bool


class LockInfo(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """Everything about one resource. ``now`` is the log time of the answer (for ages)."""

    name: str
    kind: LockKind
    now: LogTime
    holders: tuple[Holder, ...] = ()
    waiters: tuple[Waiter, ...] = ()
    permits: int = 1
    delayed_until: LogTime | None = None


class LockList(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """One page; ``more`` says whether to ask again with ``after`` = the last name."""

    locks: tuple[LockInfo, ...]
    more: bool
    now: LogTime


class WaitEdge(msgspec.Struct, frozen=True, array_like=True):
    """``waiter`` waits for ``holder`` because of ``name``."""

    waiter: SessionId
    holder: SessionId
    name: str


class WaitGraphInfo(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """All wait-for edges, sorted."""

    edges: tuple[WaitEdge, ...]
    deadlocks_total: int
    truncated: bool = False
    """There are more edges than one answer holds."""


class LockEventType(IntEnum):
    """What happened to a resource."""

    GRANTED = 0
    RELEASED = 1
    QUEUED = 2
    LEFT_QUEUE = 3
    EXPIRED = 4
    """Session lost or max hold reached."""
    FORCE_RELEASED = 5
    DEADLOCK = 6
    CONVERTED = 7
    VALUE = 8


class LockEvent(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """One fact for watchers, metrics and the audit log."""

    what: LockEventType
    kind: LockKind
    name: str
    session: SessionId
    token: FencingToken = FencingToken(0)
    mode: LockMode = LockMode.EXCLUSIVE
    waited_ms: int = 0
    value: bytes = b""
    details: dict[str, Any] = {}
