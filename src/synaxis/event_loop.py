"""The only place that starts an event loop."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

try:
    from uvloop import new_event_loop
except ImportError:  # Windows, PyPy: the standard loop serves
    from asyncio import new_event_loop  # type: ignore[assignment]  # same use

__all__ = ["run"]

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0005
"""How long the log-writer thread waits for a busy loop to let it run, instead of 5 ms."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on uvloop where there is one, on the standard loop elsewhere."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
