"""Tells people when near caches fall silent and when writes are lost: a line per shard and look."""

from collections.abc import Mapping

import structlog

from synaxis.caches.home import CacheHome
from synaxis.ids import GroupId

__all__ = ["CacheLosses"]

log = structlog.stdlib.get_logger("synaxis.caches")


class CacheLosses:
    """See the module. Looked at from time to time, so that a thousand losses are one line."""

    def __init__(self, homes: Mapping[GroupId, CacheHome]) -> None:
        self._homes = homes
        self._seen = dict.fromkeys(homes, (0, 0))

    def look(self) -> None:
        """Log what has happened since the last look."""
        for group, home in self._homes.items():
            expired, lost = self._seen[group]
            tally = home.tally
            if tally.lease_expiries > expired:
                agents = tally.lease_expiries - expired
                log.info("cache leases ran out", group=group, agents=agents)
            if tally.dirty_lost > lost:
                log.warning(
                    "writes that only their node knew of are, or may be, lost",
                    group=group,
                    writes=tally.dirty_lost - lost,
                )
            self._seen[group] = tally.lease_expiries, tally.dirty_lost
