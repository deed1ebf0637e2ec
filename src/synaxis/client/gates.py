"""Barriers and latches: waiting for others without holding anything."""

from synaxis.client.caller import Caller
from synaxis.client.lock_options import wait_milliseconds
from synaxis.errors import InvalidArgument
from synaxis.locks.commands import BarrierEnter, Done, LatchCount, LatchState, LatchWait

__all__ = ["Barrier", "Latch"]


class Barrier:
    """A meeting point of ``parties``: all wait until the last has come. It serves again then."""

    def __init__(self, caller: Caller, name: str, parties: int) -> None:
        if parties < 1:
            raise InvalidArgument(f"parties must be at least 1, not {parties!r}")
        self.name = name
        self.parties = parties
        self._caller = caller
        self._group = caller.group_of(name)

    async def wait(self, wait: float | None = None) -> int:
        """Wait until all parties are here; returns who of them we were, from 1.

        Raises:
            LockTimeout: not all came within ``wait`` seconds; we count no longer.
        """
        command = BarrierEnter(self.name, self.parties, wait_milliseconds(wait))
        reply = await self._caller.command(self._group, command, wait, undoable=True)
        assert isinstance(reply, Done)
        return reply.position


class Latch:
    """A door that opens for good when it has been counted down from ``count``."""

    def __init__(self, caller: Caller, name: str, count: int) -> None:
        if count < 1:
            raise InvalidArgument(f"count must be at least 1, not {count!r}")
        self.name = name
        self.count = count
        self._caller = caller
        self._group = caller.group_of(name)

    async def count_down(self, by: int = 1) -> int:
        """Count down; returns what is left. At 0 everybody who waits goes on."""
        if by < 1:
            raise InvalidArgument(f"by must be at least 1, not {by!r}")
        return await self._change(by)

    async def remaining(self) -> int:
        """Return what is left to count down, creating the latch if it is new."""
        return await self._change(0)

    async def delete(self) -> None:
        """Forget the latch; the next use begins at ``count`` again."""
        await self._change(-1)

    async def wait(self, wait: float | None = None) -> None:
        """Wait until the latch is open.

        Raises:
            LockTimeout: it was not open after ``wait`` seconds.
        """
        command = LatchWait(self.name, self.count, wait_milliseconds(wait))
        await self._caller.command(self._group, command, wait, undoable=True)

    async def _change(self, by: int) -> int:
        reply = await self._caller.command(self._group, LatchCount(self.name, self.count, by))
        assert isinstance(reply, LatchState)
        return reply.remaining
