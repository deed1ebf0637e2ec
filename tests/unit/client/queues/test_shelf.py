"""Messages that wait, users that wait, and nothing lost between them."""

import asyncio
from typing import Any, cast

import pytest

import synaxis
from synaxis.client.queues.credit import CreditPool
from synaxis.client.queues.message import Keeper, Message, Source
from synaxis.client.queues.ordering import Lines
from synaxis.client.queues.shelf import STREAK_MAX, Shelf


class Holder:
    """A keeper that only says whether its messages are still held."""

    error: synaxis.SynaxisError | None = None
    max_deliveries = 100


HOLDER = cast("Keeper", Holder())


def message(place: int, keeper: Keeper = HOLDER) -> Message:
    return Message(keeper, Source("t"), place, b"\x91\xc4\x01x", 0, 0)


def shelf_of(concurrency: int, *, ordered: bool = False) -> Shelf:
    lines = Lines(by_partition=True) if ordered else None
    return Shelf(concurrency, CreditPool(64, lambda *_: None), lines)


def settle(shelf: Shelf, done: Message) -> None:
    done.fate = "acknowledged"
    shelf.decided(done)
    shelf.settled([done])


async def started(work: Any) -> "asyncio.Task[Any]":
    task = asyncio.get_running_loop().create_task(work)
    await asyncio.sleep(0)
    return task


async def test_who_waits_gets_what_comes_in_order() -> None:
    shelf = shelf_of(8)
    waiting = [await started(shelf.take()) for _ in range(3)]
    messages = [message(n) for n in range(3)]
    shelf.put(messages)
    assert await asyncio.gather(*waiting) == messages


async def test_no_more_than_concurrency_are_out() -> None:
    shelf = shelf_of(1)
    one, two = message(1), message(2)
    shelf.put([one, two])
    assert await shelf.take() is one
    waiting = await started(shelf.take())
    assert not waiting.done()
    settle(shelf, one)
    assert await waiting is two


async def test_a_reader_that_is_cancelled_with_a_message_in_its_hands_gives_it_back() -> None:
    shelf = shelf_of(8, ordered=True)
    waiting = await started(shelf.take())
    one = message(1)
    shelf.put([one])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (shelf.out, shelf.unconfirmed) == (0, 0)
    assert await shelf.take() is one


async def test_a_cancelled_reader_is_passed_over() -> None:
    shelf = shelf_of(8)
    first, second = [await started(shelf.take()) for _ in range(2)]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    shelf.put([message(1)])
    assert await second is not None


async def test_messages_that_are_not_held_any_more_are_left_out() -> None:
    shelf = shelf_of(8)
    ended = Holder()
    ended.error = synaxis.SessionExpired("over")
    gone, kept = message(1, cast("Keeper", ended)), message(2)
    shelf.put([gone, kept])
    assert await shelf.take() is kept


async def test_a_message_that_was_lost_holds_its_line_until_its_user_is_done() -> None:
    shelf = shelf_of(8, ordered=True)
    one, again = message(1), message(1)
    shelf.put([one])
    assert await shelf.take() is one
    shelf.lost({one})
    shelf.put([again])
    waiting = await started(shelf.take())
    assert not waiting.done(), "the user still works on the first"
    one.fate = "lost"
    shelf.decided(one)
    assert await waiting is again


async def test_a_closed_shelf_ends_its_readers() -> None:
    shelf = shelf_of(8)
    waiting = await started(shelf.take())
    shelf.close()
    assert await waiting is None
    shelf.put([message(1)])
    assert await shelf.take() is None


async def test_an_error_reaches_every_reader() -> None:
    shelf = shelf_of(8)
    waiting = await started(shelf.take())
    shelf.close(synaxis.NotFound("gone"))
    with pytest.raises(synaxis.NotFound):
        await waiting
    with pytest.raises(synaxis.NotFound):
        await shelf.take()


async def test_a_reader_in_a_tight_loop_lets_others_have_a_turn() -> None:
    shelf = shelf_of(10_000)
    shelf.put([message(n) for n in range(2 * STREAK_MAX)])
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = await started(other())
    for _ in range(2 * STREAK_MAX):
        await shelf.take()
    beside.cancel()
    assert turns > 1
