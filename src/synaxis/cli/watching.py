"""``--watch``: print a result again and again."""

import asyncio
from collections.abc import Awaitable, Callable

from synaxis.cli import output
from synaxis.cli.output import Format, Printer
from synaxis.errors import SynaxisError

__all__ = ["repeat"]

INTERVAL_S_MIN = 0.05
CLEAR_SCREEN = "\x1b[H\x1b[2J"


async def repeat(
    show: Callable[[Printer], Awaitable[None]], printer: Printer, interval_s: float
) -> None:
    """Call ``show`` every ``interval_s`` seconds until cancelled.

    A terminal is cleared in between; JSON becomes JSON lines, so that a reader can follow. An
    error of the cluster is told and the next round tries again.
    """
    if printer.format is Format.JSON:
        printer.format = Format.JSONL
    while True:
        if printer.to_terminal:
            printer.stream.write(CLEAR_SCREEN)
        try:
            await show(printer)
        except SynaxisError as failure:
            output.error(failure.message)
        await asyncio.sleep(max(interval_s, INTERVAL_S_MIN))
