"""The dictionaries that all indexers share through the cache: stop words, in a few records.

One process, ``updater.py``, changes them all the time. The workers read them through near caches. A
record carries the number of its edition, so that what somebody has read can be told apart.
"""

import keyword
import os
import time
from collections.abc import Iterable
from pathlib import Path

from coherence import Look
from journal import Journal, Life

import synaxis

__all__ = ["CACHE", "KEYS", "Reader", "edition"]

CACHE = "stop-words"
KEYS = tuple(f"part-{number}" for number in range(8))
_WORDS = sorted(word.lower() for word in {*keyword.kwlist, *keyword.softkwlist})


def edition(key: str, number: int) -> dict[str, object]:
    """Return edition ``number`` of a dictionary; each has other words than the one before."""
    first = KEYS.index(key)
    words = [word for place, word in enumerate(_WORDS) if (place + number) % len(KEYS) == first]
    return {"number": number, "words": words}


class Reader:
    """Reads the dictionaries in one worker process, and notes what it saw and when."""

    def __init__(self, cluster: synaxis.AsyncSynaxis, journal: Path, worker: str) -> None:
        self._cache = cluster.cache(CACHE, near=True)
        self._journal = Journal(journal)
        self._name = f"{worker}/{os.getpid()}"
        self._looks: list[Look] = []
        self._reads = 0
        self._unanswered = 0
        self._stop_words = 0

    async def meet(self, words: Iterable[str]) -> None:
        """Read every dictionary, and count how many of ``words`` are in one."""
        stop_words: set[str] = set()
        for key in KEYS:
            begun_ns = time.monotonic_ns()
            try:
                value = await self._cache.get(key)
            except synaxis.ClusterError:
                self._unanswered += 1
                continue
            ended_ns = time.monotonic_ns()
            number = 0 if value is None else value["number"]
            self._looks.append(Look(self._name, key, number, begun_ns, ended_ns))
            self._reads += 1
            stop_words.update(() if value is None else value["words"])
        self._stop_words += sum(word in stop_words for word in words)

    def write_down(self) -> None:
        """Put what was read since the last time into the journal."""
        stats = self._cache.stats()
        life = Life(
            self._name,
            self._reads,
            stats.near_hits,
            stats.invalidations,
            stats.lease_expiries,
            self._unanswered,
            self._stop_words,
        )
        self._journal.add_looks(self._looks, life)
        self._looks.clear()

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()
