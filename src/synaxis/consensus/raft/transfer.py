"""Handing leadership over: at most one attempt at a time, bounded by an election timeout.

While an attempt runs the leader takes no proposals, so that the target can catch up and wins
at once. If the target does not take over in time, the leader simply goes on.

Sources: Ongaro, thesis 3.10.
"""

from synaxis.ids import Instant, NodeId

__all__ = ["Transfer"]


class Transfer:
    """The attempt under way, if any."""

    __slots__ = ("deadline", "is_asked", "target")

    def __init__(self) -> None:
        self.target: NodeId | None = None
        self.deadline = Instant(0)
        self.is_asked = False
        """Whether TimeoutNow left."""

    def start(self, target: NodeId, deadline: Instant) -> None:
        """Begin; given up at ``deadline``."""
        self.target = target
        self.deadline = deadline
        self.is_asked = False

    def clear(self) -> None:
        """End the attempt, won or not."""
        self.target = None
        self.is_asked = False
