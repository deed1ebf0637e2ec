"""What the machine has decided and not yet told: late replies and events.

Events are not state: a machine that is restored or that nobody watches (``events_wanted`` is
False) decides the same.
"""

from typing import Any

import msgspec

from synaxis.effects import Outcome
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import Granted, LockEvent, LockEventType
from synaxis.locks.requests import Request

__all__ = ["Journal"]


class Journal:
    """Two lists that the replica drains after every command."""

    __slots__ = ("events", "events_wanted", "outcomes")

    def __init__(self) -> None:
        self.events: list[msgspec.Struct] = []
        self.events_wanted = True
        self.outcomes: list[Outcome] = []

    def answer(self, session: SessionId, sequence: Sequence, reply: msgspec.Struct) -> None:
        """Reply to a command that had to wait."""
        self.outcomes.append(Outcome(session, sequence, reply))

    def granted(self, request: Request, sequence: Sequence, now: LogTime) -> None:
        """Reply to a waiter that it is granted."""
        self.answer(request.session, sequence, Granted(request.token, now, request.holds))

    def note(
        self,
        what: LockEventType,
        request: Request,
        waited_ms: int = 0,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Report one event per name of ``request``."""
        if not self.events_wanted:
            return
        token: FencingToken = request.token
        for name in request.names:
            self.events.append(
                LockEvent(
                    what,
                    request.kind,
                    name,
                    request.session,
                    token,
                    request.mode,
                    waited_ms,
                    request.value,
                    details or {},
                )
            )

    def take_outcomes(self) -> list[Outcome]:
        """Drain the late replies."""
        taken, self.outcomes = self.outcomes, []
        return taken

    def take_events(self) -> list[msgspec.Struct]:
        """Drain the events."""
        taken, self.events = self.events, []
        return taken
