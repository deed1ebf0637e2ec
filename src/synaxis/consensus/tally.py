"""What a replica counts for metrics; plain integers, because hot paths add to them."""

import msgspec

__all__ = ["ReplicaTally"]


class ReplicaTally(msgspec.Struct):
    """What happened here; sessions are counted by the leader only."""

    sessions_opened: int = 0
    sessions_expired: int = 0
    snapshots_taken: int = 0
    snapshots_installed: int = 0
    eras_begun: int = 0
    """How often a volatile group has lost everything while this replica ran."""
