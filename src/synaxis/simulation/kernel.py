"""Virtual time: one heap of events, one seed, one digest of everything that happened.

Time is a whole number of microseconds from the start of the run. Events at the same instant run
in the order in which they were scheduled, so a run is a function of its seed alone. The digest
folds in every event; two runs of a seed must end with the same digest in any process, whatever
its hash seed. ``hash`` is used on tuples of integers only, which no hash seed touches.
"""

import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from synaxis.simulation.seeds import Seed

__all__ = ["MICROSECONDS_PER_MILLISECOND", "MICROSECONDS_PER_SECOND", "Kernel"]

MICROSECONDS_PER_MILLISECOND = 1_000
MICROSECONDS_PER_SECOND = 1_000_000

TRACE_EVENTS_KEPT = 400


class Kernel:
    """The clock, the event heap and the random streams of one run."""

    __slots__ = ("_heap", "_scheduled", "digest", "executed", "now", "seed", "trace", "verbose")

    def __init__(
        self, seed: Seed | int, *, keep_trace: bool = False, verbose: bool = False
    ) -> None:
        self.seed = Seed(seed) if isinstance(seed, int) else seed
        self.now = 0
        self.digest = self.seed.number
        self.executed = 0
        self.verbose = verbose
        """Whether messages are worth a trace line as well."""
        kept = None if keep_trace or verbose else TRACE_EVENTS_KEPT
        self.trace: deque[tuple[Any, ...]] = deque(maxlen=kept)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0

    def stream(self, name: str) -> Random:
        """Return an independent random stream: drawing from one does not move another."""
        return Random(f"{self.seed}/{name}")  # noqa: S311  repeatable on purpose

    def at(self, time: int, action: Callable[..., None], *args: object) -> None:
        """Run ``action(*args)`` at ``time`` (us), or now if that is past."""
        self._scheduled += 1
        heapq.heappush(self._heap, (max(time, self.now), self._scheduled, action, args))

    def after(self, delay: int, action: Callable[..., None], *args: object) -> None:
        """Run ``action(*args)`` in ``delay`` microseconds."""
        self._scheduled += 1
        heapq.heappush(self._heap, (self.now + delay, self._scheduled, action, args))

    def note(self, *what: object) -> None:
        """Remember one line for people: the last ones are shown when the run fails."""
        self.trace.append((self.now, *what))

    def fold(self, value: int) -> None:
        """Mix ``value`` into the digest of the run."""
        self.digest = hash((self.digest, value))

    def run_until(self, limit: int) -> None:
        """Execute all events up to and including ``limit`` (us); time then stands there."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= limit:
            time, number, action, args = pop(heap)
            self.now = time
            self.digest = hash((self.digest, time, number))
            self.executed += 1
            action(*args)
        self.now = max(self.now, limit)
