"""The monotonic clock of one simulated node: drifting, and different after every boot."""

from random import Random

from synaxis.ids import Instant
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND, Kernel

__all__ = ["NodeClock"]

BOOT_INSTANT_MAX_MS = 1 << 40


class NodeClock:
    """Milliseconds that run at ``rate`` times virtual time.

    A paused process does not stop its clock: it finds the time gone when it wakes. A reboot
    starts from another number, as ``CLOCK_BOOTTIME`` does.
    """

    __slots__ = ("_anchor_us", "_base_ms", "_kernel", "rate")

    def __init__(self, kernel: Kernel, rate: float) -> None:
        self._kernel = kernel
        self._anchor_us = kernel.now
        self._base_ms = 0.0
        self.rate = rate

    def now(self) -> Instant:
        """Return the node's time."""
        elapsed_us = self._kernel.now - self._anchor_us
        return Instant(int(self._base_ms + elapsed_us * self.rate / MICROSECONDS_PER_MILLISECOND))

    def reboot(self, random: Random) -> None:
        """Start counting from somewhere else."""
        self._anchor_us = self._kernel.now
        self._base_ms = float(random.randrange(BOOT_INSTANT_MAX_MS))

    def set_rate(self, rate: float) -> None:
        """Run faster or slower from now on, without a jump."""
        elapsed_us = self._kernel.now - self._anchor_us
        self._base_ms += elapsed_us * self.rate / MICROSECONDS_PER_MILLISECOND
        self._anchor_us = self._kernel.now
        self.rate = rate

    def virtual_time_of(self, instant: Instant) -> int:
        """Return the first virtual microsecond at which ``now()`` is at least ``instant``."""
        ahead_us = (instant - self._base_ms) * MICROSECONDS_PER_MILLISECOND / self.rate
        return max(self._kernel.now, self._anchor_us + int(ahead_us) + 2)
