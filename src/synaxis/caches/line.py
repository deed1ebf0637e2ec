"""One key at one agent: rules 2 to 6 of ``DESIGN.md``. ``Agent`` holds many and knows about leases.

Pure. What a line wants to say is appended to ``Outbox``.
"""

from collections import deque
from typing import Any

import msgspec

from synaxis.caches.bus import (
    AgentMessage,
    BusRd,
    BusRdX,
    BusUpgr,
    Dirty,
    Flush,
    Flushed,
    Grant,
    LineState,
    ProbeAck,
    Reserved,
)
from synaxis.caches.commands import Reading, Version
from synaxis.caches.local import Operation, Outcome, provisional
from synaxis.caches.mesi import TRANSITIONS, Action, Event
from synaxis.effects import refusal
from synaxis.errors import BackingUnavailable
from synaxis.ids import Instant

__all__ = ["Line", "Outbox"]

M = LineState.M
UNAVAILABLE = refusal(BackingUnavailable("the store behind the cache does not answer"))


class Outbox:
    """What an agent has to say, and the numbers that it says it with."""

    __slots__ = ("answers", "changed", "messages", "request", "unsettled", "write_id")

    def __init__(self) -> None:
        self.messages: list[AgentMessage] = []
        """To the home, in order."""
        self.answers: list[tuple[Any, Outcome | Reserved]] = []
        """(token, outcome) of operations that are over."""
        self.request = 0
        self.write_id = 0
        self.unsettled: dict[int, None] = {}
        """Writes whose fate is open, oldest first."""
        self.changed: list[Line] = []
        """Lines that were installed or lost, for whoever indexes them."""

    def next_request(self) -> int:
        """Return a number that no wish had before."""
        self.request += 1
        return self.request

    def next_write(self) -> int:
        """Return a number that no write had before."""
        self.write_id += 1
        self.unsettled[self.write_id] = None
        return self.write_id

    @property
    def floor(self) -> int:
        """All writes below have been settled."""
        return next(iter(self.unsettled), self.write_id + 1)


