"""What a member holds in one shard, from its Join until it leaves, is fenced, or its session ends.

A stream (Attach) brings messages while there is a leader; the router sends it to each new one,
with what is held by then. Settlements are commands of the session and go on until the cluster
has answered, also when their caller has stopped waiting: a message whose settlement was forgotten
would stay leased for as long as the member lives.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from math import inf
from typing import Protocol

from synaxis.client.clock import now
from synaxis.client.queues.checks import duration
from synaxis.client.queues.limits import LIMITS
from synaxis.client.queues.message import Message, Source, Waiter
from synaxis.client.queues.parts import inside, parts_of, unpack
from synaxis.client.queues.settling import ExtendRequest, SettleRequest
from synaxis.client.requests import Request
from synaxis.client.session import Session
from synaxis.errors import LeaseLost, SessionExpired, SynaxisError
from synaxis.queues.commands import (
    ABSENT,
    Ack,
    Assignment,
    Attach,
    Begin,
    Credit,
    Extend,
    Extended,
    Nack,
    Part,
    Reject,
    Release,
    Settled,
)
from synaxis.wire.client import Assigned, ClientMessage, Delivered, Member

__all__ = ["Tenure", "TenureOwner"]

log = logging.getLogger(__name__)

DELIVERIES_UNKNOWN = 2**31
"""Until the cluster has said how often a message may fail."""
ACKS_UNDER_WAY_MAX = 2
"""Acknowledgements on their way from one tenure; what is acknowledged meanwhile joins the next."""
HOLDING_PARTS_MAX = 9_500
"""Ranges that a new leader can be told to be held; whatever is beyond that it gives to others."""
GO_BACK_PAUSE_S = 0.005
"""Ordered modes: what goes back within this time goes together, since it takes a new stream."""
ACK_MESSAGES_MAX = 5_000
"""Messages of one acknowledgement; the cluster takes twice as many ranges."""


class TenureOwner(Protocol):
    """The consumer, as one of its tenures sees it."""

    group: str
    ordered: bool
    source: Source
    timeout_s: float
    loop: asyncio.AbstractEventLoop

    def credit(self, tenure: "Tenure") -> int:
        """Return how many messages a new stream may bring at once."""
        ...

    def arrived(self, tenure: "Tenure", messages: list[Message]) -> None:
        """Take messages."""
        ...

    def assigned(self, tenure: "Tenure", assignment: Assignment) -> None:
        """Take the news of what the member owns."""
        ...

    def decided(self, message: Message) -> None:
        """The user has decided the fate of a message."""
        ...

    def turn_back(self, message: Message) -> list[Message]:
        """A message goes back to the queue; returns what must not overtake it."""
        ...

    def settled(self, messages: Iterable[Message]) -> None:
        """The cluster has confirmed the fate of these."""
        ...

    def begun(self, messages: list[Message]) -> list[Message]:
        """The cluster has heard that we begin with these; returns those that nobody wants now."""
        ...

    def lost(self, held: set[Message]) -> None:
        """The tenure is over, and these are not ours any more."""
        ...


class Tenure:
    """See the module. Invariant: what was delivered and is not settled is in ``held``."""

    def __init__(self, owner: TenureOwner, session: Session, member: int) -> None:
        self.session = session
        self.member = member
        self.held: set[Message] = set()
        self.error: SynaxisError | None = None
        """Why nothing can be settled any more."""
        self.ended: asyncio.Future[SynaxisError] = owner.loop.create_future()
        self.owned: tuple[int, ...] = ()
        """EXCLUSIVE: partitions that are ours."""
        self._owner = owner
        self._stream: _Stream | None = None
        self.max_deliveries = DELIVERIES_UNKNOWN
        self._announcing: list[Message] = []
        self._acks: list[Message] = []
        self._flushing = False
        self._under_way = 0
        self._returning: list[Message] = []
        session.when_over[self] = self._session_over

    # --- the stream -------------------------------------------------------------------------

    def attach(self) -> None:
        """Ask the leader, whoever it is, to deliver."""
        self._stream = _Stream(self)
        self.session.router.send(self._stream)

    def attachment(self) -> Attach:
        """Return what to tell a leader that has not heard of us yet."""
        owner = self._owner
        topic, holding = owner.source.topic, parts_of(self.held)[:HOLDING_PARTS_MAX]
        return Attach(topic, owner.group, self.member, owner.credit(self), holding)

    def grant(self, more: int) -> None:
        """Let the shard send ``more`` further messages; fewer, if negative."""
        owner = self._owner
        self._tell(Credit(owner.source.topic, owner.group, self.member, more))

    def _tell(self, message: Credit | Release) -> None:
        """Tell the leader, if we are attached to one; the next one hears it from Attach."""
        connection = None if self._stream is None else self._stream.connection
        if connection is not None:
            connection.write(Member(0, self.session.group, self.session.id, message))

    def delivered(self, message: Delivered) -> None:
        """Take what the stream brings."""
        source = self._owner.source
        for records in message.records:
            found = unpack(self, source, records)
            self.held.update(found)
            self._owner.arrived(self, found)

    def assigned(self, assignment: Assignment) -> None:
        """Take what the member owns now."""
        self.owned = assignment.partitions
        self._owner.assigned(self, assignment)

    # --- the end ----------------------------------------------------------------------------

    def _session_over(self) -> None:
        self.end(SessionExpired("the session ended; what it held goes to others"))

    def end(self, error: SynaxisError) -> None:
        """Nothing is held any more; ``error`` says why."""
        if self.error is not None:
            return
        self.error = error
        self.session.when_over.pop(self, None)
        if self._stream is not None:
            self.session.router.forget(self._stream)
        held, self.held = self.held, set()
        self._acks.clear()
        loss = LeaseLost(f"the message is not ours any more: {error}")
        for message in held:
            if message.waiter is not None:
                _tell_waiter(message, loss)
                message.fate = "lost"
        self._owner.lost(held)
        if not self.ended.done():
            self.ended.set_result(error)

    # --- acknowledging ----------------------------------------------------------------------

    def ack(self, message: Message) -> "asyncio.Future[None]":
        """Finish a message with the others of this loop turn; see ``Message.ack``."""
        waiter: asyncio.Future[None] = self._owner.loop.create_future()
        self.begin_ack(message, waiter)
        return waiter

    def begin_ack(self, message: Message, waiter: Waiter) -> None:
        """Finish a message; ``waiter`` is told."""
        if message.fate or self.error is not None:
            self._refuse(message)
        message.fate = "acknowledged"
        message.waiter = waiter
        self._acks.append(message)
        if not self._flushing:
            self._flushing = True
            self._owner.loop.call_soon(self._flush)
        self._owner.decided(message)

    def _refuse(self, message: Message) -> None:
        if message.fate:
            raise LeaseLost(f"the message is settled already: {message.fate}")
        message.fate = "lost"
        self._owner.decided(message)
        raise LeaseLost(f"the message is not ours any more: {self.error}")

    def _flush(self) -> None:
        self._flushing = False
        while self._acks and self.error is None and self._under_way < ACKS_UNDER_WAY_MAX:
            messages, self._acks = self._acks[:ACK_MESSAGES_MAX], self._acks[ACK_MESSAGES_MAX:]
            self._under_way += 1
            owner = self._owner
            command = Ack(owner.source.topic, owner.group, self.member, parts_of(messages))
            self._send(command, messages)

    # --- the other fates --------------------------------------------------------------------

    def nack(self, message: Message, delay: float | None, error: str) -> "asyncio.Future[None]":
        """Count a failure; see ``Message.nack``."""
        delay_ms = ABSENT if delay is None else duration(delay, 0, LIMITS.delay_ms_max, "delay")
        owner = self._owner
        topic, parts = owner.source.topic, parts_of((message,))
        command = Nack(topic, owner.group, self.member, parts, delay_ms, _short(error))
        return self._fail(message, "nacked", command)

    def reject(self, message: Message, error: str) -> "asyncio.Future[None]":
        """Make a message a dead letter; see ``Message.reject``."""
        owner = self._owner
        topic, parts = owner.source.topic, parts_of((message,))
        command = Reject(topic, owner.group, self.member, parts, _short(error))
        return self._fail(message, "rejected", command)

    def _fail(self, message: Message, fate: str, command: Nack | Reject) -> "asyncio.Future[None]":
        if message.fate or self.error is not None:
            self._refuse(message)
        message.fate = fate
        waiter = message.waiter = self._owner.loop.create_future()
        self._send(command, [message])
        self._owner.decided(message)
        return waiter

    def _send(self, command: Ack | Nack | Reject, messages: list[Message]) -> None:
        deadline = now() + self._owner.timeout_s
        self.session.router.send(SettleRequest(self, self.session, command, messages, deadline))

    def doubtful(self, messages: list[Message], error: SynaxisError) -> None:
        """No answer in time: those who wait are told, and the settlement goes on."""
        for message in messages:
            _tell_waiter(message, error)

    def answered(self, request: SettleRequest, outcome: Settled | SynaxisError) -> None:
        """Take the cluster's answer to a settlement."""
        messages = request.messages
        if type(request.command) is Ack:
            self._under_way -= 1
        if isinstance(outcome, SynaxisError):
            loss: SynaxisError = LeaseLost(f"the message is not ours any more: {outcome}")
            for message in messages:
                _tell_waiter(message, loss)
                message.fate = "lost"
            owner = self._owner
            parts = request.command.parts
            self._tell(Release(owner.source.topic, owner.group, self.member, parts))
        else:
            self._confirm(messages, outcome.stale)
        self.held.difference_update(messages)
        if type(request.command) is Nack and self._owner.ordered:
            self._turn_back(messages[0])
        else:
            self._owner.settled(messages)
        if isinstance(outcome, SynaxisError) and outcome.code == "consumer_fenced":
            self.end(outcome)
        elif self._acks:
            self._flush()

    def _confirm(self, messages: list[Message], stale: tuple[Part, ...]) -> None:
        if stale:
            for message in inside(messages, stale):
                log.warning("%r was %s too late: another delivery counts", message, message.fate)
                _tell_waiter(message, LeaseLost("too late: another delivery of it counts now"))
                message.fate = "lost"
        for message in messages:
            waiter = message.waiter
            if waiter is not None:
                message.waiter = None
                if not waiter.done():
                    waiter.set_result(None)

    def release(self, message: Message) -> None:
        """Give a message back; see ``Message.release``."""
        if message.fate or self.error is not None:
            self._refuse(message)
        message.fate = "released"
        self._owner.decided(message)  # while it still counts as handed out
        if self._owner.ordered:
            self._turn_back(message)
        else:
            self.give_back([message])

    def _turn_back(self, message: Message) -> None:
        """Let a message go back with all that is behind it; until then its line stands still."""
        self._returning.append(message)
        if len(self._returning) == 1:
            self._owner.loop.call_later(GO_BACK_PAUSE_S, self._go_back)

    def _go_back(self) -> None:
        """Attach anew, without what goes back.

        What the leader has sent meanwhile, in ignorance, comes under the number of the former
        stream: it is not taken, and not held. So nothing can overtake what went back.
        """
        returning, self._returning = self._returning, []
        if self.error is not None:
            return
        for message in list(returning):
            returning += self._owner.turn_back(message)
        for message in returning:
            message.fate = message.fate or "released"
        self.held.difference_update(returning)
        if self._stream is not None:
            self.session.router.forget(self._stream)
        self.attach()
        self._owner.settled(returning)

    def give_back(self, messages: list[Message]) -> None:
        """Release messages, handed out or not."""
        if self.error is not None or not messages:
            return
        for message in messages:
            message.fate = "released"
        self.held.difference_update(messages)
        owner = self._owner
        self._tell(Release(owner.source.topic, owner.group, self.member, parts_of(messages)))
        owner.settled(messages)

    # --- before they are handed out -----------------------------------------------------------

    def announce(self, message: Message) -> None:
        """Tell the cluster that the user begins with it; see ``Suspects``."""
        self._announcing.append(message)
        if len(self._announcing) == 1:
            self._owner.loop.call_soon(self._announce)

    def _announce(self) -> None:
        messages, self._announcing = self._announcing, []
        messages = [each for each in messages if not each.fate]
        if self.error is not None or not messages:
            return
        owner = self._owner
        begin = Begin(owner.source.topic, owner.group, self.member, parts_of(messages))
        request = ExtendRequest(self.session, begin, now() + owner.timeout_s)
        request.future.add_done_callback(partial(self._begun, messages))
        self.session.router.send(request)

    def _begun(self, messages: list[Message], answer: "asyncio.Future[Extended]") -> None:
        """Hand out what the cluster lets us begin with; the rest goes back, to whoever gets it."""
        if self.error is not None:
            return
        told = not answer.cancelled() and answer.exception() is None
        refused = set(inside(messages, answer.result().stale) if told else messages)
        self.give_back(self._owner.begun([each for each in messages if each not in refused]))
        for message in refused:
            if not message.fate:
                self.release(message)

    async def extend(self, message: Message, seconds: float) -> None:
        """Keep a message for longer; see ``Message.extend``."""
        if message.fate or self.error is not None:
            self._refuse(message)
        owner = self._owner
        topic, parts = owner.source.topic, parts_of((message,))
        keep_ms = duration(seconds, 1, LIMITS.topics.visibility_ms_max, "seconds")
        wanted = Extend(topic, owner.group, self.member, parts, keep_ms)
        reply = await self.ask(wanted)
        if reply.stale:
            raise LeaseLost("the message is not ours any more: its lease ran out")

    async def ask(self, wanted: Extend) -> Extended:
        """Ask the leader to keep leases.

        Raises:
            SynaxisError: refused, or no answer in time.
        """
        request = ExtendRequest(self.session, wanted, now() + self._owner.timeout_s)
        self.session.router.send(request)
        reply: Extended = await request.future
        return reply


