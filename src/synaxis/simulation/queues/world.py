"""A cluster with a queue shard, those who publish and consume, and the check of what they saw."""

from functools import partial
from itertools import pairwise

import msgspec

from synaxis.simulation import witness
from synaxis.simulation.cluster import Cluster, ClusterShape
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.invariants import InvariantViolation
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.process import SimulatedNode
from synaxis.simulation.queues.inspection import backlog_of
from synaxis.simulation.queues.judge import replay
from synaxis.simulation.queues.ledger import Ledger
from synaxis.simulation.queues.model import QueueModel
from synaxis.simulation.queues.node import QueueNode
from synaxis.simulation.queues.plan import OperatorRole, ProducerRole, draw_plan
from synaxis.simulation.queues.setup import draw_setup
from synaxis.simulation.queues.workload import QueueWorkload

__all__ = ["QueueWorld"]

WATCH_US = 250_000


class QueueWorld:
    """See the module."""

    def __init__(self, kernel: Kernel, shape: ClusterShape, mix: FaultMix) -> None:
        self.searched = 0
        self.ledger = Ledger()
        self.setup = draw_setup(kernel.stream("setup"))
        self.plan = draw_plan(kernel, self.setup, self.ledger)
        shape.clients, shape.reader = len(self.plan.roles), False
        node = partial(QueueNode, self.setup, self.ledger)
        self.workload = QueueWorkload(self.plan)
        self.cluster = Cluster(kernel, shape, mix, node, self.workload)
        self.cluster.monitor.on_call = self.ledger.called
        self.plan.lose = self.cluster.lose_client
        self._model = QueueModel(self.setup.limits, self.cluster.coverage)
        self._watch()

    def settle(self) -> None:
        """Let topics go on that were paused; members leave when everything is consumed."""
        for name, record in list(self.setup.topics.items()):
            config = record.config
            if config.paused:
                self.setup.change(name, msgspec.structs.replace(config, paused=False))

    def _watch(self) -> None:
        """Look how far the groups are, for those who wait for it."""
        plan = self.plan
        leader = self.cluster.leader()
        replica = leader.replica if leader is not None else None
        if isinstance(leader, QueueNode) and replica is not None and replica.is_current:
            plan.backlog = backlog_of(leader.queues.shard)
            plan.drained = plan.stopping and plan.backlog == 0 and self._is_quiet()
        if not plan.drained:
            self.cluster.kernel.after(WATCH_US, self._watch)

    def _is_quiet(self) -> bool:
        """Return whether nothing more will come to be consumed."""
        roles = zip(self.plan.roles, self.workload.clients, strict=True)
        return all(
            client is None or client.finished
            if isinstance(role, ProducerRole)
            else client is not None and client.finished and not client.dead
            for role, client in roles
            if isinstance(role, ProducerRole | OperatorRole)
        )

    def is_over(self) -> bool:
        """Return whether everything is consumed."""
        return self.plan.drained

    def compare(self, replicas: list[SimulatedNode]) -> None:
        """Demand that live segments are equal too, and hold what was published."""
        contents = []
        for replica in replicas:
            assert isinstance(replica, QueueNode)
            replica.take_census()
            contents.append(replica.segments())
        if any(one != other for one, other in pairwise(contents)):
            raise InvariantViolation("equal stores", "segments differ at the end of the run")

    def check_history(self) -> None:
        """See ``World``."""
        cluster = self.cluster
        history, decided = cluster.history, cluster.monitor.decided
        witness.check_real_time([*history, *self.ledger.operations])
        witness.check_answers(history, decided)
        witness.check_order(history, decided)
        calls, limits = cluster.monitor.calls, self.setup.limits
        self._model = replay(calls, history, self.ledger, limits, cluster.coverage)

    def check_end(self) -> None:
        """See ``World``."""
        for name, topic in self._model.topics.items():
            for group in topic.groups.values():
                for number in topic.logs:
                    left = group.open_in(number)
                    if left:
                        raise HistoryViolation(
                            f"Q3: {left} of {name}/{number} never came to an end in {group.name}"
                        )
