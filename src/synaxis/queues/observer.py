"""What the leader's half of a shard hears from the replicated half."""

from typing import Protocol

from synaxis.queues.group import Group
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress
from synaxis.queues.topic import Topic

__all__ = ["Observer", "Unobserved"]


class Observer(Protocol):
    """Told after the state has changed. Must not change it."""

    def published(self, topic: Topic, partition: Partition, first: int, last: int) -> None:
        """Messages were stored."""
        ...

    def finished(
        self, topic: Topic, group: Group, progress: Progress, first: int, last: int
    ) -> None:
        """Messages are finished, in whatever way."""
        ...

    def failed(self, topic: Topic, group: Group, progress: Progress, offset: int) -> None:
        """A message is to be delivered again: ``progress.failures`` says when, or else now."""
        ...

    def moved(self, topic: Topic, group: Group, progress: Progress) -> None:
        """EXCLUSIVE: a partition has another owner."""
        ...

    def rewound(self, topic: Topic, group: Group, progress: Progress) -> None:
        """The group begins elsewhere, and no count of failures is what it was: look anew."""
        ...

    def joined(self, topic: Topic, group: Group, member: int) -> None:
        """A member is new, or joined again."""
        ...

    def left(self, topic: Topic, group: Group, member: int, *, lost: bool) -> None:
        """A member is gone; ``lost``: without a word."""
        ...

    def configured(self, topic: Topic) -> None:
        """A topic is new or changed."""
        ...

    def removed(self, topic: Topic) -> None:
        """A topic is gone."""
        ...

    def group_removed(self, topic: Topic, group: Group) -> None:
        """A group is gone."""
        ...

    def in_flight(self, topic: str, group: str, partition: int) -> tuple[int, int, int]:
        """Return how many messages are acquired, delayed, and how many keys are blocked."""
        ...

    def member(self, topic: str, group: str, member: int) -> tuple[bool, int, int]:
        """Return whether a member is attached, how much it holds, and its credit."""
        ...


class Unobserved:
    """The observer of a replica that does not lead."""

    def published(self, topic: Topic, partition: Partition, first: int, last: int) -> None:
        """Do nothing, like everything here."""

    def finished(
        self, topic: Topic, group: Group, progress: Progress, first: int, last: int
    ) -> None:
        """See ``Observer``."""

    def failed(self, topic: Topic, group: Group, progress: Progress, offset: int) -> None:
        """See ``Observer``."""

    def moved(self, topic: Topic, group: Group, progress: Progress) -> None:
        """See ``Observer``."""

    def rewound(self, topic: Topic, group: Group, progress: Progress) -> None:
        """See ``Observer``."""

    def joined(self, topic: Topic, group: Group, member: int) -> None:
        """See ``Observer``."""

    def left(self, topic: Topic, group: Group, member: int, *, lost: bool) -> None:
        """See ``Observer``."""

    def configured(self, topic: Topic) -> None:
        """See ``Observer``."""

    def removed(self, topic: Topic) -> None:
        """See ``Observer``."""

    def group_removed(self, topic: Topic, group: Group) -> None:
        """See ``Observer``."""

    def in_flight(self, topic: str, group: str, partition: int) -> tuple[int, int, int]:
        """Return zeros: only the leader knows."""
        del topic, group, partition
        return 0, 0, 0

    def member(self, topic: str, group: str, member: int) -> tuple[bool, int, int]:
        """Return nothing known."""
        del topic, group, member
        return False, 0, 0
