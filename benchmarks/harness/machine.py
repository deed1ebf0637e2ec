"""What the machine has to give right now: without it a figure cannot be read."""

import os
import platform
import sys
import tempfile
import time
from typing import Any

from benchmarks.harness.statistics import median

__all__ = ["describe_machine"]

_PROBES = 50
_PROBE_BYTES = 256


def describe_machine() -> dict[str, Any]:
    """Describe cores, load and disk, without naming the machine."""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "fdatasync_ms_p50": round(1e3 * _fdatasync_seconds(), 3),
    }


def _fdatasync_seconds() -> float:
    """Return the median time of a small durable write where the servers keep their data."""
    seconds = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(_PROBES):
            started = time.perf_counter()
            file.write(bytes(_PROBE_BYTES))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return median(seconds)
