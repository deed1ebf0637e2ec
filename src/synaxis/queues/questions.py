"""What can be asked of a queue shard, and the answers. Nothing of it is in the log.

Tags 110-119; durations are milliseconds.
"""

import msgspec

from synaxis.ids import LogTime, SessionId
from synaxis.queues.commands import GroupMode, Slice
from synaxis.topics import TopicRecord

__all__ = [
    "Browse",
    "BrowseDead",
    "DeadLetter",
    "DescribeTopic",
    "GroupInfo",
    "GroupPartitionInfo",
    "MemberInfo",
    "Page",
    "PartitionInfo",
    "TopicInfo",
]


class DescribeTopic(msgspec.Struct, frozen=True, array_like=True, tag=110):
    """Ask a shard for its TopicInfo."""

    topic: str


class Browse(msgspec.Struct, frozen=True, array_like=True, tag=111):
    """Read messages of a partition from ``offset`` on, without consuming them."""

    topic: str
    partition: int
    offset: int
    limit: int


class BrowseDead(msgspec.Struct, frozen=True, array_like=True, tag=112):
    """Read the dead letters of a group in one partition, from ``offset`` on."""

    topic: str
    group: str
    partition: int
    offset: int
    limit: int


class DeadLetter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a message is a dead letter."""

    partition: int
    offset: int
    reason: str
    """``max_deliveries``, ``rejected`` or ``expired``."""
    failures: int
    first_failed_at: LogTime
    dead_at: LogTime
    error: str
    """What the last consumer said, or how its lease ended."""


class MemberInfo(msgspec.Struct, frozen=True, array_like=True):
    """A member of a group in one shard."""

    member: int
    name: str
    session: SessionId
    attached: bool
    in_flight: int
    credit: int
    partitions: tuple[int, ...]
    """EXCLUSIVE: what it owns."""


class GroupPartitionInfo(msgspec.Struct, frozen=True, array_like=True):
    """A group in one partition. ``lag`` = unfinished messages, whatever their state."""

    partition: int
    floor: int
    """Everything below is finished."""
    lag: int
    in_flight: int
    delayed: int
    """Waiting for a back-off or for their delivery time."""
    dead: int
    blocked_keys: int
    oldest_age_ms: int
    """Age of the oldest unfinished message, 0 without one."""
    owner: int
    """EXCLUSIVE: the member that owns it, 0 if none."""


class GroupInfo(msgspec.Struct, frozen=True, array_like=True):
    """A consumer group in one shard."""

    group: str
    mode: GroupMode
    epoch: int
    members: tuple[MemberInfo, ...]
    partitions: tuple[GroupPartitionInfo, ...]
    acked: int
    """Since the group began, as everything below."""
    redelivered: int
    dead_lettered: int


class PartitionInfo(msgspec.Struct, frozen=True, array_like=True):
    """A partition of a topic."""

    partition: int
    first: int
    """Oldest offset still stored."""
    next: int
    """Offset of the next message."""
    messages: int
    """Stored ones."""
    size: int
    """Stored bytes."""


class TopicInfo(msgspec.Struct, frozen=True, array_like=True, tag=110):
    """What one shard knows of a topic."""

    record: TopicRecord
    partitions: tuple[PartitionInfo, ...]
    groups: tuple[GroupInfo, ...]


class Page(msgspec.Struct, frozen=True, tag=111):
    """Answer to Browse and BrowseDead inside the node."""

    slices: tuple[Slice, ...]
    dead: tuple[DeadLetter, ...]
    next_offset: int
    """Where to go on; ABSENT at the end."""
