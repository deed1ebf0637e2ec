"""Waiting until something opens: what barriers and latches have in common.

Nobody holds a gate, so it has no part in deadlocks; a wait ends when the gate opens, when its
time is over, when it is abandoned, or with its session.
"""

from enum import IntEnum

import msgspec

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import refusals
from synaxis.locks.deadlines import WAIT_END, Deadlines
from synaxis.locks.journal import Journal
from synaxis.locks.table import LockTable

__all__ = ["Gate", "GateKind", "GateWait", "Gates"]


class GateKind(IntEnum):
    """Name spaces of gates."""

    BARRIER = 0
    LATCH = 1


class GateWait(msgspec.Struct, array_like=True, gc=False, eq=False):
    """One command that waits at a gate."""

    session: SessionId
    sequence: Sequence
    arrival: int
    kind: GateKind
    name: str
    since: LogTime
    deadline: LogTime | None = None


class Gate:
    """A barrier or a latch."""

    __slots__ = ("count", "name", "remaining", "waits")

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        """Parties of a barrier; what a latch counts down from."""
        self.remaining = count
        """Latch: what is left to count down."""
        self.waits: dict[int, GateWait] = {}
        """By arrival."""


class Gates:
    """All gates of a group and who waits at them.

    Invariants: a barrier exists only while somebody waits at it; nobody waits at an open latch.
    """

    def __init__(self, table: LockTable, deadlines: Deadlines, journal: Journal) -> None:
        self._table = table
        self._deadlines = deadlines
        self._journal = journal
        self.by_kind: dict[GateKind, dict[str, Gate]] = {GateKind.BARRIER: {}, GateKind.LATCH: {}}
        self.waits: dict[SessionId, dict[Sequence, GateWait]] = {}

    def find(self, session: SessionId, sequence: Sequence) -> GateWait | None:
        """Return the wait that a command began."""
        return self.waits.get(session, {}).get(sequence)

    def arrive(
        self, kind: GateKind, name: str, command: tuple[SessionId, Sequence], now: LogTime
    ) -> GateWait:
        """Return the wait that a command is about to begin."""
        session, sequence = command
        return GateWait(session, sequence, self._table.arrive(), kind, name, now)

    def join(self, gate: Gate, wait: GateWait, wait_ms: int) -> None:
        """Let ``wait`` begin."""
        gate.waits[wait.arrival] = wait
        self.waits.setdefault(wait.session, {})[wait.sequence] = wait
        if wait_ms > 0:
            end = LogTime(wait.since + wait_ms)
            self._deadlines.watch(end, WAIT_END, wait.arrival, wait)

    def leave(self, wait: GateWait) -> None:
        """End a wait without an answer."""
        self._deadlines.forget(wait)
        own = self.waits[wait.session]
        del own[wait.sequence]
        if not own:
            del self.waits[wait.session]
        gates = self.by_kind[wait.kind]
        gate = gates[wait.name]
        del gate.waits[wait.arrival]
        if wait.kind is GateKind.BARRIER and not gate.waits:
            del gates[wait.name]

    def answer(self, wait: GateWait, reply: msgspec.Struct) -> None:
        """End a wait with an answer."""
        self.leave(wait)
        self._journal.answer(wait.session, wait.sequence, reply)

    def time_out(self, wait: GateWait, now: LogTime) -> None:
        """End a wait whose time is over."""
        self.answer(wait, too_late(wait.kind, wait.name, now - wait.since))

    def end_session(self, session: SessionId) -> None:
        """End all waits of a session, without answers."""
        for _, wait in sorted(self.waits.get(session, {}).items()):
            self.leave(wait)


def too_late(kind: GateKind, name: str, waited_ms: int) -> Refused:
    """Refuse a wait whose time is over."""
    return refusals.timed_out(name, kind.name.lower(), waited_ms)
