"""One of the processes that build the index; ``main.py`` starts eight and restarts those that die.

All of them consume one topic as one group. A message names a batch of files. Every shard is changed
under the shard's lock: read, add the words in memory, write back, each with the lock's fencing
token. Then the batch is marked as finished and the message acknowledged. Whoever dies on the way
leaves the message to somebody else, and the store knows how far it got.

The group is ``shared``: files are independent, so any worker may have any message, and a poisoned
one holds up nobody. (In ``keyed`` mode it would hold up its key; ``keyed_order.py`` shows that.)

Which words are stop words today is in dictionaries that all workers share through the cache, and
that change all the time; see ``dictionaries.py``.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections import Counter
from pathlib import Path

from corpus import SHARDS, count_words, is_outside, shard_of
from dictionaries import Reader
from store import IndexStore

import synaxis

_SHARD_WAIT_S = 30.0
_PAUSE_S = 0.2
"""Before the next try after trouble with the cluster."""
_GIVE_BACK_S = 0.05
"""Time for what is given back to reach the cluster, before something dangerous is begun."""

log = logging.getLogger("worker")


class Worker:
    """Indexes what the topic brings, until it is told to end."""

    def __init__(
        self,
        cluster: synaxis.AsyncSynaxis,
        store: IndexStore,
        dictionaries: Reader,
        options: argparse.Namespace,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._dictionaries = dictionaries
        self._topic = cluster.topic(options.topic, codec="json")
        self._group: str = options.group
        self._directory: Path = options.dir
        self._stop_at_write: int = options.stop_at_write
        self._writes = 0
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Finish what is begun, give back the rest, and leave."""
        self._ending.set()

    async def run(self) -> None:
        """Work until ``end``; trouble with the cluster is waited out."""
        while not self._ending.is_set():
            try:
                await self._take_part()
            except* synaxis.ClusterError as trouble:
                log.warning("consuming again soon: %s", trouble.exceptions)
                await asyncio.sleep(_PAUSE_S)

    async def _take_part(self) -> None:
        """Be a member of the group until the end, or until a suspect has been dealt with.

        With a process dies everything that it holds, and each of these messages counts a failure.
        So we hold few. A message that failed before may be the one that kills: what else we hold
        is given back, without blame, before we touch it.
        """
        consumer = self._topic.consume(self._group, concurrency=1, prefetch=1)
        async with asyncio.TaskGroup() as tasks, consumer:
            ending = tasks.create_task(self._drain_at_the_end(consumer))
            async for message in consumer:
                if message.failures:
                    tasks.create_task(consumer.drain())  # ends when this message is settled
                    await asyncio.sleep(_GIVE_BACK_S)
                await self._handle(message)
            ending.cancel()

    async def _drain_at_the_end(self, consumer: synaxis.Consumer) -> None:
        await self._ending.wait()
        await consumer.drain()

    async def _handle(self, message: synaxis.Message) -> None:
        try:
            async with message:  # success acknowledges, an exception counts a failure
                await self._index(message)
        except (synaxis.SynaxisError, OSError) as error:
            log.warning("%r: %s: %s", message, type(error).__name__, error)

    async def _index(self, message: synaxis.Message) -> None:
        """Add the words of a batch to all shards."""
        batch, files = message.value["batch"], message.value["files"]
        todo = self._store.begin_batch(batch, message.failures)
        if any(map(is_outside, files)):
            await message.reject("it names a file outside of the directory")
        elif todo:
            words = await asyncio.to_thread(count_words, self._directory, files)
            try:
                await self._add_everywhere(batch, words, message.failures)
            except synaxis.SynaxisError as error:
                log.warning("not the fault of %r: %s: %s", message, type(error).__name__, error)
                await message.release()
            else:
                self._store.finish_batch(batch, files)
            finally:
                self._dictionaries.write_down()

    async def _add_everywhere(self, batch: int, words: Counter[str], failures: int) -> None:
        by_shard: list[Counter[str]] = [Counter() for _ in range(SHARDS)]
        for word, count in words.items():
            by_shard[shard_of(word)][word] = count
        # Workers start at different shards, so that they rarely wait for each other.
        for offset in range(SHARDS):
            number = (batch + offset) % SHARDS
            await self._dictionaries.meet(by_shard[number])
            await self._add(batch, number, by_shard[number])
            if offset == SHARDS // 2:
                print(f"amid {batch} {failures}", flush=True)

    async def _add(self, batch: int, number: int, words: Counter[str]) -> None:
        """Add words to one shard, unless an earlier attempt at this batch has done so."""
        async with self._cluster.lock(f"shards/{number}", wait=_SHARD_WAIT_S) as held:
            shard = self._store.read_shard(number, held.token)
            if batch in shard.batches:
                return
            shard.add(batch, words)
            self._stop_here_once(number, held.token)
            self._store.write_shard(number, shard, held.token)

    def _stop_here_once(self, shard: int, token: int) -> None:
        """Give ``main.py`` the moment to freeze this process: lock held, write not yet sent.

        Nothing between here and the write looks at the lock again, as in any program that is
        paused by its machine: only the store can know better.
        """
        self._writes += 1
        if self._writes == self._stop_at_write:
            print(f"stoppable {shard} {token}", flush=True)
            sys.stdin.readline()


async def work(options: argparse.Namespace) -> None:
    """Connect, wait for the word to start, and work until SIGTERM."""
    store = IndexStore(options.store, options.name)
    async with synaxis.connect(
        options.url, session_ttl=options.session_ttl, name=options.name
    ) as cluster:
        dictionaries = Reader(cluster, options.journal, options.name)
        worker = Worker(cluster, store, dictionaries, options)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.end)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await worker.run()
    dictionaries.close()
    store.close()


def main() -> None:
    """Read the command line that ``main.py`` writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--session-ttl", type=float, required=True)
    parser.add_argument("--stop-at-write", type=int, required=True)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
