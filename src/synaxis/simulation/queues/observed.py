"""The real queue machine and its real leader's half, reporting what they do."""

from collections.abc import Callable

import msgspec

from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.queues.commands import Begin, Delivery, Extended, Part
from synaxis.queues.delivery.dispatcher import Dispatcher
from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.simulation.history import MachineCallKind
from synaxis.simulation.invariants import Monitor
from synaxis.simulation.observed import CallLog
from synaxis.simulation.queues.ledger import Began, Deed, Delivering, Demanded, Dropped
from synaxis.simulation.queues.streams import NodeStream

__all__ = ["ObservedDispatcher", "ObservedQueues"]


class ObservedQueues(QueueMachine):
    """The real machine, reporting what it is asked and what it answers."""

    def __init__(self, limits: QueueLimits, monitor: Monitor, node: str) -> None:
        super().__init__(0, 1, limits)
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


class ObservedDispatcher(Dispatcher):
    """The real leader's half, reporting whom it hears and what it hands out."""

    def __init__(
        self,
        machine: ObservedQueues,
        limits: DeliveryLimits,
        report: Callable[[Deed], None],
        propose: Callable[[msgspec.Struct], None],
    ) -> None:
        super().__init__(machine, limits)
        self._report = report
        self._propose = propose
        self._confirmed_at = LogTime(0)

    def begin(self, now: LogTime) -> None:
        """Report and begin."""
        self._report(Began())
        super().begin(now)

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Take what a member says, and report it unless it is refused."""
        super().demand(session, message, handle)
        stale: tuple[Part, ...] = ()
        if isinstance(message, Begin):
            answer = self._desk.replies[-1][1]
            assert isinstance(answer, Extended)
            stale = answer.stale
        self._report(Demanded(message, stale))

    def disconnected(self, handle: object) -> None:
        """Note and report that a stream is gone."""
        super().disconnected(handle)
        assert isinstance(handle, NodeStream)
        self._report(Dropped(handle.attach))

    def confirmed(self, now: LogTime) -> None:
        """Deliver, remembering the time."""
        self._confirmed_at = now
        super().confirmed(now)

    def take_replies(self) -> list[tuple[object, msgspec.Struct]]:
        """Drain and report."""
        replies = super().take_replies()
        for handle, body in replies:
            if isinstance(body, Delivery):
                assert isinstance(handle, NodeStream)
                self._report(Delivering(handle.attach, body.slices, self._confirmed_at))
        return replies

    def take_commands(self) -> list[msgspec.Struct]:
        """Drain and report."""
        commands = super().take_commands()
        for command in commands:
            self._propose(command)
        return commands
