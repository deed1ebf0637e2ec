"""What of a node's memory has been given to the disk, and what the disk has confirmed.

Writes become durable in the order in which they were emitted. Invariant: ``stable_index`` is at
most the last index of which the *current* entry is durable; a confirmation that arrives after
the entry was replaced cannot raise it (the ABA race), because truncation also shortens every
write still under way.

Sources: Ongaro, thesis 3.8, 10.2.1.
"""

from collections import deque
from typing import Final

from synaxis.consensus.raft.log import RaftLog
from synaxis.effects import HardState, Persist, PersistMark, Snapshot
from synaxis.ids import LogIndex, Term

__all__ = ["Durability", "HardStateDurability"]

_NO_ENTRY: Final = LogIndex(0)


class Durability:
    """Positions of the disk behind the memory."""

    __slots__ = (
        "_confirmed_serial",
        "_hard_state",
        "_hard_state_serial",
        "_serial",
        "_under_way",
        "emitted_index",
        "snapshot",
        "stable_index",
    )

    def __init__(self, hard_state: HardState, last_index: LogIndex) -> None:
        self.emitted_index = last_index
        """Last entry that was part of a ``Persist``."""
        self.stable_index = last_index
        self.snapshot: Snapshot | None = None
        """Waits for the next ``Persist``."""
        self._hard_state = hard_state
        self._hard_state_serial = 0
        self._serial = 0
        self._confirmed_serial = 0
        self._under_way: deque[tuple[int, LogIndex]] = deque()

    def is_hard_state_durable(self, hard_state: HardState) -> bool:
        """Return whether a crash now would leave ``hard_state``; compares by identity."""
        return hard_state is self._hard_state and self._hard_state_serial <= self._confirmed_serial

    def truncate(self, first: LogIndex) -> None:
        """Take back what was said about the entries at and after ``first``."""
        last = LogIndex(first - 1)
        self.emitted_index = min(self.emitted_index, last)
        self.stable_index = min(self.stable_index, last)
        self._under_way = deque((serial, min(index, last)) for serial, index in self._under_way)

    def reset(self, snapshot: Snapshot) -> None:
        """Start again behind a snapshot that replaces the whole log."""
        self.truncate(LogIndex(1))
        self.snapshot = snapshot

    def settle(self, log: RaftLog, hard_state: HardState) -> bool:
        """Take what needs no disk as stable. Returns whether that was news; here it never is."""
        del log, hard_state
        return False

    def emit(self, log: RaftLog, hard_state: HardState) -> Persist | None:
        """Return what must be written now, or None."""
        new_hard_state = hard_state if hard_state is not self._hard_state else None
        snapshot = self.snapshot
        wanted = (
            new_hard_state is not None
            or snapshot is not None
            or log.last_index > self.emitted_index
        )
        if not wanted:
            return None
        # Entries that the snapshot contains need not be written any more.
        after = max(self.emitted_index, log.snapshot_index if snapshot else LogIndex(0))
        entries = tuple(log.between(after, log.last_index)) if log.last_index > after else ()
        self._serial += 1
        self._under_way.append((self._serial, log.last_index))
        self.emitted_index = log.last_index
        self.snapshot = None
        if new_hard_state is not None:
            self._hard_state = new_hard_state
            self._hard_state_serial = self._serial
        mark = PersistMark(log.last_index, log.last_term, log.snapshot_index, self._serial)
        return Persist(mark, new_hard_state, snapshot, entries)

    def persisted(self, mark: PersistMark) -> None:
        """Take the news that this write, and every earlier one, is durable."""
        self._confirmed_serial = max(self._confirmed_serial, mark.serial)
        while self._under_way and self._under_way[0][0] <= mark.serial:
            self.stable_index = max(self.stable_index, self._under_way.popleft()[1])

    def check_invariants(self, log: RaftLog) -> None:
        """Assert the order of the positions."""
        assert self.stable_index <= self.emitted_index <= log.last_index
        assert all(index <= log.last_index for _, index in self._under_way)


class HardStateDurability(Durability):
    """The same for a volatile group: only its hard state goes to the disk.

    An entry is stable as soon as it is in memory, provided that the hard state that it came under
    is durable: what is said of it is said in that term, under that configuration.
    """

    __slots__ = ()

    def reset(self, snapshot: Snapshot) -> None:
        """Start again behind a snapshot, which is not written."""
        del snapshot
        self.truncate(LogIndex(1))

    def settle(self, log: RaftLog, hard_state: HardState) -> bool:
        """Take the whole log as stable, unless the hard state still has to become durable."""
        if self.stable_index == log.last_index or not self.is_hard_state_durable(hard_state):
            return False
        self.emitted_index = self.stable_index = log.last_index
        return True

    def emit(self, log: RaftLog, hard_state: HardState) -> Persist | None:
        """Return the hard state if it has changed."""
        self.emitted_index = log.last_index
        if hard_state is self._hard_state:
            return None
        self._serial += 1
        self._under_way.append((self._serial, log.last_index))
        self._hard_state, self._hard_state_serial = hard_state, self._serial
        return Persist(PersistMark(_NO_ENTRY, Term(0), _NO_ENTRY, self._serial), hard_state)
