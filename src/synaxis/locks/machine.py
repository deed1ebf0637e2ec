"""The lock service as one deterministic machine: commands in, replies and events out.

This module only dispatches. Read ``table.py`` for who may have what, ``granting.py`` for when,
``wait_graph.py`` for deadlocks, ``DESIGN.md`` for why.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from synaxis.effects import Outcome, Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import invariants, refusals, snapshot, validation, views
from synaxis.locks.acquiring import Acquiring
from synaxis.locks.barriers import Barriers
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    BarrierEnter,
    Convert,
    Done,
    ForceRelease,
    Granted,
    LatchCount,
    LatchState,
    LatchWait,
    LockEvent,
    LockEventType,
    Release,
    SetPermits,
    SetValue,
)
from synaxis.locks.converting import Converting
from synaxis.locks.deadlines import Deadlines
from synaxis.locks.deadlock import Referee
from synaxis.locks.gates import Gates, GateWait
from synaxis.locks.granting import Granting
from synaxis.locks.journal import Journal
from synaxis.locks.latches import Latches
from synaxis.locks.limits import LockLimits
from synaxis.locks.refusals import OwnerNames
from synaxis.locks.requests import Conversion, Request
from synaxis.locks.semaphores import Semaphores
from synaxis.locks.table import LockCounts, LockTable, Resource
from synaxis.locks.tokens import FencingTokens

__all__ = ["LockMachine"]

_RELEASED = LockEventType.RELEASED
_CHANGED = Done()
_UNCHANGED = Done(changed=False)

_Handler = Callable[[SessionId, Sequence, Any, LogTime], msgspec.Struct | None]


class LockMachine:
    """Implements ``ports.StateMachine``. Every replica must be given equal limits and epoch."""

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (
        Acquire,
        Release,
        Abandon,
        Convert,
        ForceRelease,
        SetPermits,
        BarrierEnter,
        LatchCount,
        LatchWait,
        SetValue,
    )
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = command_types

    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Granted, Done, LatchState)

    def __init__(self, limits: LockLimits | None = None, epoch: int = 1) -> None:
        self.limits = limits or LockLimits()
        self.limits.validate()
        self.tokens = FencingTokens(epoch)
        self._build()

    def _build(self) -> None:
        """Wire empty parts together; ``restore`` starts from here too."""
        self.table = LockTable()
        self.deadlines = Deadlines()
        self.journal = Journal()
        self.granting = Granting(self.table, self.tokens, self.deadlines, self.journal)
        self.referee = Referee(self.granting, self.limits)
        self.gates = Gates(self.table, self.deadlines, self.journal)
        self.barriers = Barriers(self.gates)
        self.latches = Latches(self.gates, self.limits)
        self.abandoned: dict[SessionId, list[Sequence]] = {}
        """Commands that were abandoned before they arrived, per session in ascending order."""
        self._acquiring = Acquiring(self.granting, self.referee, self.limits)
        self._converting = Converting(self.granting, self.referee, self.limits)
        self._semaphores = Semaphores(self.granting, self.limits)
        self._handlers: dict[type, _Handler] = {
            Acquire: self._acquiring.acquire,
            Release: self._release,
            Abandon: self._abandon,
            Convert: self._converting.convert,
            ForceRelease: self._force_release,
            SetPermits: self._semaphores.set_permits,
            BarrierEnter: self.barriers.enter,
            LatchCount: self.latches.count_down,
            LatchWait: self.latches.wait,
            SetValue: self._set_value,
        }

    @property
    def owner_of(self) -> OwnerNames:
        """How sessions are called in refusals; set it to a look-up in replicated session data."""
        return self.referee.owner_of

    @owner_of.setter
    def owner_of(self, names: OwnerNames) -> None:
        self.referee.owner_of = names

    @property
    def events_wanted(self) -> bool:
        """Whether ``take_events`` returns anything; off saves the work. It changes no state."""
        return self.journal.events_wanted

    @events_wanted.setter
    def events_wanted(self, wanted: bool) -> None:
        self.journal.events_wanted = wanted

    # --- the port ---------------------------------------------------------------------------

    def validate(self, command: msgspec.Struct) -> None:
        """Check a command before it enters the log.

        Raises:
            InvalidArgument: with a message that says what is allowed.
        """
        validation.check(command, self.limits)

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Execute one command; ``None`` means that the reply comes as an ``Outcome``."""
        if self.abandoned and self._was_abandoned(session, sequence):
            return refusals.ABANDONED
        handler = self._handlers.get(type(command))
        if handler is None:
            return refusals.invalid(f"{type(command).__name__} is no command of the lock service")
        return handler(session, sequence, command, now)

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """Take everything from ``session``: first its waits, then what it holds.

        In that order, so that nothing it gives up can be granted to itself.
        """
        self.abandoned.pop(session, None)
        self.gates.end_session(session)
        tenant = self.table.tenants.get(session)
        if tenant is None:
            return
        granting = self.granting
        requests = tenant.distinct()
        touched: dict[Resource, None] = {}
        for request in requests:
            if request.waiting:
                left, _ = granting.leave_queue(request, now, "session_expired")
                touched.update(dict.fromkeys(left))
        for request in requests:
            if request.token:
                touched.update(dict.fromkeys(granting.take_away(request, now, "session_expired")))
        del self.table.tenants[session]
        granting.wake(touched, now)

    def advance(self, now: LogTime) -> None:
        """Let everything happen that is due at or before ``now``, in order of its time."""
        while (subject := self.deadlines.pop_due(now)) is not None:
            if isinstance(subject, Request):
                if subject.token:
                    self.granting.lose(subject, now, "max_hold")
                else:
                    self._time_out(subject, now)
            elif isinstance(subject, Conversion):
                grant = self.table.tenants[subject.session].requests[subject.sequence]
                self._time_out(grant, now)
            elif isinstance(subject, GateWait):
                self.gates.time_out(subject, now)
            else:
                assert isinstance(subject, Resource)
                self.granting.end_delay(subject, now)

    def deadline(self) -> LogTime | None:
        """Return when ``advance`` next has something to do."""
        return self.deadlines.next()

    def take_outcomes(self) -> list[Outcome]:
        """Drain the late replies, in the order in which they were decided."""
        return self.journal.take_outcomes()

    def take_events(self) -> list[msgspec.Struct]:
        """Drain the ``LockEvent`` structs, in order."""
        return self.journal.take_events()

    def counts(self) -> LockCounts:
        """Return (exclusive, shared, semaphore, waiting) for metrics. O(1)."""
        return self.table.counts()

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Answer a question without changing anything."""
        return views.answer(self.table, self.limits, query, now)

    def snapshot(self) -> bytes:
        """Return the whole state; equal states give equal bytes."""
        return snapshot.capture(self.table, self.gates, self.tokens, self.abandoned)

    def restore(self, data: bytes) -> None:
        """Become the state that ``snapshot`` returned; settings of this machine stay.

        Raises:
            StorageCorrupt: ``data`` is not such a state.
        """
        state = snapshot.decode(data)
        owner_of, events_wanted = self.owner_of, self.events_wanted
        self._build()
        self.owner_of, self.events_wanted = owner_of, events_wanted
        self.abandoned = snapshot.load(state, self.table, self.gates, self.tokens, self.deadlines)

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        invariants.check(self.table, self.gates, self.tokens, self.deadlines, self.limits)

    # --- small commands -----------------------------------------------------------------------

    def _release(
        self, session: SessionId, _sequence: Sequence, command: Release, now: LogTime
    ) -> Done:
        token = command.token
        table = self.table
        request = table.grants.get(token)
        if request is None or request.session != session:
            return _UNCHANGED
        if request.holds > 1:
            request.holds -= 1
            return _CHANGED
        names = request.names
        resources = table.by_kind[request.kind]
        if resources[names[0]] is not request:
            self.granting.release(request, now)
            return _CHANGED
        # The fast path, twin of the one in ``acquiring.py``: nobody else ever asked for the name.
        del resources[names[0]]
        del table.grants[token]
        table.tenants[session].remove(request)
        if request.deadline is not None:
            self.deadlines.forget(request)
        journal = self.journal
        if journal.events_wanted:
            event = LockEvent(
                _RELEASED, request.kind, names[0], session, token, request.mode, 0, request.value
            )
            journal.events.append(event)
        return _CHANGED

    def _abandon(
        self, session: SessionId, sequence: Sequence, command: Abandon, now: LogTime
    ) -> Done | Refused:
        target = command.target
        if target >= sequence:
            return refusals.invalid(f"target is {target}; only earlier commands can be abandoned")
        tenant = self.table.tenants.get(session)
        request = None if tenant is None else tenant.requests.get(target)
        if request is not None:
            return self._converting.undo(request, command, now)
        wait = self.gates.find(session, target)
        if wait is not None:
            self.gates.answer(wait, refusals.ABANDONED)
            return _CHANGED
        # It is over, or it has not arrived yet: retries may overtake each other.
        early = self.abandoned.setdefault(session, [])
        if target not in early:
            early.append(target)
            early.sort()
            del early[: -self.limits.abandoned_per_session_max]
        return _UNCHANGED

    def _was_abandoned(self, session: SessionId, sequence: Sequence) -> bool:
        early = self.abandoned.get(session)
        if early is None or sequence not in early:
            return False
        early.remove(sequence)
        if not early:
            del self.abandoned[session]
        return True

    def _force_release(
        self, session: SessionId, _sequence: Sequence, command: ForceRelease, now: LogTime
    ) -> Done:
        resource = self.table.find(command.kind, command.name)
        if resource is None:
            return _UNCHANGED
        taken = [
            holder for holder in resource.holders.values() if command.token in (0, holder.token)
        ]
        details = {"reason": command.reason, "by": refusals.session_hex(session)}
        touched: dict[Resource, None] = {}
        for holder in taken:
            away = self.granting.take_away(holder, now, "force_released", details)
            touched.update(dict.fromkeys(away))
        self.granting.wake(touched, now)
        return Done(changed=bool(taken))

    def _set_value(
        self, session: SessionId, _sequence: Sequence, command: SetValue, _now: LogTime
    ) -> Done | Refused:
        request = self.table.grants.get(command.token)
        if request is None or request.session != session:
            return refusals.not_held(command.token)
        if request.value == command.value:
            return _UNCHANGED
        request.value = command.value
        self.journal.note(LockEventType.VALUE, request)
        return _CHANGED

    def _time_out(self, request: Request, now: LogTime) -> None:
        refused = refusals.waited_too_long(self.table, request, now, self.owner_of)
        self.granting.refuse(request, refused, "lock_timeout", now)
