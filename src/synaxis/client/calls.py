"""The commands of a session on their way: sent, retried, settled, given up or undone."""

from math import inf
from typing import Protocol

from synaxis.caches.commands import Add, Clear, Put, Remove
from synaxis.client.requests import Request
from synaxis.client.routing import RETRIED_CODES, Router
from synaxis.consensus.commands import CloseSession
from synaxis.effects import Refused
from synaxis.errors import LimitExceeded, Overloaded, SessionExpired, SynaxisError
from synaxis.ids import GroupId
from synaxis.locks.commands import Abandon, LockCommand
from synaxis.queues.commands import QueueCommand
from synaxis.wire.client import (
    AdminAnswer,
    Answer,
    Call,
    ClientMessage,
    Failure,
    KeptAlive,
    Submission,
)

__all__ = ["AbandonRequest", "CacheWrite", "CallOwner", "CallRequest", "Command"]

CacheWrite = Put | Add | Remove | Clear
Command = LockCommand | QueueCommand | CacheWrite | CloseSession


class CallOwner(Protocol):
    """What a command needs from its session."""

    group: GroupId
    router: Router

    def number(self, command: Command) -> Submission:
        """Give ``command`` the next sequence."""
        ...

    def seen(self, sequence: int) -> None:
        """Note that the reply to ``sequence`` has come, or will never be asked for."""
        ...

    def abandon(self, request: "CallRequest") -> None:
        """Undo a command that nobody waits for any more."""
        ...

    def end(self, reason: str) -> None:
        """Take the news that the session is over."""
        ...


class CallRequest(Request):
    """A command of a session. It keeps its sequence for life."""

    __slots__ = (
        "abandoned",
        "persistent",
        "sequence",
        "session",
        "settled",
        "submission",
        "undoable",
    )

    def __init__(
        self,
        session: CallOwner,
        command: Command,
        deadline: float,
        *,
        undoable: bool = False,
        persistent: bool = False,
    ) -> None:
        super().__init__(session.group, deadline)
        self.session = session
        self.undoable = undoable
        """Given up, it is undone by an Abandon: a wait leaves its queue, a grant is given back."""
        self.persistent = persistent
        """Retried for the session's life even when its caller has stopped waiting."""
        self.abandoned = False
        self.settled = False
        self.submission = session.number(command)
        self.sequence = self.submission.sequence

    def message(self, number: int) -> ClientMessage:
        """Return the Call."""
        return Call(number, self.group, self.submission)

    @property
    def changes_state(self) -> bool:
        """A wait that is given up is undone, so only others leave a doubt."""
        return not self.undoable

    def wanted(self) -> bool:
        """Until it is settled: whoever stops waiting says so by abandoning."""
        return not self.settled

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Take the reply and note its sequence as seen."""
        body = message.body  # type: ignore[union-attr]  # Calls are answered by Answer only
        if type(body) is Refused and self._try_again(body):
            return
        self.settled = True
        self.session.seen(self.sequence)
        if type(body) is Refused and body.code == SessionExpired.code:
            self.session.end("session_expired")
        if not self.future.done():
            self.future.set_result(body)

    def _try_again(self, body: Refused) -> bool:
        code = body.code
        if self.persistent and code == LimitExceeded.code:
            code = Overloaded.code  # too many replies unacknowledged: that passes
        if code not in RETRIED_CODES:
            return False
        self.session.router.refused(self, Failure(0, code, body.message, body.details))
        return True

    def failed(self, error: SynaxisError) -> None:
        """Settle: the node refused it for good, or the session is over."""
        self.settled = True
        self.session.seen(self.sequence)
        super().failed(error)

    def expire(self) -> bool:
        """Stop the caller's wait; see ``undoable`` and ``persistent`` for what goes on."""
        Request.failed(self, self.lateness())
        if self.undoable:
            self.session.abandon(self)
        elif self.persistent:
            self.deadline = inf
        else:
            self.settled = True
            self.session.seen(self.sequence)
            return True
        return False


class AbandonRequest(CallRequest):
    """Undoes ``target``; both are over when this is answered."""

    __slots__ = ("target",)

    def __init__(self, session: CallOwner, target: CallRequest) -> None:
        self.target = target
        super().__init__(session, Abandon(target.sequence), inf, persistent=True)

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Forget the target too, should its own reply never come."""
        super().answered(message)
        target = self.target
        if self.settled and not target.settled:
            target.settled = True
            self.session.seen(target.sequence)
            self.session.router.forget(target)
