"""What a home counts. Plain integers: a scrape turns them into metrics."""

from bisect import bisect_left

__all__ = ["INVALIDATION_BOUNDS_MS", "HomeTally"]

INVALIDATION_BOUNDS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)


class HomeTally:
    """Counts since the start of the node; only a leader's grow."""

    __slots__ = (
        "dirty_lost",
        "invalidation_counts",
        "invalidation_ms",
        "invalidations",
        "lease_expiries",
        "transactions",
    )

    def __init__(self) -> None:
        self.transactions: dict[str, int] = {}
        """Bus transactions and probes by their name."""
        self.invalidations = 0
        """Probes that were answered."""
        self.invalidation_ms = 0
        """From the probe to its answer, summed."""
        self.invalidation_counts = [0] * (len(INVALIDATION_BOUNDS_MS) + 1)
        """How many took up to each bound; the last: longer."""
        self.lease_expiries = 0
        self.dirty_lost = 0
        """Writes of policy ``back`` that were, or may have been, lost with their owner."""

    def count(self, name: str, times: int = 1) -> None:
        """Note a transaction."""
        self.transactions[name] = self.transactions.get(name, 0) + times

    def invalidated(self, took_ms: int) -> None:
        """Note an answer to a probe."""
        self.invalidations += 1
        self.invalidation_ms += took_ms
        self.invalidation_counts[bisect_left(INVALIDATION_BOUNDS_MS, took_ms)] += 1
