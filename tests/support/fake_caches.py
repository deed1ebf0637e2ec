"""The cache shards of a ``FakeCluster``: a simple home, and records that a test may look at.

Honest in what the SDK relies on: a write is applied when every agent that may hold the key has
acknowledged its invalidation, or its lease is over.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from synaxis.caches.bus import (
    Attach,
    Attached,
    BusRd,
    Detach,
    Detached,
    Grant,
    HomeMessage,
    Inv,
    InvTag,
    LineState,
    ProbeAck,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.caches.commands import (
    ANY_VERSION,
    INTEGER,
    Add,
    AgentId,
    Backing,
    Clear,
    Counted,
    Item,
    Lookup,
    Put,
    Reading,
    Readings,
    Remove,
    Removed,
    Stored,
    Version,
)
from synaxis.caches.local import added
from synaxis.caches.placement import cache_group
from synaxis.effects import refusal
from synaxis.errors import BackingUnavailable, ClientError, LeaseLost, SynaxisError
from synaxis.ids import GroupId
from synaxis.wire import client as wire

if TYPE_CHECKING:
    from support.fake_cluster import Door

Reply = Callable[[msgspec.Struct], None]
Write = Put | Add | Remove | Clear


@dataclass
class FakeRecord:
    item: Item
    version: Version
    at: int

    def reading(self, now: int) -> Reading | None:
        item, age = self.item, now - self.at
        if item.ttl_ms and age >= item.ttl_ms:
            return None
        ttl = item.ttl_ms - age if item.ttl_ms else 0
        soft = (item.soft_ms - age or -1) if item.soft_ms else 0
        return Reading(item.value, item.flags, self.version, ttl, soft, item.tags)


@dataclass
class FakeHolder:
    door: "Door"
    stream: int
    heard: int


@dataclass
class FakeWrite:
    """A write that waits for acknowledgements."""

    keys: tuple[str, ...]
    carry_out: Callable[[], None]
    waiting: set[tuple[AgentId, int]] = field(default_factory=set)


@dataclass
class FakeReservation:
    agent: AgentId
    token: int
    void: bool = False
    waiting: deque[tuple[AgentId, int]] = field(default_factory=deque)


class FakeCacheShard:
    """One shard and its home."""

    def __init__(self, group: GroupId, caches: "FakeCaches") -> None:
        self.group = group
        self.caches = caches
        self.records: dict[str, FakeRecord] = {}
        self.holders: dict[AgentId, FakeHolder] = {}
        self.sharers: dict[str, set[AgentId]] = {}
        self.writes: list[FakeWrite] = []
        self.reservations: dict[str, FakeReservation] = {}
        self.heard: list[msgspec.Struct] = []
        """What agents said."""
        self._deferred: list[tuple[AgentId, BusRd]] = []
        self._number = 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    # --- clients ----------------------------------------------------------------------------

    def apply(self, command: Write, reply: Reply) -> None:
        """Carry out a command when nobody can read the old value any more."""
        if isinstance(command, Clear):
            self._clear(command, reply)
            return
        keys = keys_of(command)
        refused = self._refuse(command, keys)
        if refused is not None:
            reply(refusal(refused))
            return
        write = FakeWrite(keys, lambda: self._finish(command, keys, reply))
        for key in keys:
            for agent in self.sharers.pop(key, set()):
                seq = self.next_number()
                write.waiting.add((agent, seq))
                self.tell(agent, Inv(key, seq))
        self._begin(write)

    def _refuse(self, command: Put | Add | Remove, keys: tuple[str, ...]) -> SynaxisError | None:
        if command.backing is Backing.THROUGH and self.caches.store_is_down:
            return BackingUnavailable("down")
        if isinstance(command, Put) and command.fill:
            reservation = self.reservations.get(keys[0])
            if reservation is None or reservation.void or reservation.token != command.fill:
                return LeaseLost("written meanwhile")
            return None
        for key in keys:
            if key in self.reservations:
                self.reservations[key].void = True
        return None

    def _clear(self, command: Clear, reply: Reply) -> None:
        def carry_out() -> None:
            gone = [key for key in self.records if self._is_meant(key, command)]
            for key in gone:
                del self.records[key]
            reply(Removed(len(gone)))

        write = FakeWrite((), carry_out)
        seq = self.next_number()
        for agent in self.holders:
            write.waiting.add((agent, seq))
            self.tell(agent, InvTag(command.cache, command.tag, seq))
        self._begin(write)

    def _is_meant(self, key: str, command: Clear) -> bool:
        inside = key.startswith(f"{command.cache}/")
        return inside and (not command.tag or command.tag in self.records[key].item.tags)

    def _begin(self, write: FakeWrite) -> None:
        self.writes.append(write)
        self._go_on()

    def _go_on(self) -> None:
        for write in [each for each in self.writes if not each.waiting]:
            self.writes.remove(write)
            write.carry_out()
        busy = {key for write in self.writes for key in write.keys}
        deferred, self._deferred = self._deferred, []
        for agent, wish in deferred:
            if wish.key in busy:
                self._deferred.append((agent, wish))
            else:
                self._grant(agent, wish)

    def _finish(self, command: Write, keys: tuple[str, ...], reply: Reply) -> None:
        try:
            body = self._carried_out(command)
        except ClientError as error:
            body = refusal(error)
        for key in keys:
            reservation = self.reservations.pop(key, None)
            for agent, request in reservation.waiting if reservation is not None else ():
                self.tell(agent, Reserved(request, key, 0))
        reply(body)

    def _carried_out(self, command: Write) -> msgspec.Struct:
        match command:
            case Put(items):
                found = [(n, self.version(item.key), item) for n, item in enumerate(items)]
                conflicts = tuple(
                    (n, version)
                    for n, version, item in found
                    if item.if_version not in (ANY_VERSION, version)
                )
                return Stored((), conflicts) if conflicts else Stored(tuple(map(self._put, items)))
            case Add(key, _, _, ttl_ms):
                total = added(self.reading(key), command)
                version = self._put(Item(key, b"%d" % total, INTEGER, ttl_ms))
                return Counted(total, version)
            case Remove(keys, if_version):
                if if_version not in (ANY_VERSION, self.version(keys[0])):
                    return Removed(0, self.version(keys[0]))
                return Removed(sum(self.records.pop(key, None) is not None for key in keys))
            case _:
                raise AssertionError(command)

    def _put(self, item: Item) -> Version:
        version = Version(self.next_number())
        self.records[item.key] = FakeRecord(item, version, self.caches.now)
        return version

    def version(self, key: str) -> Version:
        reading = self.reading(key)
        return Version(0) if reading is None else reading.version

    def reading(self, key: str) -> Reading | None:
        record = self.records.get(key)
        return None if record is None else record.reading(self.caches.now)

    def look(self, question: Lookup, *, stale: bool = False) -> msgspec.Struct:
        found = tuple(self.reading(key) for key in question.keys)
        if None in found and question.load and not stale:
            if self.caches.store_is_down:
                return refusal(BackingUnavailable("down"))
            for key in question.keys:
                self._load(key)
            found = tuple(self.reading(key) for key in question.keys)
        return Readings(found)

    def _load(self, key: str) -> None:
        if self.reading(key) is None and key in self.caches.store:
            self._put(Item(key, self.caches.store[key]))

    # --- agents -----------------------------------------------------------------------------

    def tell(self, agent: AgentId, message: HomeMessage) -> None:
        holder = self.holders.get(agent)
        if holder is not None:
            holder.door.write(wire.Said(holder.stream, message))

    def hear(self, door: "Door", message: wire.Bus) -> None:
        """Take what an agent says."""
        said = message.message
        self.heard.append(said)
        if isinstance(said, Attach):
            self.gone(said.agent)
            self.holders[said.agent] = FakeHolder(door, message.stream, self.caches.now)
            self.tell(said.agent, Attached(self.caches.lease_ms))
            return
        for agent, holder in list(self.holders.items()):
            if holder.door is door and holder.stream == message.stream:
                self._hear(agent, holder, said)
                self._go_on()
                return
        door.write(wire.Said(message.stream, Detached("unknown stream")))

    def _hear(self, agent: AgentId, holder: FakeHolder, said: msgspec.Struct) -> None:
        match said:
            case Renew(nonce):
                if not self.caches.lacks_quorum:
                    holder.heard = self.caches.now
                    self.tell(agent, Renewed(nonce))
            case BusRd():
                self._deferred.append((agent, said))
            case ProbeAck(_, seq):
                for write in self.writes:
                    write.waiting.discard((agent, seq))
            case Reserve(request, key, renew):
                self._reserve(agent, request, key, renew=renew)
            case Surrender(key, token, request):
                self._surrender(agent, key, token, request)
            case Detach():
                self.gone(agent)
            case _:
                raise AssertionError(said)

    def _grant(self, agent: AgentId, wish: BusRd) -> None:
        key = wish.key
        unavailable = False
        if self.reading(key) is None and wish.load:
            unavailable = self.caches.store_is_down
            if not unavailable:
                self._load(key)
        kept = key not in self.caches.uncacheable and not unavailable
        if kept and agent in self.holders:
            self.sharers.setdefault(key, set()).add(agent)
        state = LineState.S if kept else LineState.I
        seq = self.next_number()
        self.tell(agent, Grant(wish.request, key, seq, state, self.reading(key), unavailable))

    def _reserve(self, agent: AgentId, request: int, key: str, *, renew: bool) -> None:
        reservation = self.reservations.get(key)
        reading = self.reading(key)
        if not renew and reading is not None:
            self.tell(agent, Reserved(request, key, 0, 0, reading))
        elif reservation is None:
            self._give(agent, request, key, deque())
        elif renew:
            self.tell(agent, Reserved(request, key, 0))
        else:
            reservation.waiting.append((agent, request))

    def _give(
        self, agent: AgentId, request: int, key: str, waiting: deque[tuple[AgentId, int]]
    ) -> None:
        token = self.next_number()
        self.reservations[key] = FakeReservation(agent, token, waiting=waiting)
        self.tell(agent, Reserved(request, key, token, 10_000))

    def _surrender(self, agent: AgentId, key: str, token: int, request: int) -> None:
        reservation = self.reservations.get(key)
        if reservation is None:
            return
        if (agent, request) in reservation.waiting:
            reservation.waiting.remove((agent, request))
        elif (reservation.agent, reservation.token) == (agent, token):
            self.end_reservation(key)

    def end_reservation(self, key: str) -> None:
        """Give the right to the next one, as after its time."""
        reservation = self.reservations.pop(key)
        if reservation.waiting:
            self._give(*reservation.waiting.popleft(), key, reservation.waiting)

    def gone(self, agent: AgentId) -> None:
        """The agent holds nothing any more."""
        self.holders.pop(agent, None)
        for sharers in self.sharers.values():
            sharers.discard(agent)
        for write in self.writes:
            write.waiting = {each for each in write.waiting if each[0] != agent}
        for key in [key for key, each in self.reservations.items() if each.agent == agent]:
            self.end_reservation(key)
        self._go_on()

    def tick(self) -> None:
        """Let go of agents whose lease is over."""
        for agent, holder in list(self.holders.items()):
            if self.caches.now - holder.heard > self.caches.lease_ms + 50:
                self.tell(agent, Detached("the lease ran out"))
                self.gone(agent)

    def detach_all(self, reason: str) -> None:
        """End all streams, as a home that leads no longer."""
        for agent in list(self.holders):
            self.tell(agent, Detached(reason))
            self.gone(agent)


class FakeCaches:
    """All shards, and the store behind them."""

    def __init__(self, shards: int) -> None:
        self.now = 0
        self.lease_ms = 5_000
        self.lacks_quorum = False
        """Leases are not prolonged."""
        self.uncacheable: set[str] = set()
        """Full keys of which no agent may keep a line."""
        self.store: dict[str, bytes] = {}
        """The backing store: full key -> value."""
        self.store_is_down = False
        groups = [GroupId(f"caches/{number}") for number in range(shards)]
        self.shards = {group: FakeCacheShard(group, self) for group in groups}

    def shard_with(self, full_key: str) -> FakeCacheShard:
        """Return the shard that has a record or sharers of the key; the first, if none has."""
        for shard in self.shards.values():
            if full_key in shard.records or shard.sharers.get(full_key):
                return shard
        return next(iter(self.shards.values()))

    @property
    def heard(self) -> list[msgspec.Struct]:
        return [said for shard in self.shards.values() for said in shard.heard]

    @property
    def holders(self) -> int:
        """How many agents are attached, over all shards."""
        return sum(len(shard.holders) for shard in self.shards.values())

    def tick(self, now: int) -> None:
        self.now = now
        for shard in self.shards.values():
            shard.tick()

    def fail_over(self) -> None:
        for shard in self.shards.values():
            shard.detach_all("this node leads the shard no longer")

    def delegate(self, command: Put | Add | Remove | Lookup, reply: Reply) -> None:
        """Do what the agent of a node would do: at once, as if it owned the line."""
        (key,) = keys_of(command)
        shard = self.shards[cache_group(key, len(self.shards))]
        if isinstance(command, Lookup):
            reply(shard.look(command))
        else:
            shard.apply(command, reply)


def keys_of(command: Put | Add | Remove | Lookup) -> tuple[str, ...]:
    match command:
        case Put(items):
            return tuple(item.key for item in items)
        case Lookup(keys) | Remove(keys):
            return keys
        case Add():
            return (command.key,)
