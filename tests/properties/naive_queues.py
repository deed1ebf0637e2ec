"""A topic once more, without any index: a list of messages, and per group what became of each.

It predicts what every command does to the replicated half, and says of each delivery whether it
was allowed, and of each silence whether something should have been delivered. Who owns a partition
in EXCLUSIVE mode it does not predict: it is told, and judges the change.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from synaxis.effects import Refused
from synaxis.queues.backoff import backoff_ms
from synaxis.queues.commands import (
    ABSENT,
    END,
    Ack,
    DeleteGroup,
    Expire,
    Finished,
    GroupMode,
    Join,
    Leave,
    Nack,
    Part,
    Publish,
    Published,
    Purge,
    PurgeDead,
    RecordBatch,
    Redrive,
    Reject,
    Revoke,
    Seek,
    Settled,
    Yield,
)
from synaxis.topics import Retention, TopicConfig

Place = tuple[int, int]
"""Partition, offset."""
OPEN, ACKED, GONE, DEAD = "open", "acked", "gone", "dead"


@dataclass
class NaiveMessage:
    place: Place
    body: bytes
    key: int
    priority: int
    deliver_at: int
    expires_at: int
    batch: "NaiveBatch"
    gone: bool = False


@dataclass
class NaiveBatch:
    partition: int
    at: int
    messages: list[NaiveMessage] = field(default_factory=list)
    aged: bool = False


@dataclass
class Fate:
    """What became of a message in a group."""

    state: str = OPEN
    failures: int = 0
    ready_at: int = 0
    reason: str = ""
    died: tuple[int, int, int] = (0, 0, 0)
    """When, in which partition, and as which of all."""

    @property
    def is_open(self) -> bool:
        return self.state == OPEN


@dataclass
class NaiveGroup:
    mode: GroupMode
    fates: dict[Place, Fate] = field(default_factory=dict)
    members: dict[int, int] = field(default_factory=dict)
    """Number -> session."""
    holders: dict[Place, int] = field(default_factory=dict)
    owners: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition -> (owner, epoch), as last seen."""
    may_move: set[int] = field(default_factory=set)
    """Partitions whose owner has let go, or had to."""
    recovering: set[int] = field(default_factory=set)
    """Members that have not told the present leader what they hold."""
    unknown: set[Place] = field(default_factory=set)
    """Messages that such a member may hold."""
    since: dict[int, int] = field(default_factory=dict)
    """Offsets from which on that cannot be."""
    ending: set[Place] = field(default_factory=set)
    """Messages whose loss the leader wants counted; the log has not decided yet."""
    rewound: bool = False
    """The group was moved meanwhile: it may wait until nobody is left who recovers."""

    def drop(self, place: Place) -> None:
        """Nobody has a message in hand any more."""
        self.holders.pop(place, None)
        self.ending.discard(place)

    def open(self) -> Iterator[Place]:
        return (place for place, fate in self.fates.items() if fate.state == OPEN)

    def dead(self, partition: int) -> list[Place]:
        found = [p for p, fate in self.fates.items() if fate.state == DEAD and p[0] == partition]
        return sorted(found, key=lambda place: self.fates[place].died)


