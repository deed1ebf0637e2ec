"""``cluster.topic(name)``: the facade of one topic."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Unpack

from synaxis.client.queues.batch import Batch
from synaxis.client.queues.checks import between, checked_name, duration
from synaxis.client.queues.codecs import Codec, Value, codec_named
from synaxis.client.queues.consumer import Consumer
from synaxis.client.queues.dead_letters import DeadLetters
from synaxis.client.queues.fetching import FETCH_MAX
from synaxis.client.queues.groups import Groups
from synaxis.client.queues.message import Source, StoredMessage
from synaxis.client.queues.options import ConsumeMode, ConsumeOptions, Start, plan
from synaxis.client.queues.outgoing import Publication, Receipt, encode, encode_plain
from synaxis.client.queues.peeking import peek
from synaxis.client.queues.processing import Handler, process
from synaxis.client.queues.service import QueueService
from synaxis.client.queues.shards import Shards
from synaxis.client.queues.states import TopicState, topic_state
from synaxis.client.queues.topics import Topics
from synaxis.errors import SynaxisError
from synaxis.queues.commands import ABSENT, Purge

__all__ = ["Topic"]

WAIT_MS_MAX = 24 * 3_600_000
FETCHED_MAX = 100_000
"""Messages of one member that are fetched and not settled."""


class Topic:
    """A named sequence of messages in partitions. Making one costs nothing and asks nobody."""

    def __init__(self, service: QueueService, name: str, codec: str | Codec | None = None) -> None:
        self.name = checked_name(name, "topic")
        self._service = service
        self._codec = codec_named(codec)
        self._source = Source(self.name, self._codec)
        self._outlet = service.outlet(self.name)
        self._shards = Shards(service.caller, service.catalog, self.name)

    def __repr__(self) -> str:
        return f"<Topic {self.name}>"

    # --- publishing -------------------------------------------------------------------------

    def publish(  # noqa: PLR0913  # the one place where the options have names and defaults
        self,
        value: Value,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float | None = None,
        deliver_at: datetime | None = None,
        priority: int = 0,
        ttl: float | None = None,
        message_id: str | None = None,
        partition: int | None = None,
        codec: str | Codec | None = None,
    ) -> asyncio.Future[Receipt]:
        """Publish a message; await the receipt, which comes when a majority has it on disk.

        It is on its way when this returns, together with everything else of this loop turn; a
        receipt that is not awaited says nothing, and neither do its errors. Messages of one key go
        to one partition and stay in order. Without key, partition or message id it may go anywhere.

        Args:
            value: bytes, or what the codec can express.
            key: messages of one key stay in order.
            headers: short texts for consumers.
            delay: seconds until it is delivered; or ``deliver_at``, a date with time zone.
            deliver_at: see ``delay``.
            priority: 0 (normal) to 9 (first); heeded by ``shared`` groups.
            ttl: seconds after which it is not delivered any more.
            message_id: a message with an id that the partition has seen within the topic's
                window is not stored again.
            partition: where to, instead of by key or by turns.
            codec: for this message, instead of the topic's.

        Raises:
            InvalidArgument: an option is malformed or contradicts another.
            LimitExceeded: the message is too large, or too many wait.
            NotFound: (awaited) there is no such topic.
            OutcomeUnknown: (awaited) no answer in time; it may be stored.
            SynaxisError: (awaited) it is not stored.
        """
        if (
            key is None
            and headers is None
            and message_id is None
            and delay is None
            and deliver_at is None
            and ttl is None
            and partition is None
            and codec is None
            and priority == 0
        ):
            return self._outlet.post(encode_plain(value, self._codec))
        wanted = Publication(
            value, key, headers, delay, deliver_at, priority, ttl, message_id, partition, codec
        )
        return self._outlet.post_to(encode(wanted, self._codec), partition)

    async def publish_many(self, messages: Iterable[Value]) -> list[Receipt]:
        """Publish values, or ``Publication`` for those with options; returns receipts in order.

        In batches, and faster than one by one. The client holds no more than a few batches at a
        time, so ``messages`` may be a generator of any length.

        Raises:
            InvalidArgument, LimitExceeded: a message is malformed; those before it may be stored.
            SynaxisError: of the first message that has no receipt; ``details["stored"]`` says how
                many have one. ``publish_each`` tells the fate of each.
        """
        outcomes = await self.publish_each(messages)
        receipts = [each for each in outcomes if isinstance(each, Receipt)]
        if len(receipts) < len(outcomes):
            error = next(each for each in outcomes if isinstance(each, SynaxisError))
            error.details["stored"] = len(receipts)
            raise error
        return receipts

    async def publish_each(self, messages: Iterable[Value]) -> list[Receipt | SynaxisError]:
        """Publish many; returns a receipt or an error for each message, in order.

        Raises:
            InvalidArgument, LimitExceeded: a message is malformed; those before it may be stored.
        """
        return await self._outlet.post_many(messages, self._codec)

    # --- consuming --------------------------------------------------------------------------

    def consume(self, group: str, **options: Unpack[ConsumeOptions]) -> Consumer:
        """Return a member of ``group``, to be iterated; it joins when it is first used.

        Raises:
            InvalidArgument: an option is out of range or contradicts another.
        """
        service = self._service
        return service.consumer(self._source, plan(group, service.owner, **options))

    async def process(
        self, handler: Handler, *, group: str, **options: Unpack[ConsumeOptions]
    ) -> None:
        """Call ``handler(message)`` for messages, ``concurrency`` at a time, until cancelled.

        A message is acknowledged when its handler has returned, counts a failure when it raises,
        and is given back when it is cancelled. Handlers may settle it themselves. ``drain`` of the
        client ends this too.

        Raises:
            InvalidArgument: an option is out of range or contradicts another.
            SynaxisError: the group cannot be joined, or the topic is gone.
        """
        service = self._service
        checked = plan(group, service.owner, **options)
        await process(service.intake(self._source, checked), handler)

    async def fetch(  # the one place where the options have names and defaults
        self,
        group: str,
        *,
        max_messages: int = 100,
        wait: float = 1.0,
        mode: ConsumeMode = "shared",
        start: Start = "earliest",
        visibility: float | None = None,
    ) -> Batch:
        """Return some messages, or an empty batch if none came within ``wait`` seconds.

        All fetches of one client, topic, group and mode share a member behind the scenes. A batch
        that has something is returned at once: it need not be full.

        Raises:
            InvalidArgument: an option is out of range.
            SynaxisError: the group cannot be joined.
        """
        between(max_messages, 1, FETCH_MAX, "max_messages")
        wait_s = duration(wait, 0, WAIT_MS_MAX, "wait") / 1000
        service = self._service
        checked = plan(
            group,
            service.owner,
            mode=mode,
            start=start,
            visibility=visibility,
            concurrency=FETCHED_MAX,
            prefetch=1,  # the fetcher says what is wanted
        )
        return await service.fetcher(self._source, checked).fetch(max_messages, wait_s)

    # --- looking and interfering ------------------------------------------------------------

    @property
    def groups(self) -> Groups:
        """The consumer groups: looking at them, moving and deleting them."""
        return Groups(self._shards)

    def dead_letters(self, group: str) -> DeadLetters:
        """Return the messages that ``group`` has given up."""
        return DeadLetters(self._shards, self._source, group)

    async def info(self) -> TopicState:
        """Return what is stored and how far each group is, over all partitions.

        Raises:
            NotFound: there is no such topic.
        """
        return topic_state(await self._service.catalog.describe(self.name))

    async def peek(
        self, partition: int | None = None, offset: int | None = None, limit: int = 10
    ) -> list[StoredMessage]:
        """Return stored messages without consuming them, from ``offset`` (else the oldest) on.

        Raises:
            InvalidArgument: an offset without a partition, or there is no such partition.
            NotFound: there is no such topic.
        """
        return await peek(self._shards, self._source, partition, offset, limit)

    async def purge(self, partition: int | None = None) -> int:
        """Remove everything stored, dead letters too; returns how many messages that was."""
        command = Purge(self.name, ABSENT if partition is None else partition)
        return await self._shards.everywhere(command, partition)

    async def pause(self) -> None:
        """Deliver nothing from now on; publishing goes on."""
        await Topics(self._service).update(self.name, paused=True)

    async def resume(self) -> None:
        """Deliver again."""
        await Topics(self._service).update(self.name, paused=False)
