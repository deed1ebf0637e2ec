"""A cluster with a cache shard, agents and clients, and the check of what they saw."""

from functools import partial

from synaxis.caches.commands import Put
from synaxis.simulation import witness
from synaxis.simulation.caches.history import NO_RECORD, Facts, intervals_of, sequential_record
from synaxis.simulation.caches.judge import judge_fills, judge_losses, judge_monotonic
from synaxis.simulation.caches.ledger import Ledger
from synaxis.simulation.caches.node import CacheNode, Shared
from synaxis.simulation.caches.setup import draw_setup
from synaxis.simulation.caches.watch import Watch
from synaxis.simulation.caches.workload import CacheWorkload
from synaxis.simulation.cluster import Cluster, ClusterShape
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.history import HistoryViolation, MachineCall
from synaxis.simulation.invariants import InvariantViolation
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.lock_history import prefix
from synaxis.simulation.process import SimulatedNode
from synaxis.simulation.wgl import Verdict, check

__all__ = ["CacheWorld"]

WGL_OPERATIONS_MAX = 3_000
"""Operations of one key that are searched; longer histories are checked up to there."""


class CacheWorld:
    """See the module."""

    def __init__(self, kernel: Kernel, shape: ClusterShape, mix: FaultMix) -> None:
        self.searched = 0
        self.setup = draw_setup(kernel.stream("setup"), mix.drift_max)
        self.ledger = Ledger()
        self.watch = Watch()
        self.workload = CacheWorkload(
            kernel.stream("workload"), self.setup, self.ledger, self.watch
        )
        node = partial(CacheNode, Shared(self.setup, self.ledger, self.watch, self._node_ids))
        self.cluster = Cluster(kernel, shape, mix, node, self.workload)
        self.cluster.monitor.on_call = self._applied

    def _node_ids(self) -> list[str]:
        return self.cluster.node_ids

    def _applied(self, call: MachineCall) -> None:
        if self.ledger.log_applied(call):
            self.watch.applied(call)

    def settle(self) -> None:
        """Do nothing: clients finish by themselves."""

    def is_over(self) -> bool:
        """Return whether no agent has anything to do; what is unflushed goes home."""
        hosts = [host for host in self.watch.hosts if isinstance(host.place, CacheNode)]
        for host in hosts:
            host.flush_all()
        return all(host.is_idle for host in hosts)

    def compare(self, replicas: list[SimulatedNode]) -> None:
        """Demand that the home has nothing left to do, and count what happened."""
        coverage = self.cluster.coverage
        for node in replicas:
            assert isinstance(node, CacheNode)
            if node.home.gate.drop_held():
                raise InvariantViolation("nothing waits for ever", f"{node.id} holds something")
            for line in node.home.directory.lines.values():
                wish = line.current is not None and line.current.ticket is None
                if line.queue or wish:  # what is left may be letting a record go at any time
                    raise InvariantViolation("nothing waits for ever", f"{line.key} at {node.id}")
            coverage.hit("cache.evicted", node.cache.evictions)
            coverage.hit("cache.expired", node.cache.records.expired)

    def check_history(self) -> None:
        """See ``World``."""
        cluster, ledger, setup = self.cluster, self.ledger, self.setup
        history, decided = cluster.history, cluster.monitor.decided
        calls = cluster.monitor.calls
        witness.check_real_time(history)
        # A fill may be refused when it is sent again, though it was stored the first time.
        told = [one for one in history if not (isinstance(one.request, Put) and one.request.fill)]
        witness.check_answers(told, decided)
        witness.check_order(history, decided)
        facts = Facts(calls, decided, ledger)
        for key in (*setup.plain, *setup.counts, *setup.back):
            if key not in ledger.at_risk:
                self._search(key, facts)
        for key in setup.aged:
            judge_monotonic(key, history, ledger)
        judge_fills(ledger, history)

    def check_end(self) -> None:
        """See ``World``."""
        for host in self.watch.hosts:
            self.ledger.dirty_lost[host.agent.id] = host.agent.tally.dirty_lost
        judge_losses(self.ledger)

    def _search(self, key: str, facts: Facts) -> None:
        intervals = prefix(intervals_of(key, self.cluster.history, facts), WGL_OPERATIONS_MAX)
        self.searched += len(intervals)
        verdict = check(intervals, NO_RECORD, sequential_record)
        if verdict is not Verdict.LINEARIZABLE:
            raise HistoryViolation(f"the history of {key} is {verdict.value}")
