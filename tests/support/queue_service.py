"""A queue shard with its leader's half, a clock and members that remember what they were given."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from synaxis.effects import Refused, StoreAppend, StoreCopy, StoreDrop, StoreOperation
from synaxis.ids import LogTime, SessionId
from synaxis.ids import Sequence as Number
from synaxis.queues.commands import (
    Ack,
    Assignment,
    Attach,
    ConfigureTopic,
    Credit,
    Delivery,
    Detach,
    Extend,
    Extended,
    GroupMode,
    Join,
    Joined,
    Leave,
    Nack,
    Part,
    Publish,
    Published,
    RecordBatch,
    Reject,
    Release,
    RemoveTopic,
    Settled,
    Yield,
)
from synaxis.queues.delivery.dispatcher import Dispatcher
from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.queues.placement import hash_of_key
from synaxis.queues.questions import DescribeTopic, GroupInfo, GroupPartitionInfo, TopicInfo
from synaxis.queues.units import cut, open_unit
from synaxis.topics import TopicConfig, TopicRecord

__all__ = [
    "EXCLUSIVE",
    "KEYED",
    "LEADER",
    "SHARED",
    "QueueService",
    "Store",
    "TestMember",
    "batch_of",
    "parts_of",
]

SHARED, KEYED, EXCLUSIVE = GroupMode.SHARED, GroupMode.KEYED, GroupMode.EXCLUSIVE
START = LogTime(1_000_000)
LEADER = SessionId(0)
PRODUCER = SessionId(0xF00D)


def batch_of(
    *bodies: bytes,
    keys: Sequence[str] = (),
    priorities: Sequence[int] = (),
    delays: Sequence[int] = (),
    ttls: Sequence[int] = (),
    ids: Sequence[str] = (),
) -> RecordBatch:
    """Return a batch of records; columns are given per message, empty keys are none."""
    hashes = [hash_of_key(key.encode()) if key else 0 for key in keys]
    return RecordBatch(
        array("I", map(len, bodies)).tobytes(),
        b"".join(bodies),
        array("I", hashes).tobytes(),
        bytes(priorities),
        tuple(delays),
        tuple(ttls),
        tuple(ids),
    )


def parts_of(partition: int, offsets: Iterable[int], failures: int = 0) -> tuple[Part, ...]:
    return tuple(Part(partition, offset, offset, failures) for offset in offsets)


class Store:
    """What a node would keep on disk."""

    def __init__(self) -> None:
        self.segments: dict[int, bytearray] = {}

    def execute(self, operations: Iterable[StoreOperation]) -> None:
        for each in operations:
            match each:
                case StoreAppend(segment, position, data):
                    self._append(segment, position, data)
                case StoreCopy(segment, position, length, target, target_position):
                    data = bytes(self.segments[segment][position : position + length])
                    self._append(target, target_position, data)
                case StoreDrop(segment):
                    del self.segments[segment]

    def _append(self, segment: int, position: int, data: bytes) -> None:
        file = self.segments.setdefault(segment, bytearray())
        assert len(file) == position
        file += data

    def records(self, slices: Iterable[Any]) -> list[bytes]:
        """Return the bodies that slices speak of."""
        found = []
        for each in slices:
            unit = bytes(self.segments[each.segment][each.position : each.position + each.length])
            sizes, body = cut(*open_unit(unit), each.skip, each.count)
            at = 0
            for size in array("I", sizes):
                found.append(body[at : at + size])
                at += size
        return found


class TestMember:
    """A member of a group: what it was given, in order, and what it has not settled."""

    __test__ = False

    def __init__(
        self, service: "QueueService", topic: str, group: str, number: int, session: SessionId
    ) -> None:
        self.service = service
        self.topic = topic
        self.group = group
        self.number = number
        self.session = session
        self.got: list[tuple[int, int]] = []
        """(partition, offset) in order of delivery, repetitions included."""
        self.held: dict[tuple[int, int], int] = {}
        """(partition, offset) -> failures that came with it."""
        self.bodies: list[bytes] = []
        self.deliveries = 0
        self.assignments: list[Assignment] = []
        self.extended: list[Extended] = []
        self.over: Refused | None = None
        """How its stream ended."""

    def __repr__(self) -> str:
        return f"<member {self.number} of {self.group}>"

    # --- the stream -------------------------------------------------------------------------

    def attach(self, credit: int = 1_000, holding: Iterable[tuple[int, int]] = ()) -> None:
        """Open a stream, saying to hold these of ``held``."""
        holding = tuple(holding)
        self.held = {key: self.held[key] for key in holding}
        parts = tuple(Part(p, offset, offset, self.held[p, offset]) for p, offset in holding)
        self.over = None
        self.service.attached[self.number, self.topic, self.group] = handle = object()
        self.service.streams[handle] = self
        self.demand(Attach(self.topic, self.group, self.number, credit, parts), handle)

    def demand(self, message: msgspec.Struct, handle: object = None) -> None:
        self.service.demand(self.session, message, handle if handle is not None else self)

    @property
    def handle(self) -> object:
        return self.service.attached[self.number, self.topic, self.group]

    def disconnect(self) -> None:
        self.service.dispatcher.disconnected(self.handle)
        self.service.pump()

    def detach(self) -> None:
        self.demand(Detach(self.topic, self.group, self.number))

    def credit(self, more: int) -> None:
        self.demand(Credit(self.topic, self.group, self.number, more))

    # --- settling ---------------------------------------------------------------------------

    def parts(self, offsets: tuple[int, ...], partition: int) -> tuple[Part, ...]:
        """Return what the member was given under these offsets; everything held if none."""
        keys = [(partition, offset) for offset in offsets] or list(self.held)
        return tuple(Part(p, offset, offset, self.held.get((p, offset), 0)) for p, offset in keys)

    def _settle(self, kind: Any, offsets: tuple[int, ...], partition: int, *more: Any) -> Settled:
        parts = self.parts(offsets, partition)
        for part in parts:
            self.held.pop((part.partition, part.first), None)
        command = kind(self.topic, self.group, self.number, parts, *more)
        reply = self.service.do(command, self.session)
        assert isinstance(reply, Settled), reply
        return reply

    def ack(self, *offsets: int, partition: int = 0) -> Settled:
        return self._settle(Ack, offsets, partition)

    def nack(self, *offsets: int, partition: int = 0, delay: int = 0) -> Settled:
        return self._settle(Nack, offsets, partition, delay, "no")

    def reject(self, *offsets: int, partition: int = 0) -> Settled:
        return self._settle(Reject, offsets, partition, "bad")

    def release(self, *offsets: int, partition: int = 0) -> None:
        parts = self.parts(offsets, partition)
        for part in parts:
            self.held.pop((part.partition, part.first), None)
        self.demand(Release(self.topic, self.group, self.number, parts))

    def extend(self, ms: int, *offsets: int, partition: int = 0) -> tuple[Part, ...]:
        parts = self.parts(offsets, partition)
        self.demand(Extend(self.topic, self.group, self.number, parts, ms))
        return self.extended[-1].stale

    def leave(self) -> None:
        self.service.do(Leave(self.topic, self.group, self.number), self.session)
        self.held.clear()

    def give_up(self, *partitions: int) -> None:
        self.service.do(Yield(self.topic, self.group, self.number, partitions), self.session)

    def join(self, mode: GroupMode = SHARED, **options: Any) -> msgspec.Struct:
        return self.service.do(
            Join(self.topic, self.group, self.number, mode, **options), self.session
        )

    # --- what it knows ----------------------------------------------------------------------

    @property
    def offsets(self) -> list[int]:
        """Offsets in order of delivery, whatever the partition."""
        return [offset for _, offset in self.got]

    def take_new(self) -> list[int]:
        """Return the offsets since the last call."""
        offsets = self.offsets
        self.got.clear()
        return offsets

    def told(self, message: msgspec.Struct) -> None:
        """Take what the leader says."""
        if isinstance(message, Delivery):
            self.deliveries += 1
            self.bodies += self.service.store.records(message.slices)
            for each in message.slices:
                failures = dict(each.failures)
                for offset in range(each.first, each.first + each.count):
                    count = failures.get(offset, 0)
                    self.service.delivering(self, each.partition, offset, count)
                    self.got.append((each.partition, offset))
                    self.held[each.partition, offset] = count
        elif isinstance(message, Assignment):
            self.assignments.append(message)
        elif isinstance(message, Extended):
            self.extended.append(message)
        else:
            assert isinstance(message, Refused), message
            self.over = message


@dataclass
class QueueService:
    """Every step checks the invariants of both halves. Unless ``calm``, what the leader wants to
    put into the log is applied at once, and its leadership is confirmed whenever it asks."""

    limits: QueueLimits = field(default_factory=QueueLimits)
    delivery: DeliveryLimits = field(default_factory=DeliveryLimits)
    number: int = 0
    shards: int = 1
    leads: bool = True
    calm: bool = False
    now: LogTime = START

    def __post_init__(self) -> None:
        self.store = Store()
        self.machine = self.build()
        self.dispatcher = Dispatcher(self.machine, self.delivery)
        self.streams: dict[object, TestMember] = {}
        self.attached: dict[tuple[int, str, str], object] = {}
        self.members: list[TestMember] = []
        self.sequences = count(1)
        self.versions = count(1)
        self.numbers = count(1)
        if self.leads:
            self.dispatcher.begin(self.now)

    def build(self) -> QueueMachine:
        """Return an empty machine."""
        return QueueMachine(self.number, self.shards, self.limits)

    def delivering(self, member: TestMember, partition: int, offset: int, failures: int) -> None:
        """A message is about to be handed to a member."""

    # --- commands ---------------------------------------------------------------------------

    def do(self, command: msgspec.Struct, session: SessionId = PRODUCER) -> msgspec.Struct:
        """Validate and apply a command, as an entry of its own."""
        if session != LEADER:
            self.machine.validate(command)
        self.machine.advance(self.now)
        reply = self.machine.apply(session, Number(0), command, self.now)
        assert reply is not None
        self.pump()
        return reply

    def refused(self, command: msgspec.Struct, session: SessionId = PRODUCER) -> Refused:
        reply = self.do(command, session)
        assert isinstance(reply, Refused), reply
        return reply

    def configure(self, name: str = "t", topic_id: int = 1, **config: Any) -> TopicRecord:
        """Create or change a topic; one partition unless said otherwise."""
        known = self.machine.shard.topics.get(name)
        if known is not None and known.record.topic_id == topic_id:
            new = msgspec.structs.replace(known.record.config, **config)
        else:
            new = TopicConfig(**{"partitions": 1, **config})
        record = TopicRecord(name, topic_id, next(self.versions), new)
        self.do(ConfigureTopic(record), LEADER)
        return record

    def remove(self, name: str = "t", topic_id: int = 1) -> None:
        self.do(RemoveTopic(name, topic_id), LEADER)

    def publish(
        self, *bodies: bytes, topic: str = "t", partition: int = 0, **columns: Any
    ) -> Published:
        reply = self.do(self.publishing(*bodies, topic=topic, partition=partition, **columns))
        assert isinstance(reply, Published), reply
        return reply

    def publishing(
        self, *bodies: bytes, topic: str = "t", partition: int = 0, **columns: Any
    ) -> Publish:
        """Return the command; without bodies, of as many messages as the columns say."""
        if not bodies:
            bodies = tuple(b"m" for _ in next(iter(columns.values())))
        return Publish(topic, partition, 1, next(self.sequences), batch_of(*bodies, **columns))

    def publish_many(self, messages: int, **options: Any) -> Published:
        return self.publish(*[b"m"] * messages, **options)

    # --- members ----------------------------------------------------------------------------

    def member(
        self,
        mode: GroupMode = SHARED,
        *,
        session: int = 0,
        topic: str = "t",
        group: str = "g",
        credit: int = 1_000,
        **options: Any,
    ) -> TestMember:
        """Join and attach; in a session of its own unless said otherwise. No credit: no stream."""
        number = next(self.numbers)
        made = TestMember(self, topic, group, number, SessionId(session or 100 + number))
        self.members.append(made)
        reply = made.join(mode, **options)
        assert isinstance(reply, Joined), reply
        if credit:
            made.attach(credit)
        return made

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        self.dispatcher.see(self.now)
        self.dispatcher.demand(session, message, handle)
        self.pump()

    def heard(self, session: SessionId) -> None:
        """A keep-alive arrives."""
        self.dispatcher.see(self.now)
        self.dispatcher.heard(session)
        self.pump()

    def end_session(self, session: SessionId) -> None:
        self.machine.advance(self.now)
        self.machine.end_session(session, self.now)
        self.pump()

    # --- time and leadership ----------------------------------------------------------------

    def advance(self, by_ms: int, *, heard: Iterable[TestMember] = ()) -> None:
        """Let time pass, timer by timer; meanwhile ``heard`` members give signs of life."""
        end = self.now + by_ms
        sessions = {member.session for member in heard}
        step = self.delivery.stall_ms
        while self.now < end:
            due = [each for each in (self.machine.deadline(), self.dispatcher.deadline()) if each]
            self.now = LogTime(max(self.now + 1, min([end, self.now + step, *due])))
            for session in sessions:
                self.dispatcher.heard(session)
            self.tick()

    def stall(self, by_ms: int) -> None:
        """The leader does not run for a while."""
        self.now = LogTime(self.now + by_ms)
        self.tick()

    def tick(self) -> None:
        for _ in range(10):
            self.dispatcher.see(self.now)
            self.machine.advance(self.now)
            self.dispatcher.tick(self.now)
            self.pump()
            due = self.dispatcher.deadline()
            if due is None or due > self.now:
                return
        raise AssertionError("the leader's timers never come to rest")

    def pump(self) -> None:
        """Do what the leader wants done until it wants nothing more."""
        self.store.execute(self.machine.take_store())
        self.check()
        for _ in range(10_000):
            self.follow()
            self._speak()
            if self.calm or not self.dispatcher.wants_confirmation():
                break
            self.dispatcher.confirmed(self.now)
            self.check()
            self._speak()
        else:
            raise AssertionError("the leader never has enough")
        self.store.execute(self.machine.take_store())

    def follow(self) -> None:
        """Put what the leader wants into the log."""
        while not self.calm and (commands := self.dispatcher.take_commands()):
            for command in commands:
                self.machine.apply(LEADER, Number(0), command, self.now)
                self.check()

    def _speak(self) -> None:
        for handle, message in self.dispatcher.take_replies():
            member = handle if isinstance(handle, TestMember) else self.streams[handle]
            member.told(message)

    def fail_over(self) -> None:
        """Another leader takes over, from a snapshot: all streams end."""
        self.dispatcher.end()
        self._speak()
        data = self.machine.snapshot()
        self.machine = self.build()
        self.machine.restore(data)
        assert self.machine.snapshot() == data
        self.dispatcher = Dispatcher(self.machine, self.delivery)
        self.dispatcher.begin(self.now)
        self.pump()

    def check(self) -> None:
        self.machine.check_invariants()
        self.dispatcher.check_invariants()

    # --- questions --------------------------------------------------------------------------

    def info(self, topic: str = "t") -> TopicInfo:
        answer = self.machine.query(DescribeTopic(topic), self.now)
        assert isinstance(answer, TopicInfo), answer
        return answer

    def group(self, name: str = "g", topic: str = "t") -> GroupInfo:
        return next(each for each in self.info(topic).groups if each.group == name)

    def progress(
        self, partition: int = 0, group: str = "g", topic: str = "t"
    ) -> GroupPartitionInfo:
        found = self.group(group, topic).partitions
        return next(each for each in found if each.partition == partition)

    def dead(self, partition: int = 0, group: str = "g", topic: str = "t") -> list[int]:
        """Return the offsets of the dead letters, oldest first."""
        return list(self.machine.shard.topic(topic).group(group).progress[partition].dead)

    def unfinished(self, partition: int = 0, group: str = "g", topic: str = "t") -> list[int]:
        found = self.machine.shard.topic(topic)
        done = found.group(group).progress[partition].done
        end = found.partitions[partition].next_offset
        return [offset for offset in range(end) if offset not in done]
