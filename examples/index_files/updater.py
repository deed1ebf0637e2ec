"""The process that changes the shared dictionaries; ``main.py`` starts it before the workers.

It writes edition after edition, each over the one before and no other (``if_version``). So a write
whose fate is unknown can be tried again: if it has happened after all, the second one is refused,
and a look tells which of both it was. It notes when each was acknowledged.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
from pathlib import Path

from coherence import Write
from dictionaries import CACHE, KEYS, edition
from journal import Journal

import synaxis

_PAUSE_S = 0.04
_TROUBLE_PAUSE_S = 0.1

log = logging.getLogger("updater")


class Updater:
    """Writes editions of all dictionaries by turns, until it is told to end."""

    def __init__(self, cluster: synaxis.AsyncSynaxis, journal: Journal) -> None:
        self._cache = cluster.cache(CACHE)
        self._journal = journal
        self._versions = dict.fromkeys(KEYS, 0)
        self._numbers = dict.fromkeys(KEYS, 0)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Finish the present write, and leave."""
        self._ending.set()

    async def publish(self) -> None:
        """Write the next edition of every dictionary."""
        for key in KEYS:
            await self._write(key)
            await asyncio.sleep(_PAUSE_S)

    async def run(self) -> None:
        """Go on until ``end``."""
        while not self._ending.is_set():
            await self.publish()

    async def _write(self, key: str) -> None:
        """Write one edition until it is certain that it is stored."""
        number = self._numbers[key] + 1
        begun_ns = time.monotonic_ns()
        while not await self._is_stored(key, number):
            pass  # it has paused
        self._numbers[key] = number
        self._journal.add_write(Write(key, number, begun_ns, time.monotonic_ns()))

    async def _is_stored(self, key: str, number: int) -> bool:
        try:
            self._versions[key] = await self._store(key, number)
        except synaxis.ClusterError as trouble:
            log.warning("edition %d of %s again soon: %s", number, key, trouble)
            await asyncio.sleep(_TROUBLE_PAUSE_S)
            return False
        return True

    async def _store(self, key: str, number: int) -> int:
        """Write an edition over the one before, or find that it is there; returns its version."""
        value, before = edition(key, number), self._versions[key]
        try:
            return await self._cache.set(key, value, if_version=before)
        except synaxis.VersionConflict:
            entry = await self._cache.entry(key)
            if entry is None or entry.value["number"] != number:
                raise  # nobody else writes here: the cluster has lost an edition
            return entry.version


async def update(options: argparse.Namespace) -> None:
    """Write the first editions, say so, and go on until SIGTERM."""
    journal = Journal(options.journal)
    async with synaxis.connect(options.url, name=options.name) as cluster:
        updater = Updater(cluster, journal)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, updater.end)
        await updater.publish()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await updater.run()
    journal.close()


def main() -> None:
    """Read the command line that ``main.py`` writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(update(parser.parse_args()))


if __name__ == "__main__":
    main()
