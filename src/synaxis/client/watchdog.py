"""A thread that says aloud what a blocked event loop cannot: that its locks may be lost.

Code that blocks the loop cannot be cancelled, keeps the keep-alives from leaving, and goes on
under a lock that the cluster has given to somebody else. ``Grant.ensure`` sees it, fencing tokens
make it harmless; this thread makes it known.
"""

import logging
import threading

from synaxis.client.clock import now
from synaxis.client.pool import SessionPool

__all__ = ["Watchdog"]

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
BLOCKED_AFTER_S = 1.0
"""The pulse of the loop is a tenth of this."""


class Watchdog:
    """Watches one event loop through the pulse of its session pool."""

    def __init__(self, pool: SessionPool, look_every_s: float = LOOK_EVERY_S) -> None:
        self._pool = pool
        self._look_every_s = look_every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="synaxis-watchdog", daemon=True)
        self._told_for = 0.0
        self.alarms = 0
        """How often locks were in danger because the loop was blocked."""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; the thread ends soon."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._look_every_s):
            self.look()

    def look(self) -> None:
        """Log once per blockade that outlasts the belief in a lock."""
        beat_at = self._pool.beat_at
        moment = now()
        if moment - beat_at < BLOCKED_AFTER_S or self._told_for == beat_at:
            return
        if moment < self._pool.doubtful_since():
            return
        self._told_for = beat_at
        self.alarms += 1
        log.error(
            "the event loop has been blocked for %.1f s: locks held by this process may be lost",
            moment - beat_at,
        )
