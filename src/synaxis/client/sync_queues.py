"""The blocking twins of everything about queues; see ``sync``.

Signs of life come from a thread of their own here too, so a thread may work on a message for as
long as it likes.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Self, Unpack, overload

from synaxis.client.queues.batch import Batch
from synaxis.client.queues.codecs import Value
from synaxis.client.queues.consumer import Consumer
from synaxis.client.queues.dead_letters import DeadLetters
from synaxis.client.queues.groups import Groups
from synaxis.client.queues.message import Message
from synaxis.client.queues.options import (
    DEFAULT_CONCURRENCY,
    ConsumeMode,
    ConsumeOptions,
    Start,
)
from synaxis.client.queues.topic import Topic
from synaxis.client.queues.topics import Topics
from synaxis.client.twins import Twin, blocking, inside, iterating

__all__ = [
    "BlockingBatch",
    "BlockingConsumer",
    "BlockingDeadLetters",
    "BlockingGroups",
    "BlockingMessage",
    "BlockingTopic",
    "BlockingTopics",
]


class BlockingMessage(Twin[Message]):
    """A message that is ours until it is settled; see ``Message``. ``with message:`` settles it."""

    def __repr__(self) -> str:
        return repr(self._original)

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self._original.topic

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._original.partition

    @property
    def offset(self) -> int:
        """Number of the message within its partition."""
        return self._original.offset

    @property
    def failures(self) -> int:
        """Deliveries of it that failed so far."""
        return self._original.failures

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included."""
        return self._original.deliveries

    @property
    def published_at(self) -> datetime:
        """When it was stored (UTC)."""
        return self._original.published_at

    @property
    def payload(self) -> bytes:
        """The bytes that the producer's codec made."""
        return self._original.payload

    @property
    def value(self) -> Value:
        """What was published; see ``Message.value``."""
        return self._original.value

    @property
    def key(self) -> str | bytes | None:
        """The key, as the producer wrote it."""
        return self._original.key

    @property
    def headers(self) -> Mapping[str, str]:
        """The producer's headers."""
        return self._original.headers

    @property
    def message_id(self) -> str | None:
        """The id by which duplicates are recognised."""
        return self._original.message_id

    ack = inside(Message.ack)
    nack = inside(Message.nack)
    reject = inside(Message.reject)
    release = blocking(Message.release)
    extend = blocking(Message.extend)

    def __enter__(self) -> Self:
        """Do nothing: the message is held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Settle the message by the outcome of the body; see ``Message.__aexit__``."""
        self._portal.run(self._original.__aexit__(kind, error, traceback))


class BlockingBatch(Twin[Batch], Sequence[BlockingMessage]):
    """Messages that are settled together, or one by one; see ``Batch``."""

    def __len__(self) -> int:
        return len(self._original)

    @overload
    def __getitem__(self, index: int) -> BlockingMessage: ...
    @overload
    def __getitem__(self, index: slice) -> "BlockingBatch": ...
    def __getitem__(self, index: int | slice) -> "BlockingMessage | BlockingBatch":
        if isinstance(index, slice):
            return BlockingBatch(self._original[index], self._portal)
        return BlockingMessage(self._original[index], self._portal)

    def __iter__(self) -> Iterator[BlockingMessage]:
        return (BlockingMessage(message, self._portal) for message in self._original)

    def __repr__(self) -> str:
        return repr(self._original)

    @property
    def unsettled(self) -> "BlockingBatch":
        """Those whose fate is not decided."""
        return BlockingBatch(self._original.unsettled, self._portal)

    @property
    def lost(self) -> "BlockingBatch":
        """Those that turned out not to be ours any more."""
        return BlockingBatch(self._original.lost, self._portal)

    ack = inside(Batch.ack)
    nack = blocking(Batch.nack)
    release = blocking(Batch.release)

    def __enter__(self) -> Self:
        """Do nothing: the messages are held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Settle what the body did not; see ``Batch.__aexit__``."""
        self._portal.run(self._original.__aexit__(kind, error, traceback))


