"""Topics, consumer groups and messages as rows: the documented JSON of ``queue`` and ``group``."""

import base64
import json
from typing import Any

from synaxis.cli.durations import format_duration
from synaxis.cli.output import Column
from synaxis.cli.sizes import format_size
from synaxis.client.queues.dead_letters import DeadMessage
from synaxis.client.queues.message import StoredMessage
from synaxis.client.queues.outgoing import Receipt
from synaxis.client.queues.states import (
    GroupPartitionState,
    GroupState,
    MemberState,
    PartitionState,
    TopicState,
)
from synaxis.client.queues.topics import TopicSettings
from synaxis.errors import InvalidArgument

__all__ = [
    "DEAD_COLUMNS",
    "GROUP_COLUMNS",
    "GROUP_PARTITION_COLUMNS",
    "MEMBER_COLUMNS",
    "MESSAGE_COLUMNS",
    "OPTION_COLUMNS",
    "PARTITION_COLUMNS",
    "RECEIPT_COLUMNS",
    "TOPIC_COLUMNS",
    "dead_row",
    "group_partition_row",
    "group_row",
    "member_row",
    "message_row",
    "partition_row",
    "receipt_row",
    "topic_details_row",
    "topic_row",
    "value_text",
]

Row = dict[str, Any]

TOPIC_COLUMNS = (
    Column("NAME", "name"),
    Column("PARTITIONS", "partitions", number=True),
    Column("RETENTION", "retention"),
    Column("MESSAGES", "messages", number=True),
    Column("SIZE", "size_bytes", write=format_size, number=True),
    Column("GROUPS", "groups", write=len, number=True),
    Column("LAG", "lag", number=True),
    Column("OLDEST", "oldest_age_s", write=format_duration, number=True),
    Column("DEAD", "dead", number=True),
    Column("PAUSED", "paused", write=bool),
)
OPTION_COLUMNS = (
    Column("VISIBILITY", "visibility_s", write=format_duration),
    Column("MAX DELIVERIES", "max_deliveries"),
    Column("BACKOFF", "backoff_s", write=format_duration),
    Column("BACKOFF MAX", "backoff_max_s", write=format_duration),
    Column("MAX AGE", "max_age_s", write=format_duration),
    Column("MAX BYTES", "max_bytes", write=format_size),
    Column("DEDUP WINDOW", "dedup_window_s", write=format_duration),
    Column("EXPIRED", "expired"),
)
PARTITION_COLUMNS = (
    Column("PARTITION", "partition", number=True),
    Column("FIRST", "first_offset", number=True),
    Column("NEXT", "next_offset", number=True),
    Column("MESSAGES", "messages", number=True),
    Column("SIZE", "size_bytes", write=format_size, number=True),
)
GROUP_COLUMNS = (
    Column("TOPIC", "topic"),
    Column("GROUP", "group"),
    Column("MODE", "mode"),
    Column("MEMBERS", "members", write=len, number=True),
    Column("LAG", "lag", number=True),
    Column("OLDEST", "oldest_age_s", write=format_duration, number=True),
    Column("IN FLIGHT", "in_flight", number=True),
    Column("DELAYED", "delayed", number=True),
    Column("DEAD", "dead", number=True),
    Column("ACKED", "acked", number=True),
    Column("REDELIVERED", "redelivered", number=True),
)
GROUP_PARTITION_COLUMNS = (
    Column("PARTITION", "partition", number=True),
    Column("FLOOR", "floor", number=True),
    Column("LAG", "lag", number=True),
    Column("OLDEST", "oldest_age_s", write=format_duration, number=True),
    Column("IN FLIGHT", "in_flight", number=True),
    Column("DELAYED", "delayed", number=True),
    Column("DEAD", "dead", number=True),
    Column("BLOCKED KEYS", "blocked_keys", number=True),
    Column("OWNER", "owner"),
)


def _numbers(partitions: list[int]) -> str:
    return ", ".join(map(str, partitions))


MEMBER_COLUMNS = (
    Column("MEMBER", "member"),
    Column("NAME", "name"),
    Column("ATTACHED", "attached", write=bool),
    Column("IN FLIGHT", "in_flight", number=True),
    Column("CREDIT", "credit", number=True),
    Column("PARTITIONS", "partitions", write=_numbers),
)


