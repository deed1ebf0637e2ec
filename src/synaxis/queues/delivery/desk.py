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
"""What to look at: a flow's messages; a consumer's leases; whether a partition (with the epoch of
its ownership) was yielded."""


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
        self._serial = count()

    def clear(self) -> None:
        """Forget everything but what is to be said."""
        self.leading = False
        self.flows = {}
        self.by_session = {}
        self.commands = []
        self.dirty.clear()
        self._alarms = []

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
        """Look at something at live time ``at``; a stall meanwhile makes the look come early."""
        self.alarm(at + self._stalled_ms, what)

    def pop_due(self) -> Alarm | None:
        """Return the next alarm that is due."""
        if self._alarms and self._alarms[0][0] <= self.now:
            return heappop(self._alarms)[2]
        return None

    @property
    def next_alarm(self) -> LogTime | None:
        """When the next alarm is due."""
        return LogTime(self._alarms[0][0]) if self._alarms else None

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
