"""One of the processes that build the index; ``main.py`` starts eight of them.

A batch of files is claimed under one lock per file. Then every shard is changed under the
shard's lock: read, add the words in memory, write back, each with the lock's fencing token.
Whatever goes wrong on the way, the batch stays unfinished and somebody claims it again; a shard
knows which batches it has taken in, so that no words are counted twice.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

from corpus import SHARDS, count_words, shard_of
from store import IndexStore

import synaxis

_SHARD_WAIT_S = 30.0
_IDLE_S = 0.05


class Worker:
    """Claims batches until every file is indexed."""

    def __init__(
        self,
        cluster: synaxis.AsyncSynaxis,
        store: IndexStore,
        directory: Path,
        stop_at_write: int | None,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._directory = directory
        self._stop_at_write = stop_at_write
        self._writes = 0

    async def run(self) -> None:
        """Index whatever is left; errors of the cluster are waited out."""
        while self._store.unfinished():
            try:
                indexed = await self._index_some_batch()
            except (synaxis.LockLost, synaxis.SessionExpired, synaxis.StaleFencingToken) as error:
                print(f"lost {error}", flush=True)
                continue
            except synaxis.ClusterError:
                indexed = False
            if not indexed:
                await asyncio.sleep(_IDLE_S)

    async def _index_some_batch(self) -> bool:
        """Index one batch that nobody else has claimed; False when there is none."""
        candidates = self._store.open_batches()
        random.shuffle(candidates)
        for batch in candidates:
            files = self._store.files_of(batch)
            locks = [f"files/{name}" for name in files]
            try:
                async with self._cluster.lock_many(locks, wait=0) as claim:
                    await self._index(batch, files, claim.token)
                    return True
            except synaxis.LockTimeout:
                continue
        return False

    async def _index(self, batch: int, files: list[str], claim_token: int) -> None:
        """Count the words of a claimed batch and add them to all shards."""
        if not self._store.begin_batch(batch, claim_token):
            return
        words_by_shard: list[Counter[str]] = [Counter() for _ in range(SHARDS)]
        for word, count in count_words(self._directory, files).items():
            words_by_shard[shard_of(word)][word] = count
        # Workers start at different shards, so that they rarely wait for each other.
        for offset in range(SHARDS):
            number = (batch + offset) % SHARDS
            await self._add(batch, number, words_by_shard[number])
        self._store.finish_batch(batch, claim_token)

    async def _add(self, batch: int, number: int, words: Counter[str]) -> None:
        """Add words to one shard, unless an earlier attempt at this batch has done so."""
        async with self._cluster.lock(f"shards/{number}", wait=_SHARD_WAIT_S) as held:
            shard = self._store.read_shard(number, held.token)
            if batch in shard.batches:
                return
            shard.add(batch, words)
            self._stop_here_if_asked(number, held.token)
            self._store.write_shard(number, shard, held.token)

    def _stop_here_if_asked(self, shard: int, token: int) -> None:
        """Give ``main.py`` the moment to freeze this process: lock held, write not yet sent.

        Nothing between here and the write looks at the lock again, as in any program that is
        paused by its machine: only the store can know better.
        """
        self._writes += 1
        if self._writes == self._stop_at_write:
            print(f"stoppable {shard} {token}", flush=True)
            sys.stdin.readline()


async def work(options: argparse.Namespace) -> None:
    """Connect, wait for the word to start, and work."""
    store = IndexStore(options.store, options.name)
    async with synaxis.connect(options.url, session_ttl=options.session_ttl) as cluster:
        worker = Worker(cluster, store, options.dir, options.stop_at_write)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await worker.run()
    store.close()


def main() -> None:
    """Read the command line that ``main.py`` writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--session-ttl", type=float, required=True)
    parser.add_argument("--stop-at-write", type=int)
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
