"""Counts messages inside the window that a rate is taken from."""

import time
from collections.abc import Callable

__all__ = ["Tally"]


class Tally:
    """Messages confirmed within ``seconds``, or until there are ``limit`` of them.

    The window opens with ``begin``, or with the first confirmation: a consumer's first message
    says that it has found its servers and joined its group.
    """

    def __init__(
        self,
        seconds: float,
        limit: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._seconds = seconds
        self._limit = limit
        self._clock = clock
        self._began: float | None = None
        self._last = 0.0
        self.total = 0
        """All confirmed messages; CPU time is divided by these."""
        self.in_time = 0
        """Those confirmed inside the window; rates are computed from these."""

    def begin(self) -> None:
        """Open the window now."""
        self._began = self._last = self._clock()

    def confirm(self, count: int = 1) -> None:
        """Count messages that the system has just confirmed."""
        if self._began is None:
            self.begin()
        assert self._began is not None
        now = self._clock()
        self.total += count
        if now <= self._began + self._seconds:
            self.in_time += count
            self._last = now

    def settle(self) -> None:
        """All that was counted is confirmed only now: if the limit was reached, the window ends."""
        self._last = self._clock()

    @property
    def over(self) -> bool:
        """Whether the window has closed or the limit is reached."""
        if self._limit is not None and self.total >= self._limit:
            return True
        return self._began is not None and self._clock() >= self._began + self._seconds

    @property
    def window_seconds(self) -> float:
        """How long the window was: shorter than asked for when the limit came first."""
        if self._limit is None or self.in_time < self._limit:
            return self._seconds
        assert self._began is not None
        return self._last - self._began
