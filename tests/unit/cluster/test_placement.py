"""The ring places groups; single steps lead from where they are to where they should be."""

from hypothesis import given
from hypothesis import strategies as st

from synaxis.cluster.placement import CLUSTER_GROUP, CLUSTER_VOTERS_MAX, Placement, next_members
from synaxis.effects import Members
from synaxis.ids import GroupId, NodeId

LOCKS = GroupId("locks/0")
nodes = st.lists(
    st.integers(1, 12).map(lambda n: NodeId(f"n{n}")), min_size=1, max_size=9, unique=True
)


def walk(start: Members, target: Members) -> tuple[Members, int]:
    """Follow next_members, every learner catching up at once, until nothing is left to do."""
    current, steps = start, 0
    while (
        wanted := next_members(current, target, [*current.voters, *current.learners])
    ) is not None:
        assert not set(wanted.voters) & set(wanted.learners)
        assert set(wanted.voters) - set(current.voters) <= set(current.learners), (
            "a new voter was a caught-up learner first"
        )
        current, steps = wanted, steps + 1
        assert steps < 5
    return current, steps


@given(nodes, nodes)
def test_single_steps_reach_any_target(before: list[NodeId], after: list[NodeId]) -> None:
    start = Placement(before, 3).target(LOCKS, Members())
    target = Placement(after, 3).target(LOCKS, start)
    reached, _ = walk(start, target)
    assert reached == target


@given(nodes)
def test_a_group_lives_on_as_many_distinct_nodes_as_it_can(members: list[NodeId]) -> None:
    placed = Placement(members, 3).target(LOCKS, Members())
    assert len(set(placed.voters)) == min(3, len(members))
    assert set(placed.voters) <= set(members)


@given(nodes)
def test_every_node_holds_the_cluster_group_and_few_of_them_vote(members: list[NodeId]) -> None:
    placed = Placement(members, 3).target(CLUSTER_GROUP, Members())
    assert sorted((*placed.voters, *placed.learners)) == sorted(members)
    assert len(placed.voters) == min(len(members), CLUSTER_VOTERS_MAX)


def test_placement_is_the_same_in_every_order_of_the_nodes() -> None:
    names = [NodeId(f"n{n}") for n in range(9)]
    groups = [GroupId(f"locks/{n}") for n in range(64)]
    forward, backward = Placement(names, 3), Placement(names[::-1], 3)
    for group in groups:
        assert forward.target(group, Members()) == backward.target(group, Members())


def test_a_learner_that_has_not_caught_up_is_not_promoted() -> None:
    current = Members((NodeId("n1"),), (), (NodeId("n2"),))
    target = Members((NodeId("n1"), NodeId("n2")))
    assert next_members(current, target, [NodeId("n1")]) is None
    assert next_members(current, target, [NodeId("n1"), NodeId("n2")]) == target


def test_nothing_begins_while_a_joint_configuration_runs() -> None:
    current = Members((NodeId("n1"),), (NodeId("n2"),), ())
    assert next_members(current, Members((NodeId("n3"),)), [NodeId("n3")]) is None
