"""Which records a home lets go: unused ones for want of room, idle ones, and void ones.

Second chance instead of strict LRU (Corbató 1968): reading sets a flag, the hand passes in the
order of writing, clears flags and takes what has none. It costs a read nothing, and replicas stay
equal, because only the eviction itself is replicated.
"""

from collections.abc import Callable, Iterator

from synaxis.caches.commands import Version
from synaxis.caches.machine import CacheMachine
from synaxis.ids import LogTime

__all__ = ["Evictor"]

FULL_PERCENT = 95
"""Beyond it room is made ..."""
TARGET_PERCENT = 90
"""... down to this."""
VICTIMS_MAX = 500
STEPS_MAX = 4_000
LOOK_MS = 1_000


class Evictor:
    """See the module. One round at a time: ``victims`` is asked again after they are gone."""

    def __init__(self, machine: CacheMachine) -> None:
        self._machine = machine
        self._hand: Iterator[str] = iter(())
        self._idle: dict[str, LogTime] = {}
        """Key with an idle time -> when it was last seen to have been read."""
        self._look_at = LogTime(0)

    def begin(self, now: LogTime) -> None:
        """Begin to lead: everything counts as read just now."""
        self._look_at = LogTime(now + LOOK_MS)
        records = self._machine.records.by_key
        self._idle = {key: now for key, each in records.items() if each.idle_ms}

    def stored(self, key: str, now: LogTime) -> None:
        """A record with an idle time was stored."""
        self._idle[key] = now

    def is_crowded(self) -> bool:
        """Whether room must be made."""
        limits, records = self._machine.limits, self._machine.records
        full = records.bytes * 100 > limits.bytes_max * FULL_PERCENT
        return full or len(records.by_key) * 100 > limits.records_max * FULL_PERCENT

    def deadline(self) -> LogTime | None:
        """Return when to look again though nothing is written."""
        return self._look_at if self._idle or self._machine.records.stamps else None

    def victims(self, now: LogTime) -> tuple[tuple[str, Version], ...]:
        """Return (key, version) of what should go now."""
        found: dict[str, Version] = {}
        if now >= self._look_at:
            self._look_at = LogTime(now + LOOK_MS)
            if self._idle:
                self._find_idle(found, now)
            if self._machine.records.stamps:
                self._walk(found, now, lambda: len(found) < VICTIMS_MAX)
        if self.is_crowded():
            self._find_unused(found, now)
        return tuple(found.items())

    def _find_idle(self, found: dict[str, Version], now: LogTime) -> None:
        records, pending = self._machine.records.by_key, self._machine.pending.by_key
        for key, seen_at in list(self._idle.items()):
            record = records.get(key)
            if record is None or not record.idle_ms:
                del self._idle[key]
            elif record.used:
                record.used = False
                self._idle[key] = now
            elif now - seen_at >= record.idle_ms and key not in pending:
                found[key] = record.version

    def _find_unused(self, found: dict[str, Version], now: LogTime) -> None:
        limits, records = self._machine.limits, self._machine.records
        spare_bytes = records.bytes - limits.bytes_max * TARGET_PERCENT // 100
        spare = len(records.by_key) - limits.records_max * TARGET_PERCENT // 100

        def wanted() -> bool:
            nonlocal spare_bytes, spare
            key = next(reversed(found))
            spare_bytes -= len(key) + len(records.by_key[key].value)
            spare -= 1
            return len(found) < VICTIMS_MAX and (spare_bytes > 0 or spare > 0)

        self._walk(found, now, wanted, unused=True)

    def _walk(
        self,
        found: dict[str, Version],
        now: LogTime,
        wanted: Callable[[], bool],
        *,
        unused: bool = False,
    ) -> None:
        """Move the hand as long as something is ``wanted``, within reason."""
        records, pending = self._machine.records, self._machine.pending.by_key
        for _ in range(STEPS_MAX):
            key = next(self._hand, None)
            if key is None:
                self._hand = records.keys()
                key = next(self._hand, None)
                if key is None:
                    return
            record = records.by_key.get(key)
            if record is None or key in pending:
                continue
            void = records.live(key, now) is None
            if void or (unused and not record.used):
                found[key] = record.version
                if not wanted():
                    return
            elif unused:
                record.used = False
