"""Group commit: the event loop hands over what must be durable, one thread makes it so.

While the disk works on one batch the next one forms: the writer takes everything that has been
submitted by the time it gets to look. So the number of syncs follows the disk, not the load.

Order: a batch's callbacks run on the loop, in the order of ``submit``, after everything in the
batch (and in every batch before) is durable; all of them in one call from the loop.

After a failure no callback is ever called again: what is durable is unknown, the node stops.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter

from synaxis.effects import Persist
from synaxis.errors import StorageError
from synaxis.ids import GroupId
from synaxis.storage.write_ahead_log import WriteAheadLog

__all__ = ["BATCH_ITEMS_MAX", "GroupCommit"]

BATCH_ITEMS_MAX = 4096
"""Submissions per write: bounds how long the callbacks of one batch hold the loop."""

SEGMENTS_MAX = 4
"""More live segments than this, and a group that has been quiet for long is told to snapshot."""

Done = Callable[[], None]
Observe = Callable[[float, int], None]


class GroupCommit:
    """The only user of a ``WriteAheadLog`` from the moment it is built until it is closed.

    All methods are called on the loop's thread.
    """

    def __init__(
        self,
        wal: WriteAheadLog,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[StorageError], None],
        observe: Observe | None = None,
    ) -> None:
        """Start the writer.

        Args:
            wal: an open log; closed by ``aclose`` or by the first failure.
            loop: where callbacks run.
            on_failure: called once, on the loop, when the disk has failed.
            observe: called on the loop with the seconds that a batch took on the disk, and the
                number of bytes in it.
        """
        self._wal = wal
        self._loop = loop
        self._on_failure = on_failure
        self._observe = observe
        # Shared with the writer; every access is one operation that the interpreter locks.
        self._submitted: deque[tuple[GroupId, Persist, Done]] = deque()
        self._idle = True
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._stop = False
        self.pinning_group: GroupId | None = None
        """The group whose next snapshot would free the oldest of too many segments."""
        self._finished: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="synaxis-log-writer", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Submissions that the writer has not begun to write."""
        return len(self._submitted)

    def submit(self, group: GroupId, persist: Persist, done: Done) -> None:
        """Make ``persist`` durable, then call ``done`` on the loop. Costs no I/O here."""
        self._submitted.append((group, persist, done))
        if self._idle:
            self._idle = False
            self._wake.put(None)

    async def aclose(self) -> None:
        """Write everything submitted so far, call its callbacks, close the log."""
        self._stop = True
        self._wake.put(None)
        await asyncio.shield(self._finished)
        self._thread.join()

    # -- the writer's thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write_until_stopped()
        except StorageError as error:
            self._call_on_loop(self._fail, error)
        except Exception as error:  # noqa: BLE001  the boundary of the thread: a bug here stops the node
            failure = StorageError(f"the log writer failed: {error!r}")
            failure.__cause__ = error
            self._call_on_loop(self._fail, failure)
        self._wal.close()
        self._call_on_loop(self._finish)

    def _write_until_stopped(self) -> None:
        submitted = self._submitted
        while True:
            if submitted:
                self._write_batch(min(len(submitted), BATCH_ITEMS_MAX))
                continue
            if self._stop:
                return
            # In this order: whoever submits after the flag is up wakes the writer, and what was
            # submitted before is seen by the second look. A wake-up too many does no harm.
            self._idle = True
            if not submitted:
                self._wake.get()
            self._idle = False

    def _write_batch(self, count: int) -> None:
        wal, popleft = self._wal, self._submitted.popleft
        dones = []
        for _ in range(count):
            group, persist, done = popleft()
            wal.append(group, persist)
            dones.append(done)
        batch = wal.take()
        assert batch is not None, "count is positive"
        size, started = wal.bytes_written, perf_counter()
        wal.write(batch)
        seconds = perf_counter() - started
        many = wal.segment_count > SEGMENTS_MAX
        self.pinning_group = wal.oldest_pinning_group() if many else None
        self._call_on_loop(self._deliver, dones, seconds, wal.bytes_written - size)

    def _call_on_loop(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop is closed: nobody is left to tell.
            self._stop = True

    # -- back on the loop ---------------------------------------------------------------------

    def _deliver(self, dones: list[Done], seconds: float, size: int) -> None:
        if self._observe is not None:
            self._observe(seconds, size)
        for done in dones:
            done()

    def _fail(self, error: StorageError) -> None:
        self._on_failure(error)

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)
