"""Carries writes of one cache shard to the store behind it, and loads from there: on its leader.

The queue of writes is in the log: whoever leads writes its oldest entries, a batch at a time, and
puts into the log that they are written. A batch that is written twice changes nothing. While the
store does not answer, the queue grows, loads fail at once, and the home refuses what must be
written through.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

import structlog

from synaxis.backends.backing_store import BackingStore, Change
from synaxis.caches.commands import Item, Put, Version, Written
from synaxis.caches.home import CacheHome
from synaxis.caches.machine import CacheMachine
from synaxis.caches.records import Record
from synaxis.caches.validation import check_command
from synaxis.consensus.commands import Proposal
from synaxis.consensus.replica import Replica
from synaxis.effects import Refused, Reply
from synaxis.errors import BackingUnavailable, ClientError, ClusterError, NotLeader
from synaxis.ids import GroupId, LogTime, Sequence, SessionId
from synaxis.nodes.driver import NodeDriver

__all__ = ["BackingHost", "CacheBacking"]

BATCH_KEYS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""Writes that go to the store at once."""
FILL_BYTES = 1024 * 1024
"""Loaded values that go into the log at once."""
PING_S = 1.0
"""Pause between looks at a store that nothing is to be done with."""
PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 1.0
"""After a failure; doubles from min to max."""
_NODE_ITSELF = SessionId(0)
_NOWHERE = Sequence(0)

log = structlog.stdlib.get_logger("synaxis.caches")


class BackingHost(Protocol):
    """The node around it."""

    def broken(self, error: Exception) -> None:
        """A rule failed: the node must not go on."""
        ...


