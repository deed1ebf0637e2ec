"""The only place that starts an event loop."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

try:
    import uvloop
except ImportError:  # Windows, PyPy
    uvloop = None  # type: ignore[assignment]  # the standard loop serves

__all__ = ["run"]

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0005
"""How long the log-writer thread waits for a busy loop to let it run, instead of 5 ms."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on uvloop where there is one, on the standard loop elsewhere."""
    factory = uvloop.new_event_loop if uvloop is not None else None
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
