"""How many messages each shard may send us before we ask for more. Pure.

The window is shared: what is buffered here plus what the shards may still send. Busy shards, those
that have delivered lately, share it evenly and are refilled in big steps; idle ones keep a little,
so that their first message need not wait for a question. A reclaim may cross with a delivery; the
books are then too low by what was under way, which mends itself when the shard uses up its credit.
"""

from collections.abc import Callable, Hashable

__all__ = ["CreditPool"]

IDLE_PART = 8
"""An idle shard keeps one in so many parts of its even share."""
IDLE_AFTER = 16
"""Settlements in which others delivered and a shard with credit did not, before it counts as idle:
more than fit into the time that a refill takes."""


class _Share:
    """One shard's part of the window."""

    __slots__ = ("outstanding", "quiet", "served", "target", "used")

    def __init__(self, outstanding: int) -> None:
        self.outstanding = outstanding
        """What the shard may still send, by our books."""
        self.target = outstanding
        """What it should have when nothing waits here."""
        self.served = 0
        """When it was refilled last, counted in refills."""
        self.used = False
        """Whether it has delivered since the last settlement."""
        self.quiet = 0
        """Settlements in which only others delivered, although it had credit."""


class CreditPool:
    """See the module. ``grant`` is called with what changes: (shard, more), negative for less."""

    def __init__(self, window: int, grant: Callable[[Hashable, int], None]) -> None:
        self.window = window
        self.buffered = 0
        self.total = 0
        """Messages that left the buffer so far."""
        self._grant = grant
        self._shares: dict[Hashable, _Share] = {}
        self._freed = 0
        self._refills = 0
        self._thirsty = False
        """Whether a shard has used up a quarter of its share, or more."""

    def open(self, shards: int, shard: Hashable) -> None:
        """Give ``shard``, one of ``shards``, its first share."""
        self._shares[shard] = _Share(max(1, self.window // shards) if self.window else 0)

    def resize(self, window: int) -> None:
        """Change the window; what is buffered beyond it stays."""
        self.window = window
        self._settle(shrink=True)

    def offer(self, shard: Hashable) -> int:
        """Return the credit for a new stream: it replaces what an older one had."""
        share = self._shares.get(shard)
        if share is None or not self.window:
            return 0
        share.outstanding = max(share.outstanding, self._floor())
        return share.outstanding

    def _floor(self) -> int:
        if not self.window:
            return 0
        return max(1, self.window // (IDLE_PART * max(1, len(self._shares))))

    def delivered(self, shard: Hashable, count: int) -> None:
        """Count messages that came."""
        self.buffered += count
        share = self._shares.get(shard)
        if share is None:
            return
        share.used = True
        share.outstanding = left = max(0, share.outstanding - count)
        if 4 * left <= 3 * share.target:
            self._thirsty = True

    def taken(self, count: int = 1) -> None:
        """Count messages that left the buffer, and grant more when enough is free."""
        self.buffered -= count
        self.total += count
        self._freed += count
        if self._thirsty and (2 * self._freed >= self.window or self.buffered <= 0):
            self._settle()

    # --- settlements ------------------------------------------------------------------------

    def _settle(self, *, shrink: bool = False) -> None:
        """Share out the window anew; ``shrink`` takes back from busy shards too."""
        self._freed = 0
        self._thirsty = False
        if not self._shares:
            return
        self._set_targets()
        for shard, share in self._shares.items():
            excess = share.outstanding - share.target
            if excess > 0 and (shrink or share.quiet >= IDLE_AFTER):
                share.outstanding -= excess
                self._grant(shard, -excess)
        self._refill()

    def _set_targets(self) -> None:
        shares, floor = self._shares.values(), self._floor()
        if any(share.used for share in shares):
            for share in shares:
                share.quiet = 0 if share.used or not share.outstanding else share.quiet + 1
                share.used = False
        busy = [share for share in shares if share.quiet < IDLE_AFTER] or list(shares)
        spare = max(0, self.window - floor * (len(self._shares) - len(busy)))
        for share in shares:
            share.target = floor
        for share in busy:
            share.target = max(floor, spare // len(busy))

    def _refill(self) -> None:
        """Refill shards that have used up a quarter, those first that have waited longest."""
        shares = self._shares
        free = self.window - self.buffered - sum(each.outstanding for each in shares.values())
        for shard, share in sorted(shares.items(), key=lambda each: each[1].served):
            if 4 * share.outstanding > 3 * share.target or share.target == 0:
                continue
            # With nothing at all a shard could never be heard again.
            least = 1 if self.buffered <= 0 and share.outstanding == 0 else 0
            more = min(share.target - share.outstanding, max(free, least))
            if more > 0:
                self._refills += 1
                share.served = self._refills
                share.outstanding += more
                free -= more
                self._grant(shard, more)
            self._thirsty |= 4 * share.outstanding <= 3 * share.target
