"""One seed from start to verdict, and many of them.

A run has two phases. *Safety*: everything that the seed drew goes wrong while clients work.
*Liveness*: all faults end, and within bounded virtual time there must be a leader, every client
must get on, everything must come to its end, and all replicas must be equal. Then the history is
checked. What clients do, and what a history must be like, is the seed's *world*.
"""

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from time import process_time
from typing import Protocol

from synaxis.simulation.caches.world import CacheWorld
from synaxis.simulation.cluster import Cluster, ClusterShape, draw_shape
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.faults import FaultMix, draw_mix
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.invariants import InvariantViolation
from synaxis.simulation.kernel import MICROSECONDS_PER_SECOND as SECOND
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.lock_world import LockWorld
from synaxis.simulation.process import SimulatedNode
from synaxis.simulation.queues.world import QueueWorld
from synaxis.simulation.seeds import CACHES, LOCKS, QUEUES, VOLATILE, Seed
from synaxis.simulation.volatile.world import VolatileWorld

__all__ = ["SECONDS_DEFAULT", "RunResult", "World", "run_seed", "run_seeds", "totals"]

SECONDS_DEFAULT = 60.0
"""Virtual length of the phase with faults."""
LEADER_WITHIN_S = 8
# A write that is under way when the disks heal may take another 3 s.
PROGRESS_WITHIN_S = 20
ENDURED_S = 3
FINISH_WITHIN_S = 40
CONVERGE_WITHIN_S = 20
TRACE_LINES_SHOWN = 40
_RULES: dict[type[BaseException], str] = {
    HistoryViolation: "history",
    AssertionError: "an assertion of the machines",
}


class World(Protocol):
    """What is special about the clusters of one kind of seed."""

    cluster: Cluster
    searched: int
    """Operations that a linearizability search has looked at."""

    def settle(self) -> None:
        """The faults are over, and clients shall come to their end."""
        ...

    def is_over(self) -> bool:
        """Return whether clients have done what is left to do; they finish then."""
        ...

    def compare(self, replicas: list[SimulatedNode]) -> None:
        """Demand what must be so when all replicas have applied the same.

        Raises:
            InvariantViolation: it is not.
        """
        ...

    def check_history(self) -> None:
        """Demand that the answers so far are those of a correct service.

        Raises:
            HistoryViolation: they are not.
        """
        ...

    def check_end(self) -> None:
        """Demand that nothing is left behind, after ``check_history``.

        Raises:
            HistoryViolation: something is.
        """
        ...


@dataclass(slots=True)
class RunResult:
    """What became of a seed."""

    seed: Seed
    seconds: float = SECONDS_DEFAULT
    failure: str | None = None
    """Name of the broken rule."""
    message: str = ""
    mix: str = ""
    digest: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    operations: int = 0
    searched: int = 0
    """Operations that the linearizability search has looked at."""
    coverage: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)


