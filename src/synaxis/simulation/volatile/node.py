"""A simulated node that has one volatile group; its memory dies with the process."""

from collections.abc import Callable
from typing import ClassVar

import msgspec

from synaxis.effects import Effects, Members
from synaxis.ids import GroupId, LogIndex, LogTime, Sequence, SessionId
from synaxis.ports import RecoveredGroup
from synaxis.simulation.disk import SimulatedDirectory
from synaxis.simulation.history import MachineCallKind
from synaxis.simulation.observed import CallLog
from synaxis.simulation.process import SimulatedNode, Surroundings
from synaxis.simulation.volatile.monitor import EraMonitor
from synaxis.simulation.volatile.registers import RegisterMachine
from synaxis.storage.write_ahead_log import WriteAheadLog

__all__ = ["ObservedRegisters", "VolatileNode"]


class ObservedRegisters(RegisterMachine):
    """The machine, reporting what it is asked and what it answers to the observer of its era."""

    def __init__(self, monitor: EraMonitor, node: str) -> None:
        super().__init__()
        self.calls = CallLog(monitor, node)
        self._monitor = monitor

    def begin_era(self, era: int) -> None:
        """Begin, and count calls anew."""
        super().begin_era(era)
        answers = self.calls.answers
        self.calls = CallLog(self._monitor.of(era), self.calls.node)
        self.calls.answers = answers

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Apply and report."""
        reply = super().apply(session, sequence, command, now)
        self.calls.report(MachineCallKind.APPLY, now, [], (session, sequence), (command, reply))
        return reply

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


class VolatileNode(SimulatedNode):
    """See the module."""

    group: ClassVar[GroupId] = GroupId("caches/0")

    def __init__(
        self,
        monitor_of: Callable[[], EraMonitor],
        around: Surroundings,
        node_id: str,
        bootstrap: Members,
        disk: SimulatedDirectory,
    ) -> None:
        super().__init__(around, node_id, bootstrap, disk)
        self._monitor_of = monitor_of
        self._has_forgotten = False
        self._base_index = LogIndex(0)

    @property
    def monitor(self) -> EraMonitor:
        """The observer of all eras."""
        return self._monitor_of()

    def _make_machine(self) -> ObservedRegisters:
        return ObservedRegisters(self.monitor, self.id)

    def _build(self, wal: WriteAheadLog, group: RecoveredGroup) -> None:
        super()._build(wal, group)
        assert self.log is not None
        self.monitor.memories[self.id] = self.log
        self._has_forgotten = self.log.quarantined
        if self._has_forgotten:
            self.around.coverage.hit("volatile.forgotten")

    def _end(self, *, power: bool) -> None:
        self.monitor.memories.pop(self.id, None)
        super()._end(power=power)

    def _execute(self, effects: Effects) -> None:
        log = self.log
        assert log is not None
        if effects.era is None:
            self.monitor.remembers(self.id, log, log.status().stable_index)
        self._count(effects)
        super()._execute(effects)

    def _count(self, effects: Effects) -> None:
        coverage, log = self.around.coverage, self.log
        assert log is not None
        if self._has_forgotten and not log.quarantined:
            self._has_forgotten = False
            if effects.era is None:
                coverage.hit("volatile.repaired")
        if log.base_index > self._base_index:
            coverage.hit("raft.compacted")
        self._base_index = log.base_index
        if effects.restore is not None:
            coverage.hit("volatile.snapshot_on_demand")
