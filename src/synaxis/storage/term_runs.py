"""Which term each entry of a group's log has, in a few numbers. Pure.

Terms never fall along a log, so the log is a short list of runs of equal term.
"""

from bisect import bisect_right

__all__ = ["TermRuns"]


class TermRuns:
    """Terms of the entries from a base (index 0, or a snapshot's) up to ``last_index``."""

    __slots__ = ("_starts", "_terms", "last_index")

    def __init__(self, index: int = 0, term: int = 0) -> None:
        self._starts = [index]
        self._terms = [term]
        self.last_index = index

    def put(self, index: int, term: int) -> None:
        """Write an entry; everything at or above it is void.

        The caller guarantees that ``index`` is above the base and at most one above the last.
        """
        if index <= self.last_index:
            keep = bisect_right(self._starts, index - 1)
            del self._starts[keep:]
            del self._terms[keep:]
        if term != self._terms[-1]:
            self._starts.append(index)
            self._terms.append(term)
        self.last_index = index

    def contains(self, index: int, term: int) -> bool:
        """Return whether the entry at ``index`` is known to have ``term``."""
        if not self._starts[0] <= index <= self.last_index:
            return False
        return self._terms[bisect_right(self._starts, index) - 1] == term

    def forget_below(self, index: int) -> None:
        """Make ``index``, which is contained, the base."""
        at = bisect_right(self._starts, index) - 1
        del self._starts[:at]
        del self._terms[:at]
        self._starts[0] = index
