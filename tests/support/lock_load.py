"""Lock traffic through the SDK that keeps a record, and the checks of that record."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import pairwise

import synaxis
from synaxis import AsyncSynaxis


@dataclass
class Hold:
    """One body that ran under a lock, in seconds of this process's monotonic clock."""

    name: str
    token: int
    granted: float
    """When the reply had arrived."""
    left: float
    """When the body ended, before the release was sent."""


@dataclass
class LockLoad:
    """Tasks that take and release ``locks`` names until ``stop`` is set."""

    cluster: AsyncSynaxis
    tasks: int = 12
    names: int = 4
    hold_s: float = 0.002
    holds: list[Hold] = field(default_factory=list, init=False)
    errors: list[str] = field(default_factory=list, init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def reached(self, holds: int) -> None:
        """Return once ``holds`` bodies have run."""
        while len(self.holds) < holds:  # noqa: ASYNC110  # a count is no event
            await asyncio.sleep(0.05)

    async def run(self) -> None:
        """Work until ``stop``; errors that a user would have to expect are counted."""
        await asyncio.gather(*(self._work(number) for number in range(self.tasks)))

    async def _work(self, number: int) -> None:
        turn = number
        while not self.stop.is_set():
            turn += 1
            name = f"load/{turn % self.names}"
            try:
                async with self.cluster.lock(name, wait=10) as held:
                    granted = time.monotonic()
                    await asyncio.sleep(self.hold_s)
                    self.holds.append(Hold(name, held.token, granted, time.monotonic()))
            except synaxis.SynaxisError as error:
                self.errors.append(type(error).__name__)

    def check(self) -> None:
        """Assert that no two bodies overlapped and that tokens grew, name by name."""
        for name in {hold.name for hold in self.holds}:
            mine = sorted((h for h in self.holds if h.name == name), key=lambda h: h.token)
            for before, after in pairwise(mine):
                assert before.token < after.token, f"{name}: token {after.token} was used twice"
                assert before.left <= after.granted, f"{name}: {before} and {after} overlap"

    def longest_gap(self) -> float:
        """Return the longest time without any grant, in seconds."""
        times = sorted(hold.granted for hold in self.holds)
        return max((b - a for a, b in pairwise(times)), default=0.0)