class Run:
    """The phases of one seed."""

    def __init__(self, kernel: Kernel, seconds: float, mix: FaultMix | None = None) -> None:
        self.kernel = kernel
        self.seconds = seconds
        shape = draw_shape(kernel.stream("shape"))
        self.mix = mix or draw_mix(kernel.stream("mix"))
        self.world: World = _WORLDS[kernel.seed.world](kernel, shape, self.mix)
        self.cluster = self.world.cluster

    def execute(self) -> None:
        """Run everything.

        Raises:
            AssertionError: some rule is broken.
        """
        self.kernel.run_until(int(self.seconds * SECOND))
        try:
            self.cluster.heal()
            self._demand_progress("after healing")
            self._endure_a_partition()
            self._demand_an_end()
        except InvariantViolation:
            # A wrong answer is the better explanation for clients that do not get on.
            self.world.check_history()
            raise
        self.world.check_history()
        self.world.check_end()

    # --- liveness --------------------------------------------------------------------------

    def _within(self, seconds: float, rule: str, reached: Callable[[], bool]) -> None:
        limit = self.kernel.now + int(seconds * SECOND)
        while not reached():
            if self.kernel.now >= limit:
                raise InvariantViolation(
                    "liveness", f"{rule}: not within {seconds} virtual seconds"
                )
            self.kernel.run_until(min(limit, self.kernel.now + SECOND // 4))

    def _demand_progress(self, when: str) -> None:
        cluster = self.cluster
        done = {client.name: client.completed for client in cluster.live_clients()}
        self._within(
            LEADER_WITHIN_S, f"a leader is elected {when}", lambda: cluster.leader() is not None
        )
        self._within(
            PROGRESS_WITHIN_S,
            f"every live client gets an answer {when}",
            lambda: all(
                client.completed > done.get(client.name, 0) for client in cluster.live_clients()
            ),
        )

    def _endure_a_partition(self) -> None:
        """Work on although some links stay cut, as long as a quorum hears each other."""
        cluster = self.cluster
        kind = cluster.endure()
        if kind is None:
            return
        self.kernel.run_until(self.kernel.now + ENDURED_S * SECOND)
        self._demand_progress(f"although the network is cut ({kind})")
        elections = len(cluster.monitor.leader_terms)
        self.kernel.run_until(self.kernel.now + ENDURED_S * SECOND)
        if len(cluster.monitor.leader_terms) > elections:
            raise InvariantViolation("liveness", f"leadership is not stable: {kind}")
        cluster.network.cut(set())

    def _demand_an_end(self) -> None:
        cluster = self.cluster
        cluster.workload.stopping = True
        self.world.settle()
        self._within(
            FINISH_WITHIN_S,
            "every client finishes its work",
            lambda: (
                self.world.is_over() and all(client.finished for client in cluster.live_clients())
            ),
        )
        self._within(CONVERGE_WITHIN_S, "everything ends and converges", self._has_converged)

    def _has_converged(self) -> bool:
        cluster = self.cluster
        leader = cluster.leader()
        if leader is None or leader.log is None or leader.replica is None:
            return False
        status = leader.log.status()
        if status.change_pending or cluster.wounded is not None or leader.replica.sessions.by_id:
            return False
        nodes = [cluster.nodes[name] for name in status.members.voters]
        states = []
        for node in nodes:
            replica = node.replica
            if replica is None or replica.applied_index != status.last_index:
                return False
            states.append(replica.state())
        if any(one != other for one, other in pairwise(states)):
            raise InvariantViolation("equal states", "replicas differ at the end of the run")
        self.world.compare(nodes)
        return True


_WORLDS: dict[str, Callable[[Kernel, ClusterShape, FaultMix], World]] = {
    LOCKS: LockWorld,
    QUEUES: QueueWorld,
    VOLATILE: VolatileWorld,
    CACHES: CacheWorld,
}


def run_seed(
    seed: Seed | int,
    seconds: float = SECONDS_DEFAULT,
    *,
    keep_trace: bool = False,
    verbose: bool = False,
    mix: FaultMix | None = None,
) -> RunResult:
    """Run one seed to its verdict; never raises for a broken rule.

    Args:
        seed: everything else follows from it; a mere number is a world of locks.
        seconds: virtual length of the phase with faults.
        keep_trace: return the whole trace, not only the end of a failure.
        verbose: trace messages too.
        mix: faults to use in place of the drawn ones.
    """
    started = process_time()
    if isinstance(seed, int):
        seed = Seed(seed)
    kernel = Kernel(seed, keep_trace=keep_trace, verbose=verbose)
    run = Run(kernel, seconds, mix)
    result = RunResult(seed, seconds, mix=run.mix.describe())
    try:
        run.execute()
    except Exception as error:  # noqa: BLE001  whatever a machine raises is a finding
        result.failure = getattr(error, "invariant", _RULES.get(type(error), type(error).__name__))
        result.message = _explain(error)
    if keep_trace:
        result.trace = [_line(*entry) for entry in kernel.trace]
    elif result.failure is not None:
        result.trace = [_line(*entry) for entry in list(kernel.trace)[-TRACE_LINES_SHOWN:]]
    result.digest = kernel.digest
    result.virtual_s = kernel.now / SECOND
    result.cpu_s = process_time() - started
    result.events = kernel.executed
    result.operations = len(run.cluster.history)
    result.searched = run.world.searched
    result.coverage = dict(run.cluster.coverage)
    return result


def _explain(error: Exception) -> str:
    if isinstance(error, InvariantViolation):
        return str(error).removeprefix(f"{error.invariant}: ")
    if isinstance(error, HistoryViolation):
        return str(error)
    summary = traceback.format_exception_only(error)[-1].strip()
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{summary} in {where.name}\n" + "".join(traceback.format_tb(error.__traceback__)[-4:])


def _line(time: int, *what: object) -> str:
    return f"{time / SECOND:12.6f}  {' '.join(str(item) for item in what)}"


def run_seeds(seeds: Iterable[Seed], seconds: float, jobs: int) -> Iterator[RunResult]:
    """Run many seeds, in order; ``seeds`` may be endless and is read as results are taken."""
    if jobs <= 1:
        for seed in seeds:
            yield run_seed(seed, seconds)
        return
    pending: deque[Future[RunResult]] = deque()
    with ProcessPoolExecutor(jobs) as pool:
        try:
            for seed in seeds:
                pending.append(pool.submit(run_seed, seed, seconds))
                if len(pending) > 4 * jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def totals(results: Iterable[RunResult]) -> Coverage:
    """Return the coverage of a batch."""
    counts = Coverage()
    for result in results:
        counts.merge(result.coverage)
    return counts
