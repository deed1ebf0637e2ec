"""The state machine of a queue shard: commands in, replies and stored bytes out.

It holds no rule of its own but which rule applies; read ``DESIGN.md`` for the map. What the leader
does beside it (who gets which message) is ``delivery``, attached as ``shard.observer``.
"""

from typing import ClassVar

import msgspec

from synaxis.effects import Attachment, Outcome, StoreOperation, refusal
from synaxis.errors import InvalidArgument, Overloaded, SynaxisError
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.queues import forgetting, snapshot, steering, views
from synaxis.queues.commands import (
    Ack,
    ConfigureTopic,
    DeleteGroup,
    Expire,
    Finished,
    Join,
    Joined,
    Leave,
    Nack,
    Publish,
    Published,
    Purge,
    PurgeDead,
    Redrive,
    Reject,
    RemoveTopic,
    Revoke,
    Seek,
    Settled,
    Yield,
)
from synaxis.queues.limits import QueueLimits
from synaxis.queues.publishing import publish
from synaxis.queues.settling import acknowledge, expire, nack, reject
from synaxis.queues.shard import Shard, Tally
from synaxis.queues.topic import Topic
from synaxis.queues.validation import check_command

__all__ = ["QueueMachine"]


class QueueMachine:
    """Implements ``ports.StoringMachine`` for the shard ``number`` of ``shards``."""

    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (
        Publish,
        Ack,
        Nack,
        Reject,
        Join,
        Leave,
        Yield,
        Seek,
        Redrive,
        PurgeDead,
        Purge,
        DeleteGroup,
    )
    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (
        *client_command_types,
        ConfigureTopic,
        RemoveTopic,
        Expire,
        Revoke,
    )
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (
        Published,
        Settled,
        Joined,
        Finished,
    )

    def __init__(self, number: int, shards: int, limits: QueueLimits) -> None:
        self.shard = Shard(number, shards, limits)
        self.refusing = ""
        """Why this node, as leader, takes no more messages (its disk is full); empty: it does."""

    def validate(self, command: msgspec.Struct) -> None:
        """Check what needs no state; see ``ports.StateMachine.validate``."""
        if self.refusing and isinstance(command, Publish):
            raise Overloaded(self.refusing, retry_after=5.0)
        check_command(command, self.shard.limits)

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Execute one command."""
        del sequence
        try:
            if type(command) is Publish:
                return publish(self.shard, command, now)
            if type(command) is Ack:
                return acknowledge(self.shard, command)
            return self._apply_rare(session, command, now)
        except SynaxisError as error:
            return refusal(error)
        finally:
            if self.shard.segments.sparse() is not None:
                forgetting.compact(self.shard)

    def _apply_rare(
        self, session: SessionId, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct:
        shard = self.shard
        match command:
            case Nack():
                return nack(shard, command, now)
            case Reject():
                return reject(shard, command, now)
            case Expire():
                return expire(shard, command, now)
            case Join():
                return steering.join(shard, command, session)
            case _:
                return Finished(self._steer(command))

    def _steer(self, command: msgspec.Struct) -> int:  # noqa: C901, PLR0911  # one line a command
        shard = self.shard
        match command:
            case Leave():
                return steering.leave(shard, command)
            case Yield():
                return steering.yield_partitions(shard, command)
            case Revoke():
                return steering.revoke(shard, command)
            case Seek():
                return steering.seek(shard, command)
            case Redrive():
                return steering.redrive(shard, command)
            case PurgeDead():
                return steering.purge_dead(shard, command)
            case Purge():
                return forgetting.purge(shard, command)
            case DeleteGroup():
                return steering.delete_group(shard, command)
            case ConfigureTopic():
                return self._configure(command)
            case RemoveTopic():
                return self._remove(command)
            case _:
                raise InvalidArgument(f"no queue command: {type(command).__name__}")

    def _configure(self, command: ConfigureTopic) -> int:
        record, shard = command.record, self.shard
        known = shard.topics.get(record.name)
        if known is not None and known.record.topic_id == record.topic_id:
            if record.version <= known.record.version:
                return 0
            known.record = record
        elif known is not None and known.record.topic_id > record.topic_id:
            return 0
        else:
            if known is not None:
                self._drop(known)
            known = Topic(record, shard.number, shard.shards, shard.limits)
            shard.topics[record.name] = known
            shard.tallies[record.name] = Tally()
        for partition in known.partitions.values():
            shard.watch_age(known, partition)
        shard.reclaim_all(known)
        shard.observer.configured(known)
        return 1

    def _remove(self, command: RemoveTopic) -> int:
        known = self.shard.topics.get(command.name)
        if known is None or known.record.topic_id > command.topic_id:
            return 0
        self._drop(known)
        return 1

    def _drop(self, topic: Topic) -> None:
        shard = self.shard
        shard.observer.removed(topic)
        del shard.topics[topic.record.name], shard.tallies[topic.record.name]
        topic.groups.clear()
        for partition in topic.partitions.values():
            shard.mark_gone(topic, partition, 0, partition.next_offset - 1)
            shard.index_bytes -= partition.accounted_bytes

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """Remove the members that belong to the session."""
        del now
        steering.end_session(self.shard, session)

    def advance(self, now: LogTime) -> None:
        """Let messages expire that are due."""
        forgetting.forget_due(self.shard, now)

    def deadline(self) -> LogTime | None:
        """Return when the next message may expire."""
        return forgetting.due_at(self.shard)

    def take_outcomes(self) -> list[Outcome]:
        """Return nothing: no command waits."""
        return []

    def take_events(self) -> list[msgspec.Struct]:
        """Return nothing: nobody watches a queue but its members."""
        return []

    def take_store(self) -> list[StoreOperation]:
        """Drain what the message store must do."""
        return self.shard.segments.take_operations()

    def attachments(self) -> tuple[Attachment, ...]:
        """Return which bytes of the message store belong to the present state."""
        return self.shard.segments.attachments()

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Answer DescribeTopic, Browse and BrowseDead."""
        try:
            return views.answer(self.shard, query, now)
        except SynaxisError as error:
            return refusal(error)

    def snapshot(self) -> bytes:
        """Return the state without the messages."""
        return snapshot.save(self.shard)

    def restore(self, data: bytes) -> None:
        """Become the state that ``snapshot`` returned."""
        snapshot.restore(self.shard, data)

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        shard = self.shard
        live: dict[int, int] = {}
        for topic in shard.topics.values():
            topic.check_invariants()
            for partition in topic.partitions.values():
                assert partition.accounted_bytes == partition.memory_bytes()
                for at in partition.index.rows:
                    if partition.index.is_alive(at):
                        batch = partition.index.row(at)
                        live[batch.segment] = live.get(batch.segment, 0) + batch.length
        for number, segment in shard.segments.by_number.items():
            assert segment.live == live.get(number, 0), number
        assert shard.segments.sparse() is None
