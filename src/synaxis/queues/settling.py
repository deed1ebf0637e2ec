"""What becomes of messages that a group was given: finished, again, or dead.

Fencing: a part names the number of failures that came with the delivery. In the ordered modes an
acknowledgement counts only from an owner, for exactly that delivery; in SHARED mode the work is
done whoever did it, so an acknowledgement counts until somebody finished the message. A failure
(nack, reject, lost lease) counts once for each delivery, in every mode.
"""

from synaxis.errors import ConsumerFenced
from synaxis.ids import LogTime
from synaxis.queues.backoff import backoff_ms
from synaxis.queues.commands import ABSENT, Ack, Expire, GroupMode, Nack, Part, Reject, Settled
from synaxis.queues.group import Group
from synaxis.queues.progress import Dead, Failure, Progress
from synaxis.queues.shard import Shard
from synaxis.queues.topic import Topic

__all__ = ["acknowledge", "bury", "expire", "nack", "reject"]


def acknowledge(shard: Shard, command: Ack) -> Settled:
    """Finish messages.

    Raises:
        NotFound: no such topic, group or partition.
        ConsumerFenced: an ordered group does not know the member.
    """
    topic, group = _consumer(shard, command, strict=False)
    _check_partitions(topic, command.parts)
    is_ordered = group.mode is not GroupMode.SHARED
    done, stale = 0, _Stale()
    for part in command.parts:
        if is_ordered and _not_owned(group, command.member, part):
            stale.add(part, part.first, part.last)
            continue
        progress = group.progress[part.partition]
        last = min(part.last, topic.partitions[part.partition].next_offset - 1)
        ranges = [(part.first, last)]
        if is_ordered and (progress.failures or part.failures):
            ranges = _split(progress, part, last, stale)
        for each in ranges:
            done += _finish(shard, topic, group, progress, *each)
    group.acked += done
    shard.tallies[command.topic].acked += done
    return Settled(done, stale.parts())


def _finish(
    shard: Shard, topic: Topic, group: Group, progress: Progress, first: int, last: int
) -> int:
    fresh = progress.finish(first, last)
    if fresh:
        shard.observer.finished(topic, group, progress, first, last)
        shard.reclaim(topic, topic.partitions[progress.partition], first, last)
    return fresh


def _split(progress: Progress, part: Part, last: int, stale: "_Stale") -> list[tuple[int, int]]:
    """Return the ranges up to ``last`` that no other delivery has overtaken; the rest is stale."""
    ranges: list[tuple[int, int]] = []
    for offset in range(part.first, last + 1):
        if offset not in progress.done and progress.failed(offset) != part.failures:
            stale.add(part, offset, offset)
        elif ranges and ranges[-1][1] == offset - 1:
            ranges[-1] = (ranges[-1][0], offset)
        else:
            ranges.append((offset, offset))
    return ranges


class _Stale:
    """What is refused, neighbours together."""

    def __init__(self) -> None:
        self._parts: list[list[int]] = []

    def add(self, part: Part, first: int, last: int) -> None:
        number, failures = part.partition, part.failures
        known = self._parts[-1] if self._parts else None
        if known is not None and known == [number, known[1], first - 1, failures]:
            known[2] = last
        else:
            self._parts.append([number, first, last, failures])

    def parts(self) -> tuple[Part, ...]:
        return tuple(Part(*each) for each in self._parts)


def nack(shard: Shard, command: Nack, now: LogTime) -> Settled:
    """Count a failure of each message; it comes again, or is dead.

    Raises:
        NotFound, ConsumerFenced: as for ``acknowledge``; every mode asks for the member.
    """
    topic, group = _consumer(shard, command, strict=True)
    failing = _Failing(shard, topic, group, now, command.error)
    return failing.fail(command.member, command.parts, "max_deliveries", command.delay_ms)


def reject(shard: Shard, command: Reject, now: LogTime) -> Settled:
    """Make messages dead letters at once.

    Raises:
        NotFound, ConsumerFenced: as for ``nack``.
    """
    topic, group = _consumer(shard, command, strict=True)
    failing = _Failing(shard, topic, group, now, command.error)
    return failing.fail(command.member, command.parts, "rejected", ABSENT)


