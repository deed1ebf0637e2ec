"""The same command to all shards of a topic, or to the one that has a partition."""

import asyncio

from synaxis.client.caller import Caller
from synaxis.client.calls import Command
from synaxis.client.queues.catalog import Catalog
from synaxis.errors import InvalidArgument, NotFound, SynaxisError
from synaxis.ids import GroupId
from synaxis.queues.commands import Finished

__all__ = ["Shards"]


class Shards:
    """The shards of one topic, for commands that are rare."""

    def __init__(self, caller: Caller, catalog: Catalog, topic: str) -> None:
        self.topic = topic
        self.catalog = catalog
        self.caller = caller

    async def groups(self, partition: int | None = None) -> list[GroupId]:
        """Return the shards of all partitions, or of one.

        Raises:
            InvalidArgument: there is no such partition.
            NotFound: there is no such topic.
        """
        record = await self.catalog.record(self.topic)
        if partition is None:
            return list(self.catalog.groups_of(record))
        count = record.config.partitions
        if not 0 <= partition < count:
            raise InvalidArgument(
                f"topic {self.topic!r} has partitions 0 to {count - 1}, not {partition!r}"
            )
        return [self.catalog.group_of(self.topic, partition)]

    async def partitions(self, partition: int | None = None) -> list[int]:
        """Return all partitions, or the one that is named.

        Raises:
            InvalidArgument: there is no such partition.
            NotFound: there is no such topic.
        """
        await self.groups(partition)
        record = await self.catalog.record(self.topic)
        return list(range(record.config.partitions)) if partition is None else [partition]

    async def everywhere(self, command: Command, partition: int | None = None) -> int:
        """Put ``command`` into all shards at once; returns how many things it concerned.

        Raises:
            NotFound: no shard knows what the command is about.
            SynaxisError: a shard refused or did not answer; others may have done it.
        """
        groups = await self.groups(partition)
        outcomes = await asyncio.gather(
            *(self.one(group, command) for group in groups), return_exceptions=True
        )
        counts = [each for each in outcomes if isinstance(each, int)]
        errors = [each for each in outcomes if isinstance(each, BaseException)]
        for error in errors:
            if not (counts and isinstance(error, NotFound)):
                raise error
        return sum(counts)

    async def one(self, group: GroupId, command: Command) -> int:
        """Put ``command`` into one shard; returns how many things it concerned.

        Raises:
            SynaxisError: the shard refused or did not answer.
        """
        reply = await self.caller.command(group, command)
        assert isinstance(reply, Finished)
        return reply.count

    def dismiss(self, error: SynaxisError) -> None:
        """Forget what is known of the topic if a shard contradicts it."""
        if isinstance(error, NotFound):
            self.catalog.forget(self.topic)
