import pytest

from support.raft_network import entry, members
from synaxis.consensus.raft.membership import (
    Membership,
    encode_members,
    leave_joint,
    next_members,
)
from synaxis.effects import Entry, EntryKind, Members
from synaxis.errors import MembershipRefused, ProtocolViolation
from synaxis.ids import LogIndex, NodeId

ABC = members("abc")


def members_entry(index: int, group: Members) -> Entry:
    return entry(index, 1, encode_members(group), EntryKind.MEMBERS)


def history() -> Membership:
    """abc from the start, joint from 5, abd from 8."""
    membership = Membership(LogIndex(0), members("abc", "d"))
    membership.append(members_entry(5, members("abd", outgoing="abc")))
    membership.append(members_entry(8, members("abd")))
    return membership


@pytest.mark.parametrize(
    ("index", "group"),
    [
        (0, members("abc", "d")),
        (4, members("abc", "d")),
        (5, members("abd", outgoing="abc")),
        (8, members("abd")),
        (99, members("abd")),
    ],
)
def test_a_configuration_is_in_force_from_its_entry_on(index: int, group: Members) -> None:
    assert history().at(LogIndex(index)) == group


@pytest.mark.parametrize(
    ("first", "group"),
    [
        (9, members("abd")),
        (8, members("abd", outgoing="abc")),
        (6, members("abd", outgoing="abc")),
        (5, members("abc", "d")),
        (1, members("abc", "d")),
    ],
)
def test_truncation_brings_the_configuration_before_back(first: int, group: Members) -> None:
    membership = history()
    membership.truncate(LogIndex(first))
    assert membership.current == group


def test_compaction_keeps_the_configuration_of_the_snapshot() -> None:
    membership = history()
    membership.compact(LogIndex(6))
    assert membership.at(LogIndex(6)) == members("abd", outgoing="abc")
    assert membership.at(LogIndex(8)) == members("abd")
    with pytest.raises(LookupError, match="compacted"):
        membership.at(LogIndex(4))


def test_a_change_of_voters_is_joint_and_one_of_learners_is_not() -> None:
    current = members("abc", "de")
    voters = next_members(current, members("abd").voters, members("e").voters)
    assert voters == members("abd", "e", outgoing="abc")
    assert leave_joint(voters) == members("abd", "e")
    assert next_members(current, ABC.voters, ()) == members("abc")


@pytest.mark.parametrize(
    ("voters", "learners", "why"),
    [
        ("", "", "at least one voter"),
        ("aab", "", "named twice"),
        ("abc", "c", "voter and learner"),
        ("abc", "d", "already"),
        ("abz", "", "z must first be added as a learner"),
    ],
)
def test_a_senseless_change_is_refused(voters: str, learners: str, why: str) -> None:
    with pytest.raises(MembershipRefused, match=why):
        next_members(
            members("abc", "d"),
            tuple(NodeId(n) for n in voters),
            tuple(NodeId(n) for n in learners),
        )


def test_a_change_is_pending_until_it_is_committed_and_no_longer_joint() -> None:
    membership = Membership(LogIndex(0), ABC)
    assert not membership.is_change_pending(LogIndex(0))
    membership.append(members_entry(5, members("ab", outgoing="abc")))
    assert membership.is_change_pending(LogIndex(5))
    membership.append(members_entry(6, members("ab")))
    assert membership.is_change_pending(LogIndex(5))
    assert not membership.is_change_pending(LogIndex(6))


def test_a_leaving_node_is_replicated_to_until_that_is_committed() -> None:
    membership = Membership(LogIndex(0), members("ab", outgoing="bc"))
    membership.append(members_entry(5, members("ab")))
    assert membership.nodes == ("a", "b")
    assert membership.audience(LogIndex(4)) == ("a", "b", "c")
    assert membership.audience(LogIndex(5)) == ("a", "b")


def test_a_removed_node_may_campaign_until_its_removal_is_committed() -> None:
    membership = Membership(LogIndex(0), members("ab", outgoing="bc"))
    membership.append(members_entry(5, members("ab")))
    assert membership.may_campaign(NodeId("c"), LogIndex(4))
    assert not membership.may_campaign(NodeId("c"), LogIndex(5))


def test_a_learner_may_not_campaign() -> None:
    membership = Membership(LogIndex(0), members("ab", "c"))
    assert not membership.may_campaign(NodeId("c"), LogIndex(0))
    assert not membership.is_voter(NodeId("c"))


def test_a_configuration_that_cannot_be_read_is_a_violation_and_changes_nothing() -> None:
    membership = Membership(LogIndex(0), ABC)
    with pytest.raises(ProtocolViolation, match="entry 3"):
        membership.append(entry(3, 1, b"\xc1", EntryKind.MEMBERS))
    assert membership.current == ABC
