"""Looking at what is stored, without consuming it."""

from synaxis.client.queues.checks import between
from synaxis.client.queues.message import Source, StoredMessage
from synaxis.client.queues.parts import unpack_stored
from synaxis.client.queues.shards import Shards
from synaxis.errors import InvalidArgument
from synaxis.queues.commands import ABSENT
from synaxis.queues.questions import Browse
from synaxis.wire.client import RecordPage

__all__ = ["peek"]

PAGE = 100
PEEK_MAX = 10_000
"""Messages of one look: they are all held in memory."""


async def peek(
    shards: Shards, source: Source, partition: int | None, offset: int | None, limit: int
) -> list[StoredMessage]:
    """Return stored messages, partition by partition; see ``Topic.peek``."""
    between(limit, 1, PEEK_MAX, "limit")
    if offset is not None and partition is None:
        raise InvalidArgument("an offset belongs to a partition: name it")

    def make(place: int, raw: bytes, at_ms: int, failures: int) -> StoredMessage:
        return StoredMessage(source, place, raw, at_ms, failures)

    found: list[StoredMessage] = []
    for number in await shards.partitions(partition):
        group = shards.catalog.group_of(shards.topic, number)
        at = offset or 0
        while at != ABSENT and len(found) < limit:
            question = Browse(shards.topic, number, at, min(PAGE, limit - len(found)))
            page = (await shards.caller.query(group, question)).body
            assert isinstance(page, RecordPage)
            found += unpack_stored(make, page.records)
            at = page.next_offset
    return found
