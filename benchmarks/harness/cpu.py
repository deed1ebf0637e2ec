"""CPU time of whole process trees, from ``/proc`` (Linux).

A rate says what a machine had to give in that second; CPU per operation says what the software
asks for, and hardly moves when neighbours take their share. Servers fork (PostgreSQL: one
process per connection), so a tree is counted, with children that have already ended.

Sources: proc(5), fields 4 (ppid) and 14-17 (utime, stime, cutime, cstime) of ``stat``.
"""

import os
import time
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

__all__ = ["CpuMeter", "resident_bytes", "tree_cpu_seconds"]

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold spaces.
    return text.rpartition(")")[2].split()


def tree_cpu_seconds(roots: Collection[int]) -> float:
    """Return user + system seconds that ``roots`` and all their descendants have used so far.

    Children that have ended are included once their parent has waited for them.
    """
    used: dict[int, int] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        fields = _stat_fields(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None:
            children[int(fields[1])].append(int(entry.name))
            used[int(entry.name)] = sum(int(field) for field in fields[11:15])
    total, pending = 0, list(roots)
    while pending:
        pid = pending.pop()
        total += used.get(pid, 0)
        pending += children[pid]
    return total / _TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Return the resident set size of one process.

    Raises:
        ProcessLookupError: the process does not exist.
    """
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


class CpuMeter:
    """CPU seconds between ``start`` and ``stop``: of this process, and of server trees."""

    def __init__(self, server_pids: Collection[int]) -> None:
        self._server_pids = server_pids
        self._client_start = 0.0
        self._servers_start = 0.0
        self.client_seconds = 0.0
        self.server_seconds = 0.0

    def start(self) -> None:
        """Remember where the counters stand."""
        self._servers_start = tree_cpu_seconds(self._server_pids)
        self._client_start = time.process_time()

    def stop(self) -> None:
        """Compute what was used since ``start``."""
        self.client_seconds = time.process_time() - self._client_start
        self.server_seconds = tree_cpu_seconds(self._server_pids) - self._servers_start
