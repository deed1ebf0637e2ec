"""Writes that the backing store does not have yet, and who waits for them. Replicated.

Oldest first, one per key: a newer write of a key takes the place of the older one, because the
store only has to end with the newest.
"""

import msgspec

from synaxis.caches.commands import CacheReply, Version
from synaxis.effects import Outcome
from synaxis.ids import Sequence, SessionId

__all__ = ["PendingWrites", "SavedWaiter", "SavedWrite"]


class Waiter(msgspec.Struct, array_like=True):
    """A command that is answered when all its keys are written."""

    session: SessionId
    sequence: Sequence
    left: int


class PendingWrite(msgspec.Struct):
    """The newest version of one key, and the commands that wait: (version, number of waiter)."""

    version: Version
    waiters: list[tuple[Version, int]] = []


SavedWrite = tuple[str, Version, list[tuple[Version, int]]]
SavedWaiter = tuple[int, Waiter, CacheReply]


class PendingWrites:
    """See the module."""

    def __init__(self) -> None:
        self.by_key: dict[str, PendingWrite] = {}
        self._waiters: dict[int, tuple[Waiter, CacheReply]] = {}

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, writes: list[tuple[str, Version]]) -> None:
        """Note writes that nobody waits for."""
        for key, version in writes:
            pending = self.by_key.get(key)
            if pending is None:
                self.by_key[key] = PendingWrite(version)
            else:
                pending.version = version

    def wait(
        self,
        session: SessionId,
        sequence: Sequence,
        reply: CacheReply,
        writes: list[tuple[str, Version]],
    ) -> None:
        """Note writes for which the command is to be answered with ``reply`` once they are done."""
        self.add(writes)
        # Told by the state alone: a replica that was restored must come to the same number.
        number = next(reversed(self._waiters), 0) + 1
        self._waiters[number] = Waiter(session, sequence, len(writes)), reply
        for key, version in writes:
            self.by_key[key].waiters.append((version, number))

    def written(self, key: str, version: Version) -> list[Outcome]:
        """The store has ``version`` of ``key``: return the answers that were waiting for it."""
        pending = self.by_key.get(key)
        if pending is None:
            return []
        done = [number for at, number in pending.waiters if at <= version]
        if pending.version <= version:
            del self.by_key[key]
        else:
            pending.waiters = [each for each in pending.waiters if each[0] > version]
        outcomes = []
        for number in done:
            waiter, reply = self._waiters[number]
            waiter.left -= 1
            if not waiter.left:
                del self._waiters[number]
                outcomes.append(Outcome(waiter.session, waiter.sequence, reply))
        return outcomes

    def save(self) -> tuple[list[SavedWrite], list[SavedWaiter]]:
        """Return everything in a form that encodes to equal bytes for equal states."""
        writes = [(key, each.version, each.waiters) for key, each in self.by_key.items()]
        waiters = [(number, *each) for number, each in self._waiters.items()]
        return writes, waiters

    def load(self, writes: list[SavedWrite], waiters: list[SavedWaiter]) -> None:
        """Become what ``save`` returned."""
        self.by_key = {key: PendingWrite(version, waiting) for key, version, waiting in writes}
        self._waiters = {number: (waiter, reply) for number, waiter, reply in waiters}
