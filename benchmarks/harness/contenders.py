"""Who takes part in the lock benchmarks, in the order of the tables."""

from benchmarks.harness.peers import Etcd, Postgres, Redis
from benchmarks.harness.synaxis_cluster import SynaxisCluster
from benchmarks.harness.systems import LockSystem

__all__ = ["lock_systems"]


def lock_systems() -> list[LockSystem]:
    """Return ours with three nodes, the peers, and ours with a single node."""
    return [SynaxisCluster(3), Etcd(), Redis(), Postgres(), SynaxisCluster(1)]
