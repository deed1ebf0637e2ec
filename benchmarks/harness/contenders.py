"""Who takes part, in the order of the tables."""

from benchmarks.harness.jetstream import JetStream
from benchmarks.harness.peers import Etcd, Postgres, Redis
from benchmarks.harness.redis_streams import RedisStreams
from benchmarks.harness.synaxis_cluster import SynaxisCluster
from benchmarks.harness.synaxis_queues import SynaxisQueues
from benchmarks.harness.systems import LockSystem, QueueSystem

__all__ = ["lock_systems", "queue_systems"]


def lock_systems() -> list[LockSystem]:
    """Return ours with three nodes, the peers, and ours with a single node."""
    return [SynaxisCluster(3), Etcd(), Redis(), Postgres(), SynaxisCluster(1)]


def queue_systems() -> list[QueueSystem]:
    """Return ours and the peers."""
    return [SynaxisQueues(), JetStream(), JetStream(sync_always=True), RedisStreams()]
