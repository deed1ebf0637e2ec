"""Several locks at once: all or none."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType

from synaxis.client.caller import Caller
from synaxis.client.clock import now
from synaxis.client.grants import Grant
from synaxis.client.locks import Lock
from synaxis.errors import InvalidArgument
from synaxis.ids import FencingToken, GroupId

__all__ = ["GrantSet", "LockMany", "by_group"]

MakeLock = Callable[[GroupId, tuple[str, ...], float | None], Lock]


def by_group(names: Iterable[str], caller: Caller) -> list[tuple[GroupId, tuple[str, ...]]]:
    """Return the distinct names, sorted, for each group in the order of groups.

    Everybody asks in this order, so that nobody who holds a later group waits for an earlier one.

    Raises:
        InvalidArgument: there are no names, or one is no text.
    """
    if isinstance(names, str):
        raise InvalidArgument("several names are expected, not one string")
    found: dict[GroupId, list[str]] = {}
    for name in sorted(set(names)):
        found.setdefault(caller.group_of(name), []).append(name)
    if not found:
        raise InvalidArgument("at least one name is needed")
    return [(group, tuple(found[group])) for group in sorted(found, key=_group_number)]


def _group_number(group: GroupId) -> int:
    return int(group.rpartition("/")[2])


class GrantSet:
    """Grants held together, one per group that keeps any of the names."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self.grants = tuple(grants)
        self._lost: asyncio.Event | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(name for grant in self.grants for name in grant.names))

    @property
    def tokens(self) -> dict[str, FencingToken]:
        """The fencing token of each name."""
        return {name: grant.token for grant in self.grants for name in grant.names}

    @property
    def token(self) -> FencingToken:
        """The one token of all names.

        Raises:
            InvalidArgument: the names live in several groups; use ``tokens``.
        """
        if len(self.grants) != 1:
            raise InvalidArgument("these names have several tokens; use .tokens[name]")
        return self.grants[0].token

    @property
    def lost(self) -> asyncio.Event:
        """Set when any of the grants is lost."""
        if self._lost is None:
            self._lost = asyncio.Event()
            for grant in self.grants:
                grant.share_lost(self._lost)
        return self._lost

    def ensure(self) -> None:
        """Check that all are held; see ``Grant.ensure``.

        Raises:
            LockLost: one is not.
        """
        for grant in self.grants:
            grant.ensure()

    async def safe(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # of each wait
        """Wait until all are confirmed; see ``Grant.safe``."""
        for grant in self.grants:
            await grant.safe(timeout)

    async def release(self) -> bool:
        """Give all back; returns whether all were still held."""
        return all([await grant.release() for grant in self.grants])


class LockMany:
    """Holds several locks while its body runs; atomic within a group, ordered across groups."""

    def __init__(
        self, names: list[tuple[GroupId, tuple[str, ...]]], wait: float | None, make: MakeLock
    ) -> None:
        self._names = names
        self._wait = wait
        self._make = make
        self._stack = AsyncExitStack()
        self._owner = 0

    def asked_by(self, owner: int) -> None:
        """Name the owner that waits and holds; see ``Lock.asked_by``."""
        self._owner = owner

    async def __aenter__(self) -> GrantSet:
        """Wait for all of them, ``wait`` seconds in total.

        Raises:
            LockTimeout, DeadlockError: none is held then.
        """
        until = None if self._wait is None else now() + self._wait
        async with AsyncExitStack() as stack:
            grants = []
            for group, names in self._names:
                left = None if until is None else max(0.0, until - now())
                lock = self._make(group, names, left)
                if self._owner:
                    lock.asked_by(self._owner)
                grants.append(await stack.enter_async_context(lock))
            self._stack = stack.pop_all()
        return GrantSet(grants)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release all of them.

        Raises:
            LockLost: one was lost, with ``on_loss="cancel"``.
        """
        await self._stack.__aexit__(kind, error, traceback)
