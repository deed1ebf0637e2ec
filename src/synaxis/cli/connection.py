"""Runs the asynchronous part of a command with a connected client, and ends it politely.

SIGTERM and SIGHUP cancel the command, so that a wait leaves its queue and a lock is given back
before the process ends; Ctrl-C does so by itself (``asyncio.Runner``).

The loop is asyncio's own and not that of ``synaxis.event_loop``: uvloop cannot start a child in a
process group of its own, and nothing here is fast enough to notice.
"""

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import synaxis
from synaxis.cli.options import ClusterOptions
from synaxis.errors import InvalidArgument

__all__ = ["SESSION_TTL_S", "connect", "run_with_cluster"]

SESSION_TTL_S = 15.0
POLITE_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def run_with_cluster(
    options: ClusterOptions,
    body: Callable[[synaxis.AsyncSynaxis], Awaitable[int]],
    session_ttl_s: float = SESSION_TTL_S,
) -> int:
    """Connect, run ``body``, disconnect, and return its exit code (143 when asked to end).

    Raises:
        SynaxisError: what ``body`` raised, or no node could be reached.
        KeyboardInterrupt: Ctrl-C, after everything was given back.
    """
    with asyncio.Runner() as runner:
        return runner.run(_run(options, body, session_ttl_s))


def connect(
    options: ClusterOptions,
    url: str | None,
    timeout_s: float,
    session_ttl_s: float = SESSION_TTL_S,
) -> synaxis.AsyncSynaxis:
    """Return a client for ``url`` with the credentials of ``options``; nothing is sent yet.

    Raises:
        InvalidArgument: the URL is malformed, or the certificate cannot be read.
    """
    return synaxis.connect(
        url,
        api_key=options.api_key,
        timeout=timeout_s,
        session_ttl=session_ttl_s,
        ssl=None if options.cacert is None else _trust(options.cacert),
    )


def _trust(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(certificate)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidArgument(f"--cacert {certificate}: {error}") from error
    return context


async def _run(
    options: ClusterOptions,
    body: Callable[[synaxis.AsyncSynaxis], Awaitable[int]],
    session_ttl_s: float,
) -> int:
    task = asyncio.current_task()
    assert task is not None
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in POLITE_SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        async with connect(options, options.url, options.timeout, session_ttl_s) as cluster:
            return await body(cluster)
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
