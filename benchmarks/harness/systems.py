"""What a lock system must offer to be measured, ours and the peers' alike."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from benchmarks.harness.processes import ServerProcess

__all__ = ["LockClient", "LockSystem", "ReplicatedSystem"]


class LockClient(Protocol):
    """One client process' access to a lock system.

    ``worker`` numbers the concurrent users of this client from 0, for systems that need a
    connection per lock holder.
    """

    def hold(self, worker: int, name: str) -> AbstractAsyncContextManager[object]:
        """Return what enters its body with the lock held, and confirms the release on leaving."""
        ...


class LockSystem(Protocol):
    """A lock service that can be started on this machine."""

    name: str
    durability: str
    """What has happened to a grant when the client hears of it."""

    def unavailable(self) -> str | None:
        """Return why this system cannot run here, naming what to install; None when it can."""
        ...

    def start(self) -> None:
        """Start all servers and wait until they serve."""
        ...

    def stop(self) -> None:
        """Stop all servers and remove their data."""
        ...

    def server_pids(self) -> list[int]:
        """Return the process ids whose CPU is charged to this system."""
        ...

    def connect(self, workers: int) -> AbstractAsyncContextManager[LockClient]:
        """Open what ``workers`` concurrent users of one client process need."""
        ...


class ReplicatedSystem(LockSystem, Protocol):
    """A lock service of several nodes, one of which leads."""

    nodes: list[ServerProcess]

    def leader(self) -> int | None:
        """Return the index of the leading node, None while nobody leads."""
        ...

    def wait_ready(self) -> float:
        """Wait until every running node serves; return the seconds that took."""
        ...

    def connect_any(self) -> AbstractAsyncContextManager[LockClient]:
        """Open a client that survives the loss of any node."""
        ...
