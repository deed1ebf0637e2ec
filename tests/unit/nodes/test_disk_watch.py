"""While the disk is nearly full nothing is published, and everything else goes on."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from synaxis.cluster.machine import ClusterMachine
from synaxis.errors import Overloaded
from synaxis.ids import NodeId
from synaxis.nodes.disk_watch import DiskWatch
from synaxis.queues.commands import Ack, Part, Publish, RecordBatch
from synaxis.queues.limits import QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.topics import TopicLimits

if TYPE_CHECKING:
    from synaxis.consensus.replica import Replica

PUBLISH = Publish("t", 0, 1, 1, RecordBatch(b"\x01\x00\x00\x00", b"m"))
ACK = Ack("t", "g", 1, (Part(0, 0, 0),))


class Disk:
    def __init__(self) -> None:
        self.free_bytes = 1_000

    def remember_peer(self, node_id: NodeId, disk_id: str) -> None:
        raise AssertionError("nobody asked")


class Node:
    """A node with two queue shards."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.machines = [QueueMachine(number, 2, QueueLimits()) for number in (0, 1)]
        others = [ClusterMachine([], 1, 3, 2, TopicLimits())]
        replicas = [SimpleNamespace(machine=each) for each in [*others, *self.machines]]
        self.watch = DiskWatch(self.disk, 500, cast("list[Replica]", replicas))

    def look(self, free_bytes: int) -> None:
        self.disk.free_bytes = free_bytes
        self.watch.look()

    def accepts(self) -> list[bool]:
        """Return whether each shard takes messages."""
        return [self._accepts(each) for each in self.machines]

    def _accepts(self, machine: QueueMachine) -> bool:
        try:
            machine.validate(PUBLISH)
        except Overloaded:
            return False
        return True


def test_with_enough_space_messages_are_taken() -> None:
    node = Node()
    node.look(500)
    assert node.accepts() == [True, True]


def test_below_the_reserve_every_shard_refuses_to_publish() -> None:
    node = Node()
    node.look(499)
    assert node.accepts() == [False, False]
    with pytest.raises(Overloaded, match="nearly full") as refused:
        node.machines[0].validate(PUBLISH)
    assert refused.value.details["retry_after"] == 5.0


def test_acknowledgements_go_on() -> None:
    node = Node()
    node.look(0)
    node.machines[0].validate(ACK)


def test_space_that_came_back_ends_it() -> None:
    node = Node()
    node.look(0)
    node.look(499)
    assert node.accepts() == [False, False]
    node.look(500)
    assert node.accepts() == [True, True]
