"""Fencing tokens: numbers that only grow, whoever is asked and whatever was restarted.

A token is ``epoch << 40 | counter``. The counter is replicated with the lock table, so it
survives fail-over, restart and snapshots. The epoch is raised by the operator when a cluster is
restored from an old backup, whose counter would otherwise run backwards.

Invariant: each token is higher than every token issued before; all are below 2**53, so that JSON
readers with 64-bit floats keep them exact.
"""

from synaxis.errors import ConfigError
from synaxis.ids import FencingToken

__all__ = ["EPOCH_MAX", "EPOCH_SHIFT", "TOKEN_LIMIT", "FencingTokens"]

EPOCH_SHIFT = 40
TOKEN_LIMIT = 2**53
EPOCH_MAX = (TOKEN_LIMIT >> EPOCH_SHIFT) - 1


class FencingTokens:
    """The replicated counter. ``last`` is the highest token issued so far.

    2**40 grants of one epoch run over into the next; that keeps the order.
    """

    __slots__ = ("last",)

    def __init__(self, epoch: int) -> None:
        if not 1 <= epoch <= EPOCH_MAX:
            raise ConfigError(f"epoch is {epoch}; it must be from 1 to {EPOCH_MAX}")
        self.last = epoch << EPOCH_SHIFT

    def issue(self) -> FencingToken:
        """Return a token that is higher than all before."""
        self.last += 1
        return FencingToken(self.last)

    def resume(self, last: int) -> None:
        """Continue behind ``last``, unless this cluster's epoch is already ahead of it."""
        self.last = max(self.last, last)
