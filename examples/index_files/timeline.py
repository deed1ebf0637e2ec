"""How the lag went over time, and what happened when: drawn as two lines of text."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Timeline"]

_BARS = "▁▂▃▄▅▆▇█"
_UNKNOWN = "·"
_COLUMNS_MAX = 72
_COLUMN_S_MIN = 0.25


@dataclass
class Timeline:
    """Samples of the lag, in messages, and marks of one letter; times are seconds."""

    started: float = field(default_factory=time.perf_counter)
    samples: list[tuple[float, int | None]] = field(default_factory=list)
    """None: the cluster did not say."""
    marks: list[tuple[float, str]] = field(default_factory=list)

    def restart(self) -> None:
        """Begin now."""
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.started

    def sample(self, lag: int | None) -> None:
        """Note the lag of now."""
        self.samples.append((self.seconds, lag))

    def mark(self, letter: str) -> None:
        """Note that something happened now. Of one column, the first in the alphabet is shown."""
        self.marks.append((self.seconds, letter))

    @property
    def peak(self) -> int:
        """The highest lag that was seen."""
        return max((lag for _, lag in self.samples if lag is not None), default=0)

    def draw(self) -> tuple[str, str, float]:
        """Return the curve, the marks below it, and the seconds of a column."""
        end = max((at for at, _ in [*self.samples, *self.marks]), default=0.0)
        column_s = max(_COLUMN_S_MIN, end / _COLUMNS_MAX * 1.001)
        columns = int(end / column_s) + 1
        seen: list[list[int | None]] = [[] for _ in range(columns)]
        for at, lag in self.samples:
            seen[int(at / column_s)].append(lag)
        letters = [" "] * columns
        for at, letter in sorted(self.marks, key=lambda mark: mark[1], reverse=True):
            letters[int(at / column_s)] = letter
        return "".join(self._bars(seen)), "".join(letters), column_s

    def _bars(self, seen: Sequence[Sequence[int | None]]) -> list[str]:
        bars, before = [], " "
        for lags in seen:
            known = [lag for lag in lags if lag is not None]
            if known:
                before = _BARS[-(-max(known) * (len(_BARS) - 1) // max(self.peak, 1))]
            elif lags:
                before = _UNKNOWN
            bars.append(before)
        return bars
