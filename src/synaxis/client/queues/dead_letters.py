"""``topic.dead_letters(group)``: messages that failed too often, and what to do with them."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

from synaxis.client.queues.checks import between, checked_name
from synaxis.client.queues.message import PLACE_SHIFT, Source, StoredMessage
from synaxis.client.queues.parts import unpack_stored
from synaxis.client.queues.shards import Shards
from synaxis.client.queues.states import topic_state
from synaxis.errors import InvalidArgument, NotFound
from synaxis.queues.commands import ABSENT, PurgeDead, Redrive
from synaxis.queues.questions import BrowseDead, DeadLetter
from synaxis.wire.client import RecordPage

__all__ = ["DeadLetters", "DeadMessage"]

PAGE = 100
OFFSETS_MAX = 10_000
COUNT_MAX = 2**62


class DeadMessage(StoredMessage):
    """A message that a group has given up, and why."""

    __slots__ = ("_letter",)

    def __init__(self, source: Source, raw: bytes, at_ms: int, letter: DeadLetter) -> None:
        place = (letter.partition << PLACE_SHIFT) | letter.offset
        super().__init__(source, place, raw, at_ms, letter.failures)
        self._letter = letter

    @property
    def reason(self) -> str:
        """``max_deliveries``, ``rejected`` or ``expired``."""
        return self._letter.reason

    @property
    def error(self) -> str:
        """What the last consumer said, or how its lease ended."""
        return self._letter.error

    @property
    def first_failed_at(self) -> datetime:
        """When it failed first (UTC)."""
        return datetime.fromtimestamp(self._letter.first_failed_at / 1000, UTC)

    @property
    def dead_at(self) -> datetime:
        """When it became a dead letter (UTC)."""
        return datetime.fromtimestamp(self._letter.dead_at / 1000, UTC)


class DeadLetters:
    """The dead letters of one group. They are kept until they are redriven or purged."""

    def __init__(self, shards: Shards, source: Source, group: str) -> None:
        self.group = checked_name(group, "consumer group")
        self._shards = shards
        self._source = source

    async def count(self) -> int:
        """Return how many there are.

        Raises:
            NotFound: there is no such group.
        """
        found = topic_state(await self._shards.catalog.describe(self._shards.topic))
        group = found.group(self.group)
        if group is None:
            raise NotFound(f"topic {self._shards.topic!r} has no consumer group {self.group!r}")
        return group.dead

    async def browse(
        self, *, limit: int | None = None, reason: str = "", partition: int | None = None
    ) -> AsyncIterator[DeadMessage]:
        """Yield dead letters without consuming them: partition by partition, oldest first.

        Raises:
            NotFound: there is no such group.
        """
        left = COUNT_MAX if limit is None else limit
        for number in await self._shards.partitions(partition):
            async for message in self._of_partition(number):
                if left <= 0:
                    return
                if not reason or message.reason == reason:
                    left -= 1
                    yield message

    async def _of_partition(self, partition: int) -> AsyncIterator[DeadMessage]:
        topic, offset = self._shards.topic, 0
        group = self._shards.catalog.group_of(topic, partition)
        while offset != ABSENT:
            question = BrowseDead(topic, self.group, partition, offset, PAGE)
            page = (await self._shards.caller.query(group, question)).body
            assert isinstance(page, RecordPage)
            for message in self._messages(page):
                yield message
            offset = page.next_offset

    def _messages(self, page: RecordPage) -> list[DeadMessage]:
        letters = {(each.partition << PLACE_SHIFT) | each.offset: each for each in page.dead}

        def make(place: int, raw: bytes, at_ms: int, failures: int) -> DeadMessage:
            del failures  # the letter knows
            return DeadMessage(self._source, raw, at_ms, letters[place])

        return unpack_stored(make, page.records)

    async def redrive(
        self,
        *,
        limit: int | None = None,
        reason: str = "",
        partition: int | None = None,
        offsets: Iterable[int] = (),
    ) -> int:
        """Deliver them again, with no failures, the oldest of each shard first; returns how many.

        Args:
            limit: at most so many.
            reason: only those with this reason.
            partition: only those of this partition.
            offsets: only these, of ``partition``.

        Raises:
            InvalidArgument: offsets without a partition.
            NotFound: there is no such group.
        """
        chosen = _offsets(offsets, partition)
        return await self._some(Redrive, limit, reason, partition, chosen)

    async def purge(
        self,
        *,
        limit: int | None = None,
        reason: str = "",
        partition: int | None = None,
        offsets: Iterable[int] = (),
    ) -> int:
        """Forget them; arguments and errors as for ``redrive``. Returns how many."""
        chosen = _offsets(offsets, partition)
        return await self._some(PurgeDead, limit, reason, partition, chosen)

    async def _some(
        self,
        kind: type[Redrive] | type[PurgeDead],
        limit: int | None,
        reason: str,
        partition: int | None,
        offsets: tuple[int, ...],
    ) -> int:
        """Go from shard to shard, so that the limit holds for all of them together."""
        if limit is not None:
            between(limit, 1, COUNT_MAX, "limit")
        where = ABSENT if partition is None else partition
        topic, done, missing = self._shards.topic, 0, None
        groups = await self._shards.groups(partition)
        for group in groups:
            left = ABSENT if limit is None else limit - done
            if left == 0:
                break
            try:
                command = kind(topic, self.group, left, where, offsets, reason)
                done += await self._shards.one(group, command)
            except NotFound as error:
                missing = error
        if missing is not None and not done:
            raise missing
        return done


def _offsets(offsets: Iterable[int], partition: int | None) -> tuple[int, ...]:
    chosen = tuple(offsets)
    if chosen and partition is None:
        raise InvalidArgument("offsets belong to a partition: name it")
    if len(chosen) > OFFSETS_MAX:
        raise InvalidArgument(f"at most {OFFSETS_MAX} offsets at a time, not {len(chosen)}")
    return chosen
