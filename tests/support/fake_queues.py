"""The queue shards of a ``FakeCluster``: the real machines, with a leader that obeys the test."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from synaxis.cluster.commands import (
    ClusterView,
    CreateTopic,
    DeleteTopic,
    DescribeCluster,
    ListTopics,
    TopicList,
    UpdateTopic,
)
from synaxis.effects import Refused, StoreAppend, StoreCopy, StoreDrop, StoreOperation, refusal
from synaxis.errors import AlreadyExists, ClientError, NotFound
from synaxis.ids import GroupId, LogIndex, LogTime, Sequence, SessionId
from synaxis.queues.commands import (
    Assignment,
    ConfigureTopic,
    Delivery,
    Extended,
    Records,
    RemoveTopic,
    Slice,
)
from synaxis.queues.delivery.dispatcher import Dispatcher
from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.queues.questions import Page
from synaxis.queues.units import cut, open_unit
from synaxis.topics import TopicRecord
from synaxis.wire import client as wire

if TYPE_CHECKING:
    from support.fake_cluster import Door

Handle = tuple["Door", int]
NODE = SessionId(0)


class FakeShard:
    """One shard and its leader's half."""

    def __init__(self, number: int, shards: int) -> None:
        self.group = GroupId(f"queues/{number}")
        self.machine = QueueMachine(number, shards, QueueLimits())
        self.dispatcher = Dispatcher(self.machine, DeliveryLimits())
        self.dispatcher.begin(LogTime(0))
        self.segments: dict[int, bytearray] = {}
        self.demands: list[wire.Member] = []
        self.handles: set[Handle] = set()
        self.holding_back = False
        """Deliver nothing, as a leader whose quorum does not answer."""

    def apply(self, session: SessionId, command: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        try:
            self.machine.validate(command)
        except ClientError as error:
            return refusal(error)
        self.machine.advance(now)
        self.dispatcher.see(now)
        reply = self.machine.apply(session, Sequence(0), command, now)
        assert reply is not None
        return reply

    def demand(self, door: "Door", message: wire.Member) -> None:
        """Take what a member says outside the log."""
        self.demands.append(message)
        handle = (door, message.id)
        if message.id:
            self.handles.add(handle)
        try:
            self.dispatcher.demand(message.session, message.message, handle)
        except ClientError as error:
            door.write(wire.Failure(message.id, error.code, error.message, error.details))

    def disconnected(self, door: "Door") -> None:
        for handle in [each for each in self.handles if each[0] is door]:
            self.handles.discard(handle)
            self.dispatcher.disconnected(handle)

    def fail_over(self, now: LogTime) -> None:
        """Another node leads: all streams end, all that was acquired is forgotten."""
        self.dispatcher.end()
        self.pump(now)
        self.dispatcher.begin(now)

    def pump(self, now: LogTime) -> None:
        """Do everything that there is to do."""
        self._store(self.machine.take_store())
        self.dispatcher.tick(now)
        while not self.holding_back and self.dispatcher.wants_confirmation():
            self.dispatcher.confirmed(now)
        for handle, body in self.dispatcher.take_replies():
            door, number = cast("Handle", handle)
            door.write(self._message(number, body))
        commands = self.dispatcher.take_commands()
        for command in commands:
            self.machine.apply(NODE, Sequence(0), command, now)
        if commands:
            self.pump(now)

    def _message(self, number: int, body: object) -> wire.ServerMessage:
        match body:
            case Delivery(slices):
                return wire.Delivered(number, self.records(slices))
            case Assignment():
                return wire.Assigned(number, body)
            case Extended():
                return wire.Answer(number, LogIndex(0), 0, body)
            case Refused(code, message, details):
                return wire.Failure(number, code, message, details)
            case _:
                raise AssertionError(body)

    def query(self, question: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        body = self.machine.query(question, now)
        if isinstance(body, Page):
            return wire.RecordPage(self.records(body.slices), body.dead, body.next_offset)
        return body

    # --- the store --------------------------------------------------------------------------

    def _store(self, operations: Iterable[StoreOperation]) -> None:
        for each in operations:
            match each:
                case StoreAppend(segment, _, data):
                    self.segments.setdefault(segment, bytearray()).extend(data)
                case StoreCopy(segment, position, length, target, _):
                    copy = self.segments[segment][position : position + length]
                    self.segments.setdefault(target, bytearray()).extend(copy)
                case StoreDrop(segment):
                    del self.segments[segment]

    def records(self, slices: Iterable[Slice]) -> tuple[Records, ...]:
        found = []
        for each in slices:
            unit = bytes(self.segments[each.segment][each.position : each.position + each.length])
            sizes, body = cut(*open_unit(unit), each.skip, each.count)
            found.append(Records(each.partition, each.first, sizes, body, each.at, each.failures))
        return tuple(found)


class FakeQueues:
    """All shards, and the topics that the cluster group knows."""

    def __init__(self, shards: int) -> None:
        self.shards = {
            shard.group: shard for shard in (FakeShard(n, shards) for n in range(shards))
        }
        self.topics: dict[str, TopicRecord] = {}
        self.changes = 0
        self.slow_to_learn = False
        """Shards hear of changes only when ``teach`` is called."""

    def administer(self, operation: object, now: LogTime) -> TopicRecord:
        """Change topics.

        Raises:
            ClientError: refused.
        """
        self.changes += 1
        match operation:
            case CreateTopic(name, config):
                known = self.topics.get(name)
                if known is not None and known.config != config:
                    raise AlreadyExists(f"topic {name!r} exists with another configuration")
                record = known or TopicRecord(name, self.changes, 1, config)
            case UpdateTopic(name, config):
                known = self._known(name)
                record = msgspec.structs.replace(known, version=known.version + 1, config=config)
            case DeleteTopic(name):
                record = msgspec.structs.replace(self._known(name), removed=True)
            case _:
                raise AssertionError(operation)
        if record.removed:
            del self.topics[record.name]
        else:
            self.topics[record.name] = record
        if not self.slow_to_learn:
            self.teach(record, now)
        return record

    def _known(self, name: str) -> TopicRecord:
        if name not in self.topics:
            raise NotFound(f"there is no topic {name!r}")
        return self.topics[name]

    def teach(self, record: TopicRecord, now: LogTime) -> None:
        """Let the shards hear of a change."""
        command: msgspec.Struct = ConfigureTopic(record)
        if record.removed:
            command = RemoveTopic(record.name, record.topic_id)
        for shard in self.shards.values():
            shard.apply(NODE, command, now)
            shard.pump(now)

    def describe(self, question: msgspec.Struct, lock_groups: int) -> msgspec.Struct | None:
        """Answer what the cluster group is asked about topics."""
        match question:
            case ListTopics(prefix, name):
                found = [
                    self.topics[each]
                    for each in sorted(self.topics)
                    if each.startswith(prefix) and name in ("", each)
                ]
                return TopicList(tuple(found))
            case DescribeCluster():
                return ClusterView((), lock_groups, 3, len(self.shards))
            case _:
                return None

    def every(self, what: str, *arguments: Any) -> None:
        """Call a method of all shards."""
        for shard in self.shards.values():
            getattr(shard, what)(*arguments)
