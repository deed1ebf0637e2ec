"""The port to a store behind the caches."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from synaxis.caches.commands import Item, Version

__all__ = ["BackingStore", "Change"]


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key as the store should have it. ``item`` None: there is no record any more."""

    key: str
    version: Version
    item: Item | None


class BackingStore(Protocol):
    """Holds records longer than the cluster's memory does.

    Fencing: a change takes effect only if the store has nothing of the same or a later version, so
    the late write of a leader that was deposed undoes nothing. Every method may be repeated.
    """

    async def read_many(self, keys: Sequence[str]) -> list[Item | None]:
        """Return the records in the order of ``keys``; durations are what is left of them.

        Raises:
            BackingUnavailable: the store did not answer, in time and in order.
        """
        ...

    async def write_many(self, changes: Sequence[Change]) -> None:
        """Make the changes; afterwards the store has them, or something later.

        Raises:
            BackingUnavailable: some or all may not have happened.
        """
        ...

    async def ping(self) -> None:
        """Find out whether the store takes writes.

        Raises:
            BackingUnavailable: it does not.
        """
        ...

    async def aclose(self) -> None:
        """Let go of its connections."""
        ...
