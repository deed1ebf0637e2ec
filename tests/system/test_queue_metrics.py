"""What the nodes of a real cluster tell about queues while leadership moves."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

import synaxis
from support.cluster_process import ClusterProcesses, NodeProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
SHARDS = ("queues/0", "queues/1", "queues/2", "queues/3")
PUBLISHED = "synaxis_queue_messages_published_total"


async def told(node: NodeProcess, name: str) -> float:
    """Return the sum of a node's samples of one name."""
    status, body = await asyncio.to_thread(node.get, "/metrics")
    assert status == 200
    return sum(
        sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == name
    )


async def told_by_all(nodes: ClusterProcesses, name: str) -> dict[str, float]:
    return {each.node_id: await told(each, name) for each in nodes.nodes.values()}


async def lead_everything(cluster: synaxis.AsyncSynaxis, node: NodeProcess) -> None:
    for shard in SHARDS:
        if not await asyncio.to_thread(node.leads, shard):
            await cluster.transfer_leadership(shard, node.node_id)
        while not await asyncio.to_thread(node.leads, shard):
            pass  # each look is a round trip; the test's timeout ends the wait


async def test_sums_over_nodes_hold_and_no_counter_falls_when_leadership_moves(
    cluster: Callable[..., ClusterProcesses],
) -> None:
    nodes = cluster(3)
    async with synaxis.connect(nodes.urls) as client:
        await client.topics.create("orders", partitions=8)
        topic = client.topic("orders")
        before = dict.fromkeys(nodes.nodes, 0.0)
        for turn, node in enumerate([*nodes.nodes.values()] * 2, start=1):
            await lead_everything(client, node)
            await topic.publish_many([b"message"] * 1_000)
            counted = await told_by_all(nodes, PUBLISHED)
            assert sum(counted.values()) == 1_000 * turn
            assert all(counted[each] >= before[each] for each in counted)
            assert counted[node.node_id] == before[node.node_id] + 1_000
            before = counted
        sizes = await told_by_all(nodes, "synaxis_queue_size")
        assert sum(sizes.values()) == 6_000


async def test_a_consumer_group_is_seen_from_its_first_message_to_its_last(
    cluster: Callable[..., ClusterProcesses],
) -> None:
    nodes = cluster(1)
    (node,) = nodes.nodes.values()
    async with synaxis.connect(nodes.urls) as client:
        await client.topics.create("orders", partitions=4)
        topic = client.topic("orders")
        await topic.publish_many([b"message"] * 100)
        batch = await topic.fetch("billing", max_messages=100, wait=10)
        assert await told(node, "synaxis_queue_consumer_lag") == 100
        assert await told(node, "synaxis_queue_in_flight") >= len(batch) > 0
        assert await told(node, "synaxis_queue_oldest_unacked_age_seconds") > 0
        while batch:
            await batch.ack()
            batch = await topic.fetch("billing", max_messages=100, wait=0.2)
        assert await told(node, "synaxis_queue_consumer_lag") == 0
        assert await told(node, "synaxis_queue_messages_acked_total") == 100
        assert await told(node, "synaxis_queue_oldest_unacked_age_seconds") == 0
