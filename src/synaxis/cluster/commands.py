"""The nouns of the ``cluster`` group: nodes, settings and the questions about them."""

import msgspec

from synaxis.ids import NodeId
from synaxis.topics import TopicConfig, TopicRecord

__all__ = [
    "AddNode",
    "ClusterAnswer",
    "ClusterCommand",
    "ClusterEvent",
    "ClusterQuery",
    "ClusterView",
    "CreateTopic",
    "DeleteTopic",
    "DescribeCluster",
    "ListTopics",
    "NodeChanged",
    "NodeRecord",
    "RegisterNode",
    "RemoveNode",
    "TopicChanged",
    "TopicList",
    "UpdateTopic",
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


class CreateTopic(msgspec.Struct, frozen=True, array_like=True, tag=63):
    """Create a topic; the same once more answers with what is there.

    Refused with ``already_exists`` when it exists with another configuration.
    """

    name: str
    config: TopicConfig


class UpdateTopic(msgspec.Struct, frozen=True, array_like=True, tag=64):
    """Change everything but the number of partitions."""

    name: str
    config: TopicConfig


class DeleteTopic(msgspec.Struct, frozen=True, array_like=True, tag=67):
    """Remove a topic and all that it stores. Repeating it changes nothing."""

    name: str


ClusterCommand = RegisterNode | AddNode | RemoveNode | CreateTopic | UpdateTopic | DeleteTopic


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
    queue_groups: int


class ListTopics(msgspec.Struct, frozen=True, array_like=True, tag=68):
    """Ask for the topics whose name starts with ``prefix``, or for one by its whole ``name``."""

    prefix: str = ""
    name: str = ""


class TopicList(msgspec.Struct, frozen=True, array_like=True, tag=69):
    """Topics by name, without removed ones."""

    topics: tuple[TopicRecord, ...]


ClusterQuery = DescribeCluster | ListTopics
ClusterAnswer = ClusterView | TopicList


class TopicChanged(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """A topic was created, changed or removed."""

    topic: TopicRecord


class NodeChanged(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """A member was added, removed or registered anew."""

    node: NodeRecord


ClusterEvent = NodeChanged | TopicChanged
