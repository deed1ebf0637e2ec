"""Which partition a message goes to, and publishing many at once.

A key decides; without one, a message id does (so that it meets its earlier self); without both
everything of one loop turn goes to one partition, and each turn to the next: batches stay large.
"""

import asyncio
from collections.abc import Iterable

from synaxis.client.clock import now
from synaxis.client.queues.batching import Draft
from synaxis.client.queues.codecs import Codec, Value
from synaxis.client.queues.lane import Lane
from synaxis.client.queues.outgoing import (
    PLAIN,
    Encoded,
    Publication,
    Receipt,
    encode,
    encode_plain,
)
from synaxis.client.queues.publisher import Publisher
from synaxis.errors import InvalidArgument, SynaxisError

__all__ = ["Outlet"]


class Outlet:
    """One topic's entrance to the publisher."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self.topic = topic
        self._publisher = publisher
        self._lanes: list[Lane] = []
        self._early: list[tuple[Encoded, int | None, asyncio.Future[Receipt]]] = []
        """Published before the number of partitions was known."""
        self._learning: asyncio.Task[None] | None = None
        self._sticky: Lane | None = None
        self._next = publisher.producer

    # --- single messages --------------------------------------------------------------------

    def post(self, record: bytes) -> asyncio.Future[Receipt]:
        """Publish a message that may go anywhere."""
        size = len(record)
        publisher = self._publisher
        if size > publisher.record_bytes_max:
            publisher.check_size(size)
        if not self._lanes:
            return self._post_early(Encoded(record), None)
        publisher.accept(1, size)
        return (self._sticky or self._turn()).add(record, 0, PLAIN)

    def post_to(self, message: Encoded, partition: int | None) -> asyncio.Future[Receipt]:
        """Publish a message to where it belongs.

        Raises:
            InvalidArgument: there is no such partition.
            LimitExceeded: the message is too large, or too many wait.
        """
        self._publisher.check_size(len(message.record))
        if not self._lanes:
            return self._post_early(message, partition)
        lane = self._lane(message, partition)
        self._publisher.accept(1, len(message.record))
        return lane.add(message.record, message.key_hash, message.extras)

    def _lane(self, message: Encoded, partition: int | None) -> Lane:
        lanes = self._lanes
        if partition is not None:
            if not 0 <= partition < len(lanes):
                raise InvalidArgument(
                    f"topic {self.topic!r} has partitions 0 to {len(lanes) - 1}, not {partition!r}"
                )
            return lanes[partition]
        if message.placed_by >= 0:
            return lanes[message.placed_by % len(lanes)]
        return self._sticky or self._turn()

    def _turn(self) -> Lane:
        """Choose the partition of this loop turn: the next one that is idle, if any is."""
        self._sticky = lane = self._rotate()
        self._publisher.loop.call_soon(self._turned)
        return lane

    def _turned(self) -> None:
        self._sticky = None

    def _rotate(self) -> Lane:
        lanes = self._lanes
        for step in range(1, len(lanes) + 1):
            lane = lanes[(self._next + step) % len(lanes)]
            if lane.idle:
                self._next += step
                return lane
        self._next += 1
        return lanes[self._next % len(lanes)]

    # --- the number of partitions -----------------------------------------------------------

    def forget(self) -> None:
        """Ask for the number of partitions again before the next publish."""
        self._lanes = []
        self._sticky = None

    def _post_early(self, message: Encoded, partition: int | None) -> asyncio.Future[Receipt]:
        self._publisher.accept(1, len(message.record))
        future = self._publisher.loop.create_future()
        self._early.append((message, partition, future))
        if self._learning is None:
            self._learning = self._publisher.loop.create_task(
                self._learn_for_early(), name=f"synaxis-topic {self.topic}"
            )
        return future

    async def _learn_for_early(self) -> None:
        error: SynaxisError | None = None
        try:
            await self._learn()
        except SynaxisError as trouble:
            error = trouble
        finally:
            self._learning = None
        early, self._early = self._early, []
        for message, partition, future in early:
            self._publisher.done(1, len(message.record), was_sent=False)
            if future.done():
                continue
            try:
                if error is not None:
                    raise error
                self._follow(self.post_to(message, partition), future)
            except SynaxisError as trouble:
                future.set_exception(trouble)

    @staticmethod
    def _follow(source: asyncio.Future[Receipt], target: asyncio.Future[Receipt]) -> None:
        def copy(done: asyncio.Future[Receipt]) -> None:
            if target.done():
                return
            error = done.exception()
            if error is not None:
                target.set_exception(error)
            else:
                target.set_result(done.result())

        source.add_done_callback(copy)

    async def _learn(self) -> None:
        record = await self._publisher.catalog.record(self.topic)
        self._lanes = [
            self._publisher.lane(self.topic, partition)
            for partition in range(record.config.partitions)
        ]

    # --- many messages ----------------------------------------------------------------------

    async def post_many(
        self, messages: Iterable[Value], codec: Codec | None
    ) -> list[Receipt | SynaxisError]:
        """Publish messages in batches; returns a receipt or an error for each, in order.

        Raises:
            InvalidArgument, LimitExceeded: a message is malformed; those before it may be stored.
        """
        if not self._lanes:
            await self._learn()
        loading = _Loading(self, self._publisher)
        try:
            for message in messages:
                if type(message) is Publication:
                    full = loading.add_placed(encode(message, codec), message.partition)
                else:
                    full = loading.add(encode_plain(message, codec))
                if full:
                    await asyncio.sleep(0)
                    await self._publisher.room()
        finally:
            loading.finish()
        return await loading.outcomes


class _Loading:
    """Many messages on their way into batches, and their outcomes."""

    def __init__(self, outlet: Outlet, publisher: Publisher) -> None:
        self.outcomes: asyncio.Future[list[Receipt | SynaxisError]]
        self.outcomes = publisher.loop.create_future()
        self._outlet = outlet
        self._publisher = publisher
        self._count = 0
        self._found: dict[int, Receipt | SynaxisError] = {}
        self._loose: Draft | None = None
        self._placed: dict[Lane, Draft] = {}
        self._positions: dict[Draft, list[int]] = {}
        self._finished = False

    def add(self, record: bytes) -> bool:
        """Take a message that may go anywhere; returns whether a batch became full."""
        publisher = self._publisher
        size = len(record)
        if size > publisher.record_bytes_max:
            publisher.check_size(size)
        draft, full = self._loose, False
        if draft is None:
            draft = self._loose = self._begin()
        elif (
            len(draft.records) >= publisher.batch_messages_max
            or draft.size + size > publisher.batch_bytes_max
        ):
            self._put(self._outlet._rotate(), draft)  # noqa: SLF001  # of one module
            draft, full = self._begin(), True
            self._loose = draft
        draft.records.append(record)
        draft.size += size
        self._positions[draft].append(self._count)
        self._count += 1
        return full

    def add_placed(self, message: Encoded, partition: int | None) -> bool:
        """Take a message that belongs somewhere; returns whether a batch became full."""
        if partition is None and message.placed_by < 0 and message.extras is PLAIN:
            return self.add(message.record)
        publisher, size, full = self._publisher, len(message.record), False
        publisher.check_size(size)
        lane = self._outlet._lane(message, partition)  # noqa: SLF001  # of one module
        draft = self._placed.get(lane)
        if draft is not None and (
            len(draft.records) >= publisher.batch_messages_max
            or draft.size + size > publisher.batch_bytes_max
        ):
            self._put(lane, draft)
            draft, full = None, True
        if draft is None:
            draft = self._placed[lane] = self._begin()
        draft.add(message.record, message.key_hash, message.extras)
        self._positions[draft].append(self._count)
        self._count += 1
        return full

    def _begin(self) -> Draft:
        draft = Draft(now() + self._publisher.timeout_s, self)
        self._positions[draft] = []
        return draft

    def _put(self, lane: Lane, draft: Draft) -> None:
        self._publisher.accept(len(draft.records), draft.size)
        lane.put(draft)

    def finish(self) -> None:
        """Send what is left: no more messages come."""
        self._finished = True
        loose, self._loose = self._loose, None
        if loose is not None:
            self._put(self._outlet._rotate(), loose)  # noqa: SLF001  # of one module
        placed, self._placed = self._placed, {}
        for lane, draft in placed.items():
            self._put(lane, draft)
        self._conclude()

    def stored(self, draft: Draft, receipts: list[Receipt]) -> None:
        """Take the receipts of a batch."""
        self._found.update(zip(self._positions.pop(draft), receipts, strict=True))
        self._conclude()

    def failed(self, draft: Draft, error: SynaxisError) -> None:
        """Take the failure of a batch."""
        self._found.update(dict.fromkeys(self._positions.pop(draft), error))
        self._conclude()

    def _conclude(self) -> None:
        if self._finished and not self._positions and not self.outcomes.done():
            found = self._found
            self.outcomes.set_result([found[position] for position in range(self._count)])
