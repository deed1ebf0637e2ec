"""What can be known of a topic, its groups and their members: the shards' answers, put together."""

from collections.abc import Iterable
from dataclasses import dataclass

from synaxis.queues.questions import (
    GroupInfo,
    GroupPartitionInfo,
    MemberInfo,
    PartitionInfo,
    TopicInfo,
)

__all__ = ["GroupPartitionState", "GroupState", "MemberState", "PartitionState", "TopicState"]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition of a topic."""

    partition: int
    first_offset: int
    """Oldest message still stored."""
    next_offset: int
    """Of the next message."""
    messages: int
    """Stored ones."""
    size: int
    """Stored bytes."""


@dataclass(frozen=True, slots=True)
class GroupPartitionState:
    """A group in one partition."""

    partition: int
    floor: int
    """Everything below this offset is finished."""
    lag: int
    """Unfinished messages, whatever their state."""
    in_flight: int
    """With a member now."""
    delayed: int
    """Waiting for a back-off or for their delivery time."""
    dead: int
    """Dead letters."""
    blocked_keys: int
    """``keyed``: keys that wait for one of their messages."""
    oldest_age: float
    """Seconds since the oldest unfinished message was published; 0 without one."""
    owner: str
    """``exclusive``: the member that owns it, 16 hex digits; empty if none."""


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member of a group."""

    member: str
    """16 hex digits."""
    name: str
    attached: bool
    """Whether every shard that knows it can deliver to it now."""
    in_flight: int
    """Messages that it holds."""
    credit: int
    """Messages that may be delivered to it now."""
    partitions: tuple[int, ...]
    """``exclusive``: what it owns."""


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group of a topic."""

    name: str
    mode: str
    """``shared``, ``keyed`` or ``exclusive``."""
    members: tuple[MemberState, ...]
    partitions: tuple[GroupPartitionState, ...]
    acked: int
    """Messages finished since the group began, as the two below."""
    redelivered: int
    dead_lettered: int

    @property
    def lag(self) -> int:
        """Unfinished messages, whatever their state."""
        return sum(each.lag for each in self.partitions)

    @property
    def in_flight(self) -> int:
        """Messages that members hold."""
        return sum(each.in_flight for each in self.partitions)

    @property
    def delayed(self) -> int:
        """Messages that wait for a back-off or for their delivery time."""
        return sum(each.delayed for each in self.partitions)

    @property
    def dead(self) -> int:
        """Dead letters."""
        return sum(each.dead for each in self.partitions)

    @property
    def blocked_keys(self) -> int:
        """``keyed``: keys that wait for one of their messages."""
        return sum(each.blocked_keys for each in self.partitions)

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest unfinished message was published; 0 without one."""
        return max((each.oldest_age for each in self.partitions), default=0.0)


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic with everything in it."""

    name: str
    paused: bool
    partitions: tuple[PartitionState, ...]
    groups: tuple[GroupState, ...]

    @property
    def messages(self) -> int:
        """Stored ones."""
        return sum(each.messages for each in self.partitions)

    @property
    def size(self) -> int:
        """Stored bytes."""
        return sum(each.size for each in self.partitions)

    def group(self, name: str) -> GroupState | None:
        """Return one group, if there is one of this name."""
        return next((each for each in self.groups if each.name == name), None)


def topic_state(infos: Iterable[TopicInfo]) -> TopicState:
    """Return what the shards of one topic say, as one."""
    infos = list(infos)
    record = max((info.record for info in infos), key=lambda each: each.version)
    names = sorted({group.group for info in infos for group in info.groups})
    return TopicState(
        record.name,
        record.config.paused,
        tuple(
            sorted(
                (_partition(each) for info in infos for each in info.partitions),
                key=lambda each: each.partition,
            )
        ),
        tuple(
            _group(name, [each for info in infos for each in info.groups if each.group == name])
            for name in names
        ),
    )


def _partition(info: PartitionInfo) -> PartitionState:
    return PartitionState(info.partition, info.first, info.next, info.messages, info.size)


def _group(name: str, parts: list[GroupInfo]) -> GroupState:
    numbers = sorted({each.member for part in parts for each in part.members})
    return GroupState(
        name,
        parts[0].mode.name.lower(),
        tuple(
            _member([each for part in parts for each in part.members if each.member == number])
            for number in numbers
        ),
        tuple(
            sorted(
                (_group_partition(each) for part in parts for each in part.partitions),
                key=lambda each: each.partition,
            )
        ),
        sum(part.acked for part in parts),
        sum(part.redelivered for part in parts),
        sum(part.dead_lettered for part in parts),
    )


def _member(parts: list[MemberInfo]) -> MemberState:
    return MemberState(
        f"{parts[0].member:016x}",
        parts[0].name,
        all(part.attached for part in parts),
        sum(part.in_flight for part in parts),
        sum(part.credit for part in parts),
        tuple(sorted(partition for part in parts for partition in part.partitions)),
    )


def _group_partition(info: GroupPartitionInfo) -> GroupPartitionState:
    return GroupPartitionState(
        info.partition,
        info.floor,
        info.lag,
        info.in_flight,
        info.delayed,
        info.dead,
        info.blocked_keys,
        info.oldest_age_ms / 1000,
        f"{info.owner:016x}" if info.owner else "",
    )
