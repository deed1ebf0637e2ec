"""One batch on its way to its partition, through as many tries and sessions as it takes.

The cluster remembers (producer, sequence) beyond any session, so sending the batch again is safe,
and its answer tells where it is stored, whichever try stored it.
"""

from typing import Protocol

from synaxis.client.calls import CallRequest
from synaxis.client.clock import now
from synaxis.client.session import Session
from synaxis.effects import Refused
from synaxis.errors import (
    OutcomeUnknown,
    Overloaded,
    SessionExpired,
    SynaxisError,
    error_from_wire,
)
from synaxis.queues.commands import Publish, Published
from synaxis.wire.client import AdminAnswer, Answer, KeptAlive

__all__ = ["Flight", "FlightOwner"]


class FlightOwner(Protocol):
    """The lane that a batch flies in."""

    def session(self) -> Session | None:
        """Return the open session of the shard; None while it is being opened."""
        ...

    def later(self, delay_s: float) -> None:
        """Call ``resume`` after about ``delay_s``."""
        ...

    def landed(self, published: Published) -> None:
        """Take the news that the batch is stored."""
        ...

    def crashed(self, error: SynaxisError) -> None:
        """Take the news that nothing more will be tried."""
        ...


class Flight:
    """See the module."""

    __slots__ = ("command", "deadline", "owner", "request", "uncertain", "weight")

    def __init__(self, owner: FlightOwner, command: Publish, deadline: float) -> None:
        self.owner = owner
        self.command = command
        self.deadline = deadline
        batch = command.batch
        self.weight = len(batch.body) + 16 * batch.count
        self.request: _PublishRequest | None = None
        """The present try; None between tries."""
        self.uncertain = False
        """An earlier try may have stored the batch."""

    def resume(self) -> None:
        """Send the batch if it is not on its way already."""
        session = self.owner.session()
        if session is None or self.request is not None:
            return
        self.request = _PublishRequest(self, session)
        session.router.send(self.request)

    def answered(self, body: object) -> None:
        """Take what the log says."""
        self.request = None
        if isinstance(body, Published):
            self.owner.landed(body)
            return
        assert isinstance(body, Refused)
        error = error_from_wire(body.code, body.message, body.details)
        if isinstance(error, Overloaded):  # which says: not stored
            self.uncertain = False
            if now() + error.retry_after < self.deadline:
                # The refusal is what the log remembers for this try: the next one is another.
                self.owner.later(error.retry_after)
                return
        self.owner.crashed(error)

    def failed(self, error: SynaxisError, *, uncertain: bool) -> None:
        """Take the news that the present try will have no answer."""
        self.request = None
        self.uncertain |= uncertain
        if isinstance(error, SessionExpired) and now() < self.deadline:
            self.owner.later(0)
            return
        self.owner.crashed(self.verdict(error))

    def expire(self, trouble: SynaxisError) -> None:
        """Give up between two tries."""
        self.owner.crashed(self.verdict(trouble))

    def verdict(self, error: SynaxisError) -> SynaxisError:
        """Return what to tell the user instead of ``error``."""
        if self.uncertain and not isinstance(error, OutcomeUnknown):
            return OutcomeUnknown(f"the messages may or may not be stored: {error}")
        return error


class _PublishRequest(CallRequest):
    """One try, in one session."""

    __slots__ = ("flight", "weight")

    def __init__(self, flight: Flight, session: Session) -> None:
        super().__init__(session, flight.command, flight.deadline)
        self.flight = flight
        self.weight = flight.weight

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Settle this try. Unlike other commands it is never repeated under its sequence."""
        if self.settled:
            return
        assert isinstance(message, Answer)
        body = message.body
        self._settle()
        if type(body) is Refused and body.code == SessionExpired.code:
            self.session.end("session_expired")
            expired = SessionExpired(body.message)
            self.flight.failed(expired, uncertain=self.uncertain)
            return
        self.flight.answered(body)

    def failed(self, error: SynaxisError) -> None:
        """The session is over, or a node refused for good."""
        if not self.settled:
            self._settle()
            sent = self.uncertain or self.connection is not None
            self.flight.failed(error, uncertain=sent)

    def expire(self) -> bool:
        """Give up."""
        if not self.settled:
            error = self.lateness()
            self._settle()
            self.flight.failed(error, uncertain=False)
        return True

    def _settle(self) -> None:
        self.settled = True
        self.session.seen(self.sequence)
