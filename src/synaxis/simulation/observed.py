"""The real machines, reporting to the monitor. Nothing is changed, only told."""

import struct

import msgspec

from synaxis.consensus.commands import Proposal
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.replica import Replica
from synaxis.consensus.sessions import CachedReply
from synaxis.effects import Effects, Entry, Outcome, Snapshot
from synaxis.ids import LogIndex, LogTime, Sequence, SessionId
from synaxis.locks.machine import LockMachine
from synaxis.simulation.history import MachineCall, MachineCallKind
from synaxis.simulation.invariants import STATE_CHECK_INTERVAL, Monitor

__all__ = ["ObservedMachine", "ObservedRaft", "ObservedReplica"]

_POSITION = struct.Struct(">Q")
_NOBODY = SessionId(0)
_NO_SEQUENCE = Sequence(0)


class ObservedMachine(LockMachine):
    """Numbers the calls it receives; the number travels in its snapshots."""

    monitor: Monitor
    node: str

    def observe(self, monitor: Monitor, node: str) -> None:
        """Begin to report."""
        self.monitor = monitor
        self.node = node
        self.position = 0
        self.answers: dict[int, int] = {}
        """id of an answer object -> how many calls it had seen; emptied every turn."""
        self._outcomes: list[Outcome] = []

    def _report(
        self,
        kind: MachineCallKind,
        now: LogTime,
        session: SessionId = _NOBODY,
        sequence: Sequence = _NO_SEQUENCE,
        command: msgspec.Struct | None = None,
        reply: msgspec.Struct | None = None,
    ) -> None:
        outcomes = super().take_outcomes()
        self._outcomes += outcomes
        late = [(one.session, one.sequence, one.reply) for one in outcomes]
        time = self.monitor.kernel.now
        call = MachineCall(kind, session, sequence, command, now, reply, late, time)
        self.monitor.called(self.node, self.position, call)
        self.position += 1

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Apply and report."""
        reply = super().apply(session, sequence, command, now)
        self._report(MachineCallKind.APPLY, now, session, sequence, command, reply)
        return reply

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """End the session and report."""
        super().end_session(session, now)
        self._report(MachineCallKind.END_SESSION, now, session)

    def advance(self, now: LogTime) -> None:
        """Advance and report."""
        super().advance(now)
        self._report(MachineCallKind.ADVANCE, now)

    def take_outcomes(self) -> list[Outcome]:
        """Drain what the calls since the last drain have decided."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Answer, remembering how much of the history the answer had seen."""
        answer = super().query(query, now)
        self.answers[id(answer)] = self.position
        return answer

    def snapshot(self) -> bytes:
        """Return the state with the number of calls in front."""
        return _POSITION.pack(self.position) + super().snapshot()

    def restore(self, data: bytes) -> None:
        """Continue behind the calls that the snapshot contains."""
        (self.position,) = _POSITION.unpack_from(data)
        super().restore(data[_POSITION.size :])


class ObservedRaft(Raft):
    """Reports what it commits and hands out."""

    monitor: Monitor
    node: str
    commit_seen = LogIndex(0)

    @property
    def quarantined(self) -> bool:
        """Whether this node may lack what it once acknowledged."""
        return self._state.is_damaged

    def take_effects(self) -> Effects:
        """Drain and report."""
        effects = super().take_effects()
        log = self._state.log
        if log.commit_index > self.commit_seen:
            self.commit_seen = log.commit_index
            if self.leading is not None:
                self.monitor.counted(self.node, self.leading, log.term_at(log.commit_index))
        for entry in effects.apply:
            self.monitor.committed(self.node, entry, self)
        return effects


class ObservedReplica(Replica):
    """Reports its whole state every few entries."""

    monitor: Monitor
    node: str

    def _apply_entry(self, entry: Entry) -> None:
        super()._apply_entry(entry)
        if entry.index % STATE_CHECK_INTERVAL == 0:
            self.monitor.state_at(self.node, entry.index, self.state())

    def _apply_one(self, proposal: Proposal, rank: int, now: LogTime) -> CachedReply | None:
        machine = self.machine
        assert isinstance(machine, ObservedMachine)
        before = machine.position
        cached = super()._apply_one(proposal, rank, now)
        if machine.position == before:
            self.monitor.skipped(proposal)
        return cached

    def _restore(self, snapshot: Snapshot) -> None:
        super()._restore(snapshot)
        self.monitor.state_at(self.node, snapshot.meta.index, self.state())
