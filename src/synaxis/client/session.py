"""A session: the life in one group of everything that this client holds there.

Commands of a session carry a sequence, by which the cluster applies each once however often it
arrives. Keep-alives prove that the session lives; the client counts the lease from the moment of
*sending* and believes in it for two thirds of the TTL, so that it stops believing before the
cluster does, whatever the clocks and the network do meanwhile.

States: NEW -> OPENING -> OPEN -> ENDED. An ended session is never revived; the next use of the
group opens another one.

Sources: Ongaro, thesis 6.3; Gray and Cheriton, "Leases" (1989).
"""

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum
from math import inf
from typing import Protocol

from synaxis.client.calls import AbandonRequest, CallRequest, Command
from synaxis.client.clock import now
from synaxis.client.requests import Carrier, Request
from synaxis.client.routing import RETRIED_CODES, Router
from synaxis.consensus.commands import CloseSession, OpenSession, SessionOpened
from synaxis.effects import Refused
from synaxis.errors import ConnectionFailed, SessionExpired, SynaxisError, error_from_wire
from synaxis.ids import FencingToken, GroupId, Sequence, SessionId
from synaxis.wire.client import (
    AdminAnswer,
    Answer,
    Call,
    ClientMessage,
    Failure,
    KeepAlive,
    KeptAlive,
    Submission,
)

__all__ = ["BELIEF", "FRESH_S", "Losable", "Session", "SessionState"]

log = logging.getLogger(__name__)

BELIEF = 2 / 3
"""Part of the TTL during which the client believes in its session without hearing anything."""
KEEP_ALIVE_EVERY = 1 / 3
"""Part of the TTL after which the next keep-alive is due."""
AT_RISK = 0.45
"""Part of the TTL without confirmation after which a keep-alive must have failed."""
FRESH_S = 1.0
"""``Grant.safe`` wants a confirmation no older than this."""


class SessionState(IntEnum):
    """See the module."""

    NEW = 0
    OPENING = 1
    OPEN = 2
    ENDED = 3


class Losable(Protocol):
    """What a session holds: a grant."""

    def lose(self, reason: str) -> None:
        """Take the news that it is held no longer."""
        ...


class _OpenRequest(Request):
    """Creates the session; repeating it is harmless, so the lease counts from the first try."""

    __slots__ = ("sent_at", "session")

    def __init__(self, session: "Session") -> None:
        super().__init__(session.group, inf)
        self.session = session
        self.sent_at = 0.0

    def message(self, number: int) -> ClientMessage:
        """Return the Call, outside the sequence of commands."""
        self.sent_at = self.sent_at or now()
        session = self.session
        command = OpenSession(session.ttl_ms, session.owner)
        submission = Submission(session.id, Sequence(0), Sequence(0), command)
        return Call(number, self.group, submission)

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Open the session."""
        body = message.body  # type: ignore[union-attr]  # Calls are answered by Answer only
        if isinstance(body, SessionOpened):
            self.session.opened(body.ttl_ms, self.sent_at)
        elif isinstance(body, Refused) and body.code in RETRIED_CODES:
            self.session.router.refused(self, Failure(0, body.code, body.message, body.details))
        elif isinstance(body, Refused):
            self.failed(error_from_wire(body.code, body.message, body.details))

    def failed(self, error: SynaxisError) -> None:
        """Give the refusal to everyone who waits for the session."""
        self.session.refused(error)


class _KeepAliveRequest(Request):
    """The proof that a session lives. It has no deadline: the next one replaces it."""

    __slots__ = ("sent_at", "session")

    def __init__(self, session: "Session") -> None:
        super().__init__(session.group, inf)
        self.session = session
        self.sent_at = 0.0

    def message(self, number: int) -> ClientMessage:
        """Return the KeepAlive and note when it left: the lease is counted from there."""
        self.sent_at = now()
        return KeepAlive(number, self.group, self.session.id)

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Renew the session, or end it."""
        assert isinstance(message, KeptAlive)
        self.session.kept_alive(self, alive=message.alive)

    def failed(self, error: SynaxisError) -> None:
        """Try again at the next tick."""
        self.session.keep_alive_failed(error)

    def wanted(self) -> bool:
        """For as long as the session lives."""
        return self.session.state is SessionState.OPEN


