"""What the parts of the leader's half share: its clock, its flows, and what is to be done next."""

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from synaxis.ids import LogTime, SessionId
from synaxis.queues.delivery.consumer import Consumer
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.group import Group
from synaxis.queues.limits import DeliveryLimits
from synaxis.queues.topic import Topic

if TYPE_CHECKING:
    import msgspec

__all__ = ["Alarm", "Desk"]

Alarm = Flow | tuple[Flow, Consumer] | tuple[Flow, int, int]
"""What to look at: a flow's messages; a consumer's leases; whether a partition was yielded by the
time that was set for it."""


class Desk:
    """See the module.

    Two clocks: *log time* for what messages wait for; *live* time, which is log time without the
    leader's own stalls, for the silence of consumers, who cannot be heard during a stall.
    """

    def __init__(self, limits: DeliveryLimits) -> None:
        self.limits = limits
        self.now = LogTime(0)
        self.leading = False
        self.flows: dict[tuple[str, str], Flow] = {}
        self.by_session: dict[SessionId, list[tuple[Flow, Consumer]]] = {}
        self.replies: list[tuple[object, msgspec.Struct]] = []
        self.commands: list[msgspec.Struct] = []
        self.dirty: deque[Flow] = deque()
        """Flows in which something may be deliverable."""
        self._stalled_ms = 0
        self._alarms: list[tuple[int, int, Alarm]] = []
        """Heap by log time."""
        self._live_alarms: list[tuple[int, int, Alarm]] = []
        """Heap by live time."""
        self._serial = count()

    def clear(self) -> None:
        """Forget everything but what is to be said."""
        self.leading = False
        self.flows = {}
        self.by_session = {}
        self.commands = []
        self.dirty.clear()
        self._alarms = []
        self._live_alarms = []

    # --- time -------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Return live time."""
        return self.now - self._stalled_ms

    def see(self, now: LogTime) -> None:
        """Note the time; a long silence was the leader's own."""
        if now - self.now > self.limits.stall_ms:
            self._stalled_ms += now - self.now
        self.now = max(self.now, now)

    def restart_clock(self, now: LogTime) -> None:
        """Begin to lead at ``now``."""
        self.now = now
        self._stalled_ms = 0

    def alarm(self, at: int, what: Alarm) -> None:
        """Look at something at log time ``at``."""
        heappush(self._alarms, (at, next(self._serial), what))

    def alarm_live(self, at: int, what: Alarm) -> None:
        """Look at something at live time ``at``."""
        heappush(self._live_alarms, (at, next(self._serial), what))

    def pop_due(self) -> Alarm | None:
        """Return the next alarm that is due."""
        if self._alarms and self._alarms[0][0] <= self.now:
            return heappop(self._alarms)[2]
        if self._live_alarms and self._live_alarms[0][0] <= self.live:
            return heappop(self._live_alarms)[2]
        return None

    @property
    def next_alarm(self) -> LogTime | None:
        """When the next alarm is due."""
        due = [self._alarms[0][0]] if self._alarms else []
        if self._live_alarms:
            due.append(self._live_alarms[0][0] + self._stalled_ms)
        return LogTime(min(due)) if due else None

    # --- flows ------------------------------------------------------------------------------

    def flow(self, topic: Topic, group: Group) -> Flow | None:
        """Return the flow of a group."""
        return self.flows.get((topic.record.name, group.name))

    def open_flow(self, topic: Topic, group: Group, *, recovering: bool) -> Flow:
        """Begin to serve a group."""
        flow = Flow(topic, group, self.limits, self.alarm, self.live, recovering=recovering)
        self.flows[topic.record.name, group.name] = flow
        for consumer in flow.consumers.values():
            self.enlist(flow, consumer)
        self.mark(flow)
        return flow

    def enlist(self, flow: Flow, consumer: Consumer) -> None:
        """Let the life signs of the consumer's session count for it."""
        known = self.by_session.setdefault(consumer.member.session, [])
        if (flow, consumer) not in known:
            known.append((flow, consumer))

    def strike(self, flow: Flow, consumer: Consumer) -> None:
        """Undo ``enlist``."""
        session = consumer.member.session
        left = [each for each in self.by_session.pop(session, ()) if each != (flow, consumer)]
        if left:
            self.by_session[session] = left

    def mark(self, flow: Flow) -> None:
        """Something may be deliverable in ``flow``."""
        if not flow.dirty:
            flow.dirty = True
            self.dirty.append(flow)

    # --- checking ---------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Assert that nothing waits for a look that nobody will take."""
        pending = [(at, what) for at, _, what in self._alarms]
        pending_live = [(at, what) for at, _, what in self._live_alarms]
        for flow in self.flows.values():
            assert flow.dirty == (flow in self.dirty)
            for lane in flow.lanes.values():
                at = lane.next_look
                assert at is None or any(t <= at and what is flow for t, what in pending)
            for consumer in flow.consumers.values():
                session = consumer.member.session
                assert (flow, consumer) in self.by_session[session]
                ends = [
                    lease.over_at
                    for lane in flow.lanes.values()
                    for lease in lane.inflight.values()
                    if lease.consumer is consumer and not lease.ending
                ]
                if ends:
                    assert consumer.armed_at is not None
                    assert consumer.armed_at <= max(min(ends), self.live + self.limits.stall_ms)
                    assert (consumer.armed_at, (flow, consumer)) in pending_live
            for partition, ownership in flow.group.owners.items():
                if ownership.owner != ownership.target and partition in flow.yielding:
                    due = flow.yielding[partition]
                    assert (due, (flow, partition, due)) in pending_live
        known = [each for listed in self.by_session.values() for each in listed]
        assert len(known) == sum(len(flow.consumers) for flow in self.flows.values())