class CacheBacking:
    """See the module. Must be created and used inside the running loop."""

    def __init__(
        self,
        replica: Replica,
        home: CacheHome,
        driver: NodeDriver,
        store: BackingStore | None,
        host: BackingHost,
    ) -> None:
        """Without a ``store``, whatever needs one is refused."""
        assert isinstance(replica.machine, CacheMachine)
        self.is_available = store is not None
        """Whether the store answered when it was last asked."""
        self.failures = 0
        """Batches that the store did not take, or give."""
        self.written = 0
        self.loaded = 0
        """Records that were found."""
        self._group: GroupId = replica.group
        self._replica = replica
        self._machine = replica.machine
        self._home = home
        self._driver = driver
        self._store = store
        self._host = host
        self._loads: deque[str] = deque()
        self._has_loads = asyncio.Event()
        self._has_writes = asyncio.Event()
        self._has_none = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        home.backing_available(self.is_available)
        driver.follow(self._group, self._look)

    def leadership(self) -> None:
        """Begin when this node leads the shard, and end with it."""
        if self._replica.log.ready and not self._tasks and self._store is not None:
            self._start(self._write_forever(self._store))
            self._start(self._load_forever(self._store))
        elif not self._replica.log.ready:
            self.stop()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(
            self._guard(work), name=f"store {self._group}"
        )
        self._tasks.append(task)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # the boundary of the task
            self._host.broken(error)

    @property
    def is_down(self) -> bool:
        """Whether there is a store that does not answer."""
        return self._store is not None and not self.is_available

    @property
    def pending(self) -> int:
        """Writes that the store does not have."""
        return len(self._machine.pending)

    async def emptied(self) -> None:
        """Wait until the store has every write of a shard that this node leads."""
        await self._has_none.wait()

    def stop(self) -> None:
        """Do nothing more. What is not written stays in the queue of the next leader."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._loads.clear()

    def _look(self) -> None:
        """See whether something is to be done, after each turn of the shard."""
        if not self._replica.log.ready:
            return
        loads = self._home.take_loads()
        if loads and self._store is None:
            self._fail(loads)
        elif loads:
            self._loads += loads
            self._has_loads.set()
        if self._machine.pending.by_key:
            self._has_writes.set()
            self._has_none.clear()
        else:
            self._has_none.set()

    def _note(self, trouble: BackingUnavailable | None) -> None:
        """Tell the home, and people, when the store goes or comes."""
        available = trouble is None
        self.failures += not available
        if available == self.is_available:
            return
        self.is_available = available
        self._home.backing_available(available)
        if trouble is None:
            log.info("the store behind the cache answers again", group=self._group)
        else:
            log.warning(
                "the store behind the cache does not answer",
                group=self._group,
                reason=trouble.message,
                pending=self.pending,
            )

    # --- writes -----------------------------------------------------------------------------

    async def _write_forever(self, store: BackingStore) -> None:
        pause_s = PAUSE_S_MIN
        while True:
            changes = self._oldest()
            try:
                if changes:
                    await store.write_many(changes)
                else:
                    await store.ping()
                self._note(None)
                if changes:
                    await self._confirm(changes)
            except (BackingUnavailable, ClusterError) as error:
                if isinstance(error, BackingUnavailable):
                    self._note(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                continue
            pause_s = PAUSE_S_MIN
            await self._wait_for_writes()

    async def _wait_for_writes(self) -> None:
        """Return when something is to be written, or it is time for a look at the store."""
        self._has_writes.clear()
        if self._machine.pending.by_key:
            return
        try:
            async with asyncio.timeout(PING_S):
                await self._has_writes.wait()
        except TimeoutError:
            return

    def _oldest(self) -> list[Change]:
        now, size = self._replica.stamp(), 0
        changes: list[Change] = []
        for key, version, record in self._machine.pending_writes(BATCH_KEYS):
            item = None
            if record is not None and self._machine.records.live(key, now) is record:
                item = _item(key, record, now)
                version = Version(max(version, record.version))  # noqa: PLW2901  # the newer one
                size += len(record.value)
            changes.append(Change(key, version, item))
            if size >= BATCH_BYTES:
                break
        return changes

    async def _confirm(self, changes: list[Change]) -> None:
        """Put into the log that these are written.

        Raises:
            ClusterError: the log did not take it; then they are written again.
        """
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def deliver(_: None, reply: Reply) -> None:
            if not done.done():
                done.set_result(reply)

        written = Written(tuple((each.key, each.version) for each in changes))
        proposal = Proposal(_NODE_ITSELF, _NOWHERE, _NOWHERE, written)
        self._driver.propose(self._group, proposal, (deliver, None))
        reply = await done
        if isinstance(reply.body, Refused):
            raise NotLeader(reply.body.message)
        self.written += len(changes)

    # --- loads ------------------------------------------------------------------------------

    async def _load_forever(self, store: BackingStore) -> None:
        while True:
            await self._has_loads.wait()
            self._has_loads.clear()
            while self._loads:
                keys = [self._loads.popleft() for _ in range(min(len(self._loads), BATCH_KEYS))]
                if not self.is_available:
                    self._fail(keys)  # the writer finds out when it is back
                    continue
                try:
                    found = await store.read_many(keys)
                except BackingUnavailable as error:
                    self._note(error)
                    self._fail(keys)
                else:
                    self._take(keys, found)

    def _fail(self, keys: list[str]) -> None:
        self._home.load_failed(keys)
        self._driver.touch(self._group)

    def _take(self, keys: list[str], found: list[Item | None]) -> None:
        items = [each for each in found if each is not None and self._is_good(each)]
        present = {each.key for each in items}
        self._home.loaded([], [key for key in keys if key not in present])
        portion: list[Item] = []
        size = 0
        for item in items:
            portion.append(item)
            size += len(item.value)
            if size >= FILL_BYTES:
                self._home.loaded(portion, [])
                portion, size = [], 0
        if portion:
            self._home.loaded(portion, [])
        self.loaded += len(items)
        self._driver.touch(self._group)

    def _is_good(self, item: Item) -> bool:
        """Whether the shard may hold it: it may come from a time with other limits."""
        try:
            check_command(Put((item,)), self._machine.limits)
        except ClientError:
            return False
        return True


def _item(key: str, record: Record, now: LogTime) -> Item:
    """Return a live record as the store should have it."""
    ttl_ms = record.expires_at - now if record.expires_at else 0
    soft_ms = max(record.soft_at - now, 1) if record.soft_at else 0
    return Item(key, record.value, record.flags, ttl_ms, soft_ms, record.idle_ms, record.tags)
