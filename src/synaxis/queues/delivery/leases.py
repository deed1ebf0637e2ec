"""When what a consumer holds is taken from it: silence, the end of a lease, the end of a session.

An end counts as a failure of the message, so it is the log that decides: the leader proposes
``Expire``, and until that is applied the message stays in flight, *ending*.
"""

from synaxis.queues.commands import Expire, Part
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.delivery.desk import Desk
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.delivery.lane import Lane

__all__ = ["Leases"]


class Leases:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def heard(self, flow: Flow, consumer: Consumer) -> None:
        """The consumer gave a sign of life."""
        consumer.heard = self._desk.live
        self.watch(flow, consumer)

    def watch(self, flow: Flow, consumer: Consumer) -> None:
        """See to it that the consumer's silence will be noticed."""
        if not consumer.armed:
            consumer.armed = True
            self._desk.alarm_live(consumer.silent_at, (flow, consumer))

    def lent(self, flow: Flow, consumer: Consumer) -> None:
        """The consumer was given messages."""
        if not consumer.member.auto_extend:
            end = self._desk.live + consumer.member.visibility_ms
            self._desk.alarm_live(end, (flow, consumer))
        self.watch(flow, consumer)

    def extend(
        self, flow: Flow, consumer: Consumer, parts: tuple[Part, ...], ms: int
    ) -> tuple[Part, ...]:
        """Let leases end ``ms`` from now; returns what the consumer does not hold."""
        stale = []
        end = self._desk.live + ms
        for part in parts:
            lane = flow.lanes.get(part.partition)
            for offset in range(part.first, part.last + 1):
                lease = lane.inflight.get(offset) if lane is not None else None
                if lane is None or lease is None or lease.consumer is not consumer or lease.ending:
                    stale.append(Part(part.partition, offset, offset, part.failures))
                else:
                    lane.inflight[offset] = Lease(consumer, end, lease.bytes_each)
        self._desk.alarm_live(end, (flow, consumer))
        return tuple(stale)

    def look(self, flow: Flow, consumer: Consumer) -> None:
        """End the leases of a consumer that are over, and look again when others may be."""
        consumer.armed = False
        live = self._desk.live
        if flow.consumers.get(consumer.member.number) is not consumer:
            return
        if consumer.held:
            for lane in flow.lanes.values():
                over = [
                    offset
                    for offset, lease in lane.held_by(consumer)
                    if not lease.ending and lease.is_over(live)
                ]
                self.end(flow, consumer, lane, over, "lease_expired")
        if consumer.silent_at > live:
            self.watch(flow, consumer)

    def end_all(self, flow: Flow, consumer: Consumer, reason: str) -> None:
        """The consumer will not come back."""
        for lane in flow.lanes.values():
            self.end_in(flow, consumer, lane, reason)

    def end_in(self, flow: Flow, consumer: Consumer, lane: Lane, reason: str) -> None:
        """What the consumer holds in one lane is taken from it."""
        held = [offset for offset, lease in lane.held_by(consumer) if not lease.ending]
        self.end(flow, consumer, lane, held, reason)

    def end(
        self, flow: Flow, consumer: Consumer, lane: Lane, offsets: list[int], reason: str
    ) -> None:
        """Propose that the deliveries of ``offsets`` (ascending) ended."""
        parts: list[Part] = []
        number = lane.partition.number
        for offset in offsets:
            lane.inflight[offset] = lane.inflight[offset].ended()
            failures = lane.progress.failed(offset)
            last = parts[-1] if parts else None
            if last is not None and last.last == offset - 1 and last.failures == failures:
                parts[-1] = Part(number, last.first, offset, failures)
            else:
                parts.append(Part(number, offset, offset, failures))
        if parts:
            topic, group, member = flow.topic.record.name, flow.group.name, consumer.member.number
            self._desk.commands.append(Expire(topic, group, member, tuple(parts), reason))
