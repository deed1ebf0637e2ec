"""A replica that is far behind gets the leader's snapshot, and then what that refers to."""

from collections.abc import AsyncIterator

import pytest

from support.storing_cluster import StoringCluster
from synaxis.ids import NodeId
from synaxis.wire.peer import PeerFrame, SegmentPart


@pytest.fixture
async def cluster() -> AsyncIterator[StoringCluster]:
    made = StoringCluster()
    yield made
    await made.kill(*list(made.nodes))
    assert not made.failures


def lose_parts(cluster: StoringCluster) -> list[PeerFrame]:
    """Lose every part of a segment; returns the list that the lost ones go to."""
    lost: list[PeerFrame] = []

    def is_lost(frame: PeerFrame) -> bool:
        if any(isinstance(message, SegmentPart) for message in frame.segments):
            lost.append(frame)
            return True
        return False

    cluster.is_lost = is_lost
    return lost


async def test_a_new_replica_gathers_what_the_log_no_longer_holds(
    cluster: StoringCluster,
) -> None:
    cluster.start("a", "b")
    await cluster.store_some(30)
    await cluster.compact()
    await cluster.store_some(5)
    cluster.start("c")
    await cluster.agreed()
    assert cluster["c"].gathered_so_far == [True]
    assert cluster["c"].replica.tally.snapshots_installed == 1
    await cluster.store_some(5)
    await cluster.agreed()


async def test_a_replica_that_comes_back_needs_only_the_rest_and_survives_a_restart(
    cluster: StoringCluster,
) -> None:
    cluster.start("a", "b", "c")
    await cluster.store_some(10)
    await cluster.agreed()
    await cluster.kill("c")
    await cluster.store_some(20)
    await cluster.compact()
    cluster.start("c")
    await cluster.agreed()
    assert cluster["c"].gathered_so_far == [True]
    await cluster.kill("c")
    cluster.start("c")
    assert not cluster["c"].recovered.damaged
    assert cluster["c"].recovered.snapshot is not None
    await cluster.agreed()
    assert cluster["c"].gathered_so_far == []


async def test_a_death_in_the_middle_of_gathering_does_no_harm(cluster: StoringCluster) -> None:
    cluster.start("a", "b", "c")
    await cluster.store_some(10)
    await cluster.agreed()
    await cluster.kill("c")
    await cluster.store_some(30)
    await cluster.compact()
    asked = lose_parts(cluster)
    cluster.start("c")
    await cluster.until(lambda: len(asked) > 0)
    await cluster.kill("c")
    cluster.is_lost = lambda _: False
    cluster.start("c")
    assert not cluster["c"].recovered.damaged
    await cluster.agreed()


async def test_a_leader_that_dies_while_it_is_asked_is_replaced_by_another(
    cluster: StoringCluster,
) -> None:
    cluster.start("a", "b")
    await cluster.store_some(30)
    await cluster.compact()
    asked = lose_parts(cluster)
    cluster.start("c")
    await cluster.until(lambda: len(asked) > 0)
    leader = cluster.leader()
    assert leader is not None
    other = "b" if leader.node == "a" else "a"
    await cluster.kill(leader.node)
    cluster.is_lost = lambda _: False
    await cluster.until(lambda: cluster["c"].gathered_so_far == [True])
    cluster.start(leader.node)
    await cluster.store_some(5)
    await cluster.agreed()
    assert cluster[other].has_everything()


async def test_what_the_leader_has_dropped_meanwhile_is_replaced_by_a_newer_snapshot(
    cluster: StoringCluster,
) -> None:
    cluster.start("a", "b")
    await cluster.store_some(20)
    await cluster.compact()
    asked = lose_parts(cluster)
    cluster.start("c")
    await cluster.until(lambda: len(asked) > 0)
    await cluster.store_some(60)
    await cluster.compact("a", "b")
    cluster.is_lost = lambda _: False
    await cluster.agreed()
    assert cluster["c"].gathered_so_far[0] is False
    assert cluster["c"].gathered_so_far[-1] is True


async def test_a_node_with_a_damaged_segment_is_repaired(cluster: StoringCluster) -> None:
    cluster.start("a", "b", "c")
    await cluster.store_some(40)
    await cluster.agreed()
    await cluster.compact()
    await cluster.store_some(1)
    await cluster.kill("c")
    disk = cluster.disks[NodeId("c")]
    name = next(name for name in disk.names() if name.endswith(".messages"))
    disk.files[name][20] ^= 1
    cluster.start("c")
    assert cluster["c"].recovered.damaged
    await cluster.agreed()
    assert True in cluster["c"].gathered_so_far
