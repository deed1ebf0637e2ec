"""Requests by which a member says what becomes of its messages."""

from math import inf
from typing import Protocol

from synaxis.client.calls import CallRequest
from synaxis.client.queues.message import Message
from synaxis.client.requests import Request
from synaxis.client.session import Session
from synaxis.effects import Refused
from synaxis.errors import OutcomeUnknown, SynaxisError, error_from_wire
from synaxis.queues.commands import Ack, Begin, Extend, Extended, Nack, Reject, Settled
from synaxis.wire.client import AdminAnswer, Answer, ClientMessage, KeptAlive, Member

__all__ = ["ExtendRequest", "SettleOwner", "SettleRequest"]


class SettleOwner(Protocol):
    """The tenure that a settlement belongs to."""

    def doubtful(self, messages: list[Message], error: SynaxisError) -> None:
        """No answer in time; the settlement goes on."""
        ...

    def answered(self, request: "SettleRequest", outcome: Settled | SynaxisError) -> None:
        """Take the answer."""
        ...


class SettleRequest(CallRequest):
    """An Ack, Nack or Reject; goes on for as long as its session lives."""

    __slots__ = ("command", "messages", "owner", "weight")

    def __init__(
        self,
        owner: SettleOwner,
        session: Session,
        command: Ack | Nack | Reject,
        messages: list[Message],
        deadline: float,
    ) -> None:
        super().__init__(session, command, deadline, persistent=True)
        self.owner = owner
        self.command = command
        self.messages = messages
        self.weight = 16 * len(command.parts)

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Pass on the verdict."""
        was_settled = self.settled
        super().answered(message)
        if was_settled or not self.settled:
            return
        assert isinstance(message, Answer)
        body = message.body
        if isinstance(body, Settled):
            self.owner.answered(self, body)
        elif isinstance(body, Refused):
            error = error_from_wire(body.code, body.message, body.details)
            self.owner.answered(self, error)

    def failed(self, error: SynaxisError) -> None:
        """The session is over, or a node refused for good."""
        was_settled = self.settled
        super().failed(error)
        if not was_settled:
            self.owner.answered(self, error)

    def expire(self) -> bool:
        """Tell those who wait, and go on."""
        self.deadline = inf
        doubt = "no answer in time: the settlement goes on in the background"
        self.owner.doubtful(self.messages, OutcomeUnknown(doubt))
        return False


class ExtendRequest(Request):
    """Asks the leader to keep or note leases; the answer proves that all before it has arrived."""

    __slots__ = ("session", "wanted_by")

    def __init__(self, session: Session, wanted: Extend | Begin, deadline: float) -> None:
        super().__init__(session.group, deadline)
        self.session = session
        self.wanted_by = wanted

    def message(self, number: int) -> ClientMessage:
        """Return the question."""
        return Member(number, self.group, self.session.id, self.wanted_by)

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Take the answer."""
        assert isinstance(message, Answer)
        body = message.body
        if self.future.done():
            return
        if isinstance(body, Extended):
            self.future.set_result(body)
        elif isinstance(body, Refused):
            self.failed(error_from_wire(body.code, body.message, body.details))
