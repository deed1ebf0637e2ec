"""What a member and the node that leads its shard say to each other, on a numbered stream.

A stream stands for a connection: what is said arrives in order, or the stream is broken. Both
sides notice a gap in the numbers; the member then opens another stream and says what it holds.
"""

from typing import Any

import msgspec

from synaxis.ids import SessionId
from synaxis.queues.commands import Attach, Records
from synaxis.queues.questions import DeadLetter

__all__ = ["Delivered", "Hangup", "NodeStream", "PageRead", "Push", "Say"]


class Say(msgspec.Struct, frozen=True, gc=False):
    """From a member: an Attach at first, then Credit, Release, Extend, Detach."""

    stream: int
    serial: int
    session: SessionId
    message: Any


class Push(msgspec.Struct, frozen=True, gc=False):
    """To a member: Delivered, Assignment, Extended, or the Refused that ends the stream."""

    stream: int
    serial: int
    body: Any


class Hangup(msgspec.Struct, frozen=True, gc=False):
    """The stream is broken, as far as the sender knows."""

    stream: int


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """Messages with their bytes."""

    records: tuple[Records, ...]


class PageRead(msgspec.Struct, frozen=True, gc=False):
    """Answer to a browse, with the bytes."""

    records: tuple[Records, ...]
    dead: tuple[DeadLetter, ...]
    next_offset: int


class NodeStream:
    """The node's end. It is the handle that the dispatcher knows the member by."""

    __slots__ = ("attach", "client", "heard", "number", "said", "session", "waiting")

    def __init__(self, client: str, number: int, session: SessionId, attach: Attach) -> None:
        self.client = client
        self.number = number
        self.session = session
        self.attach = attach
        self.heard = 0
        """Messages that have arrived."""
        self.said = 0
        self.waiting: list[Any] = []
        """What must not overtake a delivery whose bytes are being read."""
