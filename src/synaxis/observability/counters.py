"""Plain numbers that the node adds to while it works; a scrape reads them (``metrics.py``).

No locks, labels or clocks: a client library's counter costs several times the increment of a
slot, and the lock path has a budget of microseconds. Written by the event loop only.
"""

from bisect import bisect_left
from collections import defaultdict

from synaxis.locks.commands import LockEvent, LockEventType

__all__ = ["LatencyHistogram", "LinkCounters", "NodeCounters"]

REQUEST_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FSYNC_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
WAIT_BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class LatencyHistogram:
    """Counts of observed seconds in fixed buckets.

    Invariant: ``counts[i]`` holds the values in (bounds[i-1], bounds[i]]; the last is unbounded.
    """

    __slots__ = ("bounds", "counts", "total_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value, in O(log buckets)."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, values at or below it) as the exposition format wants them."""
        pairs: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            pairs.append(("+Inf" if bound == float("inf") else repr(bound), below))
        return pairs


class LinkCounters:
    """Traffic of all links of one kind; a frame holds everything of one loop turn."""

    __slots__ = ("bytes_in", "bytes_out", "closed", "frames_in", "frames_out", "opened")

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.frames_in = 0
        self.frames_out = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def received(self, size: int) -> None:
        """Count one frame of ``size`` bytes from the other side."""
        self.frames_in += 1
        self.bytes_in += size

    def sent(self, size: int) -> None:
        """Count one frame of ``size`` bytes to the other side."""
        self.frames_out += 1
        self.bytes_out += size


class NodeCounters:
    """Everything that one node counts.

    Only the leader of a group counts the locks and sessions of that group, so that a sum over
    all nodes is the number of things that happened.
    """

    __slots__ = (
        "clients",
        "fsync",
        "leader_changes",
        "lock_events",
        "lock_waits",
        "peers",
        "request_latency",
        "requests",
        "sessions_expired",
        "sessions_opened",
        "snapshots",
        "wal_bytes",
    )

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[type, str], int] = defaultdict(int)
        """(type of the command or query, ``ok`` or the error's code) -> answers given."""
        self.request_latency = LatencyHistogram(REQUEST_BOUNDS_S)
        """From the arrival of a request to its answer, waiting in a lock's queue included."""
        self.lock_events = [0] * len(LockEventType)
        """Indexed by ``LockEventType``."""
        self.lock_waits = LatencyHistogram(WAIT_BOUNDS_S)
        """From request to grant, in log time; 0 for a grant without waiting."""
        self.sessions_opened = 0
        self.sessions_expired = 0
        self.leader_changes: defaultdict[str, int] = defaultdict(int)
        """Group -> times that this node saw another leader than before."""
        self.snapshots: defaultdict[str, int] = defaultdict(int)
        """``taken`` or ``installed`` -> how often."""
        self.fsync = LatencyHistogram(FSYNC_BOUNDS_S)
        """One value per group commit."""
        self.wal_bytes = 0
        self.clients = LinkCounters()
        self.peers = LinkCounters()

    def count_lock_event(self, event: LockEvent) -> None:
        """Count what happened to a lock; call it on the group's leader only."""
        self.lock_events[event.what] += 1
        if event.what is LockEventType.GRANTED:
            self.lock_waits.observe(event.waited_ms / 1000)
