"""One consumer group at the leader: its consumers, and a lane per partition.

*Recovering*: what former leaders delivered may still be in the hands of members. Until each of
them has attached and said what it holds, or is gone, a SHARED group is given only what was
published since, an EXCLUSIVE one only partitions whose owner has spoken, a KEYED one nothing. It
takes as long as the slowest member; a dead one's session ends.
"""

from collections import deque
from collections.abc import Callable, Iterator

from synaxis.ids import LogTime
from synaxis.queues.commands import Assignment, Attach, GroupMode, Part, Slice
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.delivery.lane import Lane
from synaxis.queues.delivery.ordered_lane import OrderedLane
from synaxis.queues.delivery.shared_lane import SharedLane
from synaxis.queues.group import Group
from synaxis.queues.limits import DeliveryLimits
from synaxis.queues.slices import slices_within
from synaxis.queues.topic import Topic

__all__ = ["Flow"]

WakeFlow = Callable[[LogTime, "Flow"], None]


class Flow:
    """See the module."""

    def __init__(
        self,
        topic: Topic,
        group: Group,
        limits: DeliveryLimits,
        wake: WakeFlow,
        live: int,
        *,
        recovering: bool,
    ) -> None:
        self.topic = topic
        self.group = group
        self.limits = limits
        self.recovering = set(group.members) if recovering else set()
        """Members that have not said yet what they hold."""
        self.consumers = {
            number: Consumer(member, live) for number, member in group.members.items()
        }
        self.dirty = False
        """Whether it stands in the dispatcher's queue."""
        self.yielding: dict[int, int] = {}
        """EXCLUSIVE: by which live time a partition must be yielded."""
        self._wake = wake
        self._turn: deque[int] = deque(self.consumers)
        self.lanes: dict[int, Lane] = {number: self._lane(number) for number in topic.partitions}
        self._rotation = deque(self.lanes)

    def _lane(self, number: int) -> Lane:
        partition, progress = self.topic.partitions[number], self.group.progress[number]
        recovering = self._is_unknown(number)
        if self.group.mode is GroupMode.SHARED:
            return SharedLane(partition, progress, self._wake_at, recovering=recovering)
        return OrderedLane(
            partition,
            progress,
            self._wake_at,
            self.limits.loaded_messages_max,
            ownership=self.group.owners.get(number),
            recovering=recovering,
        )

    def _wake_at(self, at: LogTime) -> None:
        self._wake(at, self)

    # --- members ----------------------------------------------------------------------------

    def join(self, number: int, live: int) -> Consumer:
        """Take up a member, or what is new about it."""
        member = self.group.members[number]
        known = self.consumers.get(number)
        if known is None:
            known = self.consumers[number] = Consumer(member, live)
            self._turn.append(number)
        known.member = member
        return known

    def attach(self, consumer: Consumer, message: Attach, live: int, now: LogTime) -> None:
        """Begin to serve a consumer, believing what it says it holds."""
        number = consumer.member.number
        consumer.credit = min(message.credit, self.limits.member_messages_max)
        consumer.told = None
        lease = Lease(consumer, self.deadline_of(consumer, live), 0).started()
        said: dict[int, list[Part]] = {}
        for part in message.holding:
            said.setdefault(part.partition, []).append(part)
        for partition, lane in self.lanes.items():
            parts = said.get(partition, [])
            # What it does not hold was delivered to a connection that is gone.
            lane.release(lane.unclaimed(consumer, parts), consumer, now)
            if self._may_hold(partition, number):
                for part in parts:
                    lane.hold(part, lease)
        self.recovered(number, now)

    def _may_hold(self, partition: int, number: int) -> bool:
        ownership = self.group.owners.get(partition)
        return ownership is None or ownership.owner == number

    def recovered(self, number: int, now: LogTime) -> None:
        """A member has spoken or is gone: nothing that it may hold is unknown any more."""
        self.recovering.discard(number)
        self.end_recovery(now)

    def end_recovery(self, now: LogTime) -> None:
        """Deliver everything of the partitions of which nothing is unknown any more."""
        for partition, lane in self.lanes.items():
            if lane.recovering and not self._is_unknown(partition):
                lane.reload(now)

    def _is_unknown(self, partition: int) -> bool:
        """Return whether a member may hold something of a partition that it has not told of."""
        ownership = self.group.owners.get(partition)
        if ownership is not None:
            return ownership.owner in self.recovering
        return bool(self.recovering)

    def leave(self, number: int, now: LogTime) -> Consumer | None:
        """Forget a member; what it holds goes back without blame."""
        consumer = self.consumers.pop(number, None)
        if consumer is not None:
            self._turn.remove(number)
            for lane in self.lanes.values():
                lane.release([offset for offset, _ in lane.held_by(consumer)], consumer, now)
        self.recovered(number, now)
        return consumer

    def deadline_of(self, consumer: Consumer, live: int) -> int:
        """Return when a lease that begins now ends by itself; 0: with its consumer's silence."""
        member = consumer.member
        return 0 if member.auto_extend else live + member.visibility_ms

    def assignments(self) -> Iterator[tuple[Consumer, Assignment]]:
        """Yield what attached consumers in EXCLUSIVE mode have not been told yet."""
        if self.group.mode is not GroupMode.EXCLUSIVE:
            return
        for number, consumer in self.consumers.items():
            owned, yielding = self.group.owned_by(number)
            told = tuple(owned), tuple(yielding)
            if consumer.handle is not None and consumer.told != told:
                consumer.told = told
                yield consumer, Assignment(*told)

    def ripen(self, now: LogTime) -> None:
        """Let what has waited for its time be taken."""
        for lane in self.lanes.values():
            lane.ripen(now)

    # --- delivering -------------------------------------------------------------------------

    def is_open(self, consumer: Consumer, live: int) -> bool:
        """Return whether a consumer is given messages.

        One that was silent for too long is not: whatever it got would be taken from it at once,
        as a failure of the messages.
        """
        return (
            consumer.handle is not None
            and consumer.credit > 0
            and consumer.silent_at > live
            and consumer.held < self.limits.member_messages_max
            and consumer.held_bytes < self.limits.member_bytes_max
        )

    def is_hungry(self, live: int) -> bool:
        """Return whether there may be something to deliver, and somebody to take it."""
        return (
            not self.topic.record.config.paused
            and any(self.is_open(each, live) for each in self.consumers.values())
            and any(lane.estimate() for lane in self.lanes.values())
        )

    def deliver(self, live: int, now: LogTime) -> Iterator[tuple[Consumer, tuple[Slice, ...]]]:
        """Give each consumer in turn its share of what there is; ends when nobody takes more."""
        if self.topic.record.config.paused:
            return
        turn = [self.consumers[number] for number in self._turn]
        ready = [consumer for consumer in turn if self.is_open(consumer, live)]
        self._turn.rotate(-1)
        available = sum(lane.estimate() for lane in self.lanes.values())
        share = max(1, -(-available // max(1, len(ready))))
        for consumer in ready:
            room = self.limits.member_messages_max - consumer.held
            slices = self._fill(consumer, min(share, consumer.credit, room), live, now)
            if slices:
                yield consumer, tuple(slices)

    def _fill(self, consumer: Consumer, limit: int, live: int, now: LogTime) -> list[Slice]:
        found: list[Slice] = []
        limits = self.limits
        room = min(limits.delivery_bytes_max, limits.member_bytes_max - consumer.held_bytes)
        for _ in range(len(self._rotation)):
            number = self._rotation[0]
            self._rotation.rotate(-1)
            lane = self.lanes[number]
            if not lane.estimate():
                continue
            partition = lane.partition
            average = max(1, partition.size // max(1, partition.messages))
            ranges = lane.take(consumer, max(1, min(limit, room // average)), now)
            if not ranges:
                continue
            slices, size, rest = slices_within(
                partition, ranges, lane.progress, room, at_least=0 if found else 1
            )
            count = sum(one.count for one in slices)
            each = -(-size // count) if count else 0
            lane.lend(ranges, Lease(consumer, self.deadline_of(consumer, live), each))
            for first, last in rest:
                lane.release(range(first, last + 1), consumer, now)
            found += slices
            consumer.credit -= count
            limit -= count
            room -= size
            if limit <= 0 or room <= 0 or rest:
                break
        return found

    # --- checking ---------------------------------------------------------------------------

    def check_invariants(self, now: LogTime) -> None:
        """Assert what must always hold."""
        members, consumers = self.group.members, self.consumers
        assert consumers.keys() == members.keys()
        assert all(consumers[number].member == member for number, member in members.items())
        assert sorted(self._turn) == sorted(consumers)
        assert self.recovering <= consumers.keys()
        held: dict[Consumer, int] = {}
        held_bytes: dict[Consumer, int] = {}
        for number, lane in self.lanes.items():
            lane.check_invariants(now)
            assert not lane.recovering or self._is_unknown(number), "nobody will end this"
            for lease in lane.inflight.values():
                consumer = lease.consumer
                held[consumer] = held.get(consumer, 0) + 1
                held_bytes[consumer] = held_bytes.get(consumer, 0) + lease.bytes_each
                is_member = consumers.get(consumer.member.number) is consumer
                assert is_member or lease.ending, "held by somebody who is gone"
        for consumer in consumers.values():
            assert consumer.held == held.get(consumer, 0)
            assert consumer.held_bytes == held_bytes.get(consumer, 0)
            assert consumer.credit >= 0
