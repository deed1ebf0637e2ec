"""How the leader's half hears of changes of the replicated half."""

from synaxis.effects import refusal
from synaxis.errors import ConsumerFenced
from synaxis.queues.commands import GroupMode
from synaxis.queues.delivery.desk import Desk
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.delivery.leases import Leases
from synaxis.queues.group import Group
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress
from synaxis.queues.topic import Topic

__all__ = ["Listener"]


class Listener:
    """Implements ``queues.observer.Observer``: hears nothing unless the desk leads."""

    def __init__(self, desk: Desk, leases: Leases) -> None:
        self._desk = desk
        self._leases = leases

    # --- messages ---------------------------------------------------------------------------

    def published(self, topic: Topic, partition: Partition, first: int, last: int) -> None:
        """See ``Observer``."""
        desk = self._desk
        for name in topic.groups if desk.leading else ():
            flow = desk.flows.get((topic.record.name, name))
            if flow is not None:
                flow.lanes[partition.number].published(first, last, desk.now)
                desk.mark(flow)

    def finished(
        self, topic: Topic, group: Group, progress: Progress, first: int, last: int
    ) -> None:
        """See ``Observer``."""
        flow = self._desk.flow(topic, group)
        if flow is not None:
            flow.lanes[progress.partition].finished(first, last, self._desk.now)
            self._desk.mark(flow)

    def failed(self, topic: Topic, group: Group, progress: Progress, offset: int) -> None:
        """See ``Observer``."""
        flow = self._desk.flow(topic, group)
        if flow is not None:
            flow.lanes[progress.partition].failed(offset, self._desk.now)
            self._desk.mark(flow)

    def moved(self, topic: Topic, group: Group, progress: Progress) -> None:
        """See ``Observer``."""
        flow = self._desk.flow(topic, group)
        if flow is None:
            return
        owner, lane = group.owners[progress.partition].owner, flow.lanes[progress.partition]
        for consumer in flow.consumers.values():
            if consumer.member.number != owner:
                self._leases.end_in(flow, consumer, lane, "lease_expired")
        flow.end_recovery(self._desk.now)
        self.tell(flow)

    def rewound(self, topic: Topic, group: Group, progress: Progress) -> None:
        """See ``Observer``."""
        flow = self._desk.flow(topic, group)
        if flow is not None:
            flow.lanes[progress.partition].rewind(self._desk.now)
            self._desk.mark(flow)

    # --- members ----------------------------------------------------------------------------

    def joined(self, topic: Topic, group: Group, member: int) -> None:
        """See ``Observer``."""
        desk = self._desk
        if not desk.leading:
            return
        flow = desk.flow(topic, group) or desk.open_flow(topic, group, recovering=False)
        consumer = flow.join(member, desk.live)
        desk.enlist(flow, consumer)
        self._leases.heard(flow, consumer)
        self._leases.renew(flow, consumer)
        self.tell(flow)

    def left(self, topic: Topic, group: Group, member: int, *, lost: bool) -> None:
        """See ``Observer``."""
        flow = self._desk.flow(topic, group)
        consumer = flow.consumers.get(member) if flow is not None else None
        if flow is None or consumer is None:
            return
        if lost:
            self._leases.end_all(flow, consumer, "session_lost")
        flow.leave(member, self._desk.now)
        self._desk.strike(flow, consumer)
        self._dismiss(consumer.handle, group, "the member left its group")
        self.tell(flow)

    def tell(self, flow: Flow) -> None:
        """Tell members in EXCLUSIVE mode what changed for them, and watch who has to yield."""
        desk = self._desk
        desk.mark(flow)
        if flow.group.mode is not GroupMode.EXCLUSIVE:
            return
        for consumer, assignment in flow.assignments():
            desk.replies.append((consumer.handle, assignment))
        for partition, ownership in flow.group.owners.items():
            if ownership.owner == ownership.target:
                flow.yielding.pop(partition, None)
            elif partition not in flow.yielding:
                at = flow.yielding[partition] = desk.live + desk.limits.yield_ms
                desk.alarm_live(at, (flow, partition, at))

    # --- topics and groups ------------------------------------------------------------------

    def configured(self, topic: Topic) -> None:
        """See ``Observer``."""
        for group in topic.groups.values():
            flow = self._desk.flow(topic, group)
            if flow is not None:
                self._desk.mark(flow)

    def removed(self, topic: Topic) -> None:
        """See ``Observer``."""
        for group in topic.groups.values():
            self.group_removed(topic, group)

    def group_removed(self, topic: Topic, group: Group) -> None:
        """See ``Observer``."""
        flow = self._desk.flows.pop((topic.record.name, group.name), None)
        if flow is None:
            return
        for consumer in flow.consumers.values():
            self._desk.strike(flow, consumer)
            self._dismiss(consumer.handle, group, "the topic or the group was removed")
        flow.consumers.clear()

    def _dismiss(self, handle: object, group: Group, why: str) -> None:
        if handle is not None:
            self._desk.replies.append((handle, refusal(ConsumerFenced(why, group=group.name))))

    # --- questions --------------------------------------------------------------------------

    def in_flight(self, topic: str, group: str, partition: int) -> tuple[int, int, int]:
        """See ``Observer``."""
        flow = self._desk.flows.get((topic, group))
        if flow is None:
            return 0, 0, 0
        lane = flow.lanes[partition]
        return len(lane.inflight), lane.delayed, lane.blocked_keys()

    def member(self, topic: str, group: str, member: int) -> tuple[bool, int, int]:
        """See ``Observer``."""
        flow = self._desk.flows.get((topic, group))
        consumer = flow.consumers.get(member) if flow is not None else None
        if consumer is None:
            return False, 0, 0
        return consumer.handle is not None, consumer.held, consumer.credit
