"""Clearing a cache, or a tag of it: one transaction about lines that nobody can list.

While a barrier is up nobody may keep a line of the cache: from the moment at which the agents are
told to drop theirs until the stamp is in the store.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from synaxis.caches.commands import AgentId
from synaxis.ids import Sequence, SessionId

__all__ = ["Barriers"]

Origin = tuple[SessionId, Sequence]


class Barrier(msgspec.Struct):
    """One Clear on its way."""

    cache: str
    seq: int
    waiting: set[AgentId]
    """Agents that have not answered."""
    release: Callable[[], None]
    wishes: list[Callable[[], None]]
    """What waits until it is down."""
    released: bool = False


class Barriers:
    """See the module."""

    def __init__(self) -> None:
        self._by_seq: dict[int, Barrier] = {}
        self._by_origin: dict[Origin, deque[Barrier]] = {}

    def begin(
        self,
        cache: str,
        origin: Origin,
        seq: int,
        waiting: set[AgentId],
        release: Callable[[], None],
    ) -> None:
        """Put one up; ``release`` is called when all of ``waiting`` have answered."""
        barrier = self._by_seq[seq] = Barrier(cache, seq, waiting, release, [])
        self._by_origin.setdefault(origin, deque()).append(barrier)
        self._check(barrier)

    def _check(self, barrier: Barrier) -> None:
        if not barrier.waiting and not barrier.released:
            barrier.released = True
            barrier.release()

    def covers(self, cache: str) -> bool:
        """Whether one is up for the cache."""
        if not self._by_seq:
            return False
        return any(each.cache == cache for each in self._by_seq.values())

    def has_answered(self, agent: AgentId, cache: str) -> bool:
        """Whether the agent has dropped its lines for one that is up for the cache."""
        return any(
            each.cache == cache and agent not in each.waiting for each in self._by_seq.values()
        )

    def wait(self, cache: str, wish: Callable[[], None]) -> None:
        """Call ``wish`` when the last one for the cache is down."""
        chosen = [each for each in self._by_seq.values() if each.cache == cache]
        chosen[-1].wishes.append(wish)

    def acknowledged(self, agent: AgentId, seq: int) -> bool:
        """Take an answer; False if it is none to a barrier."""
        barrier = self._by_seq.get(seq)
        if barrier is None:
            return False
        barrier.waiting.discard(agent)
        self._check(barrier)
        return True

    def gone(self, agent: AgentId) -> None:
        """The agent holds nothing any more."""
        for barrier in list(self._by_seq.values()):
            barrier.waiting.discard(agent)
            self._check(barrier)

    def end(self, origin: Origin) -> None:
        """The Clear is applied, or never will be."""
        barriers = self._by_origin.get(origin, ())
        # One that still waits is the same command, sent again: the log had the first without it.
        barrier = next((each for each in barriers if each.released), None)
        if barrier is None:
            return
        self._by_origin[origin].remove(barrier)
        if not self._by_origin[origin]:
            del self._by_origin[origin]
        del self._by_seq[barrier.seq]
        for wish in barrier.wishes:
            wish()
