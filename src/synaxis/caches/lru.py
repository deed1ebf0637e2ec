"""The lines that an agent holds, bounded by count and by bytes, least recently used out first.

``cachetools`` keeps the order; this class adds the two bounds and tells what goes.
"""

from collections.abc import Callable

from cachetools import LRUCache

from synaxis.caches.line import Line

__all__ = ["LINE_OVERHEAD_BYTES", "LineCache", "line_bytes"]

LINE_OVERHEAD_BYTES = 900
"""What a line takes besides its key and value: the object, the reading, slots of dictionaries."""


def line_bytes(line: Line) -> int:
    """Return what a line counts for."""
    value = len(line.reading.value) if line.reading is not None else 0
    return LINE_OVERHEAD_BYTES + len(line.key) + value


class LineCache(LRUCache[str, Line]):
    """See the module."""

    def __init__(self, entries_max: int, bytes_max: int, evicted: Callable[[Line], None]) -> None:
        super().__init__(bytes_max, line_bytes)
        self._entries_max = entries_max
        self._evicted = evicted

    def keep(self, line: Line) -> None:
        """Hold ``line`` as the one used last; others may have to go, or itself if it is too big."""
        self.pop(line.key, None)
        if line_bytes(line) > self.maxsize:
            self._evicted(line)
            return
        self[line.key] = line
        while len(self) > self._entries_max:
            self.popitem()

    def popitem(self) -> tuple[str, Line]:
        """Let the least recently used line go."""
        key, line = super().popitem()
        self._evicted(line)
        return key, line
