"""The queue service, written a second time and naively, to judge what the real one answered.

Fed with the calls of the state machine in the order of the log. It says what each answer must have
been (only who gets a partition in EXCLUSIVE mode it learns instead), and keeps the fate of every
message in every group, which ``hands`` and ``answers`` compare with what leaders and questions
showed. Violations are named after the invariants Q1 to Q11 (``DESIGN.md``).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from synaxis.effects import Refused
from synaxis.ids import LogTime, SessionId
from synaxis.queues.commands import (
    ABSENT,
    END,
    Ack,
    ConfigureTopic,
    DeleteGroup,
    Expire,
    Finished,
    GroupMode,
    Join,
    Joined,
    Leave,
    Nack,
    Part,
    Publish,
    Purge,
    PurgeDead,
    Redrive,
    Reject,
    Revoke,
    Seek,
    Settled,
    Yield,
)
from synaxis.queues.limits import QueueLimits
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.queues.naive_group import Fate, NaiveGroup, NaiveMember, Place, Way
from synaxis.simulation.queues.naive_log import NaiveBatch, NaiveLog
from synaxis.topics import Retention, TopicConfig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NaiveTopic", "QueueModel", "require"]


def require(holds: bool, message: str) -> None:
    """Demand that a rule holds.

    Raises:
        HistoryViolation: it does not.
    """
    if not holds:
        raise HistoryViolation(message)


@dataclass(slots=True)
class NaiveTopic:
    """A topic."""

    config: TopicConfig
    version: int
    logs: dict[int, NaiveLog]
    groups: dict[str, NaiveGroup] = field(default_factory=dict)

    def is_needed(self, partition: int, batch: NaiveBatch) -> bool:
        """Return whether a batch must be stored."""
        offsets = range(batch.first, batch.last + 1)
        for group in self.groups.values():
            ways = group.ways[partition]
            if any(ways[offset].fate is not Fate.DONE for offset in offsets):
                return True
        waits = self.config.retention is Retention.LOG or not self.groups
        alive = any(not message.gone for message in self.logs[partition].messages_of(batch))
        return waits and alive and not batch.aged

    def forget(self, partition: int) -> None:
        """Forget what nobody wants any more in a partition."""
        log = self.logs[partition]
        for batch in log.stored():
            if not self.is_needed(partition, batch):
                log.forget(batch)

    def finish(self, partition: int, offset: int) -> None:
        """A message ends its life for everybody; dead letters stay."""
        self.logs[partition].messages[offset].gone = True
        for group in self.groups.values():
            way = group.ways[partition][offset]
            if way.fate is Fate.OPEN:
                way.fate = Fate.DONE


class QueueModel:
    """See the module."""

    def __init__(self, limits: QueueLimits, coverage: Coverage) -> None:
        self.topics: dict[str, NaiveTopic] = {}
        self.now = LogTime(0)
        self.ended = 0
        """Grows when messages end their lives without having been settled."""
        self._limits = limits
        self._coverage = coverage
        self._rules: dict[type, Callable[..., object]] = {
            Ack: self._ack,
            Nack: self._nack,
            Reject: self._reject,
            Expire: self._expire,
            Leave: self._leave,
            Yield: self._yield,
            Revoke: self._revoke,
            Seek: self._seek,
            Redrive: self._redrive,
            PurgeDead: self._purge_dead,
            DeleteGroup: self._delete_group,
        }

    # --- calls -------------------------------------------------------------------------------

    def advance(self, now: LogTime) -> None:
        """Let time pass."""
        require(now >= self.now, f"log time went back from {self.now} to {now}")
        self.now = now
        for topic in self.topics.values():
            for number, log in topic.logs.items():
                if log.grow_old(now, topic.config.retention_ms):
                    self._coverage.hit("queue.grown_old")
                    self._let_go(topic, number)
                    self.ended += 1
                for message in log.expired(now):
                    self._expire_one(topic, number, message.offset)

    def _let_go(self, topic: NaiveTopic, number: int) -> None:
        for batch in topic.logs[number].stored():
            if batch.aged:
                for message in topic.logs[number].messages_of(batch):
                    if message.gone:
                        topic.finish(number, message.offset)
        topic.forget(number)

    def _expire_one(self, topic: NaiveTopic, number: int, offset: int) -> None:
        self.ended += 1
        self._coverage.hit("queue.expired")
        for group in topic.groups.values():
            if topic.config.expired_to_dead and group.ways[number][offset].fate is Fate.OPEN:
                group.bury((number, offset), "expired", self.now, "the message's ttl is over")
        topic.finish(number, offset)
        topic.forget(number)

    def end_session(self, session: SessionId) -> None:
        """The members of a session are gone."""
        for topic in self.topics.values():
            for group in topic.groups.values():
                for member in [n for n, one in group.members.items() if one.session == session]:
                    self._coverage.hit("queue.member_lost")
                    group.remove(member)

    def apply(
        self, session: SessionId, command: msgspec.Struct, reply: msgspec.Struct | None
    ) -> None:
        """Judge the answer to a command, and take over what it did.

        Raises:
            HistoryViolation: the answer is wrong.
        """
        if isinstance(command, ConfigureTopic):
            self._configure(command, reply)
            return
        topic = self.topics.get(getattr(command, "topic", ""))
        if topic is None:
            self._refused(reply, "not_found", command)
        elif isinstance(command, Publish):
            self._publish(topic, command, reply)
        elif isinstance(command, Join):
            self._join(topic, session, command, reply)
        elif isinstance(command, Purge):
            self._purge(topic, command, reply)
        else:
            group = topic.groups.get(getattr(command, "group", ""))
            if group is None:
                self._refused(reply, "not_found", command)
            else:
                self._rules[type(command)](topic, group, command, reply)

    def _refused(self, reply: object, code: str, why: object) -> None:
        require(
            isinstance(reply, Refused) and reply.code == code,
            f"must be refused as {code}, not answered {reply!r}: {why!r}",
        )

    def _counted(self, reply: object, count: int, why: object) -> None:
        require(reply == Finished(count), f"{reply!r} where {count} is right: {why!r}")

    # --- topics and messages -----------------------------------------------------------------

    def _configure(self, command: ConfigureTopic, reply: object) -> None:
        record = command.record
        known = self.topics.get(record.name)
        if known is not None and known.version >= record.version:
            self._counted(reply, 0, command)
            return
        self._counted(reply, 1, command)
        if known is None:
            logs = {n: NaiveLog(self._limits) for n in range(record.config.partitions)}
            self.topics[record.name] = NaiveTopic(record.config, record.version, logs)
            return
        self._coverage.hit("queue.topic_changed")
        known.config, known.version = record.config, record.version
        for number in known.logs:
            known.forget(number)

    def _publish(self, topic: NaiveTopic, command: Publish, reply: object) -> None:
        log = topic.logs[command.partition]
        stored = log.publish(command, reply, topic.config, self.now)
        if stored is None:
            return
        for group in topic.groups.values():
            count = stored.last - stored.first + 1
            group.ways[command.partition] += [Way() for _ in range(count)]
        if topic.config.retention is Retention.LOG and topic.config.partition_bytes_max:
            self.ended += 1
            self._let_go(topic, command.partition)

    def _purge(self, topic: NaiveTopic, command: Purge, reply: object) -> None:
        self.ended += 1
        purged = 0
        chosen = topic.logs if command.partition == ABSENT else (command.partition,)
        for number in chosen:
            log = topic.logs[number]
            for batch in log.stored():
                purged += batch.last - batch.first + 1
            for group in topic.groups.values():
                for offset in group.dead_in(number):
                    group.ways[number][offset].fate = Fate.DONE
            for offset in range(log.end):
                topic.finish(number, offset)
            topic.forget(number)
        self._coverage.hit("queue.purged", purged)
        self._counted(reply, purged, command)

    # --- members -----------------------------------------------------------------------------

    def _join(self, topic: NaiveTopic, session: SessionId, command: Join, reply: object) -> None:
        group = topic.groups.get(command.group)
        known = group.members.get(command.member) if group is not None else None
        wrong_mode = group is not None and group.mode is not command.mode
        if wrong_mode or (known is not None and known.session != session):
            self._refused(reply, "invalid_argument", command)
            return
        if group is None:
            group = topic.groups[command.group] = self._new_group(topic, command)
            for number in topic.logs:
                topic.forget(number)
        visibility = command.visibility_ms
        if visibility == ABSENT:
            visibility = topic.config.visibility_ms
        member = NaiveMember(
            session, visibility, command.auto_extend, command.name, command.announces
        )
        if member != known:
            group.epoch += 1
            group.members[command.member] = member
        right = Joined(group.epoch, visibility, topic.config.max_deliveries)
        require(reply == right, f"{reply!r} where {right!r} is right: {command!r}")

    def _new_group(self, topic: NaiveTopic, command: Join) -> NaiveGroup:
        made = NaiveGroup(command.group, command.mode)
        for number, log in topic.logs.items():
            made.ways[number] = [
                Way(Fate.DONE if message.gone or command.from_end else Fate.OPEN)
                for message in log.messages
            ]
        return made

    def _leave(self, topic: NaiveTopic, group: NaiveGroup, command: Leave, reply: object) -> None:
        del topic
        self._counted(reply, int(group.remove(command.member)), command)

    def _yield(self, topic: NaiveTopic, group: NaiveGroup, command: Yield, reply: object) -> None:
        del topic
        require(isinstance(reply, Finished), f"no answer to a yield: {reply!r}")
        assert isinstance(reply, Finished)
        if reply.count:
            self._coverage.hit("queue.yielded", reply.count)
            for partition in command.partitions:
                if group.owners.get(partition) == command.member:
                    del group.owners[partition]

    def _revoke(self, topic: NaiveTopic, group: NaiveGroup, command: Revoke, reply: object) -> None:
        del topic
        if reply == Finished(1):
            self._coverage.hit("queue.revoked")
            group.owners.pop(command.partition, None)

    def _delete_group(
        self, topic: NaiveTopic, group: NaiveGroup, command: DeleteGroup, reply: object
    ) -> None:
        if group.members:
            self._refused(reply, "invalid_argument", command)
            return
        self._counted(reply, 1, command)
        self._coverage.hit("queue.group_deleted")
        del topic.groups[command.group]
        for number in topic.logs:
            topic.forget(number)

    # --- fates -------------------------------------------------------------------------------

    def _is_fenced(self, group: NaiveGroup, member: int, reply: object, command: object) -> bool:
        if member in group.members:
            return False
        self._refused(reply, "consumer_fenced", command)
        return True

    def _settled(self, reply: object, command: object) -> tuple[int, set[tuple[int, int, int]]]:
        require(isinstance(reply, Settled), f"no answer: {reply!r} to {command!r}")
        assert isinstance(reply, Settled)
        return reply.done, _spread(reply.stale)

    def _ack(self, topic: NaiveTopic, group: NaiveGroup, command: Ack, reply: object) -> None:
        is_ordered = group.mode is not GroupMode.SHARED
        if is_ordered and self._is_fenced(group, command.member, reply, command):
            return
        count, stale = self._settled(reply, command)
        done, expected = group.acknowledge(command.member, command.parts, stale)
        require(
            (count, stale) == (len(done), expected),
            f"Q11: {len(done)} were open and {sorted(expected)} overtaken, not {reply!r}: "
            f"{command!r}",
        )
        for number in {number for number, _ in done}:
            topic.forget(number)

    def _nack(self, topic: NaiveTopic, group: NaiveGroup, command: Nack, reply: object) -> None:
        if not self._is_fenced(group, command.member, reply, command):
            delay_ms = None if command.delay_ms == ABSENT else command.delay_ms
            for place in self._failing(group, command.member, command.parts, reply, command):
                group.fail(place, topic.config, self.now, delay_ms, command.error)
                topic.forget(place[0])

    def _reject(self, topic: NaiveTopic, group: NaiveGroup, command: Reject, reply: object) -> None:
        if not self._is_fenced(group, command.member, reply, command):
            for place in self._failing(group, command.member, command.parts, reply, command):
                group.reject(place, self.now, command.error)
                topic.forget(place[0])

    def _expire(self, topic: NaiveTopic, group: NaiveGroup, command: Expire, reply: object) -> None:
        self._coverage.hit(f"queue.{command.reason}")
        for place in self._failing(group, 0, command.parts, reply, command):
            group.fail(place, topic.config, self.now, None, command.reason)
            topic.forget(place[0])

    def _failing(
        self,
        group: NaiveGroup,
        member: int,
        parts: tuple[Part, ...],
        reply: object,
        command: object,
    ) -> list[Place]:
        count, stale = self._settled(reply, command)
        failing, expected = group.current(member, parts, stale)
        require(
            (count, stale) == (len(failing), expected),
            f"Q7: failures of {failing} count, {sorted(expected)} are overtaken, not {reply!r}: "
            f"{command!r}",
        )
        return failing

    # --- operators ---------------------------------------------------------------------------

    def _seek(self, topic: NaiveTopic, group: NaiveGroup, command: Seek, reply: object) -> None:
        chosen = topic.logs if command.partition == ABSENT else (command.partition,)
        unfinished = 0
        for number in chosen:
            log, ways = topic.logs[number], group.ways[number]
            start = _position(log, command)
            for offset, way in enumerate(ways):
                if way.fate is not Fate.DEAD:
                    is_open = offset >= start and not log.messages[offset].gone
                    ways[offset] = Way(Fate.OPEN if is_open else Fate.DONE)
                    unfinished += is_open
            topic.forget(number)
        self._coverage.hit("queue.sought")
        self._counted(reply, unfinished, command)

    def _redrive(
        self, topic: NaiveTopic, group: NaiveGroup, command: Redrive, reply: object
    ) -> None:
        chosen = self._dead(topic, group, command)
        for number, offset in chosen:
            group.revive((number, offset))
            message = topic.logs[number].messages[offset]
            if message.gone:
                message.gone = False
                message.deliver_at = message.expires_at = LogTime(0)
        self._coverage.hit("queue.redriven", len(chosen))
        self._counted(reply, len(chosen), f"Q9: {command!r}")

    def _purge_dead(
        self, topic: NaiveTopic, group: NaiveGroup, command: PurgeDead, reply: object
    ) -> None:
        chosen = self._dead(topic, group, command)
        for number, offset in chosen:
            group.ways[number][offset].fate = Fate.DONE
            topic.forget(number)
        self._coverage.hit("queue.dead_purged", len(chosen))
        self._counted(reply, len(chosen), f"Q9: {command!r}")

    def _dead(
        self, topic: NaiveTopic, group: NaiveGroup, command: Redrive | PurgeDead
    ) -> list[Place]:
        """Return the dead letters that are meant, the oldest first."""
        found = []
        for number in topic.logs if command.partition == ABSENT else (command.partition,):
            for offset in group.dead_in(number):
                way = group.ways[number][offset]
                meant = not command.offsets or offset in command.offsets
                if meant and command.reason in ("", way.reason):
                    found.append((way.dead_at, number, way.died, offset))
        found.sort()
        limit = len(found) if command.limit == ABSENT else command.limit
        return [(number, offset) for _, number, _, offset in found[:limit]]


def _position(log: NaiveLog, command: Seek) -> int:
    if command.offset == END:
        return log.end
    if command.offset != ABSENT:
        return command.offset
    return next((batch.first for batch in log.batches if batch.at >= command.time), log.end)


def _spread(parts: tuple[Part, ...]) -> set[tuple[int, int, int]]:
    return {
        (part.partition, offset, part.failures)
        for part in parts
        for offset in range(part.first, part.last + 1)
    }
