"""When what a consumer holds is taken from it: silence, the end of a lease, the end of a session.

An end counts as a failure of the message, so it is the log that decides: the leader proposes
``Expire``, and until that is applied the message stays in flight, *ending*.
"""

from collections.abc import Callable

from synaxis.queues.commands import Expire, Part
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.delivery.desk import Desk
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.delivery.lane import Lane

__all__ = ["LOOK_EVERY_MS", "Leases"]

LOOK_EVERY_MS = 50
"""A consumer's leases are not looked at again sooner: a look reads all that is in flight, and each
delivery may have an end of its own."""


class Leases:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def heard(self, flow: Flow, consumer: Consumer) -> None:
        """The consumer gave a sign of life."""
        live = self._desk.live
        if consumer.silent_at <= live:
            self._desk.mark(flow)  # it is given messages again
        consumer.heard = live

    def watch(self, flow: Flow, consumer: Consumer, at: int) -> None:
        """Look at the consumer's leases at live time ``at``."""
        if consumer.armed_at is None or at < consumer.armed_at:
            consumer.armed_at = at
            self._desk.alarm_live(at, (flow, consumer))

    def lent(self, flow: Flow, consumer: Consumer) -> None:
        """The consumer was given messages."""
        if consumer.held:
            at = consumer.silent_at
            if not consumer.member.auto_extend:
                at = min(at, self._desk.live + consumer.member.visibility_ms)
            self.watch(flow, consumer, at)

    def renew(self, flow: Flow, consumer: Consumer) -> None:
        """What is known of the consumer has changed: its leases begin anew."""
        deadline = flow.deadline_of(consumer, self._desk.live)
        for lane in flow.lanes.values() if consumer.held else ():
            for offset, lease in lane.held_by(consumer):
                if not lease.ending:
                    lane.inflight[offset] = lease.until(deadline)
        self.lent(flow, consumer)

    def extend(
        self, flow: Flow, consumer: Consumer, parts: tuple[Part, ...], ms: int
    ) -> tuple[Part, ...]:
        """Let leases end ``ms`` from now; returns what the consumer does not hold."""
        end = self._desk.live + ms
        stale = self._change(flow, consumer, parts, lambda lease: lease.until(end))
        if parts and consumer.held:
            self.watch(flow, consumer, end)
        return stale

    def begin(self, flow: Flow, consumer: Consumer, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The consumer works on messages; returns what it does not hold."""
        return self._change(flow, consumer, parts, Lease.started)

    def _change(
        self,
        flow: Flow,
        consumer: Consumer,
        parts: tuple[Part, ...],
        change: Callable[[Lease], Lease],
    ) -> tuple[Part, ...]:
        """Change the leases that the consumer holds; returns what it does not hold."""
        stale = []
        changed: dict[Lease, Lease] = {}
        for part in parts:
            lane = flow.lanes.get(part.partition)
            for offset in range(part.first, part.last + 1):
                lease = lane.lease_of(offset, consumer, part.failures) if lane else None
                if lane is None or lease is None:
                    stale.append(Part(part.partition, offset, offset, part.failures))
                    continue
                if lease not in changed:
                    changed[lease] = change(lease)
                lane.inflight[offset] = changed[lease]
        return tuple(stale)

    def look(self, flow: Flow, consumer: Consumer) -> None:
        """End the leases of a consumer that are over, and look again when the others may be."""
        live = self._desk.live
        if consumer.armed_at is None or consumer.armed_at > live:
            return  # another alarm has taken the place of this one
        consumer.armed_at = None
        if flow.consumers.get(consumer.member.number) is not consumer or not consumer.held:
            return
        following: int | None = None
        for lane in flow.lanes.values():
            over = []
            for offset, lease in lane.held_by(consumer):
                end = lease.over_at
                if lease.ending:
                    continue
                if end <= live:
                    over.append(offset)
                elif following is None or end < following:
                    following = end
            self.end(flow, consumer, lane, over, "lease_expired")
        if following is not None:
            self.watch(flow, consumer, max(following, live + LOOK_EVERY_MS))

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
        """Propose that the deliveries of ``offsets`` (ascending) ended.

        What failed before and was not begun, by a consumer that would have said so, goes back
        without blame: it only waited beside what its consumer died of.
        """
        parts: list[Part] = []
        number = lane.partition.number
        if consumer.member.announces:
            waited = [
                offset
                for offset in offsets
                if lane.progress.failed(offset) and not lane.inflight[offset].begun
            ]
            lane.release(waited, consumer, self._desk.now)
            self._desk.mark(flow)
            offsets = [offset for offset in offsets if offset in lane.inflight]
        for offset in offsets:
            lane.end(offset)
            failures = lane.progress.failed(offset)
            last = parts[-1] if parts else None
            if last is not None and last.last == offset - 1 and last.failures == failures:
                parts[-1] = Part(number, last.first, offset, failures)
            else:
                parts.append(Part(number, offset, offset, failures))
        if parts:
            topic, group, member = flow.topic.record.name, flow.group.name, consumer.member.number
            self._desk.commands.append(Expire(topic, group, member, tuple(parts), reason))
