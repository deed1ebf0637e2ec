"""Caches in the exposition."""

from prometheus_client.parser import text_string_to_metric_families

from support.metric_names import full_sample
from synaxis.ids import NodeId
from synaxis.observability.cache_metrics import CacheSample
from synaxis.observability.counters import NodeCounters
from synaxis.observability.metrics import Metrics, NodeSample

Samples = dict[str, list[tuple[dict[str, str], float]]]


def scrape(caches: CacheSample) -> Samples:
    sample = NodeSample(caches=caches)
    _, body = Metrics(NodeId("n1"), NodeCounters(), lambda: sample).render()
    found: Samples = {}
    for family in text_string_to_metric_families(body.decode()):
        for each in family.samples:
            if each.name.startswith("synaxis_cache_"):
                found.setdefault(each.name, []).append((each.labels, each.value))
    return found


def test_the_counters_of_the_predecessor_have_their_names_and_no_label() -> None:
    found = scrape(full_sample().caches)
    assert found["synaxis_cache_hits_total"] == [({}, 90)]
    assert found["synaxis_cache_misses_total"] == [({}, 10)]


def test_what_is_stored_is_told_by_cache() -> None:
    found = scrape(full_sample().caches)
    assert found["synaxis_cache_records"] == [({"cache": "users"}, 40)]
    assert found["synaxis_cache_bytes"] == [({"cache": "users"}, 4000)]


def test_the_bus_is_told_by_type() -> None:
    found = scrape(full_sample().caches)
    assert found["synaxis_cache_bus_transactions_total"] == [
        ({"type": "BusRd"}, 60),
        ({"type": "Inv"}, 7),
    ]
    assert found["synaxis_cache_invalidation_seconds_bucket"] == [
        ({"le": "0.001"}, 6),
        ({"le": "+Inf"}, 7),
    ]
    assert found["synaxis_cache_invalidation_seconds_sum"] == [({}, 0.009)]


def test_every_other_number_has_a_name_of_its_own() -> None:
    found = scrape(full_sample().caches)
    plain = {
        name: samples[0][1]
        for name, samples in found.items()
        if samples[0][0] == {} and "invalidation_seconds" not in name
    }
    assert plain == {
        "synaxis_cache_hits_total": 90,
        "synaxis_cache_misses_total": 10,
        "synaxis_cache_agents": 3,
        "synaxis_cache_lines": 50,
        "synaxis_cache_backing_pending": 2,
        "synaxis_cache_homes_recovering": 1,
        "synaxis_cache_lease_expiries_total": 1,
        "synaxis_cache_dirty_lost_total": 4,
        "synaxis_cache_evictions_total": 5,
        "synaxis_cache_expirations_total": 6,
        "synaxis_cache_node_lines": 20,
        "synaxis_cache_node_bytes": 3000,
        "synaxis_cache_node_waiting": 1,
        "synaxis_cache_node_invalidations_total": 8,
        "synaxis_cache_node_flushes_total": 9,
        "synaxis_cache_node_evictions_total": 0,
        "synaxis_cache_node_lease_expiries_total": 0,
        "synaxis_cache_backing_unavailable": 1,
        "synaxis_cache_backing_written_total": 30,
        "synaxis_cache_backing_loaded_total": 20,
        "synaxis_cache_backing_failures_total": 3,
    }


def test_a_node_without_caches_tells_zeros() -> None:
    found = scrape(CacheSample())
    assert found["synaxis_cache_hits_total"] == [({}, 0)]
    assert found["synaxis_cache_invalidation_seconds_bucket"] == [({"le": "+Inf"}, 0)]
