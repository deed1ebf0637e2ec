"""What is done to the cluster and the workers while they work.

The producer is allowed only a part of its messages at a time. So every fault finds work going on,
however fast the machine and however small the directory.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nodes import Leadership, Nodes
from poison import POISONS
from producer import Producer
from store import IndexStore, Refusal
from team import Team, WorkerProcess
from timeline import Timeline

import synaxis

__all__ = ["Faults", "FrozenWorker", "KilledWorker", "Outcome", "Stage"]

_POLL_S = 0.05
_REFUSAL_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class FrozenWorker:
    """Who was frozen holding which shard's lock under which token, and for how long."""

    worker: str
    shard: int
    token: int
    seconds: float


@dataclass(frozen=True)
class KilledWorker:
    """Who was killed while it held the message of which batch, that had failed so often before."""

    worker: str
    batch: int
    failures: int


@dataclass
class Outcome:
    """What the faults brought about."""

    failover_seconds: list[float] = field(default_factory=list)
    frozen: FrozenWorker | None = None
    refusal: Refusal | None = None
    killed: KilledWorker | None = None
    kills: int = 0
    """Workers that were killed; more than one if some had just finished their batch."""


@dataclass(frozen=True)
class Stage:
    """Everything that takes part."""

    nodes: Nodes
    cluster: synaxis.AsyncSynaxis
    topic: synaxis.Topic
    store: IndexStore
    producer: Producer
    team: Team
    timeline: Timeline
    say: Callable[[str], None]


class Faults:
    """A worker frozen beyond its lease, another one killed, and the leader killed twice."""

    def __init__(self, stage: Stage, files: int) -> None:
        self._stage = stage
        self._files = files
        self.outcome = Outcome()

    async def run(self) -> None:
        """Let all faults happen, one after the other."""
        producer = self._stage.producer
        producer.allow(30)
        await self._freeze_worker()
        producer.allow(45)
        await self._kill_worker()
        producer.allow(60)
        await self._indexed(40)
        await self._kill_leader(then_allow=90)
        await self._indexed(70)
        await self._kill_leader(then_allow=100)

    # --- workers ----------------------------------------------------------------------------

    async def _freeze_worker(self) -> None:
        """Freeze the first worker that is about to write, until its lock has another holder."""
        stage = self._stage
        victim, (shard, token) = await self._told("stoppable")
        victim.freeze()
        stage.timeline.mark("F")
        frozen_at = time.perf_counter()
        stage.team.stop_no_more()  # it reads this, and writes, as soon as it is thawed
        stage.say(f"{victim.name} frozen: it holds shard {shard} under token {token}")
        await _until(lambda: stage.store.highest_token(shard) > token)
        victim.thaw()
        frozen = FrozenWorker(victim.name, shard, token, time.perf_counter() - frozen_at)
        stage.say(
            f"{victim.name} thawed after {frozen.seconds:.1f} s: "
            f"the shard has seen token {stage.store.highest_token(shard)} meanwhile"
        )
        self.outcome.frozen = frozen
        async with asyncio.timeout(_REFUSAL_TIMEOUT_S):
            await _until(lambda: self._refusal_of(frozen) is not None)
        self.outcome.refusal = self._refusal_of(frozen)
        stage.say(f"its stale write to shard {shard} was refused")

    def _refusal_of(self, frozen: FrozenWorker) -> Refusal | None:
        wanted = (f"shard {frozen.shard}", frozen.token, frozen.worker)
        for refusal in self._stage.store.refusals():
            if (refusal.resource, refusal.token, refusal.worker) == wanted:
                return refusal
        return None

    async def _kill_worker(self) -> None:
        """SIGKILL a worker that has added its batch to some of the shards, and not to the others.

        One that has finished the batch before the signal came does not count, and one whose batch
        failed before is spared: the frozen worker may have held it, and finish it when it thaws.
        """
        stage = self._stage
        while self.outcome.killed is None:
            stage.team.forget_lines()
            victim, (batch, failures) = await self._told("amid")
            if failures:
                continue
            self.outcome.kills += 1
            await victim.kill()
            if not stage.store.is_finished(batch):
                stage.timeline.mark("K")
                stage.say(f"{victim.name} killed amid batch {batch}: its message goes to others")
                self.outcome.killed = KilledWorker(victim.name, batch, failures)

    async def _told(self, word: str) -> tuple[WorkerProcess, list[int]]:
        """Wait for a worker to say ``word``; let more be published if nothing is left to do."""
        producer, store = self._stage.producer, self._stage.store
        while True:
            try:
                async with asyncio.timeout(_POLL_S):
                    return await self._stage.team.told(word)
            except TimeoutError:
                undone = len(producer.receipts) - store.batches_finished()
                if undone <= len(POISONS) and producer.held_back:
                    producer.allow_one_more()

    # --- leaders ----------------------------------------------------------------------------

    async def _kill_leader(self, then_allow: int) -> None:
        """SIGKILL the leader, time the next grant, and put the node back on its disk."""
        stage = self._stage
        leader = await self._leader()
        killed_at = time.perf_counter()
        stage.nodes.kill(leader.node)
        stage.timeline.mark("L")
        stage.producer.allow(then_allow)
        stage.say(
            f"leader {leader.node} of term {leader.term} killed; "
            f"it led {leader.queue_shards} shards of the queue, too"
        )
        seconds = await self._next_grant(killed_at)
        self.outcome.failover_seconds.append(seconds)
        stage.say(f"next lock granted {seconds:.2f} s after the kill; {leader.node} restarted")
        stage.nodes.start_one(leader.node)
        await stage.nodes.ready(leader.node)

    async def _next_grant(self, since: float) -> float:
        """Return the seconds from ``since`` until a lock asked for after it is granted."""
        while True:
            try:
                async with self._stage.cluster.lock("demo/probe", wait=5):
                    return time.perf_counter() - since
            except (synaxis.ClusterError, synaxis.LockTimeout):
                await asyncio.sleep(_POLL_S)

    async def _leader(self) -> Leadership:
        while True:
            leader = await self._stage.nodes.leader()
            if leader is not None:
                return leader
            await asyncio.sleep(_POLL_S)

    async def _indexed(self, percent: int) -> None:
        store = self._stage.store
        await _until(lambda: store.files_indexed() * 100 >= percent * self._files)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - other processes make it true
        await asyncio.sleep(_POLL_S)
