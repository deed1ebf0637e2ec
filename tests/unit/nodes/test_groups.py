"""Which groups are volatile, and what a node says of those that have forgotten."""

import msgspec
import pytest

from synaxis.cluster.machine import ClusterMachine
from synaxis.effects import HardState
from synaxis.errors import StorageCorrupt
from synaxis.ids import GroupId, Instant, NodeId, Term
from synaxis.nodes.groups import Groups, build_groups, is_volatile
from synaxis.nodes.node_config import Bootstrap, NodeConfig
from synaxis.ports import RecoveredGroup

N1 = NodeId("n1")
CACHES, LOCKS = GroupId("caches/0"), GroupId("locks/0")
ALONE = Bootstrap(cluster_id="c", founders={N1: "h:1"}, cache_groups=1)
THREE = msgspec.structs.replace(
    ALONE, founders={N1: "h:1", NodeId("n2"): "h:2", NodeId("n3"): "h:3"}
)


def start(bootstrap: Bootstrap, group: GroupId, found: RecoveredGroup) -> Groups:
    config = NodeConfig(
        node_id=N1,
        disk_id="d",
        bootstrap=bootstrap,
        peer_address="h:1",
        api_url="http://h:2",
        version="1",
    )
    cluster = ClusterMachine(
        bootstrap.records(), 1, 3, bootstrap.queue_groups, bootstrap.queues.topics
    )
    return build_groups(config, cluster, {group: found}, Instant(0))


def test_caches_are_volatile_and_nothing_else_is() -> None:
    assert {group for group in ALONE.groups if is_volatile(group)} == {CACHES}


def test_a_cache_that_has_forgotten_is_not_called_damaged() -> None:
    forgotten = start(THREE, CACHES, RecoveredGroup(HardState(Term(7), None)))
    assert (forgotten.damaged, forgotten.forgotten) == ([], [CACHES])
    fresh = start(THREE, CACHES, RecoveredGroup())
    assert (fresh.damaged, fresh.forgotten) == ([], [])


def test_a_damaged_disk_stops_the_only_voter_of_a_log_on_disk_and_of_no_other() -> None:
    damaged = RecoveredGroup(HardState(Term(7), None), damaged=True)
    assert start(ALONE, CACHES, damaged).forgotten == [CACHES]
    with pytest.raises(StorageCorrupt):
        start(ALONE, LOCKS, damaged)
    assert start(THREE, LOCKS, damaged).damaged == [LOCKS]
