"""Moves each group towards the members that the cluster wants, one change at a time.

Every node runs it, for the groups that it leads. The wish comes from the replicated list of
nodes and the ring; Raft decides. So a flapping failure detector can never make a second owner.
"""

from collections.abc import Mapping

from synaxis.cluster.machine import ClusterMachine
from synaxis.cluster.placement import Placement, next_members
from synaxis.consensus.replica import Replica
from synaxis.errors import ClusterError
from synaxis.ids import GroupId, Instant, NodeId
from synaxis.ports import LogStatus

__all__ = ["Rebalancer"]

CAUGHT_UP_ENTRIES = 100
"""A learner this close behind may vote: it needs less than an election timeout for the rest."""


class Rebalancer:
    """See the module."""

    def __init__(
        self,
        node_id: NodeId,
        replicas: Mapping[GroupId, Replica],
        cluster: ClusterMachine,
        replication_factor: int,
    ) -> None:
        self._node_id = node_id
        self._replicas = replicas
        self._cluster = cluster
        self._replication_factor = replication_factor
        self._placement = Placement((), replication_factor)
        self._placed_for: tuple[NodeId, ...] = ()

    def step(self, now: Instant) -> list[GroupId]:
        """Start at most one change per led group; return the groups that need a drain."""
        members = self._cluster.members
        if members != self._placed_for:
            self._placed_for = members
            self._placement = Placement(members, self._replication_factor)
        return [
            group for group, replica in self._replicas.items() if self._step(group, replica, now)
        ]

    def _step(self, group: GroupId, replica: Replica, now: Instant) -> bool:
        if not replica.log.ready:
            return False
        status = replica.status()
        if status.change_pending or status.transferring is not None:
            return False
        target = self._placement.target(group, status.members)
        caught_up = [
            node
            for node, match in status.match.items()
            if match > 0 and match + CAUGHT_UP_ENTRIES >= status.commit_index
        ]
        wanted = next_members(status.members, target, caught_up)
        if wanted is None:
            return False
        try:
            if self._node_id not in wanted.voters and self._hand_over(replica, status, now):
                return True
            replica.log.change_members(wanted.voters, wanted.learners, now)
        except ClusterError:
            return False
        return True

    def _hand_over(self, replica: Replica, status: LogStatus, now: Instant) -> bool:
        """Before leaving a group, give leadership to a member that stays."""
        stay = [
            node
            for node in status.members.voters
            if node != self._node_id and node in self._cluster.members
        ]
        if not stay:
            return False
        best = max(stay, key=lambda node: (status.match.get(node, 0), node))
        replica.log.transfer_leadership(best, now)
        return True
