"""Runs the asynchronous part of a command with a connected client, and ends it politely.

SIGTERM and SIGHUP cancel the command, so that a wait leaves its queue and a lock is given back
before the process ends; Ctrl-C does so by itself (``asyncio.Runner``).
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import synaxis
from synaxis.cli.options import ClusterOptions

__all__ = ["SESSION_TTL_S", "run_with_cluster"]

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
        async with synaxis.connect(
            options.url,
            api_key=options.api_key,
            timeout=options.timeout,
            session_ttl=session_ttl_s,
        ) as cluster:
            return await body(cluster)
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
