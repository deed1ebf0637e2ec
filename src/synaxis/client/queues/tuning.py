"""How large a window should be that nobody has chosen. Pure.

Large enough for what is consumed in the time that a refill takes, or a fast consumer would pay for
a delivery every few messages; not larger, because what waits here cannot go to others.
"""

__all__ = ["EVERY_S", "Tuner"]

EVERY_S = 0.1
"""How often ``look`` is to be called."""
WINDOW_S = 0.04
"""A window should last for so long."""
WINDOW_MAX = 1_024


class Tuner:
    """See the module."""

    def __init__(self, least: int) -> None:
        self.window = self._least = least
        self._taken = 0

    def look(self, taken: int) -> int:
        """Return the window, given how many messages were taken so far."""
        wanted = (taken - self._taken) / EVERY_S * WINDOW_S
        self._taken = taken
        if wanted > self.window:
            self.window = max(min(2 * self.window, WINDOW_MAX), self._least)
        elif wanted < self.window / 4:
            self.window = max(self.window // 2, self._least)
        return self.window
