"""The books of the queue: what went in, and what became of it, as the service itself tells it.

The counts of ``topic.info()`` are replicated with the messages, so they are exact, whoever was
killed. The counters among a node's metrics begin anew with its process; its gauges are exact too.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from nodes import Nodes
from poison import POISONS, Poison
from producer import Producer
from store import Attempt

import synaxis

__all__ = ["GROUP", "MAX_DELIVERIES", "TOPIC", "Accounts", "Letter", "disagreements", "take"]

TOPIC = "files"
GROUP = "indexers"
MAX_DELIVERIES = 3
_GAUGE_TRIES = 20
_GAUGE_PAUSE_S = 0.25


@dataclass(frozen=True)
class Letter:
    """A dead letter: which message, and why."""

    batch: int
    file: str
    reason: str
    error: str
    failures: int


@dataclass(frozen=True)
class Accounts:
    """Numbers of messages."""

    receipts: int
    """Different messages for which the producer has a receipt."""
    published: int
    """Messages that the partitions have taken."""
    acked: int
    dead_lettered: int
    redelivered: int
    """Failed deliveries that led to another one."""
    lag: int
    """Neither finished nor dead."""
    letters: tuple[Letter, ...]
    gauges: tuple[int, int]
    """Lag and dead letters by the nodes' metrics."""


async def take(topic: synaxis.Topic, producer: Producer, nodes: Nodes) -> Accounts:
    """Ask the service for everything."""
    state, group = await topic.info(), await topic.groups.info(GROUP)
    letters = [
        Letter(dead.value["batch"], dead.value["files"][0], dead.reason, dead.error, dead.failures)
        async for dead in topic.dead_letters(GROUP).browse()
    ]
    return Accounts(
        producer.stored,
        sum(each.next_offset for each in state.partitions),
        group.acked,
        group.dead_lettered,
        group.redelivered,
        group.lag,
        tuple(sorted(letters, key=lambda each: each.batch)),
        await _gauges(nodes, (group.lag, group.dead)),
    )


async def _gauges(nodes: Nodes, expected: tuple[int, int]) -> tuple[int, int]:
    """Return lag and dead letters by the metrics, which only the leaders of shards tell.

    A shard that changes its leader just now is told by nobody for a moment.
    """
    found = (-1, -1)
    for _ in range(_GAUGE_TRIES):
        lag = await nodes.gauge("synaxis_queue_consumer_lag", TOPIC)
        found = lag, await nodes.gauge("synaxis_queue_dead_letters", TOPIC)
        if found == expected:
            break
        await asyncio.sleep(_GAUGE_PAUSE_S)
    return found


def disagreements(
    books: Accounts, batches: int, finished: int, attempts: Sequence[Attempt]
) -> list[str]:
    """Return one sentence for each way in which the books are wrong; none when they are right.

    Args:
        books: what the service says.
        batches: how many good batches there are.
        finished: how many batches the store has.
        attempts: all deliveries that the store has seen.
    """
    facts = [
        ("messages were published", books.published, batches + len(POISONS)),
        ("messages have a receipt", books.receipts, books.published),
        (
            "messages were acked or dead-lettered",
            books.acked + books.dead_lettered,
            books.published,
        ),
        ("batches are in the store", finished, books.acked),
        ("dead letters can be browsed", len(books.letters), books.dead_lettered),
        ("messages are unfinished", books.lag, 0),
        ("messages are unfinished by the metrics", books.gauges[0], 0),
        ("dead letters are there by the metrics", books.gauges[1], books.dead_lettered),
    ]
    wrong = [f"{found} {what}, not {wanted}" for what, found, wanted in facts if found != wanted]
    return wrong + _wrong_letters(books, batches) + _wrong_redeliveries(books, attempts)


def _wrong_letters(books: Accounts, batches: int) -> list[str]:
    if not books.letters:
        return ["there is no dead letter"]
    expected = {batches + number: poison for number, poison in enumerate(POISONS)}
    wrong = [
        f"{poison.file} is not among the dead letters"
        for batch, poison in expected.items()
        if batch not in {letter.batch for letter in books.letters}
    ]
    for letter in books.letters:
        poison = expected.get(letter.batch)
        if poison is None:
            wrong.append(f"batch {letter.batch} is a dead letter, and is no poison: {letter.error}")
        elif not _as_expected(letter, poison):
            wrong.append(f"the dead letter of {letter.file} says something else: {letter}")
    return wrong


def _as_expected(letter: Letter, poison: Poison) -> bool:
    fewest = MAX_DELIVERIES if poison.reason == "max_deliveries" else 1
    return (
        letter.file == poison.file
        and letter.reason == poison.reason
        and letter.error.startswith(poison.errors)
        and fewest <= letter.failures <= MAX_DELIVERIES
    )


def _wrong_redeliveries(books: Accounts, attempts: Sequence[Attempt]) -> list[str]:
    """The store sees what workers began with; they may have died before that, so it sees less."""
    most: dict[int, int] = {}
    for attempt in attempts:
        most[attempt.batch] = max(attempt.failures, most.get(attempt.batch, 0))
    seen = sum(most.values())
    if not seen:
        return ["no message was delivered again"]
    if seen > books.redelivered:
        return [f"workers saw {seen} redeliveries, the service counted {books.redelivered}"]
    return []
