"""``cluster.topics``: creating, changing and removing topics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import msgspec

from synaxis.client.clock import now
from synaxis.client.queues.catalog import CLUSTER
from synaxis.client.queues.checks import between, checked_name, choice, duration
from synaxis.client.queues.limits import LIMITS
from synaxis.client.queues.service import QueueService
from synaxis.client.requests import AdminRequest, TopicOperation
from synaxis.cluster.commands import (
    ClusterView,
    CreateTopic,
    DeleteTopic,
    DescribeCluster,
    ListTopics,
    TopicList,
    UpdateTopic,
)
from synaxis.errors import InvalidArgument
from synaxis.topics import Retention, TopicConfig, TopicRecord

if TYPE_CHECKING:
    from synaxis.wire.client import AdminAnswer

__all__ = ["Backoff", "TopicOptions", "TopicSettings", "Topics"]

RetentionName = Literal["work", "log"]
Expired = Literal["drop", "dead_letter"]

DURATION_MS_MAX = 100 * 366 * 24 * 3_600_000
BYTES_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause before a failed message comes again: doubles from ``first`` up to ``longest``.

    Seconds; the cluster adds 20 % of jitter.
    """

    first: float = 1.0
    longest: float = 60.0


class TopicOptions(TypedDict, total=False):
    """What the owner of a topic decides; durations are seconds."""

    retention: RetentionName
    """``"work"`` (default): a message goes when every group has finished it. ``"log"``: when it is
    too old or the partition too large; finished ones stay readable till then."""
    visibility: float
    """How long a member may keep a message without a sign of life. Default 30."""
    max_deliveries: int
    """Failed deliveries that make a dead letter. Default 5."""
    backoff: Backoff
    """Pause before a failed message comes again. Default ``Backoff(1, 60)``."""
    retention_time: float | None
    """Age at which messages go (``"work"``: those that nobody finished). Default: never."""
    partition_bytes: int | None
    """Stored bytes of one partition: ``"log"`` drops the oldest, ``"work"`` refuses to publish."""
    dedup_window: float
    """How long a ``message_id`` is remembered. Default 120."""
    expired: Expired
    """What becomes of a message whose ``ttl`` is over: ``"drop"`` (default), ``"dead_letter"``."""
    paused: bool
    """Deliver nothing; publishing goes on."""


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic as its owner made it; durations are seconds."""

    name: str
    partitions: int
    retention: RetentionName
    visibility: float
    max_deliveries: int
    backoff: Backoff
    retention_time: float | None
    partition_bytes: int | None
    dedup_window: float
    expired: Expired
    paused: bool
    version: int
    """Grows with every change."""
    durability: str = "fsync"


class Topics:
    """Creating, changing and removing topics."""

    def __init__(self, service: QueueService) -> None:
        self._service = service

    async def create(
        self,
        name: str,
        partitions: int = 16,
        *,
        replication: int | None = None,
        durability: Literal["fsync"] = "fsync",
        **options: Unpack[TopicOptions],
    ) -> TopicSettings:
        """Create a topic; returns when it can be used. The same once more changes nothing.

        Args:
            name: 1 to 200 characters of A-Z a-z 0-9 . _ -.
            partitions: cannot be changed later: keys would move.
            replication: for the record: it must be what the cluster does.
            durability: what a receipt means: on disk on a majority of nodes.
            options: see ``TopicOptions``.

        Raises:
            AlreadyExists: a topic of this name exists with other options.
            InvalidArgument: an option is out of range.
        """
        checked_name(name, "topic")
        between(partitions, 1, LIMITS.topics.partitions_max, "partitions")
        if durability != "fsync":
            raise InvalidArgument(
                f'durability must be "fsync", not {durability!r}: all topics of a node share one '
                "log, which is synced before anything is acknowledged"
            )
        config = _configured(TopicConfig(partitions=partitions), **options)
        if replication is not None:
            await self._check_replication(replication)
        record = await self._change(CreateTopic(name, config))
        await self._service.catalog.settled(record)
        return _settings(record)

    async def _check_replication(self, replication: int) -> None:
        answer = await self._service.caller.query(CLUSTER, DescribeCluster(), stale=True)
        assert isinstance(answer.body, ClusterView)
        factor = answer.body.replication_factor
        if replication != factor:
            raise InvalidArgument(
                f"replication must be {factor}, not {replication!r}: topics share the cluster's "
                "shards, and how often these are replicated was fixed when it was created"
            )

    async def update(self, name: str, **options: Unpack[TopicOptions]) -> TopicSettings:
        """Change what is named, and wait until every shard heeds it.

        Two updates at once may undo each other: each writes all options.

        Raises:
            NotFound: there is no such topic.
            InvalidArgument: an option is out of range.
        """
        current = await self._service.catalog.latest(name)
        config = _configured(current.config, **options)
        record = await self._change(UpdateTopic(name, config))
        await self._service.catalog.settled(record)
        return _settings(record)

    async def delete(self, name: str) -> None:
        """Remove a topic with all that it stores. Repeating it changes nothing."""
        await self._change(DeleteTopic(checked_name(name, "topic")))
        self._service.forget(name)

    async def list(self, prefix: str = "") -> list[TopicSettings]:
        """Return the topics whose names start with ``prefix``, by name."""
        answer = await self._service.caller.query(CLUSTER, ListTopics(prefix))
        assert isinstance(answer.body, TopicList)
        return [_settings(record) for record in answer.body.topics]

    async def get(self, name: str) -> TopicSettings:
        """Return one topic.

        Raises:
            NotFound: there is no such topic.
        """
        return _settings(await self._service.catalog.latest(name))

    async def _change(self, operation: TopicOperation) -> TopicRecord:
        caller = self._service.caller
        request = AdminRequest(CLUSTER, operation, now() + caller.timeout_s)
        caller.pool.router.send(request)
        answer: AdminAnswer = await request.future
        assert isinstance(answer.body, TopicRecord)
        return answer.body


def _configured(config: TopicConfig, **options: Unpack[TopicOptions]) -> TopicConfig:
    """Return ``config`` with what is named.

    Raises:
        InvalidArgument: an option is out of range.
    """
    unknown = set(options) - _WRITERS.keys()
    if unknown:
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    changes: dict[str, object] = {}
    for name, value in options.items():
        changes |= _WRITERS[name](value)
    return msgspec.structs.replace(config, **changes)


def _retention(value: object) -> dict[str, object]:
    return {"retention": Retention[choice(value, ("work", "log"), "retention").upper()]}


def _visibility(value: object) -> dict[str, object]:
    lowest, highest = LIMITS.topics.visibility_ms_min, LIMITS.topics.visibility_ms_max
    return {"visibility_ms": duration(value, lowest, highest, "visibility")}


def _deliveries(value: object) -> dict[str, object]:
    maximum = LIMITS.topics.deliveries_max
    return {"max_deliveries": between(value, 1, maximum, "max_deliveries")}


def _backoff(value: object) -> dict[str, object]:
    if not isinstance(value, Backoff):
        raise InvalidArgument(f"backoff must be a synaxis.Backoff, not {value!r}")
    first = duration(value.first, 0, DURATION_MS_MAX, "backoff.first")
    longest = duration(value.longest, 0, DURATION_MS_MAX, "backoff.longest")
    if longest < first:
        raise InvalidArgument(f"backoff.longest must not be below backoff.first: {value!r}")
    return {"backoff_first_ms": first, "backoff_max_ms": longest}


def _retention_time(value: object) -> dict[str, object]:
    given = 0 if value is None else duration(value, 1, DURATION_MS_MAX, "retention_time")
    return {"retention_ms": given}


def _partition_bytes(value: object) -> dict[str, object]:
    given = 0 if value is None else between(value, 1, BYTES_MAX, "partition_bytes")
    return {"partition_bytes_max": given}


def _dedup_window(value: object) -> dict[str, object]:
    return {"dedup_window_ms": duration(value, 0, DURATION_MS_MAX, "dedup_window")}


def _expired(value: object) -> dict[str, object]:
    chosen = choice(value, ("drop", "dead_letter"), "expired")
    return {"expired_to_dead": chosen == "dead_letter"}


def _paused(value: object) -> dict[str, object]:
    return {"paused": bool(value)}


_WRITERS: dict[str, Callable[[object], dict[str, object]]] = {
    "retention": _retention,
    "visibility": _visibility,
    "max_deliveries": _deliveries,
    "backoff": _backoff,
    "retention_time": _retention_time,
    "partition_bytes": _partition_bytes,
    "dedup_window": _dedup_window,
    "expired": _expired,
    "paused": _paused,
}
"""Option -> fields of TopicConfig."""


def _settings(record: TopicRecord) -> TopicSettings:
    config = record.config
    return TopicSettings(
        record.name,
        config.partitions,
        "work" if config.retention is Retention.WORK else "log",
        config.visibility_ms / 1000,
        config.max_deliveries,
        Backoff(config.backoff_first_ms / 1000, config.backoff_max_ms / 1000),
        config.retention_ms / 1000 if config.retention_ms else None,
        config.partition_bytes_max or None,
        config.dedup_window_ms / 1000,
        "dead_letter" if config.expired_to_dead else "drop",
        config.paused,
        record.version,
    )
