"""Turn counters and a sample of the node's state into the Prometheus exposition format.

The nine names of the predecessor keep their labels, so that its dashboards port over; all other
names follow the Prometheus naming rules (base units, ``_total``, no unbounded label).
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from synaxis.ids import NodeId
from synaxis.locks.commands import LockEventType
from synaxis.observability.cache_metrics import CacheSample, cache_metrics
from synaxis.observability.counters import LatencyHistogram, NodeCounters
from synaxis.observability.queue_metrics import QueueSample, queue_metrics
from synaxis.ports import LogStatus

__all__ = ["GroupSample", "LockSample", "Metrics", "NodeSample", "PeerSample", "package_version"]

_ROLE_NUMBERS = {"follower": 0, "learner": 0, "pre_candidate": 1, "candidate": 1, "leader": 2}
"""The predecessor's numbers: 0 follower, 1 candidate, 2 leader."""

PEER_STATES = ("alive", "suspected", "dead")


class GroupSample(NamedTuple):
    """One group as this node sees it at the moment of a scrape."""

    group: str
    status: LogStatus
    applied_index: int
    sessions: int


class LockSample(NamedTuple):
    """Sizes of one lock table that this node leads (followers give none, so that sums hold)."""

    exclusive: int
    """Exclusive grants held."""
    shared: int
    semaphore: int
    """Grants of semaphores, whatever their weight."""
    waiters: int


class PeerSample(NamedTuple):
    """Another member, as this node's failure detector sees it."""

    node_id: str
    state: str
    phi: float


class NodeSample(NamedTuple):
    """Everything that is read, not counted."""

    groups: Sequence[GroupSample] = ()
    locks: Sequence[LockSample] = ()
    peers: Sequence[PeerSample] = ()
    watchers: int = 0
    queues: QueueSample = QueueSample()
    caches: CacheSample = CacheSample()


