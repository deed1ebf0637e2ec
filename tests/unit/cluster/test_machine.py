"""The list of nodes: identities are for ever."""

import pytest

from synaxis.cluster.commands import (
    AddNode,
    ClusterView,
    DescribeCluster,
    NodeChanged,
    NodeRecord,
    RegisterNode,
    RemoveNode,
)
from synaxis.cluster.machine import ClusterMachine
from synaxis.effects import Refused
from synaxis.errors import InvalidArgument
from synaxis.ids import LogTime, NodeId, Sequence, SessionId
from synaxis.topics import TopicLimits

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


def machine(*nodes: NodeId) -> ClusterMachine:
    founders = [NodeRecord(node, f"{node}:7401", "") for node in nodes]
    return ClusterMachine(founders, 1, 3, 1, TopicLimits())


def do(target: ClusterMachine, command: object) -> object:
    return target.apply(SessionId(0), Sequence(0), command, LogTime(0))  # type: ignore[arg-type]


def register(node: NodeId, disk: str = "d1") -> RegisterNode:
    return RegisterNode(node, f"{node}:7401", f"http://{node}:7400", disk, "1")


def test_a_founder_registers_its_disk_and_url() -> None:
    cluster = machine(N1)
    assert do(cluster, register(N1)) == NodeRecord(N1, "n1:7401", "http://n1:7400", "d1", "1")
    assert cluster.take_events() == [NodeChanged(cluster.nodes[0])]


def test_a_wiped_disk_under_an_old_id_is_refused() -> None:
    cluster = machine(N1, N2)
    do(cluster, register(N2, "old"))
    answer = do(cluster, register(N2, "new"))
    assert isinstance(answer, Refused)
    assert answer.code == "identity_mismatch"
    assert "new id" in answer.message


def test_an_unknown_node_cannot_register_itself() -> None:
    answer = do(machine(N1), register(N2))
    assert isinstance(answer, Refused)
    assert "cluster add" in answer.message


def test_a_removed_id_is_never_used_again() -> None:
    cluster = machine(N1, N2)
    do(cluster, RemoveNode(N2))
    assert cluster.members == (N1,)
    for command in (AddNode(N2, "n2:7401"), register(N2)):
        answer = do(cluster, command)
        assert isinstance(answer, Refused)
        assert answer.code == "membership_refused"


def test_the_last_node_cannot_be_removed() -> None:
    answer = do(machine(N1), RemoveNode(N1))
    assert isinstance(answer, Refused)
    assert answer.code == "membership_refused"


def test_adding_twice_is_harmless_but_an_address_belongs_to_one_node() -> None:
    cluster = machine(N1)
    first = do(cluster, AddNode(N2, "n2:7401"))
    assert do(cluster, AddNode(N2, "n2:7401")) == first
    answer = do(cluster, AddNode(N3, "n2:7401"))
    assert isinstance(answer, Refused)
    assert "belongs to node n2" in answer.message


def test_equal_machines_have_equal_snapshots_and_restore_to_the_same() -> None:
    cluster, other = machine(N1), machine(N3)
    do(cluster, AddNode(N2, "n2:7401"))
    other.restore(cluster.snapshot())
    assert other.snapshot() == cluster.snapshot()
    assert other.query(DescribeCluster(), LogTime(0)) == ClusterView(cluster.nodes, 1, 3, 1)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "n1\n", "ä/b"])
def test_strange_node_ids_are_refused_before_the_log(name: str) -> None:
    with pytest.raises(InvalidArgument):
        machine(N1).validate(AddNode(NodeId(name), "n2:7401"))


def test_an_address_without_a_port_is_refused_before_the_log() -> None:
    with pytest.raises(InvalidArgument, match="host:port"):
        machine(N1).validate(AddNode(N2, "n2"))
