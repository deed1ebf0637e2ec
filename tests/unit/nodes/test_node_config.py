"""Founders find each other by what they share."""

import msgspec
import pytest

from synaxis.caches.limits import CacheLimits
from synaxis.consensus.replica_config import SessionLimits
from synaxis.ids import NodeId
from synaxis.locks.limits import LockLimits
from synaxis.nodes.node_config import Bootstrap, found_cluster

SHAPE = Bootstrap(cluster_id="", founders={NodeId("n1"): "h:1", NodeId("n2"): "h:2"})


def cluster_id(name: str = "a", **changes: object) -> str:
    return found_cluster(name, msgspec.structs.replace(SHAPE, **changes)).cluster_id


def test_founders_with_equal_settings_come_to_the_same_cluster() -> None:
    turned = {NodeId("n2"): "h:2", NodeId("n1"): "h:1"}
    assert cluster_id() == cluster_id(founders=turned)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "b"},
        {"founders": {NodeId("n1"): "h:1", NodeId("n2"): "h:3"}},
        {"lock_groups": 2},
        {"replication_factor": 5},
        {"locks": LockLimits(latches_max=5)},
        {"sessions": SessionLimits(sessions_max=5)},
        {"caches": CacheLimits(records_max=5)},
        {"cache_groups": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_founders_that_differ_in_anything_they_must_share_do_not(
    changes: dict[str, object],
) -> None:
    assert cluster_id(**changes) != cluster_id()  # type: ignore[arg-type]  # name is a str


def test_a_node_that_founds_alone_draws_an_id() -> None:
    alone = {NodeId("n1"): "h:1"}
    assert cluster_id(founders=alone) != cluster_id(founders=alone)


def test_every_group_of_the_cluster_has_members() -> None:
    shape = msgspec.structs.replace(SHAPE, lock_groups=3, queue_groups=2, cache_groups=2)
    shards = ["queues/0", "queues/1", "caches/0", "caches/1"]
    assert shape.groups == ["cluster", "locks/0", "locks/1", "locks/2", *shards]
    for group in shape.groups:
        assert set(shape.members(group).voters) == {"n1", "n2"}
