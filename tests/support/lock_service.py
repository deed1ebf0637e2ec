"""A lock machine with a clock and clients that number their commands: tests read like sessions."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from synaxis.effects import Refused
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    Convert,
    DescribeLock,
    ForceRelease,
    Granted,
    LockEvent,
    LockEventType,
    LockInfo,
    LockKind,
    LockMode,
    Release,
)
from synaxis.locks.limits import LockLimits
from synaxis.locks.machine import LockMachine

__all__ = ["A", "B", "C", "D", "LockService"]

START = LogTime(1_000)
A, B, C, D = SessionId(0xA), SessionId(0xB), SessionId(0xC), SessionId(0xD)


@dataclass
class LockService:
    """Every step checks the machine's invariants and keeps what was told."""

    machine: LockMachine = field(default_factory=LockMachine)
    now: LogTime = START
    late: dict[tuple[SessionId, Sequence], msgspec.Struct] = field(default_factory=dict)
    """Late replies by (session, sequence)."""
    order: list[tuple[SessionId, Sequence]] = field(default_factory=list)
    """The same in the order in which they were decided."""
    events: list[LockEvent] = field(default_factory=list)
    sequences: dict[SessionId, Sequence] = field(default_factory=dict)

    @classmethod
    def limited(cls, **limits: Any) -> "LockService":
        return cls(LockMachine(LockLimits(**limits)))

    def do(
        self, session: SessionId, command: msgspec.Struct, sequence: int | None = None
    ) -> msgspec.Struct | None:
        """Apply a command under the session's next sequence."""
        number = Sequence(sequence if sequence is not None else self.last(session) + 1)
        self.sequences[session] = max(self.last(session), number)
        reply = self.machine.apply(session, number, command, self.now)
        self._after()
        return reply

    def last(self, session: SessionId) -> Sequence:
        """Return the sequence of the session's last command."""
        return self.sequences.get(session, Sequence(0))

    def acquire(self, session: SessionId, *names: str, **options: Any) -> msgspec.Struct | None:
        return self.do(session, Acquire(names, **options))

    def take(self, session: SessionId, *names: str, **options: Any) -> FencingToken:
        """Acquire what must be free."""
        reply = self.acquire(session, *names, **options)
        assert isinstance(reply, Granted), reply
        return reply.token

    def share(self, session: SessionId, *names: str, **options: Any) -> FencingToken:
        return self.take(session, *names, mode=LockMode.SHARED, **options)

    def queue(self, session: SessionId, *names: str, **options: Any) -> Sequence:
        """Acquire what must be waited for; return the sequence of the wait."""
        assert self.acquire(session, *names, **options) is None
        return self.last(session)

    def refused(self, session: SessionId, command: msgspec.Struct) -> Refused:
        reply = self.do(session, command)
        assert isinstance(reply, Refused), reply
        return reply

    def release(self, session: SessionId, token: int) -> msgspec.Struct | None:
        return self.do(session, Release(FencingToken(token)))

    def abandon(self, session: SessionId, target: int) -> msgspec.Struct | None:
        return self.do(session, Abandon(Sequence(target)))

    def convert(
        self, session: SessionId, token: FencingToken, mode: LockMode, wait_ms: int = -1
    ) -> msgspec.Struct | None:
        return self.do(session, Convert(token, mode, wait_ms))

    def force_release(self, name: str, reason: str = "stuck", **options: Any) -> object:
        return self.do(SessionId(0xFF), ForceRelease(name, reason, **options))

    def end_session(self, session: SessionId) -> None:
        self.machine.end_session(session, self.now)
        self._after()

    def advance(self, by_ms: int) -> None:
        self.now = LogTime(self.now + by_ms)
        self.machine.advance(self.now)
        self._after()

    def answer(self, session: SessionId, sequence: Sequence) -> Any:
        """Return the late reply to a wait that must have ended."""
        return self.late[session, sequence]

    def waits(self, session: SessionId, sequence: Sequence) -> bool:
        """Whether no late reply has come."""
        return (session, sequence) not in self.late

    def info(self, name: str, kind: LockKind = LockKind.LOCK) -> LockInfo:
        answer = self.machine.query(DescribeLock(name, kind), self.now)
        assert isinstance(answer, LockInfo)
        return answer

    def holders(self, name: str, kind: LockKind = LockKind.LOCK) -> list[SessionId]:
        return [holder.session for holder in self.info(name, kind).holders]

    def waiters(self, name: str, kind: LockKind = LockKind.LOCK) -> list[SessionId]:
        return [waiter.session for waiter in self.info(name, kind).waiters]

    def happened(self) -> list[LockEventType]:
        """Return the kinds of the events since the last call."""
        kinds = [event.what for event in self.events]
        self.events.clear()
        return kinds

    def restart(self) -> None:
        """Replace the machine by one that was restored from its snapshot."""
        data = self.machine.snapshot()
        self.machine = LockMachine(self.machine.limits)
        self.machine.restore(data)
        assert self.machine.snapshot() == data

    def _after(self) -> None:
        self.machine.check_invariants()
        for outcome in self.machine.take_outcomes():
            self.late[outcome.session, outcome.sequence] = outcome.reply
            self.order.append((outcome.session, outcome.sequence))
        for event in self.machine.take_events():
            assert isinstance(event, LockEvent)
            self.events.append(event)
