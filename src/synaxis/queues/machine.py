"""The state machine of a queue shard: commands in, replies and stored bytes out.

It holds no rule of its own but which rule applies; read ``DESIGN.md`` for the map. What the leader
does beside it (who gets which message) is ``delivery``, attached as ``shard.observer``.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from synaxis.effects import Attachment, Outcome, StoreOperation, refusal
from synaxis.errors import InvalidArgument, Overloaded, SynaxisError
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.queues import configuring, forgetting, snapshot, steering, views
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
from synaxis.queues.shard import Shard
from synaxis.queues.validation import check_command

__all__ = ["QueueMachine"]

_STEERING: dict[type[msgspec.Struct], Callable[[Shard, Any], int]] = {
    Leave: steering.leave,
    Yield: steering.yield_partitions,
    Revoke: steering.revoke,
    Seek: steering.seek,
    Redrive: steering.redrive,
    PurgeDead: steering.purge_dead,
    Purge: forgetting.purge,
    DeleteGroup: steering.delete_group,
    ConfigureTopic: configuring.configure,
    RemoveTopic: configuring.remove,
}
"""Commands that are answered with a count."""


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
                steer = _STEERING.get(type(command))
                if steer is None:
                    raise InvalidArgument(f"no queue command: {type(command).__name__}")
                return Finished(steer(shard, command))

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
        shard.check_invariants()
