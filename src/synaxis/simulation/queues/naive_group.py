"""A consumer group, written a second time and naively: the fate of each message, one by one.

Who owns a partition in EXCLUSIVE mode is not predicted but learnt, from deliveries and answers;
what is demanded is that an owner stays one until it yields, is revoked or goes.
"""

from dataclasses import dataclass, field
from enum import Enum

from synaxis.ids import LogTime, SessionId
from synaxis.queues.commands import GroupMode, Part
from synaxis.simulation.history import HistoryViolation
from synaxis.topics import TopicConfig

__all__ = ["Fate", "NaiveGroup", "NaiveMember", "Way"]

JITTER = 0.2
_NEVER = LogTime(0)


class Fate(Enum):
    """What has become of a message in a group."""

    OPEN = "open"
    DONE = "done"
    DEAD = "dead"


@dataclass(slots=True)
class Way:
    """How far a message has come in a group."""

    fate: Fate = Fate.OPEN
    failures: int = 0
    ready_from: float = 0
    """Not to be delivered earlier."""
    first_failed_at: LogTime = _NEVER
    dead_at: LogTime = _NEVER
    died: int = 0
    """Numbers the dead letters of a group in the order of dying."""
    reason: str = ""
    error: str = ""


@dataclass(slots=True)
class NaiveMember:
    """A member."""

    session: SessionId
    visibility_ms: int
    auto_extend: bool
    name: str
    announces: bool


Place = tuple[int, int]
"""Partition, offset."""


@dataclass(slots=True)
class NaiveGroup:
    """See the module."""

    name: str
    mode: GroupMode
    ways: dict[int, list[Way]] = field(default_factory=dict)
    """By partition; as long as the partition."""
    members: dict[int, NaiveMember] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    """EXCLUSIVE: partition -> owner, as far as known."""
    epoch: int = 0
    acked: int = 0
    redelivered: int = 0
    dead_lettered: int = 0

    def floor(self, partition: int) -> int:
        """Return the first offset that is not finished."""
        for offset, way in enumerate(self.ways[partition]):
            if way.fate is Fate.OPEN:
                return offset
        return len(self.ways[partition])

    def open_in(self, partition: int) -> list[int]:
        """Return the unfinished messages of a partition."""
        return [at for at, way in enumerate(self.ways[partition]) if way.fate is Fate.OPEN]

    def dead_in(self, partition: int) -> list[int]:
        """Return the dead letters of a partition, by offset."""
        return [at for at, way in enumerate(self.ways[partition]) if way.fate is Fate.DEAD]

    def failures(self, place: Place) -> int:
        """Return how often a message has failed; -1 if it is not there."""
        ways = self.ways[place[0]]
        return ways[place[1]].failures if place[1] < len(ways) else -1

    # --- owners ------------------------------------------------------------------------------

    def owns(self, partition: int, member: int) -> bool | None:
        """Return whether a member owns a partition; None: unknown."""
        if self.mode is not GroupMode.EXCLUSIVE:
            return True
        owner = self.owners.get(partition)
        return None if owner is None else owner == member

    def learn_owner(self, partition: int, member: int, how: str) -> None:
        """A member has been seen to own a partition.

        Raises:
            HistoryViolation: Q4: somebody else does, and has not given it up.
        """
        owner = self.owners.setdefault(partition, member)
        if owner != member:
            raise HistoryViolation(
                f"Q4: partition {partition} belongs to {owner:x}, which has not given it up, and "
                f"to {member:x} ({how})"
            )
        if member not in self.members:
            raise HistoryViolation(f"Q4: {member:x} is no member and owns {partition} ({how})")

    def remove(self, member: int) -> bool:
        """Remove a member; what it owns is free."""
        if self.members.pop(member, None) is None:
            return False
        self.epoch += 1
        self.owners = {p: owner for p, owner in self.owners.items() if owner != member}
        return True

    # --- fates -------------------------------------------------------------------------------

    def acknowledge(
        self, member: int, parts: tuple[Part, ...], stale: set[tuple[int, int, int]]
    ) -> tuple[set[Place], set[tuple[int, int, int]]]:
        """Finish messages; returns those, and what must be called stale.

        Args:
            member: who says so.
            parts: what it says is done.
            stale: what the machine calls stale, to learn from where the owner is unknown.
        """
        done: set[Place] = set()
        expected: set[tuple[int, int, int]] = set()
        for part in parts:
            offsets = range(part.first, part.last + 1)
            if not self._may_settle(member, part, stale):
                expected |= {(part.partition, offset, part.failures) for offset in offsets}
                continue
            for offset in offsets:
                way = self._open(part.partition, offset)
                if way is None:
                    continue
                if self.mode is not GroupMode.SHARED and way.failures != part.failures:
                    expected.add((part.partition, offset, part.failures))
                    continue
                way.fate = Fate.DONE
                done.add((part.partition, offset))
        self.acked += len(done)
        return done, expected

    def current(
        self, member: int, parts: tuple[Part, ...], stale: set[tuple[int, int, int]]
    ) -> tuple[list[Place], set[tuple[int, int, int]]]:
        """Return which messages a failure counts for, and what must be called stale."""
        failing: list[Place] = []
        expected: set[tuple[int, int, int]] = set()
        for part in parts:
            owned = member == 0 or self._may_settle(member, part, stale)
            for offset in range(part.first, part.last + 1):
                way = self._open(part.partition, offset)
                if owned and way is not None and way.failures == part.failures:
                    failing.append((part.partition, offset))
                else:
                    expected.add((part.partition, offset, part.failures))
        return failing, expected

    def _open(self, partition: int, offset: int) -> Way | None:
        ways = self.ways[partition]
        way = ways[offset] if offset < len(ways) else None
        return way if way is not None and way.fate is Fate.OPEN else None

    def _may_settle(self, member: int, part: Part, stale: set[tuple[int, int, int]]) -> bool:
        owned = self.owns(part.partition, member)
        if owned is None:
            offsets = range(part.first, part.last + 1)
            owned = not all((part.partition, at, part.failures) in stale for at in offsets)
            if owned:
                self.learn_owner(part.partition, member, "settles")
        return owned

    def fail(
        self, place: Place, config: TopicConfig, now: LogTime, delay_ms: int | None, error: str
    ) -> None:
        """Count a failure of an unfinished message."""
        way = self.ways[place[0]][place[1]]
        way.failures += 1
        way.error = error
        if way.failures == 1:
            way.first_failed_at = now
        if way.failures >= config.max_deliveries:
            self.bury(place, "max_deliveries", now, error)
            return
        self.redelivered += 1
        pause = min(config.backoff_max_ms, config.backoff_first_ms * 2 ** (way.failures - 1))
        # Rounded to whole milliseconds by the machine.
        way.ready_from = now + (pause * (1 - JITTER) - 1 if delay_ms is None else delay_ms)

    def bury(self, place: Place, reason: str, now: LogTime, error: str) -> None:
        """Make a message a dead letter."""
        way = self.ways[place[0]][place[1]]
        way.fate, way.reason, way.error, way.dead_at = Fate.DEAD, reason, error, now
        self.dead_lettered += 1
        way.died = self.dead_lettered
        if not way.first_failed_at:
            way.first_failed_at = now

    def reject(self, place: Place, now: LogTime, error: str) -> None:
        """Count a failure, the last one."""
        self.ways[place[0]][place[1]].failures += 1
        self.bury(place, "rejected", now, error)

    def revive(self, place: Place) -> None:
        """A dead letter is unfinished again, as if it had never failed."""
        self.ways[place[0]][place[1]] = Way()
