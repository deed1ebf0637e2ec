"""Quorum arithmetic against an implementation that tries every subset."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from synaxis.consensus.quorum import Verdict, acknowledged, majority, verdict
from synaxis.effects import Members
from synaxis.ids import NodeId

NODES = [NodeId(name) for name in "abcdefg"]
half = st.lists(st.sampled_from(NODES), unique=True, max_size=7).map(lambda n: tuple(sorted(n)))
voters = half.filter(bool)
configurations = st.builds(Members, voters=voters, outgoing=half)
values = st.fixed_dictionaries({node: st.integers(0, 9) for node in NODES})
ballots = st.dictionaries(st.sampled_from(NODES), st.booleans())


def is_quorum(members: Members, nodes: set[NodeId]) -> bool:
    """Whether ``nodes`` hold more than half of each half."""
    halves = [members.voters, *([members.outgoing] if members.outgoing else [])]
    return all(2 * sum(node in nodes for node in each) > len(each) for each in halves)


def subsets(members: Members) -> list[set[NodeId]]:
    everyone = sorted({*members.voters, *members.outgoing})
    return [set(c) for n in range(len(everyone) + 1) for c in combinations(everyone, n)]


@given(configurations, values)
def test_a_value_is_acknowledged_if_some_quorum_has_reached_it(
    members: Members, reached: dict[NodeId, int]
) -> None:
    quorums = [nodes for nodes in subsets(members) if is_quorum(members, nodes)]
    dumb = max(min(reached[node] for node in nodes) for nodes in quorums)
    assert acknowledged(members, reached.__getitem__) == dumb


@given(configurations, ballots)
def test_an_election_is_won_by_a_quorum_and_lost_when_none_is_possible(
    members: Members, votes: dict[NodeId, bool]
) -> None:
    granted = {node for node in NODES if votes.get(node) is True}
    possible = {node for node in NODES if votes.get(node) is not False}
    if is_quorum(members, granted):
        expected = Verdict.WON
    elif is_quorum(members, possible):
        expected = Verdict.PENDING
    else:
        expected = Verdict.LOST
    assert verdict(members, votes) is expected


@given(configurations)
def test_two_quorums_share_a_voter(members: Members) -> None:
    quorums = [nodes for nodes in subsets(members) if is_quorum(members, nodes)]
    smallest = [nodes for nodes in quorums if not any(other < nodes for other in quorums)]
    assert all(one & other for one in smallest for other in smallest)


@given(st.integers(1, 1000))
def test_a_majority_is_more_than_half_and_no_larger(count: int) -> None:
    assert 2 * majority(count) > count >= 2 * (majority(count) - 1)


def test_nobody_wins_without_voters() -> None:
    assert acknowledged(Members(), lambda _: 9) == 0
    assert verdict(Members(), {NodeId("a"): True}) is Verdict.PENDING