def expire(shard: Shard, command: Expire, now: LogTime) -> Settled:
    """Take the leader's word that deliveries ended without the member's.

    Raises:
        NotFound: no such topic, group or partition.
    """
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    failing = _Failing(shard, topic, group, now, command.reason)
    return failing.fail(0, command.parts, "max_deliveries", ABSENT)


def _consumer(shard: Shard, command: Ack | Nack | Reject, *, strict: bool) -> tuple[Topic, Group]:
    topic = shard.topic(command.topic)
    group = topic.group(command.group)
    needed = strict or group.mode is not GroupMode.SHARED
    if needed and command.member not in group.members:
        raise ConsumerFenced(
            f"member {command.member:x} does not belong to group {command.group!r} any more; "
            "what it held goes to others"
        )
    return topic, group


def _check_partitions(topic: Topic, parts: tuple[Part, ...]) -> None:
    """Refuse a command as a whole before any of it is done."""
    for part in parts:
        topic.partition(part.partition)


def _not_owned(group: Group, member: int, part: Part) -> bool:
    ownership = group.owners.get(part.partition)
    return ownership is not None and ownership.owner != member


class _Failing:
    """One command that lets messages fail."""

    def __init__(self, shard: Shard, topic: Topic, group: Group, now: LogTime, error: str) -> None:
        self.shard = shard
        self.topic = topic
        self.group = group
        self.now = now
        self.error = error

    def fail(self, member: int, parts: tuple[Part, ...], reason: str, delay_ms: int) -> Settled:
        _check_partitions(self.topic, parts)
        done, stale = 0, _Stale()
        for part in parts:
            progress = self.group.progress[part.partition]
            if member and _not_owned(self.group, member, part):
                stale.add(part, part.first, part.last)
                continue
            for offset in range(part.first, part.last + 1):
                if self._is_current(progress, offset, part.failures):
                    self._fail_one(progress, offset, reason, delay_ms)
                    done += 1
                else:
                    stale.add(part, offset, offset)
        return Settled(done, stale.parts())

    def _is_current(self, progress: Progress, offset: int, failures: int) -> bool:
        end = self.topic.partitions[progress.partition].next_offset
        return offset < end and offset not in progress.done and progress.failed(offset) == failures

    def _fail_one(self, progress: Progress, offset: int, reason: str, delay_ms: int) -> None:
        config = self.topic.record.config
        before = progress.failures.get(offset)
        count = 1 if before is None else before.count + 1
        first_at = self.now if before is None else before.first_at
        if reason == "rejected" or count >= config.max_deliveries:
            dead = Dead(reason, count, first_at, self.now, self.error)
            bury(self.shard, self.topic, self.group, progress, {offset: dead})
            return
        pause = backoff_ms(config, offset, count) if delay_ms == ABSENT else delay_ms
        ready_at = LogTime(self.now + pause)
        progress.fail(offset, Failure(count, ready_at, first_at, self.error))
        self.group.redelivered += 1
        self.shard.tallies[self.topic.record.name].redelivered += 1
        self.shard.observer.failed(self.topic, self.group, progress, offset)


def bury(
    shard: Shard, topic: Topic, group: Group, progress: Progress, dead: dict[int, Dead]
) -> None:
    """Make unfinished messages dead letters; beyond the limit the oldest ones go."""
    partition = topic.partitions[progress.partition]
    for offset, letter in dead.items():
        progress.bury(offset, letter)
        group.dead_lettered += 1
        shard.tallies[topic.record.name].dead_lettered += 1
        shard.observer.finished(topic, group, progress, offset, offset)
    while sum(len(each.dead) for each in group.progress.values()) > (
        shard.limits.dead_letters_per_group_max
    ):
        _, number, oldest = min(
            (next(iter(each.dead.values())).dead_at, each.partition, next(iter(each.dead)))
            for each in group.progress.values()
            if each.dead
        )
        group.progress[number].drop(oldest)
        shard.reclaim(topic, topic.partitions[number], oldest, oldest)
    shard.reclaim(topic, partition, min(dead), max(dead))
