"""What a node needs to know before it starts; built by ``server`` from the settings."""

import hashlib
import secrets

import msgspec

from synaxis.caches.agent import AgentConfig
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.cluster.commands import NodeRecord
from synaxis.cluster.placement import CLUSTER_GROUP, Placement
from synaxis.communication.peer_link import LinkConfig
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.replica_config import ReplicaConfig, SessionLimits
from synaxis.effects import Members
from synaxis.ids import GroupId, NodeId
from synaxis.locks.limits import LockLimits
from synaxis.queues.limits import DeliveryLimits, QueueLimits

__all__ = ["Bootstrap", "NodeConfig", "found_cluster"]


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """The shape a cluster was born with; the same on every node for ever.

    Replay of the log starts from here, so a node that joins later takes over the founders'
    version instead of its own settings.
    """

    cluster_id: str
    founders: dict[NodeId, str]
    """Node id to peer address."""
    lock_groups: int = 1
    queue_groups: int = 1
    cache_groups: int = 1
    replication_factor: int = 3
    token_epoch: int = 1
    """Prefix of fencing tokens; see ``locks.tokens``."""
    locks: LockLimits = LockLimits()
    queues: QueueLimits = QueueLimits()
    caches: CacheLimits = CacheLimits()
    sessions: SessionLimits = SessionLimits()
    """Limits that ``apply`` obeys belong here: replicas that differ in them would drift apart."""

    @property
    def groups(self) -> list[GroupId]:
        """All groups of the cluster."""
        return [
            CLUSTER_GROUP,
            *(GroupId(f"locks/{n}") for n in range(self.lock_groups)),
            *(GroupId(f"queues/{n}") for n in range(self.queue_groups)),
            *(GroupId(f"caches/{n}") for n in range(self.cache_groups)),
        ]

    def records(self) -> list[NodeRecord]:
        """Return the founders as the cluster machine starts with them."""
        return [NodeRecord(node, address, "") for node, address in sorted(self.founders.items())]

    def members(self, group: GroupId) -> Members:
        """Return the configuration that ``group`` starts with."""
        nodes = sorted(self.founders)
        return Placement(nodes, self.replication_factor).target(group, Members())


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one node but its disk."""

    node_id: NodeId
    disk_id: str
    bootstrap: Bootstrap
    peer_address: str
    """Where other nodes reach this one, host:port."""
    api_url: str
    """Where clients reach this one."""
    version: str
    raft: RaftConfig = RaftConfig()
    replica: ReplicaConfig = ReplicaConfig()
    queue_replica: ReplicaConfig = ReplicaConfig()
    """The same for queue shards, whose snapshots are small and whose log is not."""
    cache_replica: ReplicaConfig = ReplicaConfig()
    """The same for cache shards."""
    delivery: DeliveryLimits = DeliveryLimits()
    home: HomeLimits = HomeLimits()
    agent: AgentConfig = AgentConfig()
    """What the node's own cache agents may hold."""
    disk_reserve_bytes: int = 256 * 1024 * 1024
    """Free disk space below which the shards that this node leads take no more messages."""
    link: LinkConfig = LinkConfig()
    beat_ms: int = 250
    """Pause between heartbeats of the failure detector, and between rebalancing steps."""
    history_events_max: int = 10_000
    """Events kept per group for watchers that resume."""
    watchers_max: int = 1_000


def found_cluster(name: str, shape: Bootstrap) -> Bootstrap:
    """Return ``shape`` with the id of the new cluster.

    All founders must come to the same id by themselves, so it is a hash of everything that they
    must share: founders with other settings refuse each other instead of drifting apart. A node
    that founds alone shares nothing, and draws one.
    """
    if len(shape.founders) == 1:
        return msgspec.structs.replace(shape, cluster_id=secrets.token_hex(8))
    blank = msgspec.structs.replace(shape, cluster_id="")
    text = name.encode() + b"\n" + msgspec.json.encode(blank, order="deterministic")
    return msgspec.structs.replace(shape, cluster_id=hashlib.sha256(text).hexdigest()[:16])
