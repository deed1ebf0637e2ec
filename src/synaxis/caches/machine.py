"""The state machine of a cache shard: memory, in the sense that MESI gives the word.

It knows nothing of lines: who holds which copy is the home's private matter (``home.py``), which
sees to it that a write enters the log only when nobody can read the old value any more.
"""

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    INTEGER,
    Add,
    AgentId,
    AgentKind,
    Backing,
    CacheCensus,
    CacheReply,
    Clear,
    Counted,
    DescribeCaches,
    DescribeKey,
    Enlist,
    Evict,
    Fill,
    Item,
    KeyInfo,
    Lookup,
    Put,
    Readings,
    Remove,
    Removed,
    Retire,
    ShardCensus,
    Stored,
    Version,
    WriteBack,
    Written,
)
from synaxis.caches.limits import CacheLimits
from synaxis.caches.local import added
from synaxis.caches.pending import PendingWrites
from synaxis.caches.records import Record, Records
from synaxis.caches.snapshot import Snapshot, decode, encode
from synaxis.caches.validation import check_command
from synaxis.effects import Outcome, refusal
from synaxis.errors import InvalidArgument, LimitExceeded, Overloaded, SynaxisError
from synaxis.ids import LogTime, Sequence, SessionId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ERA_SHIFT", "AgentRecord", "CacheMachine"]

ERA_SHIFT = 40


class AgentRecord(msgspec.Struct):
    """An agent that may hold lines, and what became of its writes (rule 5)."""

    kind: AgentKind
    answers: dict[int, Version] = {}
    """write id -> version."""
    floor: int = 0
    """It knows the fate of its writes below: they are not done again."""


