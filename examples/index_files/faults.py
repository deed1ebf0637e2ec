"""What is done to the cluster and the workers while they work.

The gate in the store lets workers claim only a part of the batches at a time. So every fault
finds work going on, however fast the machine and however small the directory.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nodes import Leadership, Nodes
from store import IndexStore, Refusal
from team import WorkerProcess

import synaxis

__all__ = ["Faults", "FrozenWorker", "Outcome"]

_POLL_S = 0.05
_REFUSAL_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class FrozenWorker:
    """Who was frozen holding which shard's lock under which token, and for how long."""

    worker: str
    shard: int
    token: int
    seconds: float


@dataclass
class Outcome:
    """What the faults brought about."""

    failover_seconds: list[float] = field(default_factory=list)
    frozen: FrozenWorker | None = None
    refusal: Refusal | None = None


class Faults:
    """One worker frozen beyond its lease, and the leader killed twice."""

    def __init__(
        self,
        nodes: Nodes,
        store: IndexStore,
        cluster: synaxis.AsyncSynaxis,
        totals: tuple[int, int],
        say: Callable[[str], None],
    ) -> None:
        self._nodes = nodes
        self._store = store
        self._cluster = cluster
        self._batches, self._files = totals
        self._say = say
        self._open_percent = 0
        self.outcome = Outcome()

    async def run(self, victim: WorkerProcess) -> None:
        """Let all faults happen, one after the other."""
        self._open_gate(30)
        await self._freeze(victim)
        self._open_gate(60)
        await self._indexed(40)
        await self._kill_leader(then_open=90)
        await self._indexed(70)
        await self._kill_leader(then_open=100)

    async def _freeze(self, victim: WorkerProcess) -> None:
        """Freeze a worker that is about to write until its lock has another holder."""
        shard, token = await self._until_it_holds_a_shard(victim)
        victim.freeze()
        frozen_at = time.perf_counter()
        victim.tell("go on")  # it reads this, and writes, as soon as it is thawed
        self._say(f"{victim.name} frozen: it holds shard {shard} under token {token}")
        await _until(lambda: self._store.highest_token(shard) > token)
        victim.thaw()
        frozen = FrozenWorker(victim.name, shard, token, time.perf_counter() - frozen_at)
        self._say(
            f"{victim.name} thawed after {frozen.seconds:.1f} s: "
            f"the shard has seen token {self._store.highest_token(shard)} meanwhile"
        )
        self.outcome.frozen = frozen
        async with asyncio.timeout(_REFUSAL_TIMEOUT_S):
            await _until(lambda: self._refusal_of(frozen) is not None)
        self.outcome.refusal = self._refusal_of(frozen)
        self._say(f"its stale write to shard {shard} was refused")

    async def _until_it_holds_a_shard(self, victim: WorkerProcess) -> list[int]:
        """Return the shard and its token; a victim that was too slow for a batch gets more."""
        async with asyncio.TaskGroup() as waiting:
            told = waiting.create_task(victim.told("stoppable"))
            while not told.done():
                await asyncio.wait({told}, timeout=_POLL_S)
                if not self._store.open_batches():
                    self._open_gate(min(self._open_percent + 1, 100))
        return [int(word) for word in told.result()]

    def _refusal_of(self, frozen: FrozenWorker) -> Refusal | None:
        wanted = (f"shard {frozen.shard}", frozen.token, frozen.worker)
        for refusal in self._store.refusals():
            if (refusal.resource, refusal.token, refusal.worker) == wanted:
                return refusal
        return None

    async def _kill_leader(self, then_open: int) -> None:
        """SIGKILL the leader, time the next grant, and put the node back on its disk."""
        leader = await self._leader()
        killed_at = time.perf_counter()
        self._nodes.kill(leader.node)
        self._open_gate(then_open)
        self._say(f"leader {leader.node} of term {leader.term} killed")
        seconds = await self._next_grant(killed_at)
        self.outcome.failover_seconds.append(seconds)
        self._say(f"next lock granted {seconds:.2f} s after the kill; {leader.node} restarted")
        self._nodes.start_one(leader.node)
        await self._nodes.ready(leader.node)

    async def _next_grant(self, since: float) -> float:
        """Return the seconds from ``since`` until a lock asked for after it is granted."""
        while True:
            try:
                async with self._cluster.lock("demo/probe", wait=5):
                    return time.perf_counter() - since
            except (synaxis.ClusterError, synaxis.LockTimeout):
                await asyncio.sleep(_POLL_S)

    async def _leader(self) -> Leadership:
        while True:
            leader = await self._nodes.leader()
            if leader is not None:
                return leader
            await asyncio.sleep(_POLL_S)

    async def _indexed(self, percent: int) -> None:
        await _until(lambda: self._store.files_indexed() * 100 >= percent * self._files)

    def _open_gate(self, percent: int) -> None:
        self._open_percent = percent
        self._store.open_gate(-(-percent * self._batches // 100))


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - other processes make it true
        await asyncio.sleep(_POLL_S)
