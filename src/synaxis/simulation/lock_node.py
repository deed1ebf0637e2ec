"""A simulated node that has one lock group."""

from typing import ClassVar

import msgspec

from synaxis.effects import Members, Outcome
from synaxis.ids import GroupId, LogTime, Sequence, SessionId
from synaxis.locks.limits import LockLimits
from synaxis.locks.machine import LockMachine
from synaxis.simulation.disk import SimulatedDirectory
from synaxis.simulation.history import MachineCallKind
from synaxis.simulation.invariants import Monitor
from synaxis.simulation.observed import CallLog
from synaxis.simulation.process import SimulatedNode, Surroundings

__all__ = ["LockNode", "ObservedLocks"]


class ObservedLocks(LockMachine):
    """The real machine, reporting what it is asked and what it answers."""

    def __init__(self, limits: LockLimits, monitor: Monitor, node: str) -> None:
        super().__init__(limits)
        self.calls = CallLog(monitor, node)

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Apply and report."""
        reply = super().apply(session, sequence, command, now)
        outcomes = super().take_outcomes()
        who, what = (session, sequence), (command, reply)
        self.calls.report(MachineCallKind.APPLY, now, outcomes, who, what)
        return reply

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """End the session and report."""
        super().end_session(session, now)
        who = session, Sequence(0)
        self.calls.report(MachineCallKind.END_SESSION, now, super().take_outcomes(), who)

    def advance(self, now: LogTime) -> None:
        """Advance and report."""
        super().advance(now)
        self.calls.report(MachineCallKind.ADVANCE, now, super().take_outcomes())

    def take_outcomes(self) -> list[Outcome]:
        """Drain what the calls since the last drain have decided."""
        return self.calls.take_outcomes()

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Answer, remembering how much of the history the answer had seen."""
        answer = super().query(query, now)
        self.calls.answers[id(answer)] = self.calls.position
        return answer

    def snapshot(self) -> bytes:
        """Return the state with the number of calls in front."""
        return self.calls.pack(super().snapshot())

    def restore(self, data: bytes) -> None:
        """Continue behind the calls that the snapshot contains."""
        super().restore(self.calls.unpack(data))


class LockNode(SimulatedNode):
    """See the module."""

    group: ClassVar[GroupId] = GroupId("locks/0")

    def __init__(
        self,
        limits: LockLimits,
        around: Surroundings,
        node_id: str,
        bootstrap: Members,
        disk: SimulatedDirectory,
    ) -> None:
        super().__init__(around, node_id, bootstrap, disk)
        self._limits = limits

    def _make_machine(self) -> ObservedLocks:
        return ObservedLocks(self._limits, self.around.monitor, self.id)
