"""The clock that decides whether a lease is still believed in.

Not ``loop.time()``: uvloop's stands still while a callback runs, so a blocked event loop would
believe in its locks for ever. Not plain ``CLOCK_MONOTONIC`` where there is a better one: on Linux
it stands still while the machine is suspended, and the cluster does not wait for sleepers.
"""

import time
from collections.abc import Callable
from functools import partial

__all__ = ["now", "wall_now"]


def _boot_clock() -> Callable[[], float]:
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    if clock_id is None:
        return time.monotonic  # noqa: TID251  # this module is the client's Clock
    return partial(time.clock_gettime, clock_id)


now: Callable[[], float] = _boot_clock()
"""Seconds since some fixed moment; counts suspension where the system can."""


def wall_now() -> float:
    """Return seconds since 1970 (UTC), for what users say in dates. No lease depends on it."""
    return time.time()  # noqa: TID251  # this module is the client's Clock
