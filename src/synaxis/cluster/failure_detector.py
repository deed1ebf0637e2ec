"""Who is silent for suspiciously long: heartbeats in, suspicion out.

Drives hints and metrics only; safety never depends on it. States and names follow the
predecessor (alive, suspected, dead).

Source: Hayashibara et al., "The phi accrual failure detector" (2004), section 4, with a normal
distribution of heartbeat intervals.
"""

from collections import deque
from math import erfc, log10, sqrt

from synaxis.ids import Instant, NodeId

__all__ = ["ALIVE", "DEAD", "SUSPECTED", "FailureDetector"]

ALIVE, SUSPECTED, DEAD = "alive", "suspected", "dead"


class FailureDetector:
    """Keeps ``window`` heartbeat intervals per peer.

    ``phi`` is -log10 of the chance that a live peer is silent for this long: 5 suspects, 10 is
    held for dead.
    """

    def __init__(
        self, interval_ms: int, *, window: int = 100, suspect_phi: float = 5.0, dead_phi: float = 10
    ) -> None:
        self._interval_ms = interval_ms
        self._window = window
        self._suspect_phi = suspect_phi
        self._dead_phi = dead_phi
        self._last: dict[NodeId, Instant] = {}
        self._intervals: dict[NodeId, deque[int]] = {}

    def watch(self, peer: NodeId, now: Instant) -> None:
        """Begin to expect heartbeats of ``peer``; harmless when already watched."""
        if peer not in self._last:
            self._last[peer] = now
            # A generous first guess, so that a starting peer is not suspected at once.
            self._intervals[peer] = deque([self._interval_ms * 2] * 3, maxlen=self._window)

    def forget(self, peer: NodeId) -> None:
        """Stop expecting anything of ``peer``."""
        self._last.pop(peer, None)
        self._intervals.pop(peer, None)

    def heard(self, peer: NodeId, now: Instant) -> None:
        """Take a heartbeat."""
        self.watch(peer, now)
        silence = now - self._last[peer]
        # A long outage is not a sample of the normal rhythm.
        if 0 < silence < self._interval_ms * 10:
            self._intervals[peer].append(silence)
        self._last[peer] = now

    def phi(self, peer: NodeId, now: Instant) -> float:
        """Return the suspicion level; 0 for an unknown peer."""
        last = self._last.get(peer)
        if last is None:
            return 0.0
        intervals = self._intervals[peer]
        mean = sum(intervals) / len(intervals)
        variance = sum((each - mean) ** 2 for each in intervals) / len(intervals)
        # The floor keeps a very regular peer from being suspected for one late packet.
        deviation = max(sqrt(variance), self._interval_ms / 2)
        chance = 0.5 * erfc((now - last - mean) / deviation / sqrt(2))
        return -log10(max(chance, 1e-300))

    def state(self, peer: NodeId, now: Instant) -> str:
        """Return ``alive``, ``suspected`` or ``dead``."""
        phi = self.phi(peer, now)
        if phi >= self._dead_phi:
            return DEAD
        return SUSPECTED if phi >= self._suspect_phi else ALIVE

    def states(self, now: Instant) -> dict[NodeId, str]:
        """Return the state of every watched peer, by id."""
        return {peer: self.state(peer, now) for peer in sorted(self._last)}
