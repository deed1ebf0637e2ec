"""Which node does a delegated operation, and what fits one frame."""

from collections import Counter

from synaxis.caches.commands import Item
from synaxis.client.caches.delegates import ranking
from synaxis.client.caches.writing import chunks_of_items, chunks_of_keys
from synaxis.ids import NodeId

NODES = [NodeId(f"node-{n}") for n in range(5)]


def test_the_order_of_nodes_does_not_matter() -> None:
    assert ranking("c/k", NODES) == ranking("c/k", reversed(NODES))
    assert set(ranking("c/k", NODES)) == set(NODES)
    # Never change it: clients of two versions would pull the lines of all keys to and fro.
    assert ranking("c/k", NODES)[0] == "node-0"


def test_keys_are_spread_and_stay_when_another_node_goes() -> None:
    keys = [f"c/{n}" for n in range(2_000)]
    before = {key: ranking(key, NODES)[0] for key in keys}
    assert min(Counter(before.values()).values()) > 300
    after = {key: ranking(key, NODES[1:])[0] for key in keys}
    moved = [key for key in keys if before[key] != after[key]]
    assert {before[key] for key in moved} == {NODES[0]}


def test_items_fill_frames_and_commands() -> None:
    items = [Item(f"c/{n}", b"x" * 1_000) for n in range(100)]
    chunks = list(chunks_of_items(items, 4_096 + 11_000))
    assert [len(chunk) for chunk in chunks] == [10] * 10
    assert [item for chunk in chunks for item in chunk] == items
    huge = Item("c/huge", b"x" * 100_000)
    assert list(chunks_of_items([huge, items[0]], 8_192)) == [(huge,), (items[0],)]
    assert list(chunks_of_items([], 8_192)) == []


def test_keys_fill_commands() -> None:
    keys = [f"c/{n}" for n in range(25_000)]
    assert [len(chunk) for chunk in chunks_of_keys(keys, 10**9)] == [10_000, 10_000, 5_000]
