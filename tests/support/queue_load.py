"""Queue traffic through the SDK that keeps a record, and the checks of that record.

Every message has a number of its own. The record knows of each number: whether its publish was
acknowledged, refused or left in doubt; every time it was handed to a consumer; and whether the
consumer's acknowledgement was confirmed or left in doubt.
"""

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Literal

import synaxis
from synaxis import AsyncSynaxis

BODY_BYTES = 64


@dataclass
class Turn:
    """One delivery of one message, in seconds of this process's monotonic clock."""

    number: int
    key: str
    begun: float
    ended: float = 0.0
    confirmed: bool = False
    """The acknowledgement was confirmed."""


@dataclass
class QueueLoad:
    """Producers and consumers of one topic, until ``stop`` and then ``drained``."""

    cluster: AsyncSynaxis
    topic: str
    group: str = "load"
    mode: Literal["shared", "keyed", "exclusive"] = "shared"
    producers: int = 4
    consumers: int = 3
    pause_s: float = 0.002
    published: set[int] = field(default_factory=set, init=False)
    doubtful: set[int] = field(default_factory=set, init=False)
    """Publishes whose outcome is unknown: there once, or not at all."""
    turns: list[Turn] = field(default_factory=list, init=False)
    errors: Counter[str] = field(default_factory=Counter, init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    end: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _numbers: "count[int]" = field(default_factory=count, init=False)

    async def run(self) -> None:
        """Work until told to stop; consumers go on until ``end``."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.consumers):
                tasks.create_task(self._consume(f"consumer-{number}"))
            for number in range(self.producers):
                tasks.create_task(self._produce(f"key-{number}"))

    async def _produce(self, key: str) -> None:
        """Publish one message after the other under one key, so that they have an order."""
        topic = self.cluster.topic(self.topic)
        while not self.stop.is_set():
            number = next(self._numbers)
            try:
                await topic.publish(_body(number), key=key, headers={"number": str(number)})
            except synaxis.OutcomeUnknown:
                self.doubtful.add(number)
            except synaxis.ClusterError as error:
                self.errors[f"publish: {error.code}"] += 1
            else:
                self.published.add(number)
            await asyncio.sleep(self.pause_s)

    async def _consume(self, name: str) -> None:
        topic = self.cluster.topic(self.topic)
        consumer = topic.consume(self.group, mode=self.mode, concurrency=8, name=name)
        async with consumer, asyncio.TaskGroup() as handlers:
            ending = handlers.create_task(self._drain_at_the_end(consumer))
            async for message in consumer:
                handlers.create_task(self._handle(message))
            ending.cancel()

    async def _drain_at_the_end(self, consumer: "synaxis.Consumer") -> None:
        await self.end.wait()
        await consumer.drain(10)

    async def _handle(self, message: "synaxis.Message") -> None:
        assert message.headers is not None
        number = int(message.headers["number"])
        assert message.value == _body(number), "a message is not what was published"
        turn = Turn(number, str(message.key), time.monotonic())
        self.turns.append(turn)
        await asyncio.sleep(self.pause_s)
        turn.ended = time.monotonic()
        try:
            await message.ack()
        except synaxis.SynaxisError as error:
            self.errors[f"ack: {error.code}"] += 1
        else:
            turn.confirmed = True

    async def drained(self, timeout_s: float = 60.0) -> None:
        """Stop publishing, wait until nothing is left to consume, and end the consumers."""
        self.stop.set()
        topic = self.cluster.topic(self.topic)
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    info = await topic.info()
                    if info.groups and all(group.lag == 0 for group in info.groups):
                        break
                except synaxis.ClusterError:
                    pass
                await asyncio.sleep(0.1)
        self.end.set()

    # --- the record ---------------------------------------------------------------------------

    def check(self) -> None:
        """Assert what at-least-once delivery with exactly-once settlement means."""
        turns: dict[int, list[Turn]] = defaultdict(list)
        for turn in self.turns:
            turns[turn.number].append(turn)
        lost = self.published - turns.keys()
        assert not lost, f"acknowledged and never delivered: {sorted(lost)[:10]}"
        unexpected = turns.keys() - self.published - self.doubtful
        assert not unexpected, f"delivered and never published: {sorted(unexpected)[:10]}"
        for number, each in turns.items():
            confirmed = [turn for turn in each if turn.confirmed]
            assert len(confirmed) <= 1, f"{number} was finished {len(confirmed)} times"
            again = [turn for turn in each if confirmed and turn.begun > confirmed[0].ended + 5]
            assert not again, f"{number} came again long after its acknowledgement"
        repeated = [number for number, each in turns.items() if len(each) > 1]
        for number in repeated:
            doubt = [turn for turn in turns[number][:-1] if turn.confirmed]
            assert not doubt, f"{number} was delivered again without an uncertain acknowledgement"

    def check_order(self) -> None:
        """Assert that the messages of a key were worked on in order, one after the other."""
        by_key: dict[str, list[Turn]] = defaultdict(list)
        for turn in self.turns:
            by_key[turn.key].append(turn)
        for key, turns in by_key.items():
            highest = -1
            for turn in sorted(turns, key=lambda each: each.begun):
                assert turn.number >= highest or not turn.confirmed, f"{key}: {turn.number} is late"
                if turn.confirmed:
                    highest = max(highest, turn.number)
            for one, other in pairwise(turns):
                assert other.begun >= one.ended, f"{key}: {one} and {other} overlap"

    @property
    def finished(self) -> int:
        """How many messages were finished so far."""
        return sum(turn.confirmed for turn in self.turns)


def _body(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BODY_BYTES // 8)