def _short(error: str) -> str:
    """Return as much of an error's text as the cluster keeps."""
    return error.encode(errors="replace")[: LIMITS.error_bytes_max].decode(errors="ignore")


def _tell_waiter(message: Message, error: SynaxisError) -> None:
    waiter, message.waiter = message.waiter, None
    if waiter is not None and not waiter.done():
        waiter.set_exception(error)
        waiter.exception()  # nobody may be waiting, and asyncio complains about errors unseen


class _Stream(Request):
    """The Attach of a tenure, for as long as it lasts."""

    __slots__ = ("tenure",)

    def __init__(self, tenure: Tenure) -> None:
        super().__init__(tenure.session.group, inf)
        self.tenure = tenure

    def message(self, number: int) -> ClientMessage:
        """Return the Attach, with what is held by now."""
        session = self.tenure.session
        return Member(number, session.group, session.id, self.tenure.attachment())

    def streamed(self, message: Delivered | Assigned) -> None:
        """Take what the leader has for us."""
        if type(message) is Delivered:
            self.tenure.delivered(message)
        elif isinstance(message, Assigned):
            self.tenure.assigned(message.assignment)

    def failed(self, error: SynaxisError) -> None:
        """The leader does not know the member, or the client is being closed."""
        self.tenure.end(error)

    def wanted(self) -> bool:
        """Until the tenure is over."""
        return self.tenure.error is None
