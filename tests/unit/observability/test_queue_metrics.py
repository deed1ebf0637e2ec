"""Queues in the exposition."""

from prometheus_client.parser import text_string_to_metric_families

from support.metric_names import full_sample
from synaxis.ids import NodeId
from synaxis.observability.counters import NodeCounters
from synaxis.observability.metrics import Metrics, NodeSample
from synaxis.observability.queue_metrics import QueueSample

Samples = dict[str, list[tuple[dict[str, str], float]]]


def scrape(queues: QueueSample) -> Samples:
    sample = NodeSample(queues=queues)
    _, body = Metrics(NodeId("n1"), NodeCounters(), lambda: sample).render()
    found: Samples = {}
    for family in text_string_to_metric_families(body.decode()):
        for each in family.samples:
            found.setdefault(each.name, []).append((each.labels, each.value))
    return found


def test_the_gauge_of_the_predecessor_has_its_name_and_label() -> None:
    found = scrape(full_sample().queues)
    assert found["synaxis_queue_size"] == [({"topic": "orders"}, 12)]


def test_a_field_of_the_tally_stands_under_its_own_name() -> None:
    found = scrape(QueueSample(counted={"orders": (1, 2, 3, 4, 5, 6)}))
    values = {
        name: value
        for name, samples in found.items()
        for labels, value in samples
        if name.startswith("synaxis_queue_") and labels == {"topic": "orders"}
    }
    assert values == {
        "synaxis_queue_messages_published_total": 1,
        "synaxis_queue_duplicates_total": 2,
        "synaxis_queue_messages_acked_total": 3,
        "synaxis_queue_redelivered_total": 4,
        "synaxis_queue_dead_lettered_total": 5,
        "synaxis_queue_expired_total": 6,
    }


def test_a_consumer_group_is_told_by_topic_and_group() -> None:
    found = scrape(full_sample().queues)
    labels = {"topic": "orders", "group": "billing"}
    assert found["synaxis_queue_consumer_lag"] == [(labels, 7)]
    assert found["synaxis_queue_oldest_unacked_age_seconds"] == [(labels, 1.5)]
    assert found["synaxis_queue_in_flight"] == [(labels, 3)]
    assert found["synaxis_queue_delayed"] == [(labels, 2)]
    assert found["synaxis_queue_dead_letters"] == [(labels, 1)]
    assert found["synaxis_queue_members"] == [(labels, 4)]


def test_a_shard_tells_its_memory_and_its_bytes() -> None:
    found = scrape(full_sample().queues)
    assert found["synaxis_queue_index_bytes"] == [({"shard": "queues/0"}, 360)]
    assert found["synaxis_queue_shard_stored_bytes"] == [({"shard": "queues/0"}, 4096)]


def test_a_full_disk_is_told() -> None:
    assert scrape(QueueSample())["synaxis_queue_refusing"] == [({}, 0)]
    assert scrape(QueueSample(refusing=True))["synaxis_queue_refusing"] == [({}, 1)]
