"""Every fault that a link can have, and every shape of partition."""

from itertools import pairwise

import pytest

from synaxis.simulation.coverage import Coverage
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.network import PARTITIONS, LinkFaults, Network, partition_pairs

NODES = ["n1", "n2", "n3", "n4", "n5"]


def exchange(faults: LinkFaults, count: int = 2_000) -> tuple[list[int], Coverage]:
    """Send numbered messages from a to b; return what arrived, in order, and the counters."""
    kernel, coverage = Kernel(1), Coverage()
    arrived: list[tuple[str, int]] = []
    network = Network(kernel, coverage, faults)
    network.attach("b", lambda sender, message: arrived.append((sender, message)))
    for number in range(count):
        kernel.at(number * 100, network.send, "a", "b", number)
    kernel.run_until(60_000_000)
    assert all(sender == "a" for sender, _ in arrived)
    return [message for _, message in arrived], coverage


def test_a_healthy_link_delivers_everything_once_and_in_order() -> None:
    arrived, _ = exchange(LinkFaults())
    assert arrived == list(range(2_000))


def test_a_lossy_link_loses_its_share() -> None:
    arrived, coverage = exchange(LinkFaults(loss=0.25))
    assert 1_350 < len(arrived) < 1_650
    assert coverage["network.lost"] == 2_000 - len(arrived)
    assert all(a < b for a, b in pairwise(arrived))


def test_a_duplicating_link_delivers_twice() -> None:
    arrived, coverage = exchange(LinkFaults(duplicate=0.3))
    assert len(arrived) == 2_000 + coverage["network.duplicated"] > 2_400
    assert set(arrived) == set(range(2_000))


def test_a_reordering_link_lets_messages_overtake() -> None:
    arrived, coverage = exchange(LinkFaults(reorder=True))
    assert sorted(arrived) == list(range(2_000)) != arrived
    assert coverage["network.reordered"] > 100


def test_a_clogged_link_stands_still_and_then_delivers_in_order() -> None:
    arrived, coverage = exchange(LinkFaults(clog=0.01))
    assert arrived == list(range(2_000))
    assert coverage["network.clogged"] > 0


def test_nothing_reaches_an_endpoint_that_was_detached() -> None:
    kernel = Kernel(1)
    arrived: list[int] = []
    network = Network(kernel, Coverage(), LinkFaults())
    network.attach("b", lambda _, message: arrived.append(message))
    network.send("a", "b", 1)
    network.detach("b")
    kernel.run_until(1_000_000)
    assert arrived == []


def test_a_cut_works_in_one_direction_and_ends_with_the_healing() -> None:
    kernel = Kernel(1)
    arrived: list[str] = []
    network = Network(kernel, Coverage(), LinkFaults())
    for name in ("a", "b"):
        network.attach(name, lambda sender, _: arrived.append(sender))
    network.cut({("a", "b")})
    network.send("a", "b", 1)
    network.send("b", "a", 1)
    kernel.run_until(1_000_000)
    assert arrived == ["b"]
    network.heal()
    network.send("a", "b", 1)
    kernel.run_until(2_000_000)
    assert arrived == ["b", "a"]


def reachable(pairs: set[tuple[str, str]]) -> dict[str, set[str]]:
    """Return who can talk both ways with whom."""
    return {
        node: {
            other
            for other in NODES
            if other != node and (node, other) not in pairs and (other, node) not in pairs
        }
        for node in NODES
    }


@pytest.mark.parametrize("kind", PARTITIONS)
def test_every_shape_cuts_something_and_names_only_members(kind: str) -> None:
    for seed in range(20):
        pairs = partition_pairs(kind, NODES, Kernel(seed).stream("x"))
        assert pairs
        assert all(a in NODES and b in NODES and a != b for a, b in pairs)


def test_a_split_has_two_sides_that_do_not_hear_each_other() -> None:
    for seed in range(20):
        friends = reachable(partition_pairs("split", NODES, Kernel(seed).stream("x")))
        sides = {frozenset({node, *others}) for node, others in friends.items()}
        assert len(sides) == 2
        assert sum(map(len, sides)) == len(NODES)


def test_a_bridge_leaves_one_node_that_everybody_hears() -> None:
    friends = reachable(partition_pairs("bridge", NODES, Kernel(3).stream("x")))
    assert sorted(len(others) for others in friends.values()) == [2, 2, 2, 2, 4]


def test_one_way_leaves_the_other_direction_open() -> None:
    pairs = partition_pairs("one_way", NODES, Kernel(3).stream("x"), "n2")
    assert len(pairs) == 4
    assert all("n2" in pair for pair in pairs)
    assert not any((b, a) in pairs for a, b in pairs)


def test_a_ring_keeps_the_neighbours_only() -> None:
    for seed in range(20):
        pairs = partition_pairs("ring", NODES, Kernel(seed).stream("x"))
        heard = [sum((a, b) not in pairs for b in NODES if b != a) for a in NODES]
        assert heard in ([1] * 5, [2] * 5)


def test_the_lone_node_is_the_one_that_is_isolated() -> None:
    friends = reachable(partition_pairs("isolate", NODES, Kernel(1).stream("x"), "n4"))
    assert friends["n4"] == set()
    assert reachable(partition_pairs("full", NODES, Kernel(1).stream("x"))) == {
        node: set() for node in NODES
    }