def value_text(value: object) -> str:
    """Return a value for people: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


MESSAGE_COLUMNS = (
    Column("PARTITION", "partition", number=True),
    Column("OFFSET", "offset", number=True),
    Column("PUBLISHED", "published_at"),
    Column("DELIVERIES", "deliveries", number=True),
    Column("KEY", "key"),
    Column("VALUE", "value", write=value_text),
)
DEAD_COLUMNS = (
    *MESSAGE_COLUMNS[:2],
    Column("DEAD SINCE", "dead_at"),
    Column("REASON", "reason"),
    Column("FAILURES", "failures", number=True),
    Column("ERROR", "error"),
    *MESSAGE_COLUMNS[4:],
)
RECEIPT_COLUMNS = (
    Column("PARTITION", "partition", number=True),
    Column("OFFSET", "offset", number=True),
    Column("DUPLICATE", "duplicate", write=bool),
)


def topic_row(settings: TopicSettings, state: TopicState) -> Row:
    """Return one topic; lag, age and dead letters are those of its worst group, or of all."""
    return {
        "name": settings.name,
        "partitions": settings.partitions,
        "retention": settings.retention,
        "messages": state.messages,
        "size_bytes": state.size,
        "groups": [each.name for each in state.groups],
        "lag": max((each.lag for each in state.groups), default=None),
        "oldest_age_s": max((each.oldest_age for each in state.groups), default=None),
        "dead": sum(each.dead for each in state.groups),
        "paused": settings.paused,
    }


def topic_details_row(settings: TopicSettings, state: TopicState) -> Row:
    """Return one topic with its options, groups and partitions."""
    return {
        **topic_row(settings, state),
        "visibility_s": settings.visibility,
        "max_deliveries": settings.max_deliveries,
        "backoff_s": settings.backoff.first,
        "backoff_max_s": settings.backoff.longest,
        "max_age_s": settings.retention_time,
        "max_bytes": settings.partition_bytes,
        "dedup_window_s": settings.dedup_window,
        "expired": settings.expired,
        "version": settings.version,
        "consumers": [group_row(settings.name, each) for each in state.groups],
        "stored": [partition_row(each) for each in state.partitions],
    }


def partition_row(state: PartitionState) -> Row:
    """Return what is stored in one partition."""
    return {
        "partition": state.partition,
        "first_offset": state.first_offset,
        "next_offset": state.next_offset,
        "messages": state.messages,
        "size_bytes": state.size,
    }


def group_row(topic: str, state: GroupState) -> Row:
    """Return one consumer group with its members and partitions."""
    return {
        "topic": topic,
        "group": state.name,
        "mode": state.mode,
        "lag": state.lag,
        "oldest_age_s": state.oldest_age,
        "in_flight": state.in_flight,
        "delayed": state.delayed,
        "dead": state.dead,
        "blocked_keys": state.blocked_keys,
        "acked": state.acked,
        "redelivered": state.redelivered,
        "dead_lettered": state.dead_lettered,
        "members": [member_row(each) for each in state.members],
        "partitions": [group_partition_row(each) for each in state.partitions],
    }


def group_partition_row(state: GroupPartitionState) -> Row:
    """Return how far a group is in one partition."""
    return {
        "partition": state.partition,
        "floor": state.floor,
        "lag": state.lag,
        "oldest_age_s": state.oldest_age,
        "in_flight": state.in_flight,
        "delayed": state.delayed,
        "dead": state.dead,
        "blocked_keys": state.blocked_keys,
        "owner": state.owner or None,
    }


def member_row(state: MemberState) -> Row:
    """Return one member of a group."""
    return {
        "member": state.member,
        "name": state.name,
        "attached": state.attached,
        "in_flight": state.in_flight,
        "credit": state.credit,
        "partitions": list(state.partitions),
    }


def message_row(message: StoredMessage) -> Row:
    """Return one message; what is no text and no JSON stands under ``base64``."""
    value, encoded = _value(message)
    key = message.key
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "published_at": message.published_at.isoformat(timespec="milliseconds"),
        "deliveries": message.deliveries,
        "key": key.decode(errors="backslashreplace") if isinstance(key, bytes) else key,
        "headers": dict(message.headers),
        "message_id": message.message_id,
        "value": value,
        "base64": encoded,
    }


def _value(message: StoredMessage) -> tuple[object, str | None]:
    try:
        value = message.value
        if isinstance(value, bytes):
            value = value.decode()
        else:
            json.dumps(value)
    except (InvalidArgument, TypeError, ValueError):  # ours to print, not to understand
        return None, base64.b64encode(message.payload).decode()
    return value, None


def dead_row(message: DeadMessage) -> Row:
    """Return one dead letter, and why it is one."""
    row = message_row(message)
    del row["deliveries"]
    return {
        **row,
        "reason": message.reason,
        "error": message.error,
        "failures": message.failures,
        "first_failed_at": message.first_failed_at.isoformat(timespec="milliseconds"),
        "dead_at": message.dead_at.isoformat(timespec="milliseconds"),
    }


def receipt_row(receipt: Receipt) -> Row:
    """Return where a published message is."""
    return {
        "partition": receipt.partition,
        "offset": receipt.offset,
        "duplicate": receipt.duplicate,
    }
