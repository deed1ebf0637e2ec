"""``topic.groups``: the consumer groups of a topic, and moving them."""

from datetime import datetime
from typing import Literal

from synaxis.client.queues.checks import between, checked_name
from synaxis.client.queues.shards import Shards
from synaxis.client.queues.states import GroupState, topic_state
from synaxis.errors import InvalidArgument, NotFound
from synaxis.ids import LogTime
from synaxis.queues.commands import ABSENT, END, DeleteGroup, Seek

__all__ = ["Groups"]

OFFSET_MAX = 2**48 - 1


class Groups:
    """The consumer groups of one topic. A group begins when its first member joins."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def list(self) -> list[GroupState]:
        """Return all groups, by name."""
        return list(topic_state(await self._shards.catalog.describe(self._shards.topic)).groups)

    async def info(self, group: str) -> GroupState:
        """Return one group.

        Raises:
            NotFound: there is no such group.
        """
        found = [each for each in await self.list() if each.name == group]
        if not found:
            raise NotFound(f"topic {self._shards.topic!r} has no consumer group {group!r}")
        return found[0]

    async def seek(
        self,
        group: str,
        *,
        offset: int | Literal["start", "end"] | None = None,
        time: datetime | None = None,
        partition: int | None = None,
    ) -> None:
        """Move a group: everything from there on is to be delivered, everything before is done.

        What members hold of it now, they lose. Dead letters stay.

        Args:
            group: the group.
            offset: of each partition, or of ``partition``; ``"start"`` or ``"end"``.
            time: instead of an offset: the first messages published then or later.
            partition: only this one.

        Raises:
            InvalidArgument: neither or both of ``offset`` and ``time`` are given.
            NotFound: there is no such group.
        """
        checked_name(group, "consumer group")
        if (offset is None) == (time is None):
            raise InvalidArgument("seek takes either an offset or a time")
        chosen = ABSENT if partition is None else between(partition, 0, OFFSET_MAX, "partition")
        command = Seek(self._shards.topic, group, chosen, _offset(offset), _time(time))
        await self._shards.everywhere(command, partition)

    async def delete(self, group: str) -> None:
        """Forget a group that has no members, and its dead letters.

        Raises:
            NotFound: there is no such group.
            InvalidArgument: it has members.
        """
        command = DeleteGroup(self._shards.topic, checked_name(group, "consumer group"))
        await self._shards.everywhere(command)


def _offset(offset: int | str | None) -> int:
    if offset is None:
        return ABSENT
    if isinstance(offset, str):
        if offset not in ("start", "end"):
            raise InvalidArgument(f'offset must be a number, "start" or "end", not {offset!r}')
        return 0 if offset == "start" else END
    return between(offset, 0, OFFSET_MAX, "offset")


def _time(time: datetime | None) -> LogTime:
    if time is None:
        return LogTime(ABSENT)
    if time.tzinfo is None:
        raise InvalidArgument("time must have a time zone, for example datetime.UTC")
    return LogTime(max(0, round(time.timestamp() * 1000)))
