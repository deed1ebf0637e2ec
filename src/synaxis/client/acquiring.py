"""Waiting for a grant, and leaving nothing behind if it does not come."""

from math import inf

from synaxis.client.calls import CallRequest
from synaxis.client.clock import now
from synaxis.client.grants import Grant, OnLoss
from synaxis.client.session import FRESH_S, Session
from synaxis.effects import Refused
from synaxis.errors import error_from_wire
from synaxis.locks.commands import Acquire, Granted
from synaxis.wire.client import AdminAnswer, Answer, KeptAlive

__all__ = ["acquire"]


class _AcquireRequest(CallRequest):
    """Registers the grant while the answer is dispatched, so that its loss cannot overtake it."""

    __slots__ = ("grant", "max_hold_ms", "sent_at")

    def __init__(self, session: Session, command: Acquire, grant: Grant, deadline: float) -> None:
        super().__init__(session, command, deadline, undoable=True)
        self.grant = grant
        self.max_hold_ms = command.max_hold_ms
        self.sent_at = now() if command.max_hold_ms else 0.0

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Take the grant, unless it is being undone."""
        assert isinstance(message, Answer)
        body = message.body
        if type(body) is Granted and not self.abandoned:
            self.grant.granted(body, self.max_hold_ms, self.sent_at)
        super().answered(message)


async def acquire(
    session: Session, command: Acquire, wait: float | None, on_loss: OnLoss, timeout_s: float
) -> Grant:
    """Wait for a grant. Whatever goes wrong, nothing stays held or queued.

    Raises:
        LockTimeout, DeadlockError, LimitExceeded, InvalidArgument: the cluster said no.
        RequestTimeout, ConnectionFailed, NoQuorum: it said nothing in time.
        SessionExpired: the session ended while we waited.
        LockLost: it was lost before anything could be done under it.
    """
    deadline = inf if wait is None else now() + wait + timeout_s
    grant = Grant(session, command, on_loss, timeout_s)
    request = _AcquireRequest(session, command, grant, deadline)
    session.router.send(request)
    try:
        body = await request.future
        if now() >= session.lost_at and grant.held:  # granted while the lease was in doubt
            await session.confirmed(now() + timeout_s, now() - FRESH_S)
    except BaseException:
        session.abandon(request)
        grant.begin_release()
        raise
    if isinstance(body, Refused):
        raise error_from_wire(body.code, body.message, body.details)
    if not grant.held:
        raise grant.loss()
    return grant
