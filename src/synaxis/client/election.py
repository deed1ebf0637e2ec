"""Leader election: an exclusive lock with an audience."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Unpack

from msgspec.structs import replace

from synaxis.client.caller import Caller
from synaxis.client.grants import OnLoss
from synaxis.client.lock_options import HoldOptions, checked, lock_command
from synaxis.client.locks import Lock
from synaxis.client.watching import EventStream, LockChange
from synaxis.errors import NotFound
from synaxis.locks.commands import DescribeLock, LockInfo, LockKind

__all__ = ["Election", "Leader"]


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as observers see it."""

    session: str
    """16 hex digits."""
    token: int
    """The fencing token of this leadership."""
    value: bytes
    """What the leader proclaimed."""


class Election:
    """A named office that one candidate holds at a time; ``cluster.election`` makes it."""

    def __init__(self, caller: Caller, name: str) -> None:
        self.name = name
        self._caller = caller
        self._group = caller.group_of(name)

    def campaign(
        self,
        value: bytes | None = None,
        *,
        on_loss: OnLoss = "cancel",
        **options: Unpack[HoldOptions],
    ) -> Lock:
        """Return a context manager, for one use, whose body runs while we lead.

        Waits for ever unless ``wait`` says otherwise. ``value`` is what observers see (default:
        the name of the client); ``set_value`` of the grant changes it.

        Raises:
            InvalidArgument: an option is out of range.
        """
        caller = self._caller
        wait = options.setdefault("wait", None)
        shown = caller.label if value is None else value
        command = checked(
            replace(lock_command((self.name,), shown, **options), kind=LockKind.ELECTION)
        )
        return Lock(caller.pool, self._group, command, wait, on_loss, caller.timeout_s)

    async def leader(self) -> Leader | None:
        """Return who leads now, if anybody does."""
        return (await self._look())[0]

    async def observe(self) -> AsyncIterator[Leader | None]:
        """Yield who leads now, then every change; None while nobody does."""
        while True:
            stream = EventStream(
                self._caller.pool.router, [self._group], self.name, LockKind.ELECTION
            )
            async with aclosing(stream):
                await stream.started()
                leader, seen = await self._look()
                yield leader
                try:
                    async for change in stream:
                        following = self._after(change, leader)
                        if change.name == self.name and change.index > seen and following != leader:
                            leader = following
                            yield leader
                except NotFound:
                    continue  # the history was cut behind us: look again

    async def _look(self) -> tuple[Leader | None, int]:
        answer = await self._caller.query(self._group, DescribeLock(self.name, LockKind.ELECTION))
        assert isinstance(answer.body, LockInfo)
        leader = None
        for holder in answer.body.holders:
            leader = Leader(f"{holder.session:016x}", holder.token, holder.value)
        return leader, answer.index

    @staticmethod
    def _after(change: LockChange, leader: Leader | None) -> Leader | None:
        match change.what:
            case "granted" | "value":
                return Leader(change.session, change.token, change.value)
            case "released" | "expired" | "force_released":
                return None
            case _:
                return leader