class BlockingConsumer(Twin[Consumer]):
    """An iterator of messages; see ``Consumer``. Leave it by ``with``, ``drain`` or ``close``."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BlockingMessage:
        try:
            message = self._portal.run(self._original.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
        return BlockingMessage(message, self._portal)

    @property
    def partitions(self) -> list[int]:
        """``mode="exclusive"``: the partitions that are ours now."""
        return self._original.partitions

    @property
    def unsettled(self) -> int:
        """Messages handed out whose fate the cluster has not confirmed."""
        return self._original.unsettled

    def start(self) -> Self:
        """Join the group; see ``Consumer.start``."""
        self._portal.run(self._original.start())
        return self

    drain = blocking(Consumer.drain)
    close = blocking(Consumer.aclose)

    def __enter__(self) -> Self:
        """Join; see ``start``."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the group."""
        self._portal.run(self._original.aclose())


class BlockingTopics(Twin[Topics]):
    """See ``Topics``."""

    create = blocking(Topics.create)
    update = blocking(Topics.update)
    delete = blocking(Topics.delete)
    list = blocking(Topics.list)
    get = blocking(Topics.get)


class BlockingGroups(Twin[Groups]):
    """See ``Groups``."""

    list = blocking(Groups.list)
    info = blocking(Groups.info)
    seek = blocking(Groups.seek)
    delete = blocking(Groups.delete)


class BlockingDeadLetters(Twin[DeadLetters]):
    """See ``DeadLetters``."""

    count = blocking(DeadLetters.count)
    browse = iterating(DeadLetters.browse)
    redrive = blocking(DeadLetters.redrive)
    purge = blocking(DeadLetters.purge)


class BlockingTopic(Twin[Topic]):
    """See ``Topic``."""

    def __repr__(self) -> str:
        return repr(self._original)

    @property
    def name(self) -> str:
        """Name of the topic."""
        return self._original.name

    publish = inside(Topic.publish)
    publish_many = blocking(Topic.publish_many)
    publish_each = blocking(Topic.publish_each)

    def consume(self, group: str, **options: Unpack[ConsumeOptions]) -> BlockingConsumer:
        """Return a member of ``group``, to be iterated; see ``Topic.consume``.

        ``on_revoke`` is a plain function here, called in a thread of its own.
        """
        consumer = self._original.consume(group, **_for_threads(options))
        return BlockingConsumer(consumer, self._portal)

    def process(
        self,
        handler: Callable[[BlockingMessage], object],
        *,
        group: str,
        **options: Unpack[ConsumeOptions],
    ) -> None:
        """Call ``handler(message)`` in ``concurrency`` threads, until interrupted or drained.

        See ``Topic.process``.
        """
        portal = self._portal
        count = options.get("concurrency", DEFAULT_CONCURRENCY)
        with ThreadPoolExecutor(count, thread_name_prefix=f"synaxis {group}") as threads:

            async def call(message: Message) -> None:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(threads, handler, BlockingMessage(message, portal))

            portal.run(self._original.process(call, group=group, **_for_threads(options)))

    def fetch(  # as the original
        self,
        group: str,
        *,
        max_messages: int = 100,
        wait: float = 1.0,
        mode: ConsumeMode = "shared",
        start: Start = "earliest",
        visibility: float | None = None,
    ) -> BlockingBatch:
        """Return some messages, or an empty batch; see ``Topic.fetch``."""
        fetching = self._original.fetch(
            group,
            max_messages=max_messages,
            wait=wait,
            mode=mode,
            start=start,
            visibility=visibility,
        )
        return BlockingBatch(self._portal.run(fetching), self._portal)

    @property
    def groups(self) -> BlockingGroups:
        """The consumer groups: looking at them, moving and deleting them."""
        return BlockingGroups(self._original.groups, self._portal)

    def dead_letters(self, group: str) -> BlockingDeadLetters:
        """Return the messages that ``group`` has given up."""
        return BlockingDeadLetters(self._original.dead_letters(group), self._portal)

    info = blocking(Topic.info)
    peek = blocking(Topic.peek)
    purge = blocking(Topic.purge)
    pause = blocking(Topic.pause)
    resume = blocking(Topic.resume)


def _for_threads(options: ConsumeOptions) -> ConsumeOptions:
    """Return the options with a callback that may block."""
    function = options.get("on_revoke")
    if function is None:
        return options

    async def on_revoke(partitions: Sequence[int]) -> None:
        await asyncio.to_thread(function, partitions)

    return {**options, "on_revoke": on_revoke}
