"""Writing to a shard, in the session of its group.

A session holds nothing for a cache, so its end is nobody's business: what the cluster certainly has
not done is done in the next one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from synaxis.caches.commands import Item
from synaxis.client.caches.context import Context
from synaxis.client.caches.limits import LIMITS
from synaxis.client.calls import CacheWrite
from synaxis.client.clock import now
from synaxis.effects import Refused
from synaxis.errors import OutcomeUnknown, SessionExpired, error_from_wire
from synaxis.ids import GroupId

__all__ = ["chunks_of_items", "chunks_of_keys", "write"]

T = TypeVar("T")

FRAME_SLACK_BYTES = 4_096
ITEM_BYTES = 64
"""What an item takes in a frame besides key, value and tags, at most."""


async def write(context: Context, group: GroupId, command: CacheWrite) -> msgspec.Struct:
    """Put ``command`` into the log of ``group`` and return the reply.

    Raises:
        OutcomeUnknown: no answer in time, or the session ended: it may or may not be done.
        SynaxisError: refused, or not sent in time.
    """
    caller = context.caller
    deadline = now() + caller.timeout_s
    while True:
        context.check()
        session = await caller.session(group)
        request = session.call(command, deadline)
        try:
            body: msgspec.Struct = await request.future
        except SessionExpired as error:
            if request.attempts:
                raise OutcomeUnknown(f"{error}: the write may or may not be done") from error
            continue
        if not isinstance(body, Refused):
            return body
        if body.code != SessionExpired.code:
            raise error_from_wire(body.code, body.message, body.details)
        if request.uncertain or request.attempts > 1:
            raise OutcomeUnknown("the session ended: the write may or may not be done")


def chunks_of_items(items: Sequence[Item], frame_bytes_max: int) -> Iterator[tuple[Item, ...]]:
    """Yield the items in portions that a frame and a command can carry."""
    sizes = (
        ITEM_BYTES + len(each.key.encode()) + len(each.value) + sum(map(len, each.tags)) * 4
        for each in items
    )
    yield from _chunks(items, sizes, frame_bytes_max)


def chunks_of_keys(keys: Sequence[str], frame_bytes_max: int) -> Iterator[tuple[str, ...]]:
    """Yield the keys in portions that a frame and a command can carry."""
    yield from _chunks(keys, (8 + len(key.encode()) for key in keys), frame_bytes_max)


def _chunks(
    things: Sequence[T], sizes: Iterable[int], frame_bytes_max: int
) -> Iterator[tuple[T, ...]]:
    room = frame_bytes_max - FRAME_SLACK_BYTES
    chunk: list[T] = []
    total = 0
    for thing, size in zip(things, sizes, strict=True):
        if chunk and (total + size > room or len(chunk) == LIMITS.items_max):
            yield tuple(chunk)
            chunk, total = [], 0
        chunk.append(thing)
        total += size
    if chunk:
        yield tuple(chunk)
