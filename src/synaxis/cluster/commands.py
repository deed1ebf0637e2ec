"""The nouns of the ``cluster`` group: nodes, settings and the questions about them."""

import msgspec

from synaxis.ids import NodeId

__all__ = [
    "AddNode",
    "ClusterAnswer",
    "ClusterCommand",
    "ClusterEvent",
    "ClusterQuery",
    "ClusterView",
    "DescribeCluster",
    "NodeChanged",
    "NodeRecord",
    "RegisterNode",
    "RemoveNode",
]


class RegisterNode(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """A running node states its identity and addresses (proposed by the node itself).

    Refused with ``identity_mismatch`` when the id is known with another ``disk_id`` (a wiped
    disk under an old id) or was removed, ``not_found`` when the id was never added.
    """

    node_id: NodeId
    peer_address: str
    api_url: str
    disk_id: str
    version: str


class AddNode(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """Admit a node; the rebalancer then makes it a learner and, caught up, a voter."""

    node_id: NodeId
    peer_address: str
    api_url: str = ""


class RemoveNode(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """Retire a node id for ever; refused when it would leave no voter."""

    node_id: NodeId


ClusterCommand = RegisterNode | AddNode | RemoveNode


class NodeRecord(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """What the cluster knows of one node; also the reply to the commands above."""

    node_id: NodeId
    peer_address: str
    api_url: str
    disk_id: str = ""
    version: str = ""
    removed: bool = False


class DescribeCluster(msgspec.Struct, frozen=True, array_like=True, tag=65):
    """Ask for the ClusterView."""


class ClusterView(msgspec.Struct, frozen=True, array_like=True, tag=66):
    """Members in id order (removed ones included) and the fixed shape of the cluster."""

    nodes: tuple[NodeRecord, ...]
    lock_groups: int
    replication_factor: int


ClusterQuery = DescribeCluster
ClusterAnswer = ClusterView


class NodeChanged(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """A member was added, removed or registered anew."""

    node: NodeRecord


ClusterEvent = NodeChanged
