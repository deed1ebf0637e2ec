"""Barriers: a number of parties wait for each other, then all go on at once.

Each time a barrier fills a generation ends; who enters next begins a new one. A party that leaves
early (timeout, abandon, lost session) just shrinks the count, the others wait on.
"""

from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks import refusals
from synaxis.locks.commands import BarrierEnter, Done
from synaxis.locks.gates import Gate, GateKind, Gates, too_late

__all__ = ["Barriers"]


class Barriers:
    """Executes ``BarrierEnter``."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    def enter(
        self, session: SessionId, sequence: Sequence, command: BarrierEnter, now: LogTime
    ) -> Done | Refused | None:
        """Wait (None), or complete the generation and let all pass in order of arrival."""
        barriers = self._gates.by_kind[GateKind.BARRIER]
        name, parties = command.name, command.parties
        if parties < 1:
            return refusals.invalid(f"parties is {parties}; it must be at least 1")
        barrier = barriers.get(name)
        if barrier is not None and barrier.count != parties:
            return refusals.invalid(
                f"those who wait at barrier {name!r} expect {barrier.count} parties, not {parties}",
                name=name,
                parties=barrier.count,
            )
        present = 0 if barrier is None else len(barrier.waits)
        if present + 1 >= parties:
            for position, wait in enumerate(list(barrier.waits.values()) if barrier else (), 1):
                self._gates.answer(wait, Done(position=position))
            return Done(position=parties)
        if command.wait_ms == 0:
            return too_late(GateKind.BARRIER, name, 0)
        if barrier is None:
            barrier = barriers[name] = Gate(name, parties)
        wait = self._gates.arrive(GateKind.BARRIER, name, (session, sequence), now)
        self._gates.join(barrier, wait, command.wait_ms)
        return None
