"""Linearizable reads without writing: rounds that confirm that the leader still leads.

A read takes the commit index of the moment it is asked for, and waits for a quorum to answer a
message of a round that *began at or after* that moment: a quorum that still followed us then
cannot have elected someone who had already committed more. Every AppendEntries carries the
number of the latest round and every reply echoes it, so a lost message is made up for by any
later one.

Invariant: rounds only grow, also from term to term.

Sources: Ongaro, thesis 6.4.
"""

from collections import deque

from synaxis.ids import LogIndex

__all__ = ["ReadIndex"]


class ReadIndex:
    """Reads that wait for their round."""

    __slots__ = ("_begun", "_next_ticket", "_waiting", "round")

    def __init__(self) -> None:
        self.round = 0
        """The latest round that began."""
        self._next_ticket = 1
        self._waiting: list[tuple[int, LogIndex]] = []
        self._begun: deque[tuple[int, list[tuple[int, LogIndex]]]] = deque()

    @property
    def has_waiting(self) -> bool:
        """Whether a read has no round yet."""
        return bool(self._waiting)

    @property
    def has_begun(self) -> bool:
        """Whether a read waits for answers."""
        return bool(self._begun)

    def register(self, commit_index: LogIndex) -> int:
        """Note a read that must see everything up to ``commit_index``; returns its ticket."""
        ticket = self._next_ticket
        self._next_ticket += 1
        self._waiting.append((ticket, commit_index))
        return ticket

    def begin_round(self) -> None:
        """Begin a round for all reads registered so far."""
        self.round += 1
        if self._waiting:
            self._begun.append((self.round, self._waiting))
            self._waiting = []

    def confirm(self, confirmed_round: int) -> list[tuple[int, LogIndex]]:
        """Return the reads whose round, or a later one, a quorum has answered."""
        reads: list[tuple[int, LogIndex]] = []
        while self._begun and self._begun[0][0] <= confirmed_round:
            reads.extend(self._begun.popleft()[1])
        return reads

    def fail(self) -> list[int]:
        """Give up all reads: the leader is none any more. Returns their tickets."""
        groups = [*(reads for _, reads in self._begun), self._waiting]
        self._begun.clear()
        self._waiting = []
        return [ticket for reads in groups for ticket, _ in reads]
