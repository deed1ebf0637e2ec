"""What a leader proposed and has not applied yet."""

import msgspec

from synaxis.consensus.commands import Batch
from synaxis.ids import Term

__all__ = ["Inflight"]


class Inflight(msgspec.Struct, gc=False):
    """A batch this replica proposed as leader, kept decoded until it is applied."""

    term: Term
    batch: Batch
    handles: list[object]
