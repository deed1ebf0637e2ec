"""What a system must offer to be measured, ours and the peers' alike."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from benchmarks.harness.processes import ServerProcess
from benchmarks.harness.tally import Tally

__all__ = [
    "BATCH",
    "IN_FLIGHT",
    "MESSAGE_BYTES",
    "LockClient",
    "LockSystem",
    "QueueClient",
    "QueueSystem",
    "ReplicatedSystem",
    "System",
]

MESSAGE_BYTES = 256
IN_FLIGHT = 1_000
"""Messages that a publisher has on their way at any time."""
BATCH = 100
"""Messages of one batch, where nothing else is said."""


class System(Protocol):
    """Servers that can be started on this machine."""

    name: str
    durability: str
    """What has happened to a grant or a message when the client hears of it."""

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


class LockClient(Protocol):
    """One client process' access to a lock system.

    ``worker`` numbers the concurrent users of this client from 0, for systems that need a
    connection per lock holder.
    """

    def hold(self, worker: int, name: str) -> AbstractAsyncContextManager[object]:
        """Return what enters its body with the lock held, and confirms the release on leaving."""
        ...


class LockSystem(System, Protocol):
    """A lock service."""

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


class QueueClient(Protocol):
    """One client process' access to one queue, in the forms that are measured.

    The forms run until ``tally.over`` and count a message once the system has confirmed it. Who
    acknowledges without waiting waits for all in the end, and then tells ``tally.settle``.
    """

    async def empty(self) -> None:
        """Remove all messages."""
        ...

    async def stock(self, messages: int) -> None:
        """Let at least ``messages`` be there for the next form that consumes."""
        ...

    async def publish(self, payload: bytes) -> None:
        """Publish one message and wait until it is confirmed."""
        ...

    async def publish_one_by_one(self, tally: Tally) -> None:
        """Keep ``IN_FLIGHT`` messages on their way, each awaited by a task of its own."""
        ...

    async def publish_in_batches(self, tally: Tally) -> None:
        """Keep at least ``IN_FLIGHT`` messages on their way in the fastest documented form."""
        ...

    async def consume_one_by_one(self, tally: Tally) -> None:
        """Take messages and acknowledge each."""
        ...

    async def consume_in_batches(self, tally: Tally, readers: int, size: int) -> None:
        """Let ``readers`` tasks take up to ``size`` messages at a time and acknowledge them."""
        ...

    def listening(self, arrived: Callable[[bytes], None]) -> AbstractAsyncContextManager[None]:
        """Consume in the background, one message after the other, and acknowledge it.

        The body is entered when the consumer waits.
        """
        ...


class QueueSystem(System, Protocol):
    """A queue service."""

    def connect(self) -> AbstractAsyncContextManager[QueueClient]:
        """Open one client process' connections, and create the queue."""
        ...
