"""One computation per key, however many wait and whoever of them goes."""

import asyncio

import pytest

from synaxis.client.caches.flights import Flights
from synaxis.errors import ConnectionFailed


class Work:
    """A computation that ends when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            return await asyncio.shield(self.end)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def joined(flights: Flights, work: Work, count: int) -> "list[asyncio.Task[int]]":
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(flights.join("k", work)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_all_get_the_result_of_one() -> None:
    flights, work = Flights(), Work()
    tasks = await joined(flights, work, 5)
    assert "k" in flights
    work.end.set_result(7)
    assert await asyncio.gather(*tasks) == [7] * 5
    assert work.begun == 1
    assert "k" not in flights


async def test_the_first_may_go_while_others_wait() -> None:
    flights, work = Flights(), Work()
    first, second = await joined(flights, work, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.end.set_result(7)
    assert await second == 7
    assert (work.begun, work.cancelled) == (1, 0)


async def test_when_the_last_goes_the_computation_is_cancelled() -> None:
    flights, work = Flights(), Work()
    tasks = await joined(flights, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    again = Work()
    (late,) = await joined(flights, again, 1)
    assert (work.cancelled, again.begun) == (1, 1), "nobody joins a computation that is ending"
    again.end.set_result(8)
    assert await late == 8


async def test_an_error_is_everybodys() -> None:
    flights, work = Flights(), Work()
    tasks = await joined(flights, work, 3)
    work.end.set_exception(ValueError("no"))
    assert [str(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
        "no"
    ] * 3
    assert "k" not in flights


async def test_the_end_of_the_client_is_no_cancellation_of_those_who_wait() -> None:
    flights, work = Flights(), Work()
    (task,) = await joined(flights, work, 1)
    flights.cancel()
    with pytest.raises(ConnectionFailed):
        await task
