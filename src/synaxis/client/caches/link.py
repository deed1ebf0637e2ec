"""The client's agent at one shard, and its stream to whoever leads the shard.

The stream is a request that is never settled: the router sends it to the leader and, when the
connection breaks, to the next one, each time as a new stream under the number of the request. What
the agent wants to say leaves in order on the connection of its stream, at the end of the turn.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import AgentMessage, Detached, Reserved
from synaxis.caches.commands import AgentId, AgentKind, Lookup, Readings
from synaxis.caches.line import Line
from synaxis.client.caches.context import Context
from synaxis.client.caches.near import Lease
from synaxis.client.clock import now
from synaxis.client.requests import Request
from synaxis.effects import Refused
from synaxis.errors import (
    ConnectionFailed,
    NoQuorum,
    NotLeader,
    RequestTimeout,
    SynaxisError,
    error_from_wire,
)
from synaxis.ids import GroupId, Instant
from synaxis.wire.client import Bus, Said

if TYPE_CHECKING:
    from synaxis.caches.local import Outcome

__all__ = ["HomeLink"]

log = logging.getLogger(__name__)

UNBOUNDED = AgentConfig(entries_max=1 << 62, bytes_max=1 << 62)
"""The near caches decide what is kept: their bounds hold over all shards."""
NAME_BYTES_MAX = 200
ATTACH_PATIENCE_S = 3.0
"""How long a node may take to answer Attach before the stream is begun anew."""
RETRY_FIRST_S = 0.02
RETRY_MAX_S = 2.0
RETRY_FACTOR = 1.8
IDLE_S = 30.0
"""A link that holds nothing and that nobody used for so long is given up until its next use."""


def _instant() -> Instant:
    return Instant(int(now() * 1000))


class _Stream(Request):
    """One attachment after the other; see the module."""

    __slots__ = ("link", "sent_at")

    def __init__(self, link: "HomeLink") -> None:
        super().__init__(link.group, inf)
        self.link = link
        self.sent_at = inf

    def message(self, number: int) -> Bus:
        """Return the Attach that opens stream ``number``."""
        self.sent_at = now()
        return Bus(number, self.group, self.link.introduction(number))

    def said(self, message: Said) -> None:
        """Pass on what the home says."""
        self.link.said(message)

    def interrupted(self) -> None:
        """Drop all lines at once: nobody tells us any more when they change."""
        self.link.interrupted()

    def failed(self, error: SynaxisError) -> None:
        """Take the news that no node wants the stream."""
        self.link.refused(self, error)

    def wanted(self) -> bool:
        """Whether it should be sent again."""
        return self.link.is_stream(self)


class _Wait:
    """Somebody who waits for the home."""

    __slots__ = ("deadline", "future", "key", "request")

    def __init__(self, key: str, deadline: float) -> None:
        self.key = key
        self.deadline = deadline
        self.request = 0
        """The number of a reservation; 0: a read."""
        self.future: asyncio.Future[Outcome | Reserved]
        self.future = asyncio.get_running_loop().create_future()

    def fail(self, error: SynaxisError) -> None:
        """Settle with an error."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # several may fail at once, and only the first is looked at


