"""One key at one agent: rules 2 to 6 of ``DESIGN.md``. ``Agent`` holds many and knows about leases.

Pure. What a line wants to say is appended to ``Outbox``.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgspec

from synaxis.caches.bus import (
    NO_STORE,
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
from synaxis.caches.commands import ABSENT, Reading, Version
from synaxis.caches.local import Operation, Outcome, provisional
from synaxis.caches.mesi import TRANSITIONS, Action, Event
from synaxis.effects import refusal
from synaxis.errors import BackingUnavailable, Overloaded
from synaxis.ids import Instant

__all__ = ["NOTHING", "Line", "Outbox"]

M = LineState.M
FULL = refusal(Overloaded("the cache shard is full; it is making room", retry_after=0.05))
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


NOTHING = cast("deque[Operation]", ())
"""The operations of every line that none waits for; nothing can be put into it."""


class Line:
    """See the module. ``value`` belongs to the shell: the decoded form of ``reading``."""

    __slots__ = (
        "asked_at",
        "dirty",
        "expires_at",
        "floor",
        "grant",
        "held",
        "key",
        "leaving",
        "loading",
        "operations",
        "reading",
        "request",
        "searched",
        "sent",
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
        """When the open wish, or the write under way, was sent."""
        self.floor = 0
        """A grant at or below it was overtaken by a probe: rule 3."""
        self.operations: deque[Operation] = NOTHING
        """What waits. An empty deque of its own would be most of what a line costs."""
        self.writing: Dirty | None = None
        """Policy through: the write of the first operation, until its fate is known."""
        self.dirty: Dirty | None = None
        """Policy back: the newest write that the home has not got."""
        self.sent = 0
        """The write whose flush is on the way; one at a time. 0: none."""
        self.held: dict[int, tuple[int, Dirty]] = {}
        """write id -> (probe it was given away with, what): kept until the home confirms it."""
        self.loading = self.searched = False
        """The open wish, or the one that brought the copy, had the backing store asked."""
        self.leaving = False
        """Evicted as soon as it is clean."""

    def add(self, operation: Operation) -> None:
        """Let an operation wait for its turn."""
        if not self.operations:
            self.operations = deque()
        self.operations.append(operation)

    def withdraw(self, chosen: Callable[[Any], bool]) -> list[Any]:
        """Let operations go whose token is ``chosen``, but for a write that was begun.

        Returns their tokens. All at once, because one by one takes the square of the time.
        """
        kept: deque[Operation] = deque()
        withdrawn = []
        for number, operation in enumerate(self.operations):
            begun = number == 0 and self.writing is not None
            if begun or not chosen(operation.token):
                kept.append(operation)
            else:
                withdrawn.append(operation.token)
        self.operations = kept or NOTHING
        return withdrawn

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
        while self.operations and self.writing is None:
            operation = self.operations[0]
            if self.expires_at is not None and now >= self.expires_at:
                if self.dirty is not None:
                    self.flush(out)  # its time begins when the home has it
                    return
                self._drop(out)
            event = Event.WRITE if operation.writes else Event.READ
            _, action = TRANSITIONS[self.state, event]
            if action is Action.HIT and self._is_unsearched(operation):
                self._drop(out)
            elif action is Action.HIT:
                self._answer(out, operation.read(self._seen_at(now)))
            elif action is not Action.WRITE:
                self._ask(action, out, now)
                return
            elif self.dirty is not None and not operation.back:
                self.flush(out)  # else the older write could reach the home after this one
                return
            elif not self._write(operation, out, now):
                return

    def _is_unsearched(self, operation: Operation) -> bool:
        """Whether there is no record here, but the store behind the cache was not asked."""
        known = self.reading is not None or self.searched or self.state is M
        return operation.load and not known

    def _write(self, operation: Operation, out: Outbox, now: Instant) -> bool:
        """Carry out the first operation as the owner; False if its answer has to wait."""
        change = operation.evaluate(self._seen_at(now))
        if change is None:
            self._answer(out, operation.outcome())
            return True
        base = self.reading.version if self.reading is not None else Version(0)
        if self.dirty is not None:
            base = self.dirty.base
        how = operation.removes, operation.backing, operation.back
        write = Dirty(out.next_write(), base, change, *how)
        self.state, _ = TRANSITIONS[self.state, Event.WRITE]
        if operation.back:
            if self.dirty is not None and self.sent != self.dirty.write_id:
                del out.unsettled[self.dirty.write_id]
            self.dirty = write
            self._take(write, provisional(write.write_id), out, now)
            self._answer(out, operation.outcome(provisional(write.write_id)))
            return True
        self.writing, self.asked_at = write, now
        out.messages.append(Flush(self.key, self.grant, out.floor, write))
        return False

    def _seen_at(self, now: Instant) -> Reading | None:
        """Return the record with the times that are left now."""
        reading = self.reading
        if reading is None or (self.expires_at is None and self.soft_at is None):
            return reading
        ttl_ms = 0 if self.expires_at is None else self.expires_at - now
        soft_ms = 0 if self.soft_at is None else (self.soft_at - now or -1)
        return msgspec.structs.replace(reading, ttl_ms=ttl_ms, soft_ms=soft_ms)

    def _answer(self, out: Outbox, outcome: Outcome) -> None:
        out.answers.append((self.operations.popleft().token, outcome))

    def _ask(self, action: Action, out: Outbox, now: Instant) -> None:
        if self.request and (self.wish is action or self.wish is not Action.BUS_RD):
            return  # what is asked for already will do
        number = self.request = out.next_request()
        # Whatever answers this wish was decided after the probes that came before it.
        self.wish, self.asked_at, self.floor = action, now, 0
        for operation in self.operations:
            operation.asked = True
        first = self.operations[0]
        self.loading = first.load and action is Action.BUS_RD
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
                self.state, self.grant, self.searched = state, grant.seq, self.loading
                self._install(grant.reading, self.asked_at, out)
        self.work(out, now)

    def _serve_once(self, grant: Grant, out: Outbox) -> None:
        """Answer the reads that waited when it was asked for, from what may not be kept.

        It may be older than what others have been told since; so it is too old for later reads.
        """
        while self.operations and self.operations[0].asked and not self.operations[0].writes:
            answer = UNAVAILABLE if grant.unavailable else None
            self._answer(out, answer or self.operations[0].read(grant.reading))

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
        times = item.ttl_ms, item.soft_ms, item.tags, item.idle_ms
        reading = Reading(item.value, item.flags, version, *times)
        self._install(reading, now, out)

    def flushed(self, news: Flushed, out: Outbox) -> None:
        """Learn what became of a write."""
        number, version = news.write_id, news.version
        self.held.pop(number, None)
        if self.sent == number:
            self.sent = 0
        if self.writing is not None and self.writing.write_id == number:
            self._flushed_through(self.writing, version, out)
        elif self.dirty is not None and self.dirty.write_id == number:
            self._flushed_back(version, out)
        elif self.reading is not None and self.reading.version == provisional(number):
            self._confirm(version, out)
        if self.dirty is not None and version > ABSENT:
            self.dirty = msgspec.structs.replace(self.dirty, base=version)

    def _flushed_through(self, write: Dirty, version: Version, out: Outbox) -> None:
        self.writing = None
        if version == ABSENT:
            self._drop(out)  # it came under an old grant, and is done again under the next
            return
        if self.state is M:
            self.state, _ = TRANSITIONS[M, Event.FLUSHED]
            if version > ABSENT:
                self._take(write, version, out, self.asked_at)
        operation = self.operations[0]
        refused = UNAVAILABLE if version == NO_STORE else FULL
        self._answer(out, operation.outcome(version) if version > ABSENT else refused)

    def _flushed_back(self, version: Version, out: Outbox) -> None:
        if version < ABSENT:
            return  # it stays here until there is room
        self.dirty = None
        if self.state is M:
            self.state, _ = TRANSITIONS[M, Event.FLUSHED]
        self._confirm(version, out)

    def _confirm(self, version: Version, out: Outbox) -> None:
        """The home has the value that is held here, as ``version``; or it never will."""
        if version <= ABSENT:
            self._drop(out)
        elif self.reading is not None:
            self.reading = msgspec.structs.replace(self.reading, version=version)

    def probed(self, event: Event, seq: int, out: Outbox) -> None:
        """Give way, and say so (rule 2). The same probe gets the same answer (rule 5)."""
        if seq > self.grant:
            self._give_way(event, seq, out)
        given = next((dirty for at, dirty in self.held.values() if at == seq), None)
        out.messages.append(ProbeAck(self.key, seq, given))

    def _give_way(self, event: Event, seq: int, out: Outbox) -> None:
        if self.request:
            self.floor = max(self.floor, seq)
        state, _ = TRANSITIONS[self.state, event]
        if self.state is M and self.writing is not None:
            # Its flush is on the way, under the grant that ends here: the home tells its fate.
            state = LineState.I
        elif self.dirty is not None and self.state is M:
            self.held[self.dirty.write_id] = seq, self.dirty
            self.dirty, self.sent = None, 0
        if state is LineState.I:
            self._drop(out)
        else:
            self.state = state

    # --- by itself --------------------------------------------------------------------------

    def flush(self, out: Outbox) -> None:
        """Send the newest write home (policy back)."""
        if self.dirty is not None and not self.sent and self.state is M:
            self.sent = self.dirty.write_id
            out.messages.append(Flush(self.key, self.grant, out.floor, self.dirty))

    def inquire(self, out: Outbox) -> None:
        """Ask on a new stream what became of the write under way; under no grant it is not done."""
        if self.writing is not None:
            out.messages.append(Flush(self.key, 0, out.floor, self.writing))

    def lost(self, out: Outbox) -> None:
        """The stream is over: nothing is ours any more, but what others must still get."""
        self.request = self.floor = self.grant = self.sent = 0
        if self.dirty is not None:
            self.held[self.dirty.write_id] = 0, self.dirty
            self.dirty = None
        self._drop(out)

    def cleared(self, out: Outbox) -> None:
        """The record is being cleared with others.

        What was written here goes home first: else what it replaced, which need not be cleared
        with it, would be there again.
        """
        if self.dirty is not None and self.sent != self.dirty.write_id:
            out.messages.append(Flush(self.key, self.grant, out.floor, self.dirty))
        self.lost(out)

    def _drop(self, out: Outbox) -> None:
        if self.state is not LineState.I:
            self.state = LineState.I
            out.changed.append(self)
        self.leaving = False
        self.reading = self.value = self.expires_at = self.soft_at = None