class CacheMachine:
    """Implements ``ports.StateMachine``."""

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (
        Put,
        Add,
        Remove,
        Clear,
        Enlist,
        Retire,
        WriteBack,
        Evict,
        Fill,
        Written,
    )
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Put, Add, Remove, Clear)
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Stored, Counted, Removed)

    def __init__(self, limits: CacheLimits) -> None:
        self.limits = limits
        self.records = Records()
        self.pending = PendingWrites()
        self.agents: dict[AgentId, AgentRecord] = {}
        self.describe: Callable[[msgspec.Struct], msgspec.Struct | None] = lambda _: None
        """The home's answers to DescribeKey and DescribeCaches; only a leader has them."""
        self.hits = 0
        """Keys that this replica was asked for and had, since its start."""
        self.misses = 0
        self.evictions = 0
        self._version = ABSENT
        self._outcomes: list[Outcome] = []
        self._writer = SessionId(0), Sequence(0)
        """Whose command is being applied."""
        self._handlers: dict[type, Callable[[Any, LogTime], msgspec.Struct | None]] = {
            Put: self._put,
            Add: self._add,
            Remove: self._remove,
            Clear: self._clear,
            WriteBack: self._write_back,
            Fill: self._fill,
            Enlist: self._enlist,
            Retire: self._retire,
            Evict: self._evict,
            Written: self._written,
        }

    def begin_era(self, era: int) -> None:
        """Forget everything; versions from now on are larger than those of any era before."""
        self.records, self.pending, self.agents = Records(), PendingWrites(), {}
        self._version = era << ERA_SHIFT
        self._outcomes = []

    @property
    def is_blank_era(self) -> bool:
        """Whether a majority has forgotten the shard, and nothing was written since.

        Agents that the forgotten home served may still be using their lines.
        """
        return self._version > 0 and self._version % (1 << ERA_SHIFT) == 0

    def validate(self, command: msgspec.Struct) -> None:
        """Check the limits; see ``ports.StateMachine.validate``."""
        check_command(command, self.limits)

    # --- applying ---------------------------------------------------------------------------

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Execute one command."""
        self._writer = session, sequence
        try:
            return self._handlers[type(command)](command, now)
        except SynaxisError as error:
            return refusal(error)

    def next_version(self) -> Version:
        """Return a version that nothing has had."""
        self._version += 1
        return Version(self._version)

    def _put(self, command: Put, now: LogTime) -> msgspec.Struct | None:
        records, conflicts = self.records, []
        for position, item in enumerate(command.items):
            if item.if_version != ANY_VERSION:
                found = self._version_of(item.key, now)
                if found != item.if_version:
                    conflicts.append((position, found))
        if conflicts:
            return Stored((), tuple(conflicts))
        self._check_room(command.items, command.backing)
        versions = []
        for item in command.items:
            version = self.next_version()
            records.store(item, version, now)
            versions.append(version)
        reply = Stored(tuple(versions))
        if command.backing is Backing.NONE:
            return reply
        writes = [(item.key, at) for item, at in zip(command.items, versions, strict=True)]
        return self._backed(reply, command.backing, writes)

    def _version_of(self, key: str, now: LogTime) -> Version:
        record = self.records.live(key, now)
        return Version(ABSENT) if record is None else record.version

    def _add(self, command: Add, now: LogTime) -> msgspec.Struct | None:
        key = command.key
        reading = self.records.read(key, now)
        total = added(reading, command)
        item = Item(key, b"%d" % total, INTEGER, command.ttl_ms)
        if reading is not None:
            left = reading.ttl_ms, max(reading.soft_ms, 0)
            item = Item(key, item.value, INTEGER, *left, reading.idle_ms, reading.tags)
        self._check_room((item,), command.backing)
        version = self.next_version()
        self.records.store(item, version, now)
        return self._backed(Counted(total, version), command.backing, [(key, version)])

    def _remove(self, command: Remove, now: LogTime) -> msgspec.Struct | None:
        if command.if_version != ANY_VERSION:
            found = self._version_of(command.keys[0], now)
            if found != command.if_version:
                return Removed(0, found)
        self._check_room((), command.backing, len(command.keys))
        count, writes = 0, []
        for key in command.keys:
            count += self.records.live(key, now) is not None
            self.records.remove(key)
            writes.append((key, self.next_version()))
        return self._backed(Removed(count), command.backing, writes)

    def _backed(
        self, reply: CacheReply, backing: Backing, writes: list[tuple[str, Version]]
    ) -> msgspec.Struct | None:
        """Put writes into the queue to the backing store; return the reply if it need not wait."""
        if backing is Backing.THROUGH:
            self.pending.wait(*self._writer, reply, writes)
            return None
        if backing is Backing.BEHIND:
            self.pending.add(writes)
        return reply

    def _check_room(self, items: tuple[Item, ...], backing: Backing, removals: int = 0) -> None:
        """Refuse what the home's evictions did not make room for in time."""
        limits, records = self.limits, self.records
        if backing is not Backing.NONE:
            room = limits.pending_max - len(self.pending)
            if len(items) + removals > room:
                raise Overloaded("the backing store is too far behind", limit="pending_max")
        if not items:
            return
        grown = sum(len(item.key) + len(item.value) for item in items)
        full = len(records.by_key) + len(items) > limits.records_max
        if full and len(items) == 1 and items[0].key in records.by_key:
            full = False
        if full or records.bytes + grown > limits.bytes_max:
            raise Overloaded("the cache shard is full; it is making room", retry_after=0.05)

    def _clear(self, command: Clear, now: LogTime) -> Removed:
        del now
        cache = command.cache
        label = f"{cache}/{command.tag}" if command.tag else cache
        census = self.records.census.get(cache)
        self.records.stamp(label, self.next_version(), self.limits.tags_max)
        return Removed(census.records if census is not None else 0)

    def _write_back(self, command: WriteBack, now: LogTime) -> Stored:
        agent = self.agents.get(command.agent)
        if agent is None:
            return Stored((), ((0, Version(ABSENT)),))
        answers = agent.answers
        known = answers.get(command.write_id)
        if known is not None:
            return Stored((known,))
        if command.write_id < agent.floor:
            return Stored((), ((0, Version(ABSENT)),))
        agent.floor = max(agent.floor, command.floor)
        while answers and (first := next(iter(answers))) < command.floor:
            del answers[first]
        if len(answers) >= self.limits.write_ids_per_agent_max:
            raise LimitExceeded("an agent has too many writes open", limit="write_ids")
        items = () if command.removed else (command.item,)
        self._check_room(items, command.backing, int(command.removed))
        version = answers[command.write_id] = self.next_version()
        if command.removed:
            self.records.remove(command.item.key)
        else:
            self.records.store(command.item, version, now)
        if command.backing is not Backing.NONE:
            self.pending.add([(command.item.key, version)])
        return Stored((version,))

    def _fill(self, command: Fill, now: LogTime) -> Stored:
        items = command.items
        self._check_room(items, Backing.NONE)
        versions = []
        for item in items:
            if self.records.live(item.key, now) is None and item.key not in self.pending.by_key:
                self.records.store(item, self.next_version(), now)
            versions.append(self._version_of(item.key, now))
        return Stored(tuple(versions))

    def _enlist(self, command: Enlist, now: LogTime) -> Removed:
        del now
        agent = command.agent
        if agent not in self.agents:
            if len(self.agents) >= self.limits.agents_max:
                raise LimitExceeded(
                    f"the shard has {self.limits.agents_max} agents already",
                    limit="agents_max",
                    maximum=self.limits.agents_max,
                )
            self.agents[agent] = AgentRecord(command.kind)
        return Removed(0)

    def _retire(self, command: Retire, now: LogTime) -> Removed:
        del now
        for agent in command.agents:
            self.agents.pop(agent, None)
        return Removed(0)

    def _evict(self, command: Evict, now: LogTime) -> Removed:
        del now
        count = 0
        for key, version in command.records:
            record = self.records.by_key.get(key)
            same = record is not None and record.version == version
            if same and key not in self.pending.by_key:
                self.records.remove(key)
                count += 1
        self.evictions += count
        return Removed(count)

    def _written(self, command: Written, now: LogTime) -> Removed:
        del now
        for key, version in command.records:
            self._outcomes += self.pending.written(key, version)
        return Removed(0)

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """Do nothing: records belong to nobody."""

    def advance(self, now: LogTime) -> None:
        """Let records end whose time is over."""
        self.records.expire(now)

    def deadline(self) -> LogTime | None:
        """Return when the next records end."""
        return self.records.deadline()

    def take_outcomes(self) -> list[Outcome]:
        """Drain the answers to writes that the backing store has by now."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def take_events(self) -> list[msgspec.Struct]:
        """Return nothing: who wants to know holds a line."""
        return []

    # --- reading ----------------------------------------------------------------------------

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Answer Lookup, DescribeKey and DescribeCaches."""
        match query:
            case Lookup(keys):
                read = self.records.read
                readings = [read(key, now) for key in keys]
                misses = readings.count(None)
                self.misses += misses
                self.hits += len(keys) - misses
                return Readings(tuple(readings))
            case DescribeKey() | DescribeCaches():
                found = self.describe(query)
                if found is not None:
                    return found
                return self._plain_description(query, now)
            case _:
                return refusal(InvalidArgument(f"no cache question: {type(query).__name__}"))

    def _plain_description(
        self, query: DescribeKey | DescribeCaches, now: LogTime
    ) -> KeyInfo | ShardCensus:
        """Answer as a replica that is no home."""
        if isinstance(query, DescribeKey):
            return self.key_info(query.key, now)
        return self.census(query.cache)

    def census(self, cache: str = "") -> ShardCensus:
        """Return what is stored, of one cache or of all."""
        rows = [
            CacheCensus(name, each.records, each.bytes)
            for name, each in sorted(self.records.census.items())
            if cache in ("", name)
        ]
        return ShardCensus(
            tuple(rows),
            self.hits,
            self.misses,
            self.evictions,
            self.records.expired,
            len(self.agents),
            len(self.pending),
        )

    def key_info(self, key: str, now: LogTime) -> KeyInfo:
        """Return what is stored under ``key``, as if no agent held it."""
        record = self.records.live(key, now)
        if record is None:
            return KeyInfo(key, "I", None, (), Version(ABSENT), 0, LogTime(0), (), "", 0)
        version, ends = record.version, record.expires_at
        size = len(record.value)
        return KeyInfo(key, "I", None, (), version, size, ends, record.tags, "", 0)

    def pending_writes(self, limit: int) -> list[tuple[str, Version, Record | None]]:
        """Return what the backing store lacks, oldest first; None stands for a removal."""
        found: list[tuple[str, Version, Record | None]] = []
        for key, write in self.pending.by_key.items():
            if len(found) == limit:
                break
            record = self.records.by_key.get(key)
            found.append((key, write.version, record))
        return found

    # --- snapshots --------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the whole state."""
        writes, waiters = self.pending.save()
        agents = [(number, e.kind, e.answers, e.floor) for number, e in self.agents.items()]
        return encode(
            Snapshot(
                self._version, self.records.stamps, self.records.save(), agents, writes, waiters
            )
        )

    def restore(self, data: bytes) -> None:
        """Become the state that ``snapshot`` returned."""
        saved = decode(data)
        self._version = saved.version
        self.records = Records()
        self.records.load(saved.records, saved.stamps)
        self.agents = {
            number: AgentRecord(kind, answers, floor)
            for number, kind, answers, floor in saved.agents
        }
        self.pending = PendingWrites()
        self.pending.load(saved.writes, saved.waiters)
        self._outcomes = []

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        records = self.records
        sizes = [len(key) + len(each.value) for key, each in records.by_key.items()]
        assert records.bytes == sum(sizes)
        assert sum(each.records for each in records.census.values()) == len(records.by_key)
        assert all(each.version <= self._version for each in records.by_key.values())
        assert len(self.pending) <= self.limits.pending_max + self.limits.items_max