class Session:
    """See the module. All times are seconds of ``clock.now``."""

    __slots__ = (
        "_above",
        "_acked",
        "_keep_alive",
        "_keep_alive_at",
        "_last_sequence",
        "_news",
        "_opening",
        "_spoke_to",
        "_waiting",
        "at_risk_at",
        "confirmed_at",
        "grants",
        "group",
        "id",
        "lost_at",
        "owner",
        "round_trip_s",
        "router",
        "state",
        "ttl_ms",
        "when_over",
    )

    def __init__(
        self, router: Router, group: GroupId, number: SessionId, ttl_ms: int, owner: str
    ) -> None:
        self.router = router
        self.group = group
        self.id = number
        self.ttl_ms = ttl_ms
        self.owner = owner
        self.state = SessionState.NEW
        self.grants: dict[FencingToken, Losable] = {}
        self.confirmed_at = -inf
        """When the last keep-alive that was answered had been sent."""
        self.when_over: dict[object, Callable[[], object]] = {}
        """Who else must know when the session has ended."""
        self.lost_at = -inf
        """From then on nothing that the session holds may be believed in."""
        self.at_risk_at = -inf
        self.round_trip_s = 0.0
        self._last_sequence = 0
        self._acked = 0
        self._above: set[int] = set()
        self._news: list[Sequence] = []
        self._waiting: list[_Wait] = []
        self._opening: _OpenRequest | None = None
        self._keep_alive: _KeepAliveRequest | None = None
        self._spoke_to: Carrier | None = None
        self._keep_alive_at = inf

    # --- commands ---------------------------------------------------------------------------

    def number(self, command: Command) -> Submission:
        """Give ``command`` the next sequence, and say with it what has been seen."""
        sequence = self._last_sequence = self._last_sequence + 1
        above: tuple[Sequence, ...] = ()
        if self._news:
            acked = self._acked
            above = tuple(seen for seen in self._news if seen > acked)
            self._news.clear()
        return Submission(self.id, Sequence(sequence), Sequence(self._acked), command, above)

    def call(self, command: Command, deadline: float, *, undoable: bool = False) -> CallRequest:
        """Send a command; the session must be open."""
        request = CallRequest(self, command, deadline, undoable=undoable)
        self.router.send(request)
        return request

    def seen(self, sequence: int) -> None:
        """Note that the reply to ``sequence`` has come, or will never be asked for."""
        if sequence == self._acked + 1:
            self._acked = sequence
            while self._above and self._acked + 1 in self._above:
                self._acked += 1
                self._above.discard(self._acked)
        elif sequence > self._acked:
            self._above.add(sequence)
            self._news.append(Sequence(sequence))

    def abandon(self, request: CallRequest) -> None:
        """Undo a command that nobody waits for any more."""
        if request.abandoned or request.settled or self.state is SessionState.ENDED:
            return
        request.abandoned = True
        if request.attempts == 0:
            request.settled = True
            self.router.forget(request)
            self.seen(request.sequence)
            return
        # The target stays open ahead of its Abandon: should both have to move to another node,
        # they arrive there in this order, and no late copy of the target finds its way past.
        request.deadline = inf
        self.router.send(AbandonRequest(self, request))

    # --- life -------------------------------------------------------------------------------

    async def ready(self, deadline: float) -> None:
        """Wait until the session is open, opening it if need be.

        Raises:
            SynaxisError: the cluster refused, or could not be reached before ``deadline``.
        """
        if self.state is SessionState.NEW:
            self.state = SessionState.OPENING
            self._opening = _OpenRequest(self)
            self.router.send(self._opening)
        await self._wait(deadline, lambda: self.state is SessionState.OPEN)

    async def confirmed(self, deadline: float, since: float) -> None:
        """Wait until the cluster has confirmed the session by a keep-alive sent after ``since``.

        Raises:
            SessionExpired: it is over.
            SynaxisError: the cluster could not be reached before ``deadline``.
        """
        if self.confirmed_at < since:
            self._keep_alive_at = -inf
            self.tick(now())
            await self._wait(deadline, lambda: self.confirmed_at >= since)

    async def _wait(self, deadline: float, fulfilled: Callable[[], bool]) -> None:
        while not fulfilled():
            if self.state is SessionState.ENDED:
                raise SessionExpired("the session has ended")
            wait = _Wait(asyncio.get_running_loop().create_future(), deadline)
            self._waiting.append(wait)
            try:
                await wait.future
            finally:
                if wait in self._waiting:
                    self._waiting.remove(wait)

    def _wake(self, error: SynaxisError | None = None) -> None:
        waiting, self._waiting = self._waiting, []
        for wait in waiting:
            wait.settle(error)

    def opened(self, ttl_ms: int, sent_at: float) -> None:
        """Take the news that the session exists."""
        if self.state is not SessionState.OPENING:
            return
        self.state = SessionState.OPEN
        self.ttl_ms = ttl_ms
        self._confirm(sent_at)
        self._wake()

    def refused(self, error: SynaxisError) -> None:
        """Take the news that the cluster does not want the session."""
        self.state = SessionState.ENDED
        self._wake(error)

    def kept_alive(self, request: _KeepAliveRequest, *, alive: bool) -> None:
        """Take the answer to a keep-alive."""
        if request is not self._keep_alive:
            return
        self._keep_alive = None
        if not alive:
            self.end("session_expired")
            return
        self._confirm(request.sent_at)
        self._wake()

    def keep_alive_failed(self, error: SynaxisError) -> None:
        """Take the news that a keep-alive was refused for good."""
        log.warning("keep-alive of session %016x refused: %s", self.id, error)
        self._keep_alive = None
        if isinstance(error, SessionExpired):
            self.end("session_expired")

    def _confirm(self, sent_at: float) -> None:
        ttl_s = self.ttl_ms / 1000
        self.round_trip_s = now() - sent_at
        self.confirmed_at = sent_at
        self.lost_at = sent_at + ttl_s * BELIEF
        self.at_risk_at = sent_at + ttl_s * AT_RISK
        self._keep_alive_at = sent_at + ttl_s * KEEP_ALIVE_EVERY

    def tick(self, moment: float) -> None:
        """Do what is due: keep-alive, loss, and the deadlines of those who wait for us."""
        for wait in [each for each in self._waiting if each.deadline <= moment]:
            self._waiting.remove(wait)
            wait.settle(self._trouble())
        if self.state is not SessionState.OPEN:
            return
        leader = self.router.leader(self.group)
        if leader is not self._spoke_to and leader is not None and self.grants:
            self._keep_alive_at = -inf  # it tells of losses to whom it has heard of
        if moment >= self._keep_alive_at:
            self._spoke_to = leader
            if self._keep_alive is not None:  # a node that answers pings, but not this
                self.router.forget(self._keep_alive)
            self._keep_alive_at = moment + self.ttl_ms / 1000 * KEEP_ALIVE_EVERY
            self._keep_alive = _KeepAliveRequest(self)
            self.router.send(self._keep_alive)
        if moment >= self.lost_at and self.grants:
            log.warning("session %016x was not confirmed in time: its grants are lost", self.id)
            self._lose_all("not_confirmed")

    def _trouble(self) -> SynaxisError:
        """Return why the session is not open or not confirmed yet."""
        request = self._keep_alive or self._opening
        if request is None:
            return ConnectionFailed("the cluster did not confirm the session in time")
        return request.lateness()

    def _lose_all(self, reason: str) -> None:
        for grant in list(self.grants.values()):
            grant.lose(reason)
        self.grants.clear()

    def end(self, reason: str) -> None:
        """Take the news that the session is over: nothing is held, nothing waits."""
        if self.state is SessionState.ENDED:
            return
        self.state = SessionState.ENDED
        self._lose_all(reason)
        error = SessionExpired("the session has ended; whatever it held is released")
        for request in self.router.withdraw(self._owns):
            request.failed(error)
        self._wake(error)
        followers, self.when_over = self.when_over, {}
        for follower in followers.values():
            follower()

    def _owns(self, request: Request) -> bool:
        return (
            isinstance(request, CallRequest | _KeepAliveRequest | _OpenRequest)
            and request.session is self
        )

    async def close(self, deadline: float) -> None:
        """Tell the cluster that the session is over, if it can be told before ``deadline``."""
        if self.state is not SessionState.OPEN:
            self.end("client_closed")
            return
        request = self.call(CloseSession(), deadline)
        self._lose_all("client_closed")
        try:
            await request.future
        except SynaxisError as error:
            log.debug("session %016x will expire instead of being closed: %s", self.id, error)
        self.end("client_closed")


class _Wait:
    """Somebody who waits for the session itself."""

    __slots__ = ("deadline", "future")

    def __init__(self, future: "asyncio.Future[None]", deadline: float) -> None:
        self.future = future
        self.deadline = deadline

    def settle(self, error: SynaxisError | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)
