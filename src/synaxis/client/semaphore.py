"""A semaphore: at most ``permits`` held at once, by weight."""

from typing import Unpack

from msgspec.structs import replace

from synaxis.client.caller import Caller
from synaxis.client.grants import Grant, OnLoss
from synaxis.client.lock_options import DEFAULT_WAIT_S, HoldOptions, checked, lock_command
from synaxis.client.locks import Lock
from synaxis.errors import InvalidArgument, LockTimeout
from synaxis.locks.commands import LockKind, SetPermits

__all__ = ["Semaphore"]


class Semaphore:
    """Named permits, shared by everybody in the cluster; ``cluster.semaphore`` makes it.

    The first to acquire fixes the number of permits; others must name the same, until ``resize``.
    """

    def __init__(self, caller: Caller, name: str, permits: int) -> None:
        if permits < 1:
            raise InvalidArgument(f"permits must be at least 1, not {permits!r}")
        self.name = name
        self.permits = permits
        self._caller = caller
        self._group = caller.group_of(name)

    def acquire(
        self, weight: int = 1, *, on_loss: OnLoss = "cancel", **options: Unpack[HoldOptions]
    ) -> Lock:
        """Return a context manager, for one use, that holds ``weight`` permits.

        Raises:
            InvalidArgument: an option is out of range.
        """
        caller = self._caller
        wait = options.get("wait", DEFAULT_WAIT_S)
        command = checked(
            replace(
                lock_command((self.name,), caller.label, **options),
                kind=LockKind.SEMAPHORE,
                weight=weight,
                permits=self.permits,
            )
        )
        return Lock(caller.pool, self._group, command, wait, on_loss, caller.timeout_s)

    async def try_acquire(
        self, weight: int = 1, *, on_loss: OnLoss = "event", **options: Unpack[HoldOptions]
    ) -> Grant | None:
        """Take ``weight`` permits if they are free this instant; None if they are not."""
        options["wait"] = 0
        try:
            return await self.acquire(weight, on_loss=on_loss, **options).acquire()
        except LockTimeout:
            return None

    async def resize(self, permits: int) -> None:
        """Change the number of permits; shrinking below what is held only delays later grants."""
        await self._caller.command(self._group, SetPermits(self.name, permits))
        self.permits = permits