class HomeLink:
    """See the module. All times are seconds of ``clock.now``."""

    def __init__(
        self,
        context: Context,
        group: GroupId,
        changed: Callable[["HomeLink", Line], None],
    ) -> None:
        """``changed`` is told of each line that comes, or goes by what the home says."""
        self.group = group
        self.lease = Lease()
        """What lines of the present stream are believed under; each stream has its own."""
        number = AgentId(context.random.randrange(1, 1 << 63))
        shown = context.name.encode(errors="replace")[:NAME_BYTES_MAX].decode(errors="ignore")
        self.agent = Agent(number, AgentKind.SHARER, shown, UNBOUNDED)
        self.agent.watcher = lambda line: changed(self, line)
        self._context = context
        self._router = context.router
        self._stream: _Stream | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._trouble: SynaxisError | None = None
        self._waits: dict[_Wait, None] = {}
        self._used_at = now()

    @property
    def attached(self) -> bool:
        """Whether the home answers, so that a read is worth a try."""
        return now() < self.lease.until

    # --- what users want --------------------------------------------------------------------

    async def read(
        self, keys: Sequence[str], *, load: bool, deadline: float
    ) -> list[Readings | SynaxisError]:
        """Ask for lines; the outcomes are in the order of the keys.

        Raises:
            NoQuorum, ConnectionFailed, RequestTimeout: the home did not answer in time.
        """
        self._begin()
        moment = _instant()
        waits = [_Wait(key, deadline) for key in keys]
        for wait in waits:
            self._waits[wait] = None
            self.agent.call(Lookup((wait.key,), load), wait, moment)
        self._flush()
        outcomes: list[Readings | SynaxisError] = []
        try:
            for wait in waits:
                outcome = await wait.future
                if isinstance(outcome, Refused):
                    outcomes.append(error_from_wire(outcome.code, outcome.message, outcome.details))
                else:
                    assert isinstance(outcome, Readings)
                    outcomes.append(outcome)
        finally:
            for wait in waits:
                if self._waits.pop(wait, wait) is None:
                    self.agent.cancel(wait.key, wait)
        return outcomes

    async def reserve(self, key: str, *, renew: bool, timeout_s: float) -> Reserved:
        """Ask for the right to compute ``key``; others may be computing it for as long as they may.

        Raises:
            NoQuorum, ConnectionFailed: there was no home for ``timeout_s``.
        """
        self._begin()
        wait = _Wait(key, now() + timeout_s)
        self._waits[wait] = None
        wait.request = self.agent.reserve(key, wait, renew=renew)
        self._flush()
        try:
            reserved = await wait.future
        finally:
            if self._waits.pop(wait, wait) is None:
                self.agent.surrender(key, request=wait.request)
                self._flush()
        assert isinstance(reserved, Reserved)
        return reserved

    def surrender(self, key: str, token: int) -> None:
        """Give back a right that was not used."""
        self.agent.surrender(key, token=token)
        self._flush()

    # --- the stream -------------------------------------------------------------------------

    def _begin(self) -> None:
        self._context.check()
        self._used_at = now()
        if self._stream is None and self._retry is None:
            self._attach()

    def _attach(self) -> None:
        self._retry = None
        self._stream = _Stream(self)
        self._router.send(self._stream)

    def is_stream(self, stream: _Stream) -> bool:
        """Whether ``stream`` is the present one."""
        return stream is self._stream

    def introduction(self, number: int) -> AgentMessage:
        """Return what the agent says first on stream ``number``."""
        self.agent.attached_to(number, _instant())
        (attach,) = self.agent.take_messages()
        self._flush()
        return attach

    def said(self, message: Said) -> None:
        """Take what the home says."""
        self.agent.receive(message.stream, message.message, _instant())
        if isinstance(message.message, Detached):
            self._trouble = NotLeader(message.message.reason)
            self._begin_anew()
        elif self.agent.lease_until >= 0:
            self._failures = 0
            self._trouble = None
        self._flush()

    def interrupted(self) -> None:
        """The connection is gone; the router looks for the next home."""
        self.agent.detached()
        self._flush()

    def refused(self, stream: _Stream, error: SynaxisError) -> None:
        """Tell everybody who waits that no home will have us, and try again at the next use."""
        if stream is not self._stream:
            return
        self._stream = None
        self._trouble = error
        self.agent.detached()
        self._flush()
        self._fail_waits(error)

    def _begin_anew(self) -> None:
        """Attach again after a pause, longer each time in vain."""
        if self._stream is not None:
            self._router.forget(self._stream)
            self._stream = None
        self.agent.detached()
        self._flush()
        delay = min(RETRY_MAX_S, RETRY_FIRST_S * RETRY_FACTOR ** min(self._failures, 20))
        self._failures += 1
        delay *= self._context.random.uniform(0.5, 1.5)
        if self._retry is None and not self._context.closed:
            self._retry = asyncio.get_running_loop().call_later(delay, self._attach)

    def _flush(self) -> None:
        """Send what the agent has to say, settle who waited, follow the lease."""
        agent, stream = self.agent, self._stream
        messages = agent.take_messages()
        if messages and stream is not None and stream.connection is not None:
            write, number, group = stream.connection.write, stream.id, self.group
            for message in messages:
                write(Bus(number, group, message))
        for wait, outcome in agent.take_answers():
            self._waits.pop(wait, None)
            if not wait.future.done():
                wait.future.set_result(outcome)
        if agent.lease_until >= 0:
            self.lease.until = agent.lease_until / 1000
        elif self.lease.until > -inf:
            # Lines of the next stream must not revive those of this one.
            self.lease.until = -inf
            self.lease = Lease()

    # --- time -------------------------------------------------------------------------------

    def beat(self, moment: float) -> None:
        """Do what is due; call it ten times a second."""
        stream, agent = self._stream, self.agent
        if stream is not None:
            carrier = stream.connection
            leader = self._router.leader(self.group)
            streaming = agent.stream is not None
            agent.tick(Instant(int(moment * 1000)))
            expired = streaming and agent.stream is None
            moved = carrier is not None and leader is not None and leader is not carrier
            unanswered = agent.lease_until < 0 and moment - stream.sent_at > ATTACH_PATIENCE_S
            if expired or moved or (carrier is not None and unanswered):
                self._begin_anew()
            elif self._is_idle(moment):
                self.leave()
        self._sweep(moment)
        self._flush()

    def _is_idle(self, moment: float) -> bool:
        unused = moment - self._used_at > IDLE_S
        return unused and not self._waits and not self.agent.lines

    def _sweep(self, moment: float) -> None:
        usable = moment < self.lease.until
        for wait in list(self._waits):
            if usable and wait.request:
                wait.deadline = max(wait.deadline, moment + ATTACH_PATIENCE_S)
            elif wait.deadline <= moment:
                wait.fail(self._lateness(usable=usable))

    def _lateness(self, *, usable: bool) -> SynaxisError:
        """Return the error that says the most about why there was no answer in time."""
        if usable:
            return RequestTimeout("the home of the key did not answer in time")
        stream = self._stream
        trouble = self._trouble or (None if stream is None else stream.failure)
        if trouble is not None and not isinstance(trouble, NotLeader):
            return trouble
        if trouble is None and (stream is None or stream.connection is None):
            return ConnectionFailed("no node that could answer was reached in time")
        reason = "" if trouble is None else trouble.message
        return NoQuorum(f"no leader of the shard of the key answered in time: {reason or '-'}")

    # --- the end ----------------------------------------------------------------------------

    def leave(self) -> None:
        """Drop all lines and say so, so that no write has to wait for us."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        stream = self._stream
        if stream is not None:
            if self.agent.stream is not None:
                self.agent.leave()
                self._flush()
            self._stream = None
            self._router.forget(stream)
        self.agent.detached()
        self._flush()

    def close(self) -> None:
        """Leave for good."""
        self.leave()
        self._fail_waits(ConnectionFailed("the client was closed"))

    def _fail_waits(self, error: SynaxisError) -> None:
        for wait in list(self._waits):
            wait.fail(error)