class _Collected:
    """What a registry has collected, in place of the registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families = list(registry.collect())

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        return self._families


class Metrics:
    """One node's registry; ``gather`` or ``render`` answers a scrape."""

    def __init__(
        self, node_id: NodeId, counters: NodeCounters, sample: Callable[[], NodeSample]
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_NodeCollector(node_id, counters, sample))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def gather(self, accept: str = "") -> tuple[str, Callable[[], bytes]]:
        """Read everything; return the content type, and what makes the body of it.

        The latter is most of the work, and may be done by another thread.
        """
        encode, content_type = choose_encoder(accept)
        collected = _Collected(self.registry)
        return content_type, lambda: encode(collected)

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return (content type, body) in the format that the ``Accept`` header asks for."""
        content_type, body = self.gather(accept)
        return content_type, body()


class _NodeCollector(Collector):
    def __init__(
        self, node_id: NodeId, counters: NodeCounters, sample: Callable[[], NodeSample]
    ) -> None:
        self._node_id = node_id
        self._counters = counters
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        """Read everything once; called by the registry for each scrape."""
        sample = self._sample()
        yield InfoMetricFamily(
            "synaxis_build",
            "What runs here; the value is 1.",
            {
                "node_id": self._node_id,
                "version": package_version(),
                "python": platform.python_version(),
            },
        )
        yield from _requests(self._node_id, self._counters)
        yield from _raft(sample, self._counters)
        yield from _legacy_consensus(sample)
        yield from _locks(sample, self._counters)
        yield from _sessions(sample, self._counters)
        yield from _links(sample, self._counters)
        yield from _peers(sample.peers)
        yield from queue_metrics(sample.queues)
        yield from cache_metrics(sample.caches)


def package_version() -> str:
    """Return the version of the installed package; 0 when it runs from a bare source tree."""
    try:
        return version("synaxis")
    except PackageNotFoundError:
        return "0"


def _snake_case(name: str) -> str:
    return "".join("_" + each.lower() if each.isupper() else each for each in name).lstrip("_")


def _histogram(name: str, help_text: str, values: LatencyHistogram) -> HistogramMetricFamily:
    return HistogramMetricFamily(
        name, help_text, buckets=values.cumulative(), sum_value=values.total_s
    )


def _requests(node_id: NodeId, counters: NodeCounters) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "synaxis_requests",
        "Client requests answered by this node.",
        labels=["node_id", "request_type", "status"],
    )
    for (kind, status), count in sorted(
        counters.requests.items(), key=lambda item: (item[0][0].__name__, item[0][1])
    ):
        requests.add_metric([node_id, _snake_case(kind.__name__), status], count)
    yield requests
    yield _histogram(
        "synaxis_request_latency_seconds",
        "From a request's arrival to its answer, time in a lock's queue included.",
        counters.request_latency,
    )


_RAFT_GAUGES: tuple[tuple[str, str, Callable[[GroupSample], float]], ...] = (
    ("is_leader", "1 while this node leads the group.", lambda g: g.status.role == "leader"),
    ("has_leader", "1 while this node knows a leader.", lambda g: g.status.leader is not None),
    ("term", "Current term.", lambda g: g.status.term),
    ("commit_index", "Last log index known to be committed.", lambda g: g.status.commit_index),
    ("applied_index", "Last log index applied here.", lambda g: g.applied_index),
    ("last_index", "Last log index stored here.", lambda g: g.status.last_index),
    ("snapshot_index", "Last log index in the snapshot.", lambda g: g.status.snapshot_index),
    ("log_bytes", "Log bytes in memory since the last snapshot.", lambda g: g.status.log_bytes),
    ("voters", "Voting members of the group.", lambda g: len(g.status.members.voters)),
)


def _raft(sample: NodeSample, counters: NodeCounters) -> Iterator[Metric]:
    for name, help_text, read in _RAFT_GAUGES:
        family = GaugeMetricFamily(f"synaxis_raft_{name}", help_text, labels=["group"])
        for group in sample.groups:
            family.add_metric([group.group], float(read(group)))
        yield family
    lag = GaugeMetricFamily(
        "synaxis_raft_follower_lag",
        "Entries that a follower is not yet known to store; told by the leader.",
        labels=["group", "peer"],
    )
    changes = CounterMetricFamily(
        "synaxis_raft_leader_changes",
        "Times that this node saw a new leader of the group.",
        labels=["group"],
    )
    for group in sample.groups:
        changes.add_metric([group.group], counters.leader_changes.get(group.group, 0))
        if group.status.role == "leader":
            for peer, match in sorted(group.status.match.items()):
                lag.add_metric([group.group, peer], max(0, group.status.last_index - match))
    yield lag
    yield changes
    snapshots = CounterMetricFamily(
        "synaxis_raft_snapshots", "Snapshots taken or installed.", labels=["action"]
    )
    for action in ("taken", "installed"):
        snapshots.add_metric([action], counters.snapshots.get(action, 0))
    yield snapshots
    yield _histogram(
        "synaxis_raft_log_fsync_duration_seconds",
        "One value per group commit of the write-ahead log.",
        counters.fsync,
    )
    yield CounterMetricFamily(
        "synaxis_wal_written_bytes", "Bytes written to the log.", counters.wal_bytes
    )


def _legacy_consensus(sample: NodeSample) -> Iterator[Metric]:
    """Yield the predecessor's unlabelled gauges: those of the first lock group."""
    first = next((g for g in sample.groups if g.group.startswith("locks/")), None)
    for name, help_text, read in (
        ("term", "Term of the first lock group.", lambda status: status.term),
        (
            "role",
            "Role in the first lock group: 0 follower, 1 candidate, 2 leader.",
            lambda status: _ROLE_NUMBERS[status.role],
        ),
    ):
        family = GaugeMetricFamily(f"synaxis_consensus_{name}", help_text)
        if first is not None:
            family.add_metric([], read(first.status))
        yield family
    yield GaugeMetricFamily(
        "synaxis_cluster_nodes_alive",
        "Members that this node believes alive, itself included.",
        1 + sum(peer.state == "alive" for peer in sample.peers),
    )


