"""A request of a simulated client, and what clients and nodes say to each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from synaxis.simulation.history import Operation

__all__ = ["Ask", "AskKind", "Pending", "Told"]


class AskKind:
    """What a client may ask of a node."""

    PROPOSE = 0
    QUERY = 1
    STALE_QUERY = 2
    KEEP_ALIVE = 3


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A request on its way to a node."""

    id: int
    kind: int
    payload: Any


class Told(msgspec.Struct, frozen=True, gc=False):
    """The answer. ``position`` is the simulator's own note: how many calls a read had seen."""

    id: int
    index: int
    rank: int
    body: msgspec.Struct
    position: int


@dataclass(slots=True, eq=False)
class Pending:
    """A request that is not answered yet, or its answer."""

    operation: Operation | None
    kind: int
    payload: Any
    id: int = 0
    first_sent_us: int = 0
    attempt: int = 0
    answered: bool = False
    body: msgspec.Struct | None = None
    when_answered: Callable[["Pending"], None] | None = None
