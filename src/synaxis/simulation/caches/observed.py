"""The real cache machine and its real home, reporting what they do."""

import msgspec

from synaxis.caches.bus import Attach
from synaxis.caches.home import CacheHome
from synaxis.caches.limits import CacheLimits
from synaxis.caches.machine import CacheMachine
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import MachineCallKind
from synaxis.simulation.invariants import Monitor
from synaxis.simulation.observed import CallLog

__all__ = ["ObservedCache", "ObservedHome"]


class ObservedCache(CacheMachine):
    """The real machine, reporting what it is asked and what it answers."""

    def __init__(self, limits: CacheLimits, monitor: Monitor, node: str) -> None:
        super().__init__(limits)
        self.calls = CallLog(monitor, node)

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Apply and report."""
        reply = super().apply(session, sequence, command, now)
        self.calls.report(MachineCallKind.APPLY, now, [], (session, sequence), (command, reply))
        return reply

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """End the session and report."""
        super().end_session(session, now)
        self.calls.report(MachineCallKind.END_SESSION, now, [], (session, Sequence(0)))

    def advance(self, now: LogTime) -> None:
        """Advance and report."""
        super().advance(now)
        self.calls.report(MachineCallKind.ADVANCE, now, [])

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


class ObservedHome(CacheHome):
    """The real home, counting its rare moments."""

    coverage: Coverage

    def begin(self, now: LogTime) -> None:
        """Begin, and note who is waited for."""
        super().begin(now)
        if self.is_recovering:
            self.coverage.hit("cache.recovering")

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Listen, and note what became of writes from earlier streams."""
        was_recovering, lost = self.is_recovering, self.tally.dirty_lost
        flushes = self.tally.transactions.get("Flush", 0)
        super().demand(session, message, handle)
        if was_recovering and not self.is_recovering:
            self.coverage.hit("cache.recovered_by_attaching")
        if isinstance(message, Attach):
            revived = self.tally.transactions.get("Flush", 0) - flushes
            self.coverage.hit("cache.revived", revived)
            self.coverage.hit("cache.revival_refused", self.tally.dirty_lost - lost)

    def tick(self, now: LogTime) -> None:
        """Let time pass, and note what it ended."""
        was_recovering, silent = self.is_recovering, self.tally.lease_expiries
        super().tick(now)
        if was_recovering and not self.is_recovering:
            self.coverage.hit("cache.recovered_by_time")
        self.coverage.hit("cache.silent_let_go", self.tally.lease_expiries - silent)
