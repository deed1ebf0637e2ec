"""The door of a listener: deadline, limit, log budget."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from synaxis.communication.listener import ListenerConfig, LogBudget, open_listener


@asynccontextmanager
async def listener(**limits: float) -> AsyncIterator[int]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", hello)
    config = ListenerConfig(**{"connections_max": 10, **limits})  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as bound:
        runner = await open_listener(application, bound, None, config)
        yield bound.getsockname()[1]
        await runner.cleanup()


async def test_a_header_that_never_ends_has_a_deadline() -> None:
    async with listener(first_answer_s=0.05) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost:")
        with contextlib.suppress(ConnectionError):  # a reset says the same
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_who_was_answered_may_stay() -> None:
    async with listener(first_answer_s=0.05) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"hello"), 5)
            await asyncio.sleep(0.1)  # longer than strangers may take
        writer.close()


async def test_one_connection_too_many_is_closed_at_once() -> None:
    async with listener(connections_max=1) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):  # a reset says the same
            assert await asyncio.wait_for(reader.read(), 5) == b""
        first.close()
        second.close()


def record(at: float) -> logging.LogRecord:
    made = logging.LogRecord("strangers", logging.WARNING, "", 0, "no", (), None)
    made.created = at
    return made


def test_a_log_budget_is_spent_once_per_window() -> None:
    budget = LogBudget(lines_max=2, window_s=60)
    assert [budget.filter(record(at)) for at in (0, 1, 2, 59)] == [True, True, False, False]
    assert budget.filter(record(61))
