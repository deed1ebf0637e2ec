"""Looking at locks, and taking them away: ``cluster.locks``."""

from dataclasses import dataclass
from typing import Literal

from synaxis.client.caller import Caller
from synaxis.client.watching import EventStream
from synaxis.errors import InvalidArgument
from synaxis.ids import FencingToken, GroupId, LogTime
from synaxis.locks.commands import (
    DescribeLock,
    DescribeWaits,
    Done,
    ForceRelease,
    Holder,
    ListLocks,
    LockInfo,
    LockKind,
    LockList,
    Waiter,
    WaitGraphInfo,
)

__all__ = ["HolderState", "Kind", "LockAdmin", "LockState", "WaitGraph", "WaitState", "WaitingFor"]

Kind = Literal["lock", "semaphore", "election"]
KINDS: dict[str, LockKind] = {kind.name.lower(): kind for kind in LockKind}
PAGE = 1000


@dataclass(frozen=True, slots=True)
class HolderState:
    """One grant, as an onlooker sees it."""

    owner: str
    """The holder's name for itself, else its session."""
    session: str
    """16 hex digits."""
    token: int
    mode: str
    age: float
    """Seconds since the grant."""
    expires_in: float | None
    """Seconds until ``max_hold`` ends it."""
    holds: int
    weight: int
    value: bytes


@dataclass(frozen=True, slots=True)
class WaitState:
    """One place in the queue."""

    position: int
    """From 1; 1 is next."""
    session: str
    mode: str
    waited: float
    """Seconds."""
    expires_in: float | None
    """Seconds until it gives up."""
    weight: int
    upgrading: bool


@dataclass(frozen=True, slots=True)
class LockState:
    """One lock, semaphore or election and everybody around it."""

    name: str
    kind: str
    holders: tuple[HolderState, ...]
    waiters: tuple[WaitState, ...]
    permits: int
    delayed_for: float | None
    """Seconds for which nobody gets it after a forced loss (``lock_delay``)."""

    @property
    def owner(self) -> str | None:
        """Who holds it (the first, if it is shared); None when it is free."""
        return self.holders[0].owner if self.holders else None

    @property
    def mode(self) -> str | None:
        """How it is held."""
        return self.holders[0].mode if self.holders else None

    @property
    def token(self) -> int | None:
        """Under which fencing token (the first, if it is shared)."""
        return self.holders[0].token if self.holders else None

    @property
    def age(self) -> float | None:
        """For how many seconds (the first, if it is shared)."""
        return self.holders[0].age if self.holders else None


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """One session waits for another because of one name."""

    waiter: str
    holder: str
    name: str


@dataclass(frozen=True, slots=True)
class WaitGraph:
    """Who waits for whom, now."""

    edges: tuple[WaitingFor, ...]
    deadlocks_total: int
    """Deadlocks resolved since the cluster was created."""
    truncated: bool
    """There are more edges than are shown."""


class LockAdmin:
    """Questions about locks, and the right to take them away. All names, not only our own."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def _list(
        self, group: GroupId, prefix: str, kind: LockKind, limit: int | None
    ) -> list[LockState]:
        found: list[LockState] = []
        after, more = "", True
        while more and (limit is None or len(found) < limit):
            page = PAGE if limit is None else min(PAGE, limit - len(found))
            answer = await self._caller.query(group, ListLocks(prefix, after, page, kind))
            body = answer.body
            assert isinstance(body, LockList)
            found += [_state(each) for each in body.locks]
            more = body.more and bool(body.locks)
            after = body.locks[-1].name if body.locks else ""
        return found

    async def get(self, name: str, *, kind: Kind = "lock") -> LockState:
        """Return the state of ``name``; without holders and waiters when it is free."""
        group = self._caller.group_of(name)
        answer = await self._caller.query(group, DescribeLock(name, _kind(kind)))
        assert isinstance(answer.body, LockInfo)
        return _state(answer.body)

    async def waiters(self, name: str, *, kind: Kind = "lock") -> tuple[WaitState, ...]:
        """Return who waits for ``name``, next first."""
        return (await self.get(name, kind=kind)).waiters

    async def force_release(
        self, name: str, *, reason: str, kind: Kind = "lock", token: int = 0
    ) -> bool:
        """Take ``name`` away from whoever holds it; the audit log keeps who did it and why.

        With ``token``, only that grant. The holder's body is cancelled; whether it stops in time
        is another matter, which is what fencing tokens are for.

        Returns:
            Whether anything was held.
        """
        command = ForceRelease(name, reason, _kind(kind), FencingToken(token))
        reply = await self._caller.command(self._caller.group_of(name), command)
        assert isinstance(reply, Done)
        return reply.changed

    async def waits(self) -> WaitGraph:
        """Return the graph of who waits for whom, over all groups."""
        edges: list[WaitingFor] = []
        deadlocks, truncated = 0, False
        for group in self._caller.lock_groups():
            body = (await self._caller.query(group, DescribeWaits())).body
            assert isinstance(body, WaitGraphInfo)
            edges += [
                WaitingFor(f"{edge.waiter:016x}", f"{edge.holder:016x}", edge.name)
                for edge in body.edges
            ]
            deadlocks += body.deadlocks_total
            truncated |= body.truncated
        return WaitGraph(tuple(edges), deadlocks, truncated)

    def watch(self, prefix: str = "", *, kind: Kind = "lock") -> EventStream:
        """Return the stream, from now on, of what happens to names that start with ``prefix``."""
        caller = self._caller
        return EventStream(caller.pool.router, caller.lock_groups(), prefix, _kind(kind))

    async def list(
        self, prefix: str = "", *, kind: Kind = "lock", limit: int | None = None
    ) -> list[LockState]:
        """Return what is held or waited for under ``prefix``, by name; at most ``limit``."""
        found: list[LockState] = []
        for group in self._caller.lock_groups():
            found += await self._list(group, prefix, _kind(kind), limit)
        found.sort(key=lambda state: state.name)
        return found[:limit]


def _kind(kind: str) -> LockKind:
    found = KINDS.get(kind)
    if found is None:
        raise InvalidArgument(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    return found


def _state(found: LockInfo) -> LockState:
    now = found.now
    return LockState(
        found.name,
        found.kind.name.lower(),
        tuple(_holder(holder, now) for holder in found.holders),
        tuple(_waiter(waiter, now, place) for place, waiter in enumerate(found.waiters, 1)),
        found.permits,
        _until(found.delayed_until, now),
    )


def _holder(holder: Holder, now: LogTime) -> HolderState:
    session = f"{holder.session:016x}"
    return HolderState(
        holder.value.decode(errors="replace") or session,
        session,
        holder.token,
        holder.mode.name.lower(),
        max(0, now - holder.since) / 1000,
        _until(holder.deadline, now),
        holder.holds,
        holder.weight,
        holder.value,
    )


def _waiter(waiter: Waiter, now: LogTime, position: int) -> WaitState:
    return WaitState(
        position,
        f"{waiter.session:016x}",
        waiter.mode.name.lower(),
        max(0, now - waiter.since) / 1000,
        _until(waiter.deadline, now),
        waiter.weight,
        waiter.converting,
    )


def _until(moment: LogTime | None, now: LogTime) -> float | None:
    return None if moment is None else max(0, moment - now) / 1000
