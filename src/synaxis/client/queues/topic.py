"""``cluster.topic(name)``: the facade of one topic."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Unpack

from synaxis.client.queues.checks import checked_name
from synaxis.client.queues.codecs import Codec, Value, codec_named
from synaxis.client.queues.consumer import Consumer
from synaxis.client.queues.message import Source
from synaxis.client.queues.options import ConsumeOptions, plan
from synaxis.client.queues.outgoing import Publication, Receipt, encode, encode_plain
from synaxis.client.queues.service import QueueService
from synaxis.errors import SynaxisError

__all__ = ["Topic"]


class Topic:
    """A named sequence of messages in partitions. Making one costs nothing and asks nobody."""

    def __init__(self, service: QueueService, name: str, codec: str | Codec | None = None) -> None:
        self.name = checked_name(name, "topic")
        self._service = service
        self._codec = codec_named(codec)
        self._source = Source(self.name, self._codec)
        self._outlet = service.outlet(self.name)

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
