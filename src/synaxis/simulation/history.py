"""What the clients saw, and what the machines did: the two sides that the checkers compare."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from synaxis.ids import LogTime, Sequence, SessionId

__all__ = ["HistoryViolation", "MachineCall", "MachineCallKind", "Operation"]


class HistoryViolation(AssertionError):
    """The history cannot have happened in a correct cluster."""


@dataclass(slots=True)
class Operation:
    """One request of one client, from its first attempt to its answer."""

    client: str
    session: SessionId
    sequence: Sequence
    """0 for questions, which are not in the log."""
    request: Any
    called_us: int
    returned_us: int | None = None
    """None: the outcome is unknown to the client."""
    index: int = 0
    """Log position of the answer; 0: the answer does not come from the log."""
    rank: int = 0
    body: msgspec.Struct | None = None
    position: int = -1
    """Questions: how many machine calls the answer had seen."""
    stale: bool = False
    """Asked for without linearizability."""


class MachineCallKind(IntEnum):
    """Which method of the state machine was called."""

    ADVANCE = 0
    APPLY = 1
    END_SESSION = 2


@dataclass(slots=True)
class MachineCall:
    """One call that every replica's machine received at the same place in its life."""

    kind: MachineCallKind
    session: SessionId
    sequence: Sequence
    command: msgspec.Struct | None
    now: LogTime
    reply: msgspec.Struct | None
    outcomes: list[tuple[SessionId, Sequence, msgspec.Struct]]
    """Late replies that this call decided, in order."""
    time_us: int
    """When the first replica made the call."""

    def same_call(self, other: "MachineCall") -> bool:
        """Return whether ``other`` is the same input with the same output."""
        return (
            self.kind == other.kind
            and self.session == other.session
            and self.sequence == other.sequence
            and self.now == other.now
            and self.command == other.command
            and self.reply == other.reply
            and self.outcomes == other.outcomes
        )
