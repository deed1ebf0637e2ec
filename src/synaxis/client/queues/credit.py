"""How many messages each shard may send us before we ask for more. Pure.

The window is shared: what is buffered here plus what the shards may still send. Shards that
deliver get most of it, in big steps; the others keep a little, so that their first message need
not wait for a question. A reclaim may cross with a delivery; the books are then too low by what
was under way, which is corrected as soon as the shard uses up its credit.
"""

from collections.abc import Callable, Hashable

__all__ = ["CreditPool", "Share"]

IDLE_PART = 8
"""An idle shard keeps one in so many parts of its even share."""


class Share:
    """One shard's part of the window."""

    __slots__ = ("heat", "outstanding", "target", "used")

    def __init__(self, outstanding: int) -> None:
        self.outstanding = outstanding
        """What the shard may still send, by our books."""
        self.target = outstanding
        """What it had after the last settlement of accounts."""
        self.used = 0
        """Delivered since then."""
        self.heat = 0.0
        """Recent deliveries, older ones counting less."""


class CreditPool:
    """See the module. ``grant`` is called with what changes: (shard, more), negative for less."""

    def __init__(self, window: int, grant: Callable[[Hashable, int], None]) -> None:
        self.window = window
        self.buffered = 0
        self._grant = grant
        self._shares: dict[Hashable, Share] = {}
        self._freed = 0
        self._thirsty = False

    def open(self, shards: int, shard: Hashable) -> None:
        """Give ``shard``, one of ``shards``, its first share."""
        self._shares[shard] = Share(max(1, self.window // shards) if self.window else 0)

    def resize(self, window: int) -> None:
        """Change the window; what is buffered beyond it stays."""
        self.window = window
        self.settle()

    def offer(self, shard: Hashable) -> int:
        """Return the credit for a new stream: it replaces what an older one had."""
        share = self._shares.get(shard)
        if share is None or not self.window:
            return 0
        share.outstanding = max(share.outstanding, self._floor())
        return share.outstanding

    def _floor(self) -> int:
        return max(1, self.window // (IDLE_PART * max(1, len(self._shares))))

    def delivered(self, shard: Hashable, count: int) -> None:
        """Count messages that came."""
        self.buffered += count
        share = self._shares.get(shard)
        if share is None:
            return
        share.used += count
        share.outstanding = left = max(0, share.outstanding - count)
        if 2 * left <= share.target:
            self._thirsty = True

    def taken(self, count: int = 1) -> None:
        """Count messages that left the buffer, and grant more when enough is free."""
        self.buffered -= count
        self._freed += count
        if self._thirsty and (4 * self._freed >= self.window or self.buffered <= 0):
            self.settle()

    def settle(self) -> None:
        """Share out the window anew."""
        self._freed = 0
        self._thirsty = False
        shares = self._shares
        if not shares:
            return
        for share in shares.values():
            share.heat = share.heat / 2 + share.used
            share.used = 0
        floor = self._floor() if self.window else 0
        total = sum(share.heat for share in shares.values())
        spare = max(0, self.window - self.buffered - floor * len(shares))
        for share in shares.values():
            part = share.heat / total if total else 1 / len(shares)
            share.target = floor + int(spare * part)
        self._take_back()
        self._give()

    def _take_back(self) -> None:
        for shard, share in self._shares.items():
            excess = share.outstanding - share.target
            if excess > share.target:
                share.outstanding -= excess
                self._grant(shard, -excess)

    def _give(self) -> None:
        free = self.window - self.buffered - sum(s.outstanding for s in self._shares.values())
        least = 1 if self.buffered <= 0 else 0  # a shard with nothing would never be heard again
        for shard, share in sorted(self._shares.items(), key=lambda each: -each[1].heat):
            missing = share.target - share.outstanding
            if 2 * share.outstanding > share.target or missing <= 0:
                continue
            more = min(missing, max(free, least if share.outstanding == 0 else 0))
            if more > 0:
                share.outstanding += more
                free -= more
                self._grant(shard, more)