class Line:
    """See the module. ``value`` belongs to the shell: the decoded form of ``reading``."""

    __slots__ = (
        "asked_at",
        "dirty",
        "expires_at",
        "floor",
        "flush_sent",
        "grant",
        "held",
        "key",
        "leaving",
        "operations",
        "reading",
        "request",
        "soft_at",
        "state",
        "value",
        "wish",
        "writing",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.state = LineState.I
        self.reading: Reading | None = None
        """None in a valid state: it is known that there is no record."""
        self.value: Any = None
        self.expires_at: Instant | None = None
        self.soft_at: Instant | None = None
        self.grant = 0
        self.request = 0
        """The open wish; 0: none."""
        self.wish = Action.NOTHING
        self.asked_at = Instant(0)
        self.floor = 0
        """A grant at or below it was overtaken by a probe: rule 3."""
        self.operations: deque[Operation] = deque()
        self.writing: Dirty | None = None
        """Policy through: the write of the first operation, until the home has it."""
        self.dirty: Dirty | None = None
        """Policy back: the newest write that the home has not got."""
        self.flush_sent = False
        self.held: dict[int, tuple[int, Dirty]] = {}
        """write id -> (probe it was given away with, what): kept until the home confirms it."""
        self.leaving = False
        """Evicted as soon as it is clean."""

    @property
    def is_idle(self) -> bool:
        """Whether only its copy, if any, is left of it."""
        return not (self.request or self.operations or self.dirty or self.held or self.writing)

    def is_readable(self, now: Instant) -> bool:
        """Whether a read may be served from it now, given the lease."""
        if self.state is LineState.I or self.writing is not None:
            return False
        return self.expires_at is None or now < self.expires_at

    # --- operations -------------------------------------------------------------------------

    def work(self, out: Outbox, now: Instant) -> None:
        """Do as many of the waiting operations as can be done now, and ask for the rest."""
        while self.operations:
            operation = self.operations[0]
            if self.expires_at is not None and now >= self.expires_at and self.dirty is None:
                self._drop(out)
            event = Event.WRITE if operation.writes else Event.READ
            _, action = TRANSITIONS[self.state, event]
            if self.writing is not None:
                if self.state is not M:
                    self._ask(Action.BUS_RDX, out, now)
                return
            if action is Action.HIT:
                self._answer(out, operation.read(self._seen_at(now)))
            elif action is not Action.WRITE:
                self._ask(action, out, now)
                return
            elif not self._write(operation, out, now):
                return

    def _write(self, operation: Operation, out: Outbox, now: Instant) -> bool:
        """Carry out the first operation as the owner; False if its answer has to wait."""
        change = operation.evaluate(self._seen_at(now))
        if change is None:
            self._answer(out, operation.outcome())
            return True
        base = self.reading.version if self.reading is not None else Version(0)
        if self.dirty is not None:
            base = self.dirty.base
        write = Dirty(out.next_write(), base, change, operation.removes, operation.backing)
        self.state, _ = TRANSITIONS[self.state, Event.WRITE]
        if operation.back:
            if self.dirty is not None and not self.flush_sent:
                out.unsettled.pop(self.dirty.write_id, None)
            self.dirty, self.flush_sent = write, False
            self._take(write, provisional(write.write_id), out, now)
            self._answer(out, operation.outcome(provisional(write.write_id)))
            return True
        self.writing = write
        out.messages.append(Flush(self.key, self.grant, out.floor, write))
        return False

    def _seen_at(self, now: Instant) -> Reading | None:
        """Return the record with the times that are left now."""
        reading = self.reading
        if reading is None or self.expires_at is None:
            return reading
        soft_ms = 0 if self.soft_at is None else (self.soft_at - now or -1)
        return msgspec.structs.replace(reading, ttl_ms=self.expires_at - now, soft_ms=soft_ms)

    def _answer(self, out: Outbox, outcome: Outcome) -> None:
        out.answers.append((self.operations.popleft().token, outcome))

    def _ask(self, action: Action, out: Outbox, now: Instant) -> None:
        if self.request and (self.wish is action or self.wish is not Action.BUS_RD):
            return  # what is asked for already will do
        number = self.request = out.next_request()
        # Whatever answers this wish was decided after the probes that came before it.
        self.wish, self.asked_at, self.floor = action, now, 0
        first = self.operations[0]
        match action:
            case Action.BUS_RD:
                out.messages.append(BusRd(number, self.key, first.load, first.back))
            case Action.BUS_UPGR:
                out.messages.append(BusUpgr(number, self.key, first.back))
            case _:
                out.messages.append(BusRdX(number, self.key, first.back))

    # --- what the home says -----------------------------------------------------------------

    def granted(self, grant: Grant, out: Outbox, now: Instant) -> None:
        """Take the answer to the open wish (rule 3)."""
        if grant.request != self.request:
            return
        self.request = 0
        if grant.state is LineState.I or grant.seq <= self.floor:
            self._serve_once(grant, out)
        else:
            event = Event.GRANT_E if grant.state is LineState.E else Event.GRANT_S
            state, action = TRANSITIONS[self.state, event]
            if action is Action.INSTALL:
                self.state, self.grant = state, grant.seq
                self._install(grant.reading, self.asked_at, out)
                if self.writing is not None and state is LineState.E:
                    self._flush_again(out)
        self.work(out, now)

    def _serve_once(self, grant: Grant, out: Outbox) -> None:
        """Answer the reads that waited, from what may not be kept."""
        while self.operations and not self.operations[0].writes and self.writing is None:
            answer = UNAVAILABLE if grant.unavailable else None
            self._answer(out, answer or self.operations[0].read(grant.reading))

    def _flush_again(self, out: Outbox) -> None:
        assert self.writing is not None
        self.state = M
        out.messages.append(Flush(self.key, self.grant, out.floor, self.writing))

    def _install(self, reading: Reading | None, since: Instant, out: Outbox) -> None:
        self.reading = reading
        self.expires_at = self.soft_at = None
        if reading is not None:
            if reading.ttl_ms:
                self.expires_at = Instant(since + reading.ttl_ms)
            if reading.soft_ms:
                self.soft_at = Instant(since + reading.soft_ms)
        out.changed.append(self)

    def _take(self, write: Dirty, version: Version, out: Outbox, now: Instant) -> None:
        """Hold what was written here as if the home had granted it."""
        if write.removed:
            self._install(None, now, out)
            return
        item = write.item
        reading = Reading(
            item.value, item.flags, version, item.ttl_ms, item.soft_ms, tuple(item.tags)
        )
        self._install(reading, now, out)

    def flushed(self, news: Flushed, out: Outbox, now: Instant) -> None:
        """Learn what became of a write."""
        number = news.write_id
        out.unsettled.pop(number, None)
        self.held.pop(number, None)
        if self.writing is not None and self.writing.write_id == number:
            self._flushed_through(self.writing, news.version, out, now)
        elif self.dirty is not None and self.dirty.write_id == number:
            self._settle(self.dirty, news.version, out, now)
            self.dirty = None
        elif self.reading is not None and self.reading.version == provisional(number):
            if news.version:
                self.reading = msgspec.structs.replace(self.reading, version=news.version)
            else:
                self._drop(out)
        if self.dirty is not None and news.version:
            self.dirty = msgspec.structs.replace(self.dirty, base=news.version)
        self.flush_sent = False
        self.work(out, now)

    def _flushed_through(self, write: Dirty, version: Version, out: Outbox, now: Instant) -> None:
        self.writing = None
        operation = self.operations[0]
        if self.state is M:
            self._settle(write, version, out, now)
        self._answer(out, operation.outcome(version) if version else operation.refused())

    def _settle(self, write: Dirty, version: Version, out: Outbox, now: Instant) -> None:
        """The home has the newest write of an owner."""
        if self.state is M:
            self.state, _ = TRANSITIONS[M, Event.FLUSHED]
        if version:
            self._take(write, version, out, now)
        else:
            self._drop(out)

    def probed(self, event: Event, seq: int, out: Outbox) -> None:
        """Give way, and say so (rule 2). The same probe gets the same answer."""
        if self.request:
            self.floor = max(self.floor, seq)
        state, _ = TRANSITIONS[self.state, event]
        if self.state is M and self.writing is not None:
            # Nobody was told of the write yet: it is done again under the next grant, unless the
            # home got it already.
            state = LineState.I
        elif self.dirty is not None and self.state is M:
            self.held[self.dirty.write_id] = seq, self.dirty
            self.dirty, self.flush_sent = None, False
        if state is LineState.I:
            self._drop(out)
        else:
            self.state = state
        given = next((dirty for at, dirty in self.held.values() if at == seq), None)
        out.messages.append(ProbeAck(self.key, seq, given))

    # --- by itself --------------------------------------------------------------------------

    def flush(self, out: Outbox) -> None:
        """Send the newest write home (policy back)."""
        if self.dirty is not None and not self.flush_sent and self.state is M:
            self.flush_sent = True
            out.messages.append(Flush(self.key, self.grant, out.floor, self.dirty))

    def lost(self, out: Outbox) -> None:
        """The stream is over: nothing is ours any more, but what others must still get."""
        self.request = self.floor = self.grant = 0
        if self.dirty is not None:
            self.held[self.dirty.write_id] = 0, self.dirty
            self.dirty, self.flush_sent = None, False
        self._drop(out)

    def cleared(self, out: Outbox) -> None:
        """The record is being cleared with others: what was written here goes with it."""
        if self.dirty is not None:
            out.unsettled.pop(self.dirty.write_id, None)
            self.dirty = None
        self.lost(out)

    def _drop(self, out: Outbox) -> None:
        if self.state is not LineState.I:
            self.state = LineState.I
            out.changed.append(self)
        self.reading = self.value = self.expires_at = self.soft_at = None
