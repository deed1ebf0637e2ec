"""The exposition, read back with Prometheus' own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.metric_names import exported_names, full_counters, full_sample
from synaxis.ids import NodeId
from synaxis.observability.counters import NodeCounters
from synaxis.observability.metrics import Metrics, NodeSample

PREDECESSOR = {
    "synaxis_requests_total": {"node_id", "request_type", "status"},
    "synaxis_request_latency_seconds_bucket": {"le"},
    "synaxis_active_locks": {"lock_type"},
    "synaxis_queue_size": {"topic"},
    "synaxis_cache_hits_total": set(),
    "synaxis_cache_misses_total": set(),
    "synaxis_consensus_term": set(),
    "synaxis_consensus_role": set(),
    "synaxis_cluster_nodes_alive": set(),
}


def scrape(
    sample: NodeSample, counters: NodeCounters
) -> dict[str, list[tuple[dict[str, str], float]]]:
    metrics = Metrics(NodeId("n1"), counters, lambda: sample)
    content_type, body = metrics.render()
    assert content_type.startswith("text/plain")
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for each in family.samples:
            found.setdefault(each.name, []).append((each.labels, each.value))
    return found


@pytest.mark.parametrize("name", PREDECESSOR)
def test_the_names_and_labels_of_the_predecessor_are_kept(name: str) -> None:
    found = scrape(full_sample(), full_counters())
    assert {frozenset(labels) for labels, _ in found[name]} == {frozenset(PREDECESSOR[name])}


def test_the_queue_gauge_of_the_predecessor_is_announced_with_its_type() -> None:
    _, body = Metrics(NodeId("n1"), NodeCounters(), NodeSample).render()
    assert b"# TYPE synaxis_queue_size gauge" in body


def test_requests_are_told_by_type_and_outcome() -> None:
    found = scrape(full_sample(), full_counters())
    assert found["synaxis_requests_total"] == [
        ({"node_id": "n1", "request_type": "acquire", "status": "deadlock"}, 1),
        ({"node_id": "n1", "request_type": "acquire", "status": "ok"}, 3),
        ({"node_id": "n1", "request_type": "open_session", "status": "ok"}, 2),
    ]


def test_only_the_leader_tells_sizes_so_that_a_sum_over_nodes_holds() -> None:
    follower = full_sample(role="follower")._replace(locks=())
    found = scrape(follower, NodeCounters())
    assert "synaxis_active_locks" not in found
    assert "synaxis_sessions" not in found
    assert found["synaxis_lock_waiters"] == [({}, 0)]


@pytest.mark.parametrize(
    ("role", "number"), [("follower", 0), ("learner", 0), ("pre_candidate", 1), ("leader", 2)]
)
def test_a_role_is_the_number_that_the_predecessor_used(role: str, number: int) -> None:
    assert scrape(full_sample(role), NodeCounters())["synaxis_consensus_role"] == [({}, number)]


def test_a_leader_tells_how_far_each_follower_is_behind() -> None:
    found = scrape(full_sample(), NodeCounters())
    assert ({"group": "locks/0", "peer": "n2"}, 3.0) in found["synaxis_raft_follower_lag"]


def test_a_node_counts_itself_among_the_living() -> None:
    assert scrape(NodeSample(), NodeCounters())["synaxis_cluster_nodes_alive"] == [({}, 1)]
    assert scrape(full_sample(), NodeCounters())["synaxis_cluster_nodes_alive"] == [({}, 2)]


def test_each_peer_is_in_exactly_one_state() -> None:
    found = scrape(full_sample(), NodeCounters())["synaxis_peer_state"]
    assert [labels["state"] for labels, value in found if labels["peer"] == "n3" and value] == [
        "suspected"
    ]


def test_the_process_tells_its_memory_and_cpu() -> None:
    found = scrape(NodeSample(), NodeCounters())
    assert found["process_resident_memory_bytes"][0][1] > 1 << 20
    assert "process_cpu_seconds_total" in found


def test_names_carry_our_prefix_and_a_base_unit() -> None:
    ours = [name for name in exported_names() if not name.startswith(("process_", "python_"))]
    assert all(name.startswith("synaxis_") for name in ours)
    assert not [name for name in ours if name.endswith(("_ms", "_us", "_kb", "_percent"))]


def test_openmetrics_is_answered_to_those_who_ask() -> None:
    metrics = Metrics(NodeId("n1"), NodeCounters(), NodeSample)
    content_type, body = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
