"""A grant: what is held. Not the lock object, not the task, not the thread: the grant.

It may be handed to another task; it knows its fencing token; and it tells when it is lost.

States: HELD -> LOST | RELEASED. ``AT_RISK`` is shown while keep-alives fail: the grant is still
held as far as anybody can know, and a careful user waits with ``safe()``.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from math import inf
from typing import Literal

from synaxis.client.calls import CallRequest
from synaxis.client.clock import now
from synaxis.client.lock_options import Mode, checked, wait_milliseconds
from synaxis.client.session import FRESH_S, Session
from synaxis.effects import Refused
from synaxis.errors import (
    LockLost,
    LockNotHeld,
    SessionExpired,
    SynaxisError,
    error_from_wire,
)
from synaxis.ids import FencingToken
from synaxis.locks.commands import (
    Acquire,
    Convert,
    Done,
    Granted,
    LockMode,
    Release,
    SetValue,
)
from synaxis.wire.client import AdminAnswer, Answer, KeptAlive

__all__ = ["Grant", "GrantState", "OnLoss", "released"]

log = logging.getLogger(__name__)

OnLoss = Literal["cancel", "event"] | Callable[[LockLost], object]
"""What a loss does: cancel the body, only set ``lost``, or also call this."""

REASONS = ("client_closed", "force_released", "max_hold", "not_confirmed", "session_expired")
"""Values of ``LockLost.reason``."""
MAX_HOLD_WARNING = 0.8
"""Part of ``max_hold`` after which the holder is warned by a log line."""


class GrantState(StrEnum):
    """See the module."""

    PENDING = "pending"
    HELD = "held"
    AT_RISK = "at_risk"
    LOST = "lost"
    RELEASED = "released"


class Grant:
    """Names held together under one fencing token."""

    __slots__ = (
        "_body",
        "_cancelled",
        "_event",
        "_max_hold_at",
        "_mode",
        "_on_loss",
        "_reason",
        "_session",
        "_state",
        "_timeout_s",
        "_timers",
        "again",
        "at",
        "names",
        "token",
    )

    names: tuple[str, ...]
    token: FencingToken
    """The fencing token: hand it to whatever the lock protects, so that it can refuse the past."""
    at: int
    """Log time of the grant, in milliseconds."""

    def __init__(
        self, session: Session, command: Acquire, on_loss: OnLoss, timeout_s: float
    ) -> None:
        self.names = command.names
        self.token = FencingToken(0)
        self._mode = command.mode
        self._session = session
        self._on_loss = on_loss
        self._timeout_s = timeout_s
        self._state = GrantState.PENDING
        self._reason = ""
        self._body: asyncio.Task[object] | None = None
        self._cancelled = False
        self._event: asyncio.Event | None = None
        self.again: Grant | None = None
        self._max_hold_at = inf
        self._timers: list[asyncio.TimerHandle] | None = None

    def __repr__(self) -> str:
        return f"<Grant {', '.join(self.names)} token={self.token} {self.state}>"

    # --- what it is -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name, when there is but one; else the first."""
        return self.names[0]

    @property
    def mode(self) -> Mode:
        """How it is held."""
        return "shared" if self._mode is LockMode.SHARED else "exclusive"

    @property
    def session_id(self) -> int:
        """The session that holds it."""
        return self._session.id

    @property
    def state(self) -> GrantState:
        """What can be known without I/O."""
        if self._state is GrantState.HELD:
            moment = now()
            if moment >= self.valid_until:
                return GrantState.LOST
            if moment >= self._session.at_risk_at:
                return GrantState.AT_RISK
        return self._state

    @property
    def held(self) -> bool:
        """Whether nothing has ended it yet, as far as we were told."""
        return self._state is GrantState.HELD

    @property
    def valid_until(self) -> float:
        """Until when it may be believed in if nothing more is heard (``clock.now`` seconds)."""
        return min(self._session.lost_at, self._max_hold_at)

    @property
    def remaining(self) -> float:
        """Seconds until ``valid_until``; 0 when it is lost or released."""
        return max(0.0, self.valid_until - now()) if self._state is GrantState.HELD else 0.0

    @property
    def lost(self) -> asyncio.Event:
        """Set when the grant is lost (not when it is released)."""
        if self._event is None:
            self._event = asyncio.Event()
            if self._state is GrantState.LOST:
                self._event.set()
        return self._event

    def share_lost(self, event: asyncio.Event) -> None:
        """Set ``event`` when this grant is lost, so that several grants can share one."""
        if self._event is None:
            self._event = event
        if self._state is GrantState.LOST:
            event.set()

    def ensure(self) -> None:
        """Check that the lock is held, by the clock, without I/O: also when the loop was blocked.

        Raises:
            LockLost: it is not, or that can no longer be known.
            LockNotHeld: it was released.
        """
        if self._state is GrantState.HELD and now() < self.valid_until:
            return
        if self._state is GrantState.RELEASED:
            raise LockNotHeld(f"{self.name} was released", token=self.token)
        raise self.loss()

    async def safe(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # of the wait itself
        """Wait until the cluster has confirmed, just now, that the lock is held.

        Returns at once when the last confirmation is younger than a second.

        Raises:
            LockLost: it is not held any more.
            SynaxisError: no confirmation within ``timeout`` seconds (default: the client's).
        """
        self.ensure()
        moment = now()
        deadline = moment + (self._timeout_s if timeout is None else timeout)
        try:
            await self._session.confirmed(deadline, moment - FRESH_S)
        except SessionExpired as error:
            raise self.loss() from error
        self.ensure()

    # --- what can be done with it -----------------------------------------------------------

    async def release(self) -> bool:
        """Give it back. Safe to repeat; goes on in the background if the caller is cancelled.

        Returns:
            Whether it was still held: False if it had been released or lost before.

        Raises:
            OutcomeUnknown: no answer in time. The release is retried for the session's life.
        """
        request = self.begin_release()
        if request is None:
            return False
        return released(await request.future)

    def begin_release(self) -> CallRequest | None:
        """Send the release; None if there is nothing to release."""
        if self._state is not GrantState.HELD:
            return None
        self._leave(GrantState.RELEASED)
        session = self._session
        request = _ReleaseRequest(session, self.token, now() + self._timeout_s)
        session.router.send(request)
        return request

    async def upgrade(self, wait: float | None = None) -> None:
        """Turn a shared grant into an exclusive one, ahead of those who wait; a new token.

        Raises:
            LockTimeout: others still share it after ``wait`` seconds; it stays shared.
            DeadlockError: another holder upgrades too; it stays shared.
            LockLost: it is not held any more.
        """
        await self._convert(LockMode.EXCLUSIVE, wait)

    async def downgrade(self) -> None:
        """Turn an exclusive grant into a shared one, at once.

        Raises:
            LockLost: it is not held any more.
        """
        await self._convert(LockMode.SHARED, None)

    async def set_value(self, value: bytes) -> None:
        """Change what observers see beside the grant.

        Raises:
            LockLost: it is not held any more.
        """
        self.ensure()
        command = checked(SetValue(self.token, value))
        request = self._session.call(command, now() + self._timeout_s)
        body = await request.future
        if isinstance(body, Refused):
            raise self._refusal(body)

    async def _convert(self, mode: LockMode, wait: float | None) -> None:
        self.ensure()
        deadline = inf if wait is None else now() + wait + self._timeout_s
        request = _ConvertRequest(self, mode, wait_milliseconds(wait), deadline)
        self._session.router.send(request)
        try:
            body = await request.future
        except asyncio.CancelledError:
            self._session.abandon(request)
            raise
        if isinstance(body, Refused):
            raise self._refusal(body)
        self.ensure()

    def _refusal(self, body: Refused) -> SynaxisError:
        error = error_from_wire(body.code, body.message, body.details)
        if isinstance(error, LockNotHeld) and self._state is GrantState.HELD:
            self.lose("force_released")
        return self.loss() if self._state is GrantState.LOST else error

    # --- what happens to it -----------------------------------------------------------------

    def granted(self, body: Granted, max_hold_ms: int, sent_at: float) -> None:
        """Take the news that it is held now."""
        self._state = GrantState.HELD
        self.token = body.token
        self.at = body.at
        grants = self._session.grants
        other = grants.get(body.token)
        if isinstance(other, Grant):  # re-entered: one token, held twice
            self.again = other
        grants[body.token] = self
        if max_hold_ms:
            self._limit(max_hold_ms / 1000, sent_at)

    def _limit(self, max_hold_s: float, sent_at: float) -> None:
        moment = now()
        # The cluster counts from the grant, which came before its news did.
        on_the_way = min(moment - sent_at, self._session.round_trip_s)
        self._max_hold_at = moment - on_the_way + max_hold_s
        call_later = asyncio.get_running_loop().call_later
        self._timers = [
            call_later(max_hold_s * MAX_HOLD_WARNING, self._warn, max_hold_s),
            call_later(max(0.0, self._max_hold_at - moment), self.lose, "max_hold"),
        ]

    def _warn(self, max_hold_s: float) -> None:
        log.warning("%r has used most of its max_hold of %s s", self, max_hold_s)

    def converted(self, body: Granted, mode: LockMode) -> None:
        """Take the news that it is held in another mode, under the token of ``body``."""
        if self._state is not GrantState.HELD:
            return
        grants = self._session.grants
        if grants.get(self.token) is self:
            del grants[self.token]
        self.token = body.token
        self._mode = mode
        grants[body.token] = self

    def lose(self, reason: str) -> None:
        """Take the news that it is held no longer.

        ``reason`` is one of ours or, after a forced release, what its author wrote.
        """
        if self._state is not GrantState.HELD:
            return
        session, sibling = self._session, self.again
        self._leave(GrantState.LOST)
        self._reason = reason
        if self._event is not None:
            self._event.set()
        if reason in ("not_confirmed", "max_hold"):
            # The cluster may still take it for held.
            session.router.send(_ReleaseRequest(session, self.token, inf))
        if callable(self._on_loss):
            asyncio.get_running_loop().call_soon(self._on_loss, self.loss())
        elif self._on_loss == "cancel" and self._body is not None:
            self._cancelled = True
            self._body.cancel()
        if sibling is not None:
            sibling.lose(reason)

    def loss(self) -> LockLost:
        """Return the error that tells of the loss."""
        reason = self._reason or ("max_hold" if now() >= self._max_hold_at else "not_confirmed")
        message = f"{self.name} is held no longer ({reason})"
        if reason not in REASONS:
            reason = "force_released"
        return LockLost(message, token=self.token, reason=reason)

    def _leave(self, state: GrantState) -> None:
        self._state = state
        if self._timers is not None:
            for timer in self._timers:
                timer.cancel()
        self._unlink()

    def _unlink(self) -> None:
        """Take this grant out of the chain of grants under one token."""
        grants = self._session.grants
        head = grants.pop(self.token, None)
        if head is self and self.again is None:
            return
        chain: list[Grant] = []
        each = head
        while isinstance(each, Grant):
            if each is not self:
                chain.append(each)
            each = each.again
        for one, following in zip(chain, [*chain[1:], None], strict=True):
            one.again = following
        if chain:
            grants[self.token] = chain[0]

    # --- the body that it protects ----------------------------------------------------------

    def protect(self, body: "asyncio.Task[object] | None") -> None:
        """Name the task that a loss cancels; None when the body has ended."""
        self._body = body

    def unprotect(self) -> "asyncio.Task[object] | None":
        """Forget the body; return its task if the loss cancelled it, which must be taken back."""
        body, self._body = self._body, None
        return body if self._cancelled else None


class _ConvertRequest(CallRequest):
    """Gives the grant its new token while the answer is dispatched."""

    __slots__ = ("grant", "mode")

    def __init__(self, grant: Grant, mode: LockMode, wait_ms: int, deadline: float) -> None:
        command = Convert(grant.token, mode, wait_ms)
        super().__init__(grant._session, command, deadline, undoable=True)  # noqa: SLF001  # same module
        self.grant = grant
        self.mode = mode

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Take the new token, unless the conversion is being undone."""
        assert isinstance(message, Answer)
        body = message.body
        if type(body) is Granted and not self.abandoned:
            self.grant.converted(body, self.mode)
        super().answered(message)


class _ReleaseRequest(CallRequest):
    """Is retried for as long as the session lives: a lock must not stay behind."""

    __slots__ = ()

    def __init__(self, session: Session, token: FencingToken, deadline: float) -> None:
        super().__init__(session, Release(token), deadline, persistent=True)


def released(body: object) -> bool:
    """Return whether the released token was still held.

    Raises:
        SynaxisError: the cluster refused.
    """
    if isinstance(body, Done):
        return body.changed
    assert isinstance(body, Refused)
    if body.code == SessionExpired.code:
        return False
    raise error_from_wire(body.code, body.message, body.details)
