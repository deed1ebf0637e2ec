"""Nodes come and go, whoever leads."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

import synaxis
from support.cluster_process import ClusterProcesses

Start = Callable[..., ClusterProcesses]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


async def voters_become(client: synaxis.AsyncSynaxis, wanted: set[str]) -> None:
    """Return once every group has exactly the voters ``wanted``."""
    async with asyncio.timeout(20):
        while True:
            status = await client.status()
            if all(set(g.voters) == wanted and not g.outgoing for g in status.groups):
                return
            await asyncio.sleep(0.1)


async def test_a_node_that_joins_while_no_founder_leads_catches_up(cluster: Start) -> None:
    """It dialled the founders only, and could not acknowledge what names the leader's address."""
    nodes = cluster(1)
    async with synaxis.connect(nodes["n1"].url) as client:
        await client.acquire("before")
        second = nodes.add("n2", ["--join", nodes["n1"].url])
        second.start()
        await asyncio.to_thread(nodes.wait_ready, "n2")
        await voters_become(client, {"n1", "n2"})
        for group in ("cluster", "locks/0"):
            await client.transfer_leadership(group, "n2")
        for group in ("cluster", "locks/0"):
            await asyncio.to_thread(nodes.wait_until, partial(second.leads, group), "n2 leads", 10)
        third = nodes.add("n3", ["--join", nodes["n1"].url])
        third.start()
        await asyncio.to_thread(nodes.wait_ready, "n3")
        await voters_become(client, {"n1", "n2", "n3"})
        await asyncio.to_thread(nodes["n1"].kill)
    async with synaxis.connect(f"{second.url},{third.url}") as client:
        await client.acquire("after", wait=20)


async def test_a_removed_node_is_told_and_ends(cluster: Start) -> None:
    nodes = cluster(3)
    leaders = {nodes.leader(group).node_id for group in ("cluster", "locks/0")}
    victim = next(node for node in nodes.nodes.values() if node.node_id not in leaders)
    async with synaxis.connect(nodes.urls) as client:
        await client.remove_member(victim.node_id)
        assert victim.process is not None
        assert await asyncio.to_thread(victim.process.wait, 20) == 78
        assert "was removed from the cluster" in victim.log()
        await client.acquire("still", wait=10)


async def test_a_restarted_node_does_not_count_the_past_again(cluster: Start) -> None:
    nodes = cluster(1)
    async with synaxis.connect(nodes.urls) as client:
        for _ in range(5):
            async with client.lock("counted"):
                pass
    assert "synaxis_locks_granted_total 5.0" in nodes["n1"].get("/metrics")[1]
    nodes["n1"].kill()
    await asyncio.to_thread(nodes.restart, "n1")
    assert "synaxis_locks_granted_total 0.0" in nodes["n1"].get("/metrics")[1]
