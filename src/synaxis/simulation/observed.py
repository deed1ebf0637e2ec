"""The real machines, reporting to the monitor. Nothing is changed, only told."""

import struct
from typing import Protocol, cast

import msgspec

from synaxis.consensus.attending import CONFIRMATION
from synaxis.consensus.commands import Proposal
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.reads import Read
from synaxis.consensus.replica import Replica
from synaxis.consensus.sessions import CachedReply
from synaxis.effects import Effects, Entry, Outcome, Snapshot
from synaxis.ids import LogIndex, LogTime, Sequence, SessionId
from synaxis.ports import StateMachine
from synaxis.simulation.history import MachineCall, MachineCallKind
from synaxis.simulation.invariants import STATE_CHECK_INTERVAL, Monitor

__all__ = ["CallLog", "ObservedMachine", "ObservedRaft", "ObservedReplica"]

_POSITION = struct.Struct(">Q")
_NOBODY = SessionId(0)
_NO_SEQUENCE = Sequence(0)


class CallLog:
    """Numbers the calls that one machine receives; the number travels in its snapshots."""

    def __init__(self, monitor: Monitor, node: str) -> None:
        self.monitor = monitor
        self.node = node
        self.position = 0
        self.answers: dict[int, int] = {}
        """id of an answer object -> how many calls it had seen; emptied every turn."""
        self._outcomes: list[Outcome] = []

    def report(
        self,
        kind: MachineCallKind,
        now: LogTime,
        outcomes: list[Outcome],
        who: tuple[SessionId, Sequence] = (_NOBODY, _NO_SEQUENCE),
        what: tuple[msgspec.Struct | None, msgspec.Struct | None] = (None, None),
    ) -> None:
        """Tell the monitor of a call; ``what`` is command and reply."""
        self._outcomes += outcomes
        late = [(one.session, one.sequence, one.reply) for one in outcomes]
        time = self.monitor.kernel.now
        call = MachineCall(kind, *who, what[0], now, what[1], late, time)
        self.monitor.called(self.node, self.position, call)
        self.position += 1

    def take_outcomes(self) -> list[Outcome]:
        """Drain what the calls since the last drain have decided."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def pack(self, snapshot: bytes) -> bytes:
        """Return a snapshot with the number of calls in front."""
        return _POSITION.pack(self.position) + snapshot

    def unpack(self, data: bytes) -> bytes:
        """Continue behind the calls that the snapshot contains; returns what it was made of."""
        (self.position,) = _POSITION.unpack_from(data)
        return data[_POSITION.size :]


class ObservedMachine(StateMachine, Protocol):
    """A real machine that reports its calls."""

    calls: CallLog


class ObservedRaft(Raft):
    """Reports what it commits and hands out."""

    monitor: Monitor
    node: str
    commit_seen = LogIndex(0)

    @property
    def quarantined(self) -> bool:
        """Whether this node may lack what it once acknowledged."""
        return self._state.is_damaged

    @property
    def base_index(self) -> LogIndex:
        """The entry just before the first one in memory."""
        return self._state.log.base_index

    def take_effects(self) -> Effects:
        """Drain and report."""
        effects = super().take_effects()
        if effects.era is not None:
            self.monitor, self.commit_seen = self.monitor.of(effects.era), LogIndex(0)
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
    asked_us = 0
    """When the attendant last had to have the leadership confirmed."""

    @property
    def is_current(self) -> bool:
        """Whether everything in the log is applied here."""
        return self.applied_index == self.status().last_index

    def _read(self, read: Read) -> None:
        if read.question is CONFIRMATION:
            self.asked_us = self.monitor.kernel.now
        super()._read(read)

    def _apply_entry(self, entry: Entry) -> None:
        super()._apply_entry(entry)
        if entry.index % STATE_CHECK_INTERVAL == 0:
            self.monitor.state_at(self.node, entry.index, self.state())

    def _apply_one(self, proposal: Proposal, rank: int, now: LogTime) -> CachedReply | None:
        calls = self._calls()
        before = calls.position
        cached = super()._apply_one(proposal, rank, now)
        if calls.position == before:
            self.monitor.skipped(proposal)
        return cached

    def _calls(self) -> CallLog:
        return cast("ObservedMachine", self.machine).calls

    def _begin_era(self, era: int) -> None:
        super()._begin_era(era)
        self.monitor = self.monitor.of(era)

    def _restore(self, snapshot: Snapshot) -> None:
        super()._restore(snapshot)
        self.monitor.state_at(self.node, snapshot.meta.index, self.state())
