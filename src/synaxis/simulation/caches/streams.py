"""What cache agents, homes and clients send each other.

A stream stands for a connection: what is said arrives in order, or the stream is broken. Both sides
notice a gap in the numbers; the agent then opens another stream.
"""

from typing import Any

import msgspec

__all__ = ["Delegate", "Delegated", "Hangup", "HomeStream", "Say", "Tell"]


class Say(msgspec.Struct, frozen=True, gc=False):
    """From an agent to the home; an Attach at first."""

    stream: int
    serial: int
    message: Any


class Tell(msgspec.Struct, frozen=True, gc=False):
    """From the home to an agent; a Refused ends the stream."""

    stream: int
    serial: int
    message: Any


class Hangup(msgspec.Struct, frozen=True, gc=False):
    """The home's end of the stream is broken."""

    stream: int


class Delegate(msgspec.Struct, frozen=True, gc=False):
    """From a client to a node: let your agent do it."""

    id: int
    command: Any
    back: bool


class Delegated(msgspec.Struct, frozen=True, gc=False):
    """What came of it."""

    id: int
    outcome: Any


class HomeStream:
    """The home's end: the handle that it knows the agent by."""

    __slots__ = ("heard", "number", "place", "said")

    def __init__(self, place: str, number: int) -> None:
        self.place = place
        """The node or client where the agent lives."""
        self.number = number
        self.heard = 0
        """Messages that have arrived."""
        self.said = 0
