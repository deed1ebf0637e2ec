"""The cache service in the Prometheus exposition format.

What is stored, and what homes did, is told by the leader of the shard, so that sums over the nodes
hold. Reads are told by the node that answered them, and ``synaxis_cache_node_...`` by the node
whose own agents it is about.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric

__all__ = [
    "AgentsSample",
    "BackingSample",
    "CacheSample",
    "HomesSample",
    "OneCacheSample",
    "cache_metrics",
]


class OneCacheSample(NamedTuple):
    """What the shards that this node leads have of a cache."""

    cache: str
    records: int
    bytes: int


class HomesSample(NamedTuple):
    """The homes of this node together; gauges only while they lead."""

    agents: int = 0
    """Near caches that are attached."""
    lines: int = 0
    """Copies that they hold."""
    pending: int = 0
    """Writes that the store behind the caches does not have."""
    recovering: int = 0
    """Homes that wait for near caches of a former leader."""
    transactions: Mapping[str, int] = {}
    """Name on the bus -> how often."""
    invalidations: Sequence[tuple[str, float]] = (("+Inf", 0),)
    """Cumulative buckets of the time from a probe to its answer."""
    invalidation_s: float = 0.0
    lease_expiries: int = 0
    dirty_lost: int = 0
    evictions: int = 0
    expirations: int = 0


class AgentsSample(NamedTuple):
    """The node's own agents together."""

    lines: int = 0
    bytes: int = 0
    waiting: int = 0
    invalidations: int = 0
    flushes: int = 0
    evictions: int = 0
    lease_expiries: int = 0


class BackingSample(NamedTuple):
    """The way to the store behind the caches, of the shards that this node leads."""

    unavailable: int = 0
    """Shards whose leader, this node, got no answer."""
    written: int = 0
    loaded: int = 0
    failures: int = 0


class CacheSample(NamedTuple):
    """Everything about caches at the moment of a scrape."""

    hits: int = 0
    misses: int = 0
    caches: Sequence[OneCacheSample] = ()
    homes: HomesSample = HomesSample()
    agents: AgentsSample = AgentsSample()
    backing: BackingSample = BackingSample()


_HOME_GAUGES = {
    "agents": ("agents", "Near caches of clients and nodes that are attached to homes."),
    "lines": ("lines", "Copies of records that near caches hold."),
    "recovering": ("homes_recovering", "Homes that wait for near caches of a former leader."),
    "pending": ("backing_pending", "Writes that the store behind the caches does not have yet."),
}
"""Field -> end of the metric's name, and its help; so below."""
_HOME_COUNTERS = {
    "lease_expiries": ("lease_expiries", "Near caches that fell silent and lost their copies."),
    "dirty_lost": ("dirty_lost", "Writes of policy back that are, or may be, lost."),
    "evictions": ("evictions", "Records that had to make room."),
    "expirations": ("expirations", "Records whose time was over."),
}
_AGENT_GAUGES = {
    "lines": ("node_lines", "Copies that this node's own near caches hold."),
    "bytes": ("node_bytes", "Memory of these copies."),
    "waiting": ("node_waiting", "Operations that wait for this node's own near caches."),
}
_AGENT_COUNTERS = {
    "invalidations": ("node_invalidations", "Copies of this node that homes took back."),
    "flushes": ("node_flushes", "Writes of this node that homes took."),
    "evictions": ("node_evictions", "Copies of this node that had to make room."),
    "lease_expiries": ("node_lease_expiries", "Leases of this node that ran out."),
}
_BACKING_COUNTERS = {
    "written": ("backing_written", "Records written to the store behind the caches."),
    "loaded": ("backing_loaded", "Records found in the store behind the caches."),
    "failures": ("backing_failures", "Times that the store behind the caches did not answer."),
}


def cache_metrics(sample: CacheSample) -> Iterator[Metric]:
    """Yield every metric of the cache service."""
    yield CounterMetricFamily("synaxis_cache_hits", "Reads that found a record.", sample.hits)
    yield CounterMetricFamily("synaxis_cache_misses", "Reads that found no record.", sample.misses)
    for name, help_text in (("records", "Records."), ("bytes", "Bytes of keys and values.")):
        family = GaugeMetricFamily(f"synaxis_cache_{name}", help_text, labels=["cache"])
        for each in sample.caches:
            family.add_metric([each.cache], getattr(each, name))
        yield family
    yield from _bus(sample.homes)
    yield from _gauges(sample.homes, _HOME_GAUGES)
    yield from _counters(sample.homes, _HOME_COUNTERS)
    yield from _gauges(sample.agents, _AGENT_GAUGES)
    yield from _counters(sample.agents, _AGENT_COUNTERS)
    yield GaugeMetricFamily(
        "synaxis_cache_backing_unavailable",
        "Shards that this node leads for which the store behind the caches does not answer.",
        sample.backing.unavailable,
    )
    yield from _counters(sample.backing, _BACKING_COUNTERS)


def _bus(homes: HomesSample) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "synaxis_cache_bus_transactions",
        "What near caches wanted, and what homes demanded of them.",
        labels=["type"],
    )
    for name, count in sorted(homes.transactions.items()):
        family.add_metric([name], count)
    yield family
    yield HistogramMetricFamily(
        "synaxis_cache_invalidation_seconds",
        "From a probe to the answer of the near cache.",
        buckets=homes.invalidations,
        sum_value=homes.invalidation_s,
    )


def _gauges(sample: object, fields: Mapping[str, tuple[str, str]]) -> Iterator[Metric]:
    for field, (name, help_text) in fields.items():
        value = attrgetter(field)(sample)
        yield GaugeMetricFamily(f"synaxis_cache_{name}", help_text, value)


def _counters(sample: object, fields: Mapping[str, tuple[str, str]]) -> Iterator[Metric]:
    for field, (name, help_text) in fields.items():
        value = attrgetter(field)(sample)
        yield CounterMetricFamily(f"synaxis_cache_{name}", help_text, value)
