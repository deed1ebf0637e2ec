"""The leader's half of a queue shard: takes what members ask, decides who gets what.

Order of a delivery: something can be delivered -> the leader asks the log to confirm that it still
leads (``wants_confirmation``) -> only then are messages acquired and sent. So a leader that was
replaced without noticing cannot deliver what a newer leader's members have finished.
"""

import msgspec

from synaxis.effects import refusal
from synaxis.errors import ConsumerFenced, InvalidArgument, NotLeader
from synaxis.ids import LogTime, SessionId
from synaxis.queues.commands import (
    Attach,
    Begin,
    Credit,
    Delivery,
    Detach,
    Extend,
    Extended,
    Part,
    Release,
    Revoke,
)
from synaxis.queues.delivery.consumer import Consumer
from synaxis.queues.delivery.desk import Desk
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.delivery.leases import Leases
from synaxis.queues.delivery.listener import Listener
from synaxis.queues.limits import DeliveryLimits
from synaxis.queues.machine import QueueMachine
from synaxis.queues.validation import check_demand

__all__ = ["Dispatcher"]

Demand = Attach | Credit | Release | Extend | Begin | Detach


class Dispatcher:
    """Implements ``ports.Attendant``. See the module."""

    def __init__(self, machine: QueueMachine, limits: DeliveryLimits) -> None:
        self._machine = machine
        self._desk = Desk(limits)
        self._leases = Leases(self._desk)
        self.delivered = 0
        """Messages handed out since the process began, for metrics."""
        self._listener = Listener(self._desk, self._leases)
        machine.shard.observer = self._listener

    def begin(self, now: LogTime) -> None:
        """Lead from now on."""
        desk = self._desk
        desk.leading = True
        desk.restart_clock(now)
        for topic in self._machine.shard.topics.values():
            for group in topic.groups.values():
                self._listener.tell(desk.open_flow(topic, group, recovering=True))

    def end(self) -> None:
        """Lead no longer: every stream ends, everything acquired is forgotten."""
        over = refusal(NotLeader("leadership was lost"))
        for flow in self._desk.flows.values():
            for consumer in flow.consumers.values():
                if consumer.handle is not None:
                    self._desk.replies.append((consumer.handle, over))
        self._desk.clear()

    def see(self, now: LogTime) -> None:
        """Note the time."""
        self._desk.see(now)

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Take what a member says.

        Raises:
            ClientError: it is refused; nothing was done.
        """
        check_demand(message, self._machine.shard.limits)
        assert isinstance(message, Demand)
        flow, consumer = self._consumer(session, message)
        desk = self._desk
        self._leases.heard(flow, consumer)
        match message:
            case Attach():
                consumer.handle = handle
                flow.attach(consumer, message, desk.live, desk.now)
                self._leases.lent(flow, consumer)
                desk.replies.extend((each.handle, news) for each, news in flow.assignments())
            case Credit():
                room = desk.limits.member_messages_max
                consumer.credit = max(0, min(consumer.credit + message.more, room))
            case Release():
                self._release(flow, consumer, message.parts)
            case Extend():
                stale = self._leases.extend(flow, consumer, message.parts, message.ms)
                desk.replies.append((handle, Extended(stale)))
            case Begin():
                stale = self._leases.begin(flow, consumer, message.parts)
                desk.replies.append((handle, Extended(stale)))
            case Detach():
                consumer.handle, consumer.credit = None, 0
        desk.mark(flow)

    def _consumer(self, session: SessionId, message: Demand) -> tuple[Flow, Consumer]:
        flow = self._desk.flows.get((message.topic, message.group))
        consumer = flow.consumers.get(message.member) if flow is not None else None
        if flow is None or consumer is None or consumer.member.session != session:
            raise ConsumerFenced(
                f"member {message.member:x} does not belong to group {message.group!r} of topic "
                f"{message.topic!r} (any more): join again",
                group=message.group,
            )
        return flow, consumer

    def _release(self, flow: Flow, consumer: Consumer, parts: tuple[Part, ...]) -> None:
        for part in parts:
            if part.partition not in flow.lanes:
                raise InvalidArgument(f"partition {part.partition} is not in this shard")
        for part in parts:
            lane = flow.lanes[part.partition]
            lane.release(
                [
                    offset
                    for offset in range(part.first, part.last + 1)
                    if lane.lease_of(offset, consumer, part.failures) is not None
                ],
                consumer,
                self._desk.now,
            )

    def disconnected(self, handle: object) -> None:
        """Whoever attached with ``handle`` cannot be reached any more; it may come back."""
        for flow in self._desk.flows.values():
            for consumer in flow.consumers.values():
                if consumer.handle is handle:
                    consumer.handle, consumer.credit = None, 0

    def heard(self, session: SessionId) -> None:
        """The session is alive, and with it the leases of its members."""
        for flow, consumer in self._desk.by_session.get(session, ()):
            self._leases.heard(flow, consumer)

    def tick(self, now: LogTime) -> None:
        """Look at what was to be looked at by now."""
        desk = self._desk
        desk.see(now)
        while (alarm := desk.pop_due()) is not None:
            if isinstance(alarm, Flow):
                alarm.ripen(desk.now)
                desk.mark(alarm)
            elif len(alarm) == 2:
                self._leases.look(*alarm)
            else:
                self._insist(*alarm)

    def _insist(self, flow: Flow, partition: int, at: int) -> None:
        """Take a partition from an owner that had to yield it by now."""
        if flow.yielding.get(partition) != at:
            return
        del flow.yielding[partition]
        names = flow.topic.record.name, flow.group.name
        if self._desk.flows.get(names) is flow:
            epoch = flow.group.owners[partition].epoch
            self._desk.commands.append(Revoke(*names, partition, epoch))

    def deadline(self) -> LogTime | None:
        """Return when ``tick`` must be called next."""
        return self._desk.next_alarm

    def wants_confirmation(self) -> bool:
        """Return whether there is something to deliver once leadership is confirmed."""
        dirty = self._desk.dirty
        while dirty:
            if dirty[0].is_hungry(self._desk.live):
                return True
            dirty.popleft().dirty = False
        return False

    def asked(self) -> None:
        """Whatever is deliverable when the confirmation comes may go: nothing to note."""

    def confirmed(self, now: LogTime) -> None:
        """Leadership is confirmed: deliver."""
        desk = self._desk
        desk.see(now)
        for _ in range(len(desk.dirty)):
            flow = desk.dirty.popleft()
            flow.dirty = False
            for consumer, slices in flow.deliver(desk.live, desk.now):
                self.delivered += sum(each.count for each in slices)
                desk.replies.append((consumer.handle, Delivery(slices)))
                self._leases.lent(flow, consumer)
                desk.mark(flow)  # there may be more, for the next confirmation

    def load(self, topic: str, group: str) -> tuple[int, int]:
        """Return how many messages of a group are in flight, and how many wait for their time."""
        flow = self._desk.flows.get((topic, group))
        if flow is None:
            return 0, 0
        lanes = flow.lanes.values()
        return sum(len(lane.inflight) for lane in lanes), sum(lane.delayed for lane in lanes)

    def take_replies(self) -> list[tuple[object, msgspec.Struct]]:
        """Drain what is to be said to handles."""
        replies, self._desk.replies = self._desk.replies, []
        return replies

    def take_commands(self) -> list[msgspec.Struct]:
        """Drain what the leader should propose."""
        commands, self._desk.commands = self._desk.commands, []
        return commands

    def check_invariants(self) -> None:
        """Assert what must always hold of the leader's half."""
        desk = self._desk
        if not desk.leading:
            assert not desk.flows
            return
        groups = {
            (name, group.name): (topic, group)
            for name, topic in self._machine.shard.topics.items()
            for group in topic.groups.values()
        }
        assert desk.flows.keys() == groups.keys()
        for key, flow in desk.flows.items():
            assert (flow.topic, flow.group) == groups[key]
            flow.check_invariants(desk.now)
        desk.check_invariants()
