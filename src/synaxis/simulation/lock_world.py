"""A cluster of lock groups, its clients, and the check of what they were told."""

from functools import partial

from synaxis.simulation import lock_history, witness
from synaxis.simulation.cluster import Cluster, ClusterShape
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.lock_model import LockModel
from synaxis.simulation.lock_node import LockNode
from synaxis.simulation.process import SimulatedNode
from synaxis.simulation.wgl import Verdict, check
from synaxis.simulation.workload import LockWorkload

__all__ = ["LockWorld"]

WGL_OPERATIONS_MAX = 2_000
"""Operations of one lock that are searched; longer histories are checked up to there."""


class LockWorld:
    """See the module."""

    def __init__(self, kernel: Kernel, shape: ClusterShape, mix: FaultMix) -> None:
        self.workload = LockWorkload(kernel.stream("workload"))
        node = partial(LockNode, shape.locks)
        self.cluster = Cluster(kernel, shape, mix, node, self.workload)
        self.searched = 0
        self._model = LockModel(self.cluster.coverage)

    def settle(self) -> None:
        """Do nothing: clients finish by themselves."""

    def is_over(self) -> bool:
        """Return True: see ``settle``."""
        return True

    def compare(self, replicas: list[SimulatedNode]) -> None:
        """Do nothing: the state is everything."""

    def check_history(self) -> None:
        """See ``World``."""
        cluster = self.cluster
        history, decided = cluster.history, cluster.monitor.decided
        witness.check_real_time(history)
        witness.check_answers(history, decided)
        witness.check_order(history, decided)
        self._model = witness.replay(cluster.monitor.calls, history, cluster.coverage)
        for name in self.workload.plain:
            self._search(name)

    def check_end(self) -> None:
        """See ``World``."""
        table = self._model.table
        if table.grants or table.waits:
            raise HistoryViolation(f"locks outlived their sessions: {list(table.grants)}")

    def _search(self, name: str) -> None:
        cluster = self.cluster
        intervals = lock_history.intervals_of(
            name, cluster.history, cluster.monitor.calls, cluster.monitor.decided
        )
        intervals.sort(key=lambda interval: interval.called)
        intervals = lock_history.prefix(intervals, WGL_OPERATIONS_MAX)
        self.searched += len(intervals)
        verdict = check(intervals, lock_history.INITIAL, lock_history.sequential_lock)
        if verdict is not Verdict.LINEARIZABLE:
            raise HistoryViolation(f"the history of {name} is {verdict.value}")
