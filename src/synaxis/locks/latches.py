"""Latches: wait until a count has come down to zero, once.

A latch outlives the sessions that count and wait; it stays open until it is deleted.
"""

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import refusals
from synaxis.locks.commands import LatchCount, LatchState, LatchWait
from synaxis.locks.gates import Gate, GateKind, Gates, too_late
from synaxis.locks.limits import LockLimits

__all__ = ["DELETE", "Latches"]

DELETE = -1
"""``LatchCount.by`` that deletes the latch."""


class Latches:
    """Executes ``LatchCount`` and ``LatchWait``."""

    def __init__(self, gates: Gates, limits: LockLimits) -> None:
        self._gates = gates
        self._limits = limits

    def count_down(
        self, _session: SessionId, _sequence: Sequence, command: LatchCount, _now: LogTime
    ) -> LatchState | Refused:
        """Count down, or delete; at zero everybody who waits passes."""
        if command.by == DELETE:
            return self._delete(command.name)
        latch = self._open(command.name, command.count)
        if isinstance(latch, Refused):
            return latch
        latch.remaining = max(0, latch.remaining - max(0, command.by))
        if not latch.remaining:
            for wait in list(latch.waits.values()):
                self._gates.answer(wait, LatchState(0))
        return LatchState(latch.remaining)

    def wait(
        self, session: SessionId, sequence: Sequence, command: LatchWait, now: LogTime
    ) -> LatchState | Refused | None:
        """Pass, wait (None) or be refused."""
        latch = self._open(command.name, command.count)
        if isinstance(latch, Refused):
            return latch
        if not latch.remaining:
            return LatchState(0)
        if command.wait_ms == 0:
            return too_late(GateKind.LATCH, command.name, 0)
        wait = self._gates.arrive(GateKind.LATCH, command.name, (session, sequence), now)
        self._gates.join(latch, wait, command.wait_ms)
        return None

    def _open(self, name: str, count: int) -> Gate | Refused:
        latches = self._gates.by_kind[GateKind.LATCH]
        latch = latches.get(name)
        if latch is None:
            if count < 1:
                return refusals.invalid(f"count is {count}; it must be at least 1")
            if len(latches) >= self._limits.latches_max:
                return refusals.limit_reached("latches_max", self._limits.latches_max)
            latch = latches[name] = Gate(name, count)
        elif latch.count != count:
            return refusals.invalid(
                f"latch {name!r} counts down from {latch.count}, not {count}",
                name=name,
                count=latch.count,
            )
        return latch

    def _delete(self, name: str) -> LatchState:
        latches = self._gates.by_kind[GateKind.LATCH]
        latch = latches.get(name)
        if latch is None:
            return LatchState(0)
        gone = Refused("not_found", f"latch {name!r} was deleted while closed", {"name": name})
        for wait in list(latch.waits.values()):
            self._gates.answer(wait, gone)
        del latches[name]
        return LatchState(latch.remaining)
