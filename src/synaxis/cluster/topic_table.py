"""The topics of the cluster. Queue shards follow it: a record of a higher version replaces theirs.

A removed topic is remembered by its record, because a shard that was away must still hear of it; a
topic that is created anew under the name has another id.
"""

import msgspec

from synaxis.errors import AlreadyExists, InvalidArgument, LimitExceeded, NotFound
from synaxis.topics import TopicConfig, TopicLimits, TopicRecord, check_name

__all__ = ["SavedTopics", "TopicTable"]

DURATION_MS_MAX = 10 * 366 * 24 * 3_600_000
_DURATIONS = ("backoff_first_ms", "backoff_max_ms", "retention_ms", "dedup_window_ms")


class SavedTopics(msgspec.Struct, array_like=True):
    """The table in a snapshot."""

    last_id: int
    records: list[TopicRecord]


class TopicTable:
    """See the module."""

    def __init__(self, limits: TopicLimits) -> None:
        self._limits = limits
        self._last_id = 0
        self._by_name: dict[str, TopicRecord] = {}

    @property
    def records(self) -> list[TopicRecord]:
        """All records, removed ones included."""
        return list(self._by_name.values())

    def find(self, name: str) -> TopicRecord | None:
        """Return the record of a topic, also of a removed one."""
        return self._by_name.get(name)

    def select(self, prefix: str, name: str) -> tuple[TopicRecord, ...]:
        """Return the topics that exist, by prefix or by whole name, sorted."""
        return tuple(
            record
            for key, record in sorted(self._by_name.items())
            if not record.removed and key.startswith(prefix) and name in ("", key)
        )

    def check(self, name: str, config: TopicConfig) -> None:
        """Check what needs no state.

        Raises:
            InvalidArgument: says what is allowed.
        """
        limits = self._limits
        check_name(name, "topic", limits)
        _check_range("partitions", config.partitions, 1, limits.partitions_max)
        low, high = limits.visibility_ms_min, limits.visibility_ms_max
        _check_range("visibility_ms", config.visibility_ms, low, high)
        _check_range("max_deliveries", config.max_deliveries, 1, limits.deliveries_max)
        for field in _DURATIONS:
            _check_range(field, getattr(config, field), 0, DURATION_MS_MAX)
        _check_range("partition_bytes_max", config.partition_bytes_max, 0, 2**53)
        if config.backoff_first_ms > config.backoff_max_ms:
            raise InvalidArgument("backoff_first_ms is above backoff_max_ms")

    def create(self, name: str, config: TopicConfig) -> TopicRecord:
        """Create a topic.

        Raises:
            AlreadyExists: with another configuration.
            LimitExceeded: there are too many.
        """
        known = self._by_name.get(name)
        if known is not None and not known.removed:
            if known.config == config:
                return known
            raise AlreadyExists(
                f"topic {name!r} exists with another configuration; update it, or delete it first"
            )
        if known is None and len(self._by_name) >= self._limits.topics_max:
            self._forget_removed()
        if known is None and len(self._by_name) >= self._limits.topics_max:
            maximum = self._limits.topics_max
            raise LimitExceeded(
                f"the cluster has at most {maximum} topics", limit="topics_max", maximum=maximum
            )
        self._last_id += 1
        return self._store(TopicRecord(name, self._last_id, 1, config))

    def _forget_removed(self) -> None:
        """Make room. A shard that slept through a removal keeps the topic until it is asked."""
        for name in [key for key, record in self._by_name.items() if record.removed]:
            del self._by_name[name]

    def update(self, name: str, config: TopicConfig) -> TopicRecord:
        """Change a topic.

        Raises:
            NotFound: there is none.
            InvalidArgument: the number of partitions cannot change.
        """
        known = self._existing(name)
        if config.partitions != known.config.partitions:
            raise InvalidArgument(
                f"topic {name!r} has {known.config.partitions} partitions for ever: with another "
                "number keys would move; create another topic"
            )
        if config == known.config:
            return known
        return self._store(msgspec.structs.replace(known, version=known.version + 1, config=config))

    def delete(self, name: str) -> TopicRecord:
        """Remove a topic; repeating it changes nothing.

        Raises:
            NotFound: there never was one.
        """
        known = self._by_name.get(name)
        if known is not None and known.removed:
            return known
        known = self._existing(name)
        return self._store(msgspec.structs.replace(known, version=known.version + 1, removed=True))

    def _existing(self, name: str) -> TopicRecord:
        known = self._by_name.get(name)
        if known is None or known.removed:
            raise NotFound(f"there is no topic {name!r}; create it first", topic=name)
        return known

    def _store(self, record: TopicRecord) -> TopicRecord:
        self._by_name[record.name] = record
        return record

    def save(self) -> SavedTopics:
        """Return the table by name."""
        return SavedTopics(self._last_id, [record for _, record in sorted(self._by_name.items())])

    def load(self, saved: SavedTopics) -> None:
        """Become what ``save`` returned."""
        self._last_id = saved.last_id
        self._by_name = {record.name: record for record in saved.records}


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidArgument(f"{field} is from {low} to {high}, not {value}")
