from msgspec.structs import replace

from synaxis.cli.cluster import member_rows, status_rows
from synaxis.ids import GroupId, NodeId
from synaxis.wire.client import GroupStatus, MemberStatus, NodeStatus

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
LOCKS = GroupStatus(GroupId("locks/0"), "leader", 4, N1, 90, 90, 95, 0, (N1, N2), (), (N3,), {}, 3)


def member(node_id: NodeId, state: str = "alive") -> MemberStatus:
    return MemberStatus(node_id, "h:7401", "http://h:7400", state, 0.0, "0.1.0")


def view(node_id: NodeId, group: GroupStatus, *members: MemberStatus) -> NodeStatus:
    return NodeStatus("cluster", node_id, "0.1.0", 12.34, (group,), members)


def test_each_node_speaks_for_itself_and_lag_is_counted_from_the_furthest() -> None:
    members = (member(N2), member(N1))
    leader = view(N1, LOCKS, *members)
    follower = view(N2, replace(LOCKS, role="follower", commit_index=80), *members)
    rows = status_rows(leader, [leader, follower])
    assert [(row["node_id"], row["role"], row["leader"]) for row in rows] == [
        ("n1", "leader", True),
        ("n2", "follower", False),
    ]
    assert [row["lag_entries"] for row in rows] == [0, 10]


def test_a_silent_node_is_shown_as_the_first_node_sees_it() -> None:
    first = view(N2, replace(LOCKS, role="follower"), member(N1, "dead"), member(N2))
    [dead, alive] = status_rows(first, [first])
    assert (dead["node_id"], dead["state"], dead["term"]) == ("n1", "dead", None)
    assert alive["state"] == "alive"


def test_a_silent_learner_is_listed_where_it_learns() -> None:
    first = view(N1, LOCKS, member(N1), member(N3, "suspected"))
    assert [(row["node_id"], row["group"]) for row in status_rows(first, [first])] == [
        ("n1", "locks/0"),
        ("n3", "locks/0"),
    ]


def test_removed_nodes_are_members_of_the_past_only() -> None:
    first = view(N1, LOCKS, member(N1), member(N2, "removed"))
    assert [row["node_id"] for row in status_rows(first, [first])] == ["n1"]
    assert [row["state"] for row in member_rows(first)] == ["alive", "removed"]