class NaiveQueue:
    """One topic; the methods mirror the machine's."""

    def __init__(self, config: TopicConfig) -> None:
        self.config = config
        self.now = 0
        self.messages: dict[Place, NaiveMessage] = {}
        self.batches: list[NaiveBatch] = []
        self.groups: dict[str, NaiveGroup] = {}
        self.next = dict.fromkeys(range(config.partitions), 0)
        self.stored: dict[tuple[int, int, int], Published] = {}
        """(partition, producer, sequence) -> the first answer."""
        self.ids: dict[tuple[int, str], tuple[int, int]] = {}
        self.deaths = 0

    # --- time -----------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        self.now = now
        if self.config.retention_ms:
            for batch in self.batches:
                if not batch.aged and batch.at + self.config.retention_ms <= now:
                    self._age(batch)
        due = [m for m in self.messages.values() if 0 < m.expires_at <= now and not m.gone]
        for message in sorted(due, key=lambda m: (m.expires_at, m.place)):
            if self.config.expired_to_dead:
                for group in self.groups.values():
                    fate = group.fates[message.place]
                    if fate.state == OPEN:
                        self._die(group, message.place, "expired")
            self._let_go(message)

    def _age(self, batch: NaiveBatch) -> None:
        batch.aged = True
        for message in batch.messages:
            self._let_go(message)

    def _let_go(self, message: NaiveMessage) -> None:
        message.gone = True
        for group in self.groups.values():
            fate = group.fates[message.place]
            if fate.state == OPEN:
                self._leave_open(group, message.place, GONE)

    def _leave_open(self, group: NaiveGroup, place: Place, state: str) -> None:
        group.fates[place].state = state
        group.drop(place)

    def _die(self, group: NaiveGroup, place: Place, reason: str) -> None:
        self._leave_open(group, place, DEAD)
        self.deaths += 1
        group.fates[place].reason = reason
        group.fates[place].died = (self.now, place[0], self.deaths)

    # --- commands -------------------------------------------------------------------------

    def apply(self, session: int, command: msgspec.Struct, reply: msgspec.Struct | None) -> None:
        """Do what the command does, and compare with what was answered."""
        name = type(command).__name__.lower()
        judge = getattr(self, f"_{name}", None)
        if judge is not None:
            judge(session, command, reply)

    def _publish(self, _: int, command: Publish, reply: msgspec.Struct) -> None:
        key = (command.partition, command.producer, command.sequence)
        before = self.stored.get(key)
        if before is not None:
            assert reply == msgspec.structs.replace(before, duplicate=True)
            return
        if isinstance(reply, Refused):
            assert reply.code == "overloaded", reply
            assert self.config.retention is Retention.WORK
            assert self.size(command.partition) + len(command.batch.body) > self.size_max
            return
        known, kept = self._known(command.partition, command.batch)
        first = self.next[command.partition]
        self.stored[key] = Published(first, False, tuple(known))
        assert reply == self.stored[key]
        if kept:
            self._store(command.partition, command.batch, kept)

    @property
    def size_max(self) -> int:
        return self.config.partition_bytes_max or 10**9

    def size(self, partition: int) -> int:
        stored = [b for b in self.batches if b.partition == partition and self.is_needed(b)]
        return sum(map(batch_bytes, stored))

    def _known(self, partition: int, batch: RecordBatch) -> tuple[list[Place], list[int]]:
        known: list[Place] = []
        kept: list[int] = []
        for position in range(batch.count):
            message_id = batch.message_ids[position] if batch.message_ids else ""
            offset, at = self.ids.get((partition, message_id), (0, -(10**12)))
            if message_id and at + self.config.dedup_window_ms > self.now:
                known.append((position, offset))
                continue
            if message_id:
                offset = self.next[partition] + len(kept)
                self.ids[partition, message_id] = (offset, self.now)
            kept.append(position)
        return known, kept

    def _store(self, partition: int, batch: RecordBatch, kept: list[int]) -> None:
        stored = NaiveBatch(partition, self.now)
        self.batches.append(stored)
        sizes = memoryview(batch.sizes).cast("I")
        hashes = memoryview(batch.key_hashes).cast("I") if batch.key_hashes else None
        for position in kept:
            start = sum(sizes[:position])
            delay = batch.delays_ms[position] if batch.delays_ms else 0
            ttl = batch.ttls_ms[position] if batch.ttls_ms else 0
            message = NaiveMessage(
                (partition, self.next[partition]),
                batch.body[start : start + sizes[position]],
                hashes[position] if hashes is not None else 0,
                batch.priorities[position] if batch.priorities else 0,
                self.now + delay if delay else 0,
                self.now + ttl if ttl else 0,
                stored,
            )
            self.next[partition] += 1
            self.messages[message.place] = message
            stored.messages.append(message)
            for group in self.groups.values():
                group.fates[message.place] = Fate()
        maximum = self.config.partition_bytes_max
        if maximum and self.config.retention is Retention.LOG:
            self._keep_within(partition, maximum)

    def _keep_within(self, partition: int, maximum: int) -> None:
        left = [b for b in self.batches if b.partition == partition and not b.aged]
        stored = [b for b in left if self.is_needed(b)]
        excess = sum(map(batch_bytes, stored)) - maximum
        for batch in stored[:-1]:
            if excess <= 0:
                return
            excess -= batch_bytes(batch)
            for each in left[: left.index(batch) + 1]:
                if not each.aged:
                    self._age(each)

    def _join(self, session: int, command: Join, reply: msgspec.Struct) -> None:
        if isinstance(reply, Refused):
            return
        group = self.groups.get(command.group)
        if group is None:
            group = self.groups[command.group] = NaiveGroup(command.mode)
            for place, message in self.messages.items():
                is_done = message.gone or command.from_end
                group.fates[place] = Fate(GONE if is_done else OPEN)
        group.members[command.member] = session

    def _leave(self, _: int, command: Leave, reply: msgspec.Struct) -> None:
        group = self.groups[command.group]
        assert reply == Finished(int(command.member in group.members))
        for place in [p for p, who in group.holders.items() if who == command.member]:
            self._free(group, place)
        self._part(group, command.member)

    def _free(self, group: NaiveGroup, place: Place) -> None:
        if place not in group.ending:
            del group.holders[place]

    def end_session(self, session: int) -> None:
        """What the members hold stays with them until an Expire says otherwise."""
        for group in self.groups.values():
            for member in [m for m, its in group.members.items() if its == session]:
                self._part(group, member)

    def _part(self, group: NaiveGroup, member: int) -> None:
        group.members.pop(member, None)
        self.spoke(group, member)
        group.may_move |= {p for p, (owner, _) in group.owners.items() if owner == member}

    def _yield(self, _: int, command: Yield, reply: msgspec.Struct) -> None:
        group = self.groups[command.group]
        owned = {p for p in command.partitions if group.owners.get(p, (0, 0))[0] == command.member}
        group.may_move |= owned

    def _revoke(self, _: int, command: Revoke, reply: msgspec.Struct) -> None:
        self.groups[command.group].may_move.add(command.partition)

    def _deletegroup(self, _: int, command: DeleteGroup, reply: msgspec.Struct) -> None:
        group = self.groups.get(command.group)
        if group is None or group.members:
            assert isinstance(reply, Refused)
            return
        assert reply == Finished(1)
        del self.groups[command.group]

    # --- settling -------------------------------------------------------------------------

    def _ack(self, _: int, command: Ack, reply: msgspec.Struct) -> None:
        group = self.groups[command.group]
        ordered = group.mode is not GroupMode.SHARED
        if ordered and command.member not in group.members:
            assert isinstance(reply, Refused)
            return
        done, stale = 0, set()
        for part, place in spread(command.parts):
            fate = group.fates.get(place)
            if self._is_not_owner(group, command.member, part) or (
                ordered and fate and fate.state == OPEN and fate.failures != part.failures
            ):
                stale.add(place)
            elif fate and fate.state == OPEN:
                self._leave_open(group, place, ACKED)
                done += 1
        check_settled(reply, done, stale)

    def _is_not_owner(self, group: NaiveGroup, member: int, part: Part) -> bool:
        owner = group.owners.get(part.partition)
        return owner is not None and owner[0] != member

    def _nack(self, _: int, command: Nack, reply: msgspec.Struct) -> None:
        self._fail(command, command.member, "max_deliveries", command.delay_ms, reply)

    def _reject(self, _: int, command: Reject, reply: msgspec.Struct) -> None:
        self._fail(command, command.member, "rejected", ABSENT, reply)

    def _expire(self, _: int, command: Expire, reply: msgspec.Struct) -> None:
        self._fail(command, 0, "max_deliveries", ABSENT, reply)

    def _fail(
        self,
        command: Nack | Reject | Expire,
        member: int,
        reason: str,
        delay_ms: int,
        reply: msgspec.Struct,
    ) -> None:
        group = self.groups.get(command.group)
        if group is None or (member and member not in group.members):
            assert isinstance(reply, Refused)
            return
        done, stale = 0, set()
        for part, place in spread(command.parts):
            fate = group.fates.get(place)
            if isinstance(command, Expire):
                group.ending.discard(place)
            refused = member and self._is_not_owner(group, member, part)
            if refused or not fate or fate.state != OPEN or fate.failures != part.failures:
                stale.add(place)
                continue
            done += 1
            fate.failures += 1
            if reason == "rejected" or fate.failures >= self.config.max_deliveries:
                self._die(group, place, reason)
                continue
            group.drop(place)
            group.unknown.discard(place)
            chosen = delay_ms != ABSENT
            pause = delay_ms if chosen else backoff_ms(self.config, place[1], fate.failures)
            fate.ready_at = self.now + pause
        check_settled(reply, done, stale)

    # --- steering -------------------------------------------------------------------------

    def _seek(self, _: int, command: Seek, reply: msgspec.Struct) -> None:
        if command.group not in self.groups:
            assert isinstance(reply, Refused)
            return
        group, unfinished = self.groups[command.group], 0
        for partition in self._chosen(command.partition):
            start = self._position(command, partition)
            for place, fate in group.fates.items():
                if place[0] != partition:
                    continue
                group.drop(place)
                message = self.messages[place]
                if fate.state != DEAD:
                    done = message.gone or place[1] < start
                    group.fates[place] = Fate(GONE if done else OPEN)
                    unfinished += not done
            if group.recovering:
                old = range(group.since[partition])
                group.unknown |= {(partition, o) for o in old if group.fates[partition, o].is_open}
                group.rewound = True
        assert reply == Finished(unfinished)

    def _chosen(self, partition: int) -> Iterable[int]:
        return range(self.config.partitions) if partition == ABSENT else (partition,)

    def _position(self, command: Seek, partition: int) -> int:
        if command.offset == END:
            return self.next[partition]
        if command.offset != ABSENT:
            return command.offset
        later = [
            batch.messages[0].place[1]
            for batch in self.batches
            if batch.partition == partition and batch.at >= command.time
        ]
        return min(later, default=self.next[partition])

    def _redrive(self, _: int, command: Redrive, reply: msgspec.Struct) -> None:
        chosen = self._letters(command)
        assert reply == Finished(len(chosen))
        for place in chosen:
            group = self.groups[command.group]
            group.fates[place] = Fate()
            group.unknown.discard(place)
            message = self.messages[place]
            if message.gone:
                message.gone, message.expires_at, message.deliver_at = False, 0, 0

    def _purgedead(self, _: int, command: PurgeDead, reply: msgspec.Struct) -> None:
        chosen = self._letters(command)
        assert reply == Finished(len(chosen))
        for place in chosen:
            self.groups[command.group].fates[place].state = GONE

    def _letters(self, command: Redrive | PurgeDead) -> list[Place]:
        group = self.groups[command.group]
        found = [p for each in self._chosen(command.partition) for p in group.dead(each)]
        found = [
            place
            for place in sorted(found, key=lambda place: group.fates[place].died)
            if (not command.offsets or place[1] in command.offsets)
            and command.reason in ("", group.fates[place].reason)
        ]
        return found if command.limit == ABSENT else found[: command.limit]

    def _purge(self, _: int, command: Purge, reply: msgspec.Struct) -> None:
        for partition in self._chosen(command.partition):
            for message in self.messages.values():
                if message.place[0] != partition:
                    continue
                message.gone = True
                for group in self.groups.values():
                    self._leave_open(group, message.place, GONE)

    # --- what is stored -------------------------------------------------------------------

    def is_needed(self, batch: NaiveBatch) -> bool:
        """Return whether anybody may still want a message of the batch."""
        fates = [g.fates[m.place].state for g in self.groups.values() for m in batch.messages]
        if OPEN in fates or DEAD in fates:
            return True
        if all(message.gone for message in batch.messages) or batch.aged:
            return False
        return self.config.retention is Retention.LOG or not self.groups

    def note_forgotten(self) -> None:
        """What is not stored any more cannot be wanted again."""
        for batch in self.batches:
            if not self.is_needed(batch):
                for message in batch.messages:
                    message.gone = True

    # --- the leader -----------------------------------------------------------------------

    def fail_over(self) -> None:
        for group in self.groups.values():
            group.holders = {}
            group.ending = set()
            group.recovering = set(group.members)
            group.unknown = set(group.open()) if group.members else set()
            group.since = dict(self.next)
            group.rewound = False

    def attach(self, group: NaiveGroup, member: int, claims: dict[Place, int]) -> None:
        """A member opens a stream and says what it holds, and with how many failures."""
        was_recovering = member in group.recovering
        for place in [p for p, who in group.holders.items() if who == member and p not in claims]:
            self._free(group, place)
        for place, failures in claims.items():
            fate = group.fates.get(place)
            is_open = fate is not None and fate.state == OPEN and fate.failures == failures
            believed = group.mode is GroupMode.SHARED or self.is_blocked(group, place)
            if is_open and believed and not self._is_not_owner(group, member, Part(place[0], 0, 0)):
                group.holders.setdefault(place, member)
                group.unknown.discard(place)
        if was_recovering:
            self.spoke(group, member)

    def release(self, name: str, member: int, partition: int, offsets: Iterable[int]) -> None:
        group = self.groups[name]
        for offset in offsets:
            if group.holders.get((partition, offset)) == member:
                self._free(group, (partition, offset))

    def spoke(self, group: NaiveGroup, member: int) -> None:
        """Nothing that this member may hold is unknown any more."""
        group.recovering.discard(member)
        if not group.recovering:
            group.unknown, group.rewound = set(), False

    def is_blocked(self, group: NaiveGroup, place: Place) -> bool:
        """Return whether it is unknown who holds a message."""
        if group.mode is GroupMode.SHARED:
            return place in group.unknown
        if group.mode is GroupMode.KEYED:
            return bool(group.recovering)
        return group.owners.get(place[0], (0, 0))[0] in group.recovering

    def see_owners(self, group: NaiveGroup, owners: dict[int, tuple[int, int]]) -> None:
        """Judge who owns what by now."""
        for partition, (owner, epoch) in owners.items():
            before, last = group.owners.get(partition, (0, 0))
            if owner == before:
                assert epoch == last
            else:
                assert before == 0 or partition in group.may_move, "taken without being released"
                assert epoch >= last + (owner != 0)
            group.may_move.discard(partition)
        group.owners = owners

    # --- deliveries -----------------------------------------------------------------------

    def is_ready(self, group: NaiveGroup, place: Place) -> bool:
        message, fate = self.messages[place], group.fates[place]
        ready_at = fate.ready_at if fate.failures else message.deliver_at
        return fate.state == OPEN and ready_at <= self.now and not self.is_late(message)

    def is_late(self, message: NaiveMessage) -> bool:
        return 0 < message.expires_at <= self.now

    def line_of(self, group: NaiveGroup, place: Place) -> list[Place]:
        """Return the unfinished messages that must not be overtaken by this one."""
        if group.mode is GroupMode.SHARED:
            return []
        key, (partition, offset) = self.messages[place].key, place
        if group.mode is GroupMode.KEYED and not key:
            return []
        return [
            other
            for other in group.open()
            if other[0] == partition
            and other[1] < offset
            and (group.mode is GroupMode.EXCLUSIVE or self.messages[other].key == key)
            and not self.is_late(self.messages[other])
        ]

    def rivals_of(self, group: NaiveGroup, place: Place) -> set[int]:
        """Return the members with whom messages of the same key (or partition) are."""
        if group.mode is GroupMode.SHARED:
            return set()
        holders = group.holders.items()
        return {holder for other, holder in holders if self.are_one(group, place, other)}

    def are_one(self, group: NaiveGroup, place: Place, other: Place) -> bool:
        """Return whether two messages are of one key, or partition."""
        if other[0] != place[0] or group.mode is GroupMode.EXCLUSIVE:
            return other[0] == place[0]
        key = self.messages[place].key
        return other == place or (key != 0 and self.messages[other].key == key)

    def may_have(self, group: NaiveGroup, place: Place, member: int) -> bool:
        """Return whether this message should be given to this member now, if it takes any."""
        if place in group.holders or not self.is_ready(group, place):
            return False
        if self._is_not_owner(group, member, Part(place[0], 0, 0)):
            return False
        ahead = self.line_of(group, place)
        if group.mode is not GroupMode.SHARED and any(
            self.are_one(group, place, other) for other in group.ending & group.holders.keys()
        ):
            return False  # what is taken back comes first
        return self.rivals_of(group, place) <= {member} and all(
            group.holders.get(other) == member for other in ahead
        )


def batch_bytes(batch: NaiveBatch) -> int:
    return 12 + sum(4 + len(message.body) for message in batch.messages)


def spread(parts: Iterable[Part]) -> Iterator[tuple[Part, Place]]:
    for part in parts:
        for offset in range(part.first, part.last + 1):
            yield part, (part.partition, offset)


def check_settled(reply: msgspec.Struct, done: int, stale: set[Place]) -> None:
    assert isinstance(reply, Settled), reply
    assert {place for _, place in spread(reply.stale)} == stale
    assert reply.done == done
