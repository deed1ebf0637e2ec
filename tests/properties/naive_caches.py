"""Caches in the simplest way: one dictionary, one operation at a time."""

from dataclasses import dataclass, field

from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    INTEGER,
    Add,
    Counted,
    Item,
    Put,
    Readings,
    Remove,
    Removed,
    Stored,
)
from synaxis.caches.placement import cache_of

__all__ = ["NaiveCaches", "NaiveRecord"]


@dataclass(slots=True)
class NaiveRecord:
    """A record; times are absolute, 0 for never."""

    item: Item
    version: int
    """0: its owner has not learnt it."""
    expires_at: int
    soft_at: int


@dataclass(slots=True)
class NaiveCaches:
    """See the module. Outcomes of the real thing come along, for their versions are its choice."""

    now: int
    records: dict[str, NaiveRecord] = field(default_factory=dict)

    def live(self, key: str) -> NaiveRecord | None:
        """Return the record unless it has ended."""
        record = self.records.get(key)
        if record is not None and 0 < record.expires_at <= self.now:
            del self.records[key]
            return None
        return record

    def version(self, key: str) -> int:
        """Return what a condition is compared with."""
        record = self.live(key)
        return ABSENT if record is None else record.version

    def store(self, item: Item, version: int) -> None:
        """Store without a condition."""
        ends = self.now + item.ttl_ms if item.ttl_ms else 0
        soft = self.now + item.soft_ms if item.soft_ms else 0
        self.records[item.key] = NaiveRecord(item, version, ends, soft)

    def put(self, command: Put, outcome: object) -> None:
        """Check and follow a Put."""
        conflicts = tuple(
            (position, self.version(item.key))
            for position, item in enumerate(command.items)
            if item.if_version not in (ANY_VERSION, self.version(item.key))
        )
        assert isinstance(outcome, Stored), outcome
        assert outcome.conflicts == conflicts
        if not conflicts:
            for item, version in zip(command.items, outcome.versions, strict=True):
                assert version > self.version(item.key)
                self.store(item, version)

    def add(self, command: Add, outcome: object) -> None:
        """Check and follow an Add to what is an integer or absent."""
        record = self.live(command.key)
        before = command.initial if record is None else int(record.item.value)
        assert isinstance(outcome, Counted), outcome
        assert outcome.value == before + command.delta
        value = b"%d" % outcome.value
        if record is None:
            item = Item(command.key, value, INTEGER, command.ttl_ms)
            self.store(item, outcome.version)
            return
        was = record.item
        record.item = Item(was.key, value, INTEGER, was.ttl_ms, 0, was.idle_ms, was.tags)
        record.version = outcome.version
        record.soft_at = 0 if record.soft_at <= self.now else record.soft_at

    def remove(self, command: Remove, outcome: object) -> None:
        """Check and follow a Remove."""
        if command.if_version not in (ANY_VERSION, self.version(command.keys[0])):
            assert outcome == Removed(0, self.version(command.keys[0]))  # type: ignore[arg-type]
            return
        there = [key for key in set(command.keys) if self.live(key) is not None]
        assert outcome == Removed(len(there))
        for key in there:
            del self.records[key]

    def clear(self, cache: str, tag: str) -> None:
        """Follow a Clear."""
        for key, record in list(self.records.items()):
            if cache_of(key) == cache and (not tag or tag in record.item.tags):
                del self.records[key]

    def read(self, keys: tuple[str, ...], outcome: object) -> None:
        """Check the answer to a Lookup."""
        assert isinstance(outcome, Readings), outcome
        for key, reading in zip(keys, outcome.readings, strict=True):
            record = self.live(key)
            if record is None:
                assert reading is None, key
                continue
            assert reading is not None, key
            item = record.item
            assert (reading.value, reading.flags, reading.tags) == (
                item.value,
                item.flags,
                item.tags,
            )
            assert record.version in (0, reading.version)
            assert reading.ttl_ms == (record.expires_at - self.now if record.expires_at else 0)
            left = (record.soft_at - self.now or -1) if record.soft_at else 0
            assert reading.soft_ms == left
