"""The entries that a node holds in memory, from a little before its snapshot to the end.

Invariants: indexes are contiguous and terms never fall; ``base <= snapshot <= applied <= commit
<= last``; nothing at or below ``commit_index`` is ever truncated (a volatile group's new era begins
with another, empty log: ``forget``). An index that was compacted
away has no term here: asking for it is an error, never 0.

Sources: Ongaro, thesis 3.5, 3.6, 5.1.
"""

from collections.abc import Sequence

from synaxis.effects import Entry
from synaxis.errors import StorageCorrupt
from synaxis.ids import LogIndex, Term

__all__ = ["ENTRY_OVERHEAD_BYTES", "RaftLog", "entry_bytes"]

ENTRY_OVERHEAD_BYTES = 16
"""What an entry without payload counts for in a message, so that a count is bounded too."""


def entry_bytes(entry: Entry) -> int:
    """Return what ``entry`` counts for against the limits of messages."""
    return len(entry.payload) + ENTRY_OVERHEAD_BYTES


class RaftLog:
    """The log after ``base_index``; positions of commit, apply and snapshot."""

    __slots__ = (
        "_entries",
        "applied_index",
        "base_index",
        "base_term",
        "commit_index",
        "last_index",
        "last_term",
        "log_bytes",
        "snapshot_index",
        "uncommitted_bytes",
    )

    def __init__(self, base_index: LogIndex, base_term: Term, entries: Sequence[Entry]) -> None:
        self._start(base_index, base_term)
        for entry in entries:
            if entry.index != self.last_index + 1 or entry.term < self.last_term:
                raise StorageCorrupt(f"entry {entry.index} does not follow {self.last_index}")
            self.append(entry)

    def _start(self, base_index: LogIndex, base_term: Term) -> None:
        self.base_index = base_index
        """The entry just before the first one in memory; its term is known."""
        self.base_term = base_term
        self.snapshot_index = base_index
        self.commit_index = base_index
        self.applied_index = base_index
        """Last entry that was handed out to be applied."""
        self.last_index = base_index
        self.last_term = base_term
        self.log_bytes = 0
        """Payload bytes after the snapshot."""
        self.uncommitted_bytes = 0
        """Payload bytes after the commit index."""
        self._entries: list[Entry] = []

    def term_at(self, index: LogIndex) -> Term:
        """Return the term of the entry at ``index``.

        Raises:
            LookupError: the entry was compacted away or does not exist yet.
        """
        if index == self.last_index:
            return self.last_term
        if index == self.base_index:
            return self.base_term
        if self.base_index < index < self.last_index:
            return self._entries[index - self.base_index - 1].term
        raise LookupError(f"entry {index} is not in {self.base_index}..{self.last_index}")

    def holds(self, index: LogIndex, term: Term) -> bool:
        """Return whether an entry at ``index`` is known to be of ``term``."""
        return self.base_index <= index <= self.last_index and self.term_at(index) == term

    def is_outdated_by(self, last_index: LogIndex, last_term: Term) -> bool:
        """Return whether a log that ends so is at least as up to date as this one (3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def last_not_after(self, index: LogIndex, term: Term) -> tuple[LogIndex, Term]:
        """Return the last entry at or before ``index`` whose term is at most ``term``.

        Skips a term at a time where a mismatch would otherwise cost a round trip per entry
        (3.5). An answer below ``base_index`` (with term 0) means that it was compacted away.
        """
        index = min(index, self.last_index)
        while index >= self.base_index:
            found = self.term_at(index)
            if found <= term:
                return index, found
            index = LogIndex(index - 1)
        return index, Term(0)

    def append(self, entry: Entry) -> None:
        """Add ``entry`` at the end."""
        assert entry.index == self.last_index + 1, (entry.index, self.last_index)
        assert entry.term >= self.last_term, (entry.term, self.last_term)
        self._entries.append(entry)
        self.last_index = entry.index
        self.last_term = entry.term
        self.log_bytes += len(entry.payload)
        self.uncommitted_bytes += len(entry.payload)

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """Return the position in ``entries`` of the first one that is not in the log yet.

        ``entries`` continue an entry that matched. Entries before the base count as present.
        """
        for position, entry in enumerate(entries):
            if entry.index > self.last_index:
                return position
            if entry.index > self.base_index and self.term_at(entry.index) != entry.term:
                return position
        return len(entries)

    def truncate(self, first: LogIndex) -> None:
        """Drop the entries at and after ``first``, which conflict with a leader's."""
        assert first > self.commit_index, f"truncating {first}, committed {self.commit_index}"
        dropped = self._entries[first - self.base_index - 1 :]
        size = sum(len(entry.payload) for entry in dropped)
        del self._entries[first - self.base_index - 1 :]
        self.log_bytes -= size
        self.uncommitted_bytes -= size
        self.last_index = LogIndex(first - 1)
        self.last_term = self._entries[-1].term if self._entries else self.base_term

    def commit_to(self, index: LogIndex) -> None:
        """Mark everything up to ``index`` as committed; going back is impossible."""
        assert index <= self.last_index, (index, self.last_index)
        if index <= self.commit_index:
            return
        for entry in self.between(self.commit_index, index):
            self.uncommitted_bytes -= len(entry.payload)
        self.commit_index = index

    def between(self, after: LogIndex, last: LogIndex) -> list[Entry]:
        """Return the entries behind ``after`` up to and including ``last``."""
        assert after >= self.base_index, (after, self.base_index)
        return self._entries[after - self.base_index : last - self.base_index]

    def slice(self, first: LogIndex, bytes_max: int) -> tuple[Entry, ...]:
        """Return entries from ``first`` on, at least one, at most ``bytes_max`` bytes."""
        assert first > self.base_index, (first, self.base_index)
        position = first - self.base_index - 1
        end, size = position, 0
        while end < len(self._entries):
            size += entry_bytes(self._entries[end])
            if size > bytes_max and end > position:
                break
            end += 1
        return tuple(self._entries[position:end])

    def take_committed(self, bytes_max: int) -> list[Entry]:
        """Hand out the next committed entries, at most ``bytes_max`` bytes but at least one."""
        if self.applied_index >= self.commit_index:
            return []
        entries = self.between(self.applied_index, self.commit_index)
        if self.commit_index - self.applied_index > 1:
            size = 0
            for count, entry in enumerate(entries):
                size += entry_bytes(entry)
                if size > bytes_max and count:
                    del entries[count:]
                    break
        self.applied_index = entries[-1].index
        return entries

    def compact(self, index: LogIndex, suffix_entries_max: int, suffix_bytes_max: int) -> None:
        """Forget what a snapshot at ``index`` contains, but for a suffix within the bounds."""
        assert self.snapshot_index < index <= self.applied_index, (index, self.applied_index)
        for entry in self.between(self.snapshot_index, index):
            self.log_bytes -= len(entry.payload)
        self.snapshot_index = index
        base, size = index, 0
        while base > self.base_index and index - base < suffix_entries_max:
            size += entry_bytes(self._entries[base - self.base_index - 1])
            if size > suffix_bytes_max:
                break
            base = LogIndex(base - 1)
        term = self.term_at(base)
        del self._entries[: base - self.base_index]
        self.base_index, self.base_term = base, term

    def reset(self, index: LogIndex, term: Term) -> None:
        """Become the empty log behind a snapshot that a leader sent."""
        assert index > self.commit_index, (index, self.commit_index)
        self._start(index, term)

    def forget(self) -> None:
        """Become the empty log of a new era, whatever was committed in earlier ones."""
        self._start(LogIndex(0), Term(0))

    def check_invariants(self) -> None:
        """Assert what the module docstring promises."""
        assert self.base_index <= self.snapshot_index <= self.applied_index
        assert self.applied_index <= self.commit_index <= self.last_index
        assert len(self._entries) == self.last_index - self.base_index
        previous = self.base_term
        for position, entry in enumerate(self._entries):
            assert entry.index == self.base_index + 1 + position
            assert entry.term >= previous
            previous = entry.term
        assert previous == self.last_term
        pending = self.between(self.commit_index, self.last_index)
        assert self.uncommitted_bytes == sum(len(entry.payload) for entry in pending)
        recent = self.between(self.snapshot_index, self.last_index)
        assert self.log_bytes == sum(len(entry.payload) for entry in recent)
