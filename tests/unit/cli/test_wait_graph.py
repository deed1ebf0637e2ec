from hypothesis import given
from hypothesis import strategies as st

from synaxis.cli.wait_graph import Edge, as_dot, as_tree

SESSIONS = st.sampled_from(["s1", "s2", "s3", "s4", "s5"])
EDGES = st.lists(st.builds(Edge, SESSIONS, SESSIONS, st.sampled_from(["a", "b"])), max_size=12)


def test_nobody_waits_nothing_is_drawn() -> None:
    assert as_tree([]) == ""


def test_whoever_waits_stands_below_whom_it_waits_for() -> None:
    edges = [Edge("s2", "s1", "a"), Edge("s3", "s2", "b"), Edge("s4", "s1", "a")]
    assert as_tree(edges).splitlines() == [
        "s1",
        "|-- a <- s2",
        "|   `-- b <- s3",
        "`-- a <- s4",
    ]


def test_waiting_for_several_holders_is_drawn_below_each_but_in_full_once() -> None:
    edges = [Edge("w", "h1", "a"), Edge("w", "h2", "a"), Edge("x", "w", "b")]
    assert as_tree(edges).splitlines() == [
        "h1",
        "`-- a <- w",
        "    `-- b <- x",
        "h2",
        "`-- a <- w  (drawn above)",
    ]


def test_a_cycle_is_drawn_once_and_marked() -> None:
    edges = [Edge("s1", "s2", "a"), Edge("s2", "s1", "b")]
    assert as_tree(edges).splitlines() == ["s1", "`-- b <- s2", "    `-- a <- s1  (deadlock)"]


def test_a_chain_longer_than_the_recursion_limit_is_drawn() -> None:
    edges = [Edge(f"s{number + 1}", f"s{number}", "a") for number in range(2000)]
    assert len(as_tree(edges).splitlines()) == 2001


def test_graphviz_names_are_quoted() -> None:
    assert r'"s1" -> "s2" [label="a \"b\" \\"];' in as_dot([Edge("s1", "s2", 'a "b" \\')])


@given(EDGES)
def test_every_wait_is_drawn_whatever_the_graph(edges: list[Edge]) -> None:
    tree, dot = as_tree(edges), as_dot(edges)
    for edge in edges:
        assert f"{edge.lock} <- {edge.waiter}" in tree
        assert edge.holder in tree
    assert dot.count("->") == len(set(edges)) == tree.count("<-")
