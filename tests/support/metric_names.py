"""A node's state with something in every place, and the metric names that it exports."""

from prometheus_client.parser import text_string_to_metric_families

from synaxis.consensus.commands import OpenSession
from synaxis.effects import Members
from synaxis.ids import LogIndex, NodeId, Term
from synaxis.locks.commands import Acquire
from synaxis.observability.cache_metrics import (
    AgentsSample,
    BackingSample,
    CacheSample,
    HomesSample,
    OneCacheSample,
)
from synaxis.observability.counters import NodeCounters
from synaxis.observability.metrics import (
    GroupSample,
    LockSample,
    Metrics,
    NodeSample,
    PeerSample,
)
from synaxis.observability.queue_metrics import (
    ConsumerSample,
    QueueSample,
    ShardSample,
    TopicSample,
)
from synaxis.ports import LogStatus

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


def full_status(role: str = "leader") -> LogStatus:
    """Return the status of a three-voter group at index 10 of term 4."""
    return LogStatus(
        role=role,
        term=Term(4),
        leader=N1,
        commit_index=LogIndex(9),
        last_index=LogIndex(10),
        stable_index=LogIndex(10),
        snapshot_index=LogIndex(0),
        members=Members(voters=(N1, N2, N3)),
        ready=True,
        match={N1: LogIndex(10), N2: LogIndex(7), N3: LogIndex(10)},
        log_bytes=512,
        change_pending=False,
        transferring=None,
    )


def full_sample(role: str = "leader") -> NodeSample:
    """Return a sample of a node that leads one lock group and one queue shard."""
    return NodeSample(
        groups=[
            GroupSample("cluster", full_status("follower"), 9, 0),
            GroupSample("locks/0", full_status(role), 9, 5),
        ],
        locks=[LockSample(exclusive=2, shared=3, semaphore=1, waiters=4)],
        peers=[PeerSample("n2", "alive", 0.1), PeerSample("n3", "suspected", 9.0)],
        watchers=1,
        queues=QueueSample(
            topics=[TopicSample("orders", messages=12, stored_bytes=4096)],
            consumers=[
                ConsumerSample(
                    "orders",
                    "billing",
                    lag=7,
                    oldest_age_s=1.5,
                    in_flight=3,
                    delayed=2,
                    dead_letters=1,
                    members=4,
                )
            ],
            shards=[ShardSample("queues/0", index_bytes=360, stored_bytes=4096)],
            counted={"orders": (20, 1, 8, 2, 1, 0)},
            delivered=11,
            unflushed_bytes=256,
        ),
        caches=CacheSample(
            hits=90,
            misses=10,
            caches=[OneCacheSample("users", records=40, bytes=4000)],
            homes=HomesSample(
                agents=3,
                lines=50,
                pending=2,
                recovering=1,
                transactions={"BusRd": 60, "Inv": 7},
                invalidations=[("0.001", 6), ("+Inf", 7)],
                invalidation_s=0.009,
                lease_expiries=1,
                dirty_lost=4,
                evictions=5,
                expirations=6,
            ),
            agents=AgentsSample(lines=20, bytes=3000, waiting=1, invalidations=8, flushes=9),
            backing=BackingSample(unavailable=1, written=30, loaded=20, failures=3),
        ),
    )


def full_counters() -> NodeCounters:
    """Return counters of a node that has answered a few requests."""
    counters = NodeCounters()
    counters.requests[Acquire, "ok"] += 3
    counters.requests[Acquire, "deadlock"] += 1
    counters.requests[OpenSession, "ok"] += 2
    return counters


def exported_names() -> set[str]:
    """Return every sample name that a busy node exports."""
    _, body = Metrics(N1, full_counters(), full_sample).render()
    return {
        sample.name
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