_LOCK_COUNTERS: tuple[tuple[str, LockEventType, str], ...] = (
    ("synaxis_locks_granted", LockEventType.GRANTED, "Grants."),
    ("synaxis_locks_released", LockEventType.RELEASED, "Grants given back by their holders."),
    ("synaxis_locks_expired", LockEventType.EXPIRED, "Grants lost with a session or max hold."),
    ("synaxis_locks_force_released", LockEventType.FORCE_RELEASED, "Grants taken by a person."),
    ("synaxis_locks_converted", LockEventType.CONVERTED, "Upgrades and downgrades."),
    ("synaxis_deadlocks", LockEventType.DEADLOCK, "Deadlocks found and broken."),
)


def _locks(sample: NodeSample, counters: NodeCounters) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "synaxis_active_locks",
        "Grants held in the lock tables that this node leads.",
        labels=["lock_type"],
    )
    if sample.locks:
        active.add_metric(["EXCLUSIVE"], sum(table.exclusive for table in sample.locks))
        active.add_metric(["SHARED"], sum(table.shared for table in sample.locks))
        active.add_metric(["SEMAPHORE"], sum(table.semaphore for table in sample.locks))
    yield active
    yield GaugeMetricFamily(
        "synaxis_lock_waiters",
        "Requests queued in the lock tables that this node leads.",
        sum(table.waiters for table in sample.locks),
    )
    for name, event, help_text in _LOCK_COUNTERS:
        yield CounterMetricFamily(name, help_text, counters.lock_events[event])
    yield _histogram(
        "synaxis_locks_wait_duration_seconds", "From request to grant.", counters.lock_waits
    )


def _sessions(sample: NodeSample, counters: NodeCounters) -> Iterator[Metric]:
    sessions = GaugeMetricFamily(
        "synaxis_sessions", "Open sessions of the groups that this node leads.", labels=["group"]
    )
    for group in sample.groups:
        if group.status.role == "leader":
            sessions.add_metric([group.group], group.sessions)
    yield sessions
    yield CounterMetricFamily(
        "synaxis_sessions_opened", "Sessions created.", counters.sessions_opened
    )
    yield CounterMetricFamily(
        "synaxis_sessions_expired",
        "Sessions ended because their client was silent.",
        counters.sessions_expired,
    )


def _links(sample: NodeSample, counters: NodeCounters) -> Iterator[Metric]:
    links = (("client", counters.clients), ("peer", counters.peers))
    connections = GaugeMetricFamily("synaxis_connections", "Open connections.", labels=["link"])
    for link, count in links:
        connections.add_metric([link], count.opened - count.closed)
    yield connections
    yield GaugeMetricFamily("synaxis_watchers", "Open watches.", sample.watchers)
    for name, help_text, into, out in (
        ("frames", "Frames.", attrgetter("frames_in"), attrgetter("frames_out")),
        ("link_bytes", "Bytes of frames.", attrgetter("bytes_in"), attrgetter("bytes_out")),
    ):
        family = CounterMetricFamily(f"synaxis_{name}", help_text, labels=["link", "direction"])
        for link, count in links:
            family.add_metric([link, "in"], into(count))
            family.add_metric([link, "out"], out(count))
        yield family


def _peers(peers: Sequence[PeerSample]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "synaxis_peer_state",
        "1 for the state that the failure detector gives the peer.",
        labels=["peer", "state"],
    )
    phi = GaugeMetricFamily(
        "synaxis_peer_phi", "Suspicion level of the failure detector.", labels=["peer"]
    )
    for peer in peers:
        for each in PEER_STATES:
            state.add_metric([peer.node_id, each], float(peer.state == each))
        phi.add_metric([peer.node_id], peer.phi)
    yield state
    yield phi
