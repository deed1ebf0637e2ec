"""A listening socket that strangers cannot exhaust.

aiohttp keeps a connection whose request header never ends, and any number of them. Here the
header has a deadline, connections have a limit, and what strangers do wrong has a bounded number
of lines in the log.
"""

import asyncio
import logging
import socket
from ssl import SSLContext
from typing import cast

import msgspec
import structlog
from aiohttp import web

__all__ = ["ListenerConfig", "LogBudget", "open_listener"]

log = structlog.stdlib.get_logger("synaxis.listener")

KEEPALIVE_S = 75
BACKLOG = 1024
NOISY_LOGGERS = ("aiohttp.server", "asyncio", "synaxis.bus")


class ListenerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits towards whoever dials."""

    connections_max: int
    """Open connections, whatever they say; one more is closed at once."""
    first_answer_s: float = 10.0
    """A connection that has not earned an answer (or an upgrade) by then is closed."""
    handshake_s: float = 5.0
    """How long a TLS handshake may take."""


class LogBudget(logging.Filter):
    """Lets ``lines_max`` records pass per ``window_s``, and tells how many it left out."""

    def __init__(self, lines_max: int = 20, window_s: float = 60.0) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._window_s = window_s
        self._window_from = 0.0
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is still within the budget."""
        if record.created - self._window_from >= self._window_s:
            left_out = self._seen - self._lines_max
            self._window_from, self._seen = record.created, 0
            if left_out > 0:
                log.warning("log lines left out", about=record.name, count=left_out)
        self._seen += 1
        return self._seen <= self._lines_max


async def open_listener(
    application: web.Application,
    bound: socket.socket,
    tls: SSLContext | None,
    config: ListenerConfig,
) -> web.AppRunner:
    """Serve ``application`` on the bound socket; ``cleanup()`` of the result ends it."""
    door = _Door(config)
    application.on_response_prepare.append(door.answered)
    runner = web.AppRunner(
        application, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=1
    )
    await runner.setup()
    await _Site(runner, bound, tls, door).start()
    for name in NOISY_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, LogBudget) for each in logger.filters):
            logger.addFilter(LogBudget())
    return runner


class _Door:
    """Who stands in the door: connected, but without an answer so far."""

    def __init__(self, config: ListenerConfig) -> None:
        self.config = config
        self._waiting: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    def arrived(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self._waiting[transport] = loop.call_later(
            self.config.first_answer_s, self._lose_patience, transport
        )

    async def answered(self, request: web.Request, _response: web.StreamResponse) -> None:
        """Let the connection stay: the signal ``on_response_prepare``."""
        timer = self._waiting.pop(request.transport, None) if request.transport else None
        if timer is not None:
            timer.cancel()

    def _lose_patience(self, transport: asyncio.Transport) -> None:
        del self._waiting[transport]
        transport.abort()


class _Site(web.BaseSite):
    """A bound socket whose connections pass the door first."""

    __slots__ = ("_bound", "_door")

    def __init__(
        self, runner: web.AppRunner, bound: socket.socket, tls: SSLContext | None, door: _Door
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=BACKLOG)
        self._bound = bound
        self._door = door

    @property
    def name(self) -> str:
        """The address, for people."""
        return str(self._bound.getsockname())

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Arrival(server, self._door),
            sock=self._bound,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=None
            if self._ssl_context is None
            else self._door.config.handshake_s,
        )


class _Arrival(asyncio.Protocol):
    """The first moment of a connection; then aiohttp's own protocol takes over."""

    def __init__(self, server: web.Server, door: _Door) -> None:
        self._server = server
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        if len(self._server.connections) >= self._door.config.connections_max:
            transport.abort()
            return
        self._door.arrived(transport)
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
