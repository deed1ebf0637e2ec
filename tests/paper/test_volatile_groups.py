"""One test per sentence of "Volatile groups" in consensus/raft/DESIGN.md.

Ours, not Ongaro's: the sentences are paraphrased in the docstrings.
"""

import pytest

from support.raft_network import Network, members
from support.raft_solo import Solo, append, of_type, vote
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import (
    Forgot,
    InstallSnapshot,
    KnownMembers,
    VoteReply,
    first_term,
)
from synaxis.effects import Configuration, EntryKind, HardState, Members
from synaxis.errors import ProtocolViolation
from synaxis.ids import LogIndex, NodeId, Term
from synaxis.ports import RecoveredGroup

VOLATILE = RaftConfig(volatile=True)
ERA_1 = first_term(1)


def known(term: int, index: int, group: Members) -> Configuration:
    return Configuration(Term(term), LogIndex(index), group)


ABC = known(3, 1, members("abc"))


def forgetful(term: int = 3, configuration: Configuration = ABC) -> Solo:
    """The node a after a restart."""
    hard_state = HardState(Term(term), None, configuration=configuration)
    return Solo(recovered=RecoveredGroup(hard_state), config=VOLATILE)


def group(voters: str = "abc", learners: str = "", **limits: int) -> Network:
    """A cluster that has committed one entry."""
    network = Network(voters, learners, config=RaftConfig(volatile=True, **limits))
    network.elect("a")
    network.propose("a", b"one")
    network.advance(500)
    return network


def restart(network: Network, *names: str) -> None:
    for name in names:
        network.crash(name)
    for name in names:
        network.restart(name)
        network[name].drain()


# --- what is on disk ---------------------------------------------------------------------------


def test_entries_and_snapshots_are_in_memory_only() -> None:
    """Only term, vote, quarantine and the newest configuration go to the disk."""
    network = group()
    for node in network.alive():
        assert not node.disk.entries
        assert node.disk.snapshot is None
        assert node.disk.hard_state.term == 1
        assert node.disk.hard_state.configuration == known(1, 1, members("abc"))


def test_without_a_new_hard_state_nothing_is_written_and_nothing_waits() -> None:
    """An entry is stable as soon as it is in memory and its hard state is durable."""
    network = group()
    written = [sum(e.persist is not None for e in node.history) for node in network.alive()]
    for node in network.alive():
        node.is_disk_held = True  # a Persist would wait for ever
    network.propose("a", b"two", settle=False)
    network["a"].drain()
    assert network["a"].status.stable_index == 3
    assert [sum(e.persist is not None for e in node.history) for node in network.alive()] == written


def test_what_came_in_a_new_term_is_acknowledged_when_the_term_is_durable() -> None:
    """What is said of an entry is said in its term, under its configuration."""
    node = Solo(config=VOLATILE)
    node.node.is_disk_held = True
    node.say("b", append(1, 0, 0, 1))
    assert [e.persist is not None for e in node.node.unwritten if e.send_after] == [True]
    assert node.status.stable_index == 0
    node.node.sync_disk()
    node.drain()
    assert node.status.stable_index == 1


# --- forgetting --------------------------------------------------------------------------------


def test_who_has_forgotten_is_in_quarantine_one_term_further() -> None:
    """It neither votes nor campaigns, and leaves the term in which it may have been counted."""
    node = forgetful(3)
    assert (node.status.term, node.raft.damaged) == (4, True)
    replies = of_type(node.say("b", vote(5, 9, 9)), VoteReply)
    assert replies == [("b", VoteReply(Term(5), granted=False))]


def test_who_never_entered_a_term_is_fresh() -> None:
    """It cannot have promised anything."""
    node = Solo(config=VOLATILE)
    assert not node.raft.damaged
    assert node.status.term == 0


def test_an_entry_of_a_later_term_than_the_recovered_one_repairs() -> None:
    """That leader was elected without us, so it has whatever we may have acknowledged."""
    node = forgetful(3)
    node.say("b", append(4, 0, 0, 3))
    assert node.raft.damaged, "the entry is from before"
    node.say("b", append(4, 1, 3, 4))
    assert not node.raft.damaged


def test_a_restart_loses_nothing_that_a_majority_remembers() -> None:
    """The others elect a leader among themselves, and it fills the one that has forgotten."""
    network = group()
    restart(network, "a")
    network.advance(5_000)
    assert [node.state for node in network.alive()] == [[b"one"]] * 3
    assert not any(node.raft.damaged for node in network.alive())
    assert {node.raft.era for node in network.alive()} == {0}


# --- eras --------------------------------------------------------------------------------------


def test_it_says_so_once_per_election_timeout_while_it_hears_no_leader() -> None:
    """To its fellow voters, once that is durable."""
    node = forgetful(3)
    said = of_type(node.time_out(), Forgot)
    assert said == [("b", Forgot(Term(4), ABC)), ("c", Forgot(Term(4), ABC))]
    assert of_type(node.time_out(), Forgot) == said


def test_an_era_ends_when_voters_that_every_majority_needs_have_forgotten_in_one_term() -> None:
    """Two of three; the term is the promise that nobody can lead it or a later one."""
    node = forgetful(3)
    node.say("b", Forgot(Term(4), ABC))
    assert node.raft.era == 1
    assert node.status.term == ERA_1
    assert not node.raft.damaged
    assert node.node.eras == [1]


def test_what_was_said_in_another_term_does_not_count() -> None:
    """It may be long repaired."""
    node = forgetful(3)
    node.say("b", Forgot(Term(3), ABC))
    assert node.raft.era == 0
    node.say("b", append(6, 0, 0))
    node.say("c", Forgot(Term(7), ABC))
    assert node.raft.era == 1, "a and c in term 7"
    other = forgetful(3, known(3, 1, members("abcde")))
    other.say("b", Forgot(Term(4), ABC))
    other.say("c", Forgot(Term(5), ABC))
    assert other.raft.era == 0, "b in term 4, c in term 5"


def test_one_of_three_ends_no_era_however_long_it_waits() -> None:
    """The two others may remember."""
    node = forgetful(3)
    for _ in range(20):
        node.time_out()
        node.say("b", vote(5, 9, 9, pre=True))
    assert node.raft.era == 0


def test_a_sole_voter_begins_an_era_at_once() -> None:
    """Nobody else could remember."""
    network = group("a")
    restart(network, "a")
    network.advance(1)
    assert network["a"].role == "leader"
    assert network["a"].raft.era == 1
    assert network["a"].state == []


def test_of_two_voters_one_suffices() -> None:
    """The other alone is no majority."""
    network = group("ab")
    restart(network, "b")
    network.advance(5_000)
    assert {node.raft.era for node in network.alive()} == {1}
    assert "leader" in network.roles().values()


@pytest.mark.parametrize("names", ["abc", "bc", "ab"])
def test_a_group_comes_back_by_itself_and_empty(names: str) -> None:
    """Whoever hears a message of a later era forgets everything and follows."""
    network = group()
    restart(network, *names)
    network.advance(10_000)
    network.propose(network.leader().id, b"two")
    network.advance(500)
    assert [node.state for node in network.alive()] == [[b"two"]] * 3
    assert {node.raft.era for node in network.alive()} == {1}


def test_who_remembers_alone_forgets_when_it_hears_of_a_later_era() -> None:
    """It is the only way in which committed entries vanish."""
    network = group()
    network["c"].raft.handle(NodeId("a"), append(ERA_1 + 1, 0, 0), network.now)
    effects = network["c"].drain()
    assert effects.era == 1
    assert network["c"].state == []
    assert network["c"].status.commit_index == 0


def test_groups_whose_log_is_on_disk_have_no_eras() -> None:
    """They never leave era 0."""
    node = Solo()
    assert node.raft.era is None
    with pytest.raises(ProtocolViolation):
        node.say("b", append(ERA_1, 0, 0))


# --- members -----------------------------------------------------------------------------------


def test_the_members_survive_the_forgetting() -> None:
    """A node that restarts knows more than the first members."""
    network = group("abc", "d")
    network["a"].raft.change_members("abd", "", network.now)  # type: ignore[arg-type]
    network.advance(1_000)
    restart(network, "a", "b", "d")
    network.advance(10_000)
    leader = network.leader()
    assert leader.raft.era == 1
    assert leader.status.members == members("abd")


def test_an_era_begins_with_the_newest_configuration_of_those_who_forgot() -> None:
    """Among voters that every majority needs is one that knows any committed change."""
    node = forgetful(3)
    newer = known(3, 7, members("abd"))
    node.say("b", Forgot(Term(4), newer))
    assert node.raft.era == 1
    assert node.status.members == members("abd")


def test_a_configuration_that_leaves_this_node_out_begins_no_era_here() -> None:
    """It is for its voters to do that."""
    node = forgetful(3)
    node.say("b", Forgot(Term(4), known(3, 7, members("bcd"))))
    assert node.raft.era == 0


def test_both_halves_of_a_joint_configuration_must_be_lost() -> None:
    """Each of them could stop the other, and neither can be known to have done so."""
    joint = known(3, 7, members("abd", outgoing="bce"))
    node = forgetful(3, joint)
    node.say("d", Forgot(Term(4), joint))
    assert node.raft.era == 0, "b, c and e may remember"
    node.say("c", Forgot(Term(4), joint))
    node.say("e", Forgot(Term(4), joint))
    assert node.raft.era == 1


def test_in_a_blank_log_the_configuration_stands_for_the_end_of_the_log() -> None:
    """Elections must not go back behind a change of members, and the candidate is told."""
    newer = known(3, 7, members("abd"))
    node = forgetful(ERA_1, newer)
    node.say("b", Forgot(Term(ERA_1 + 1), newer))
    term = first_term(2)
    answers = node.say("b", vote(term + 1, 1, 3))
    assert of_type(answers, VoteReply) == [("b", VoteReply(Term(term + 1), granted=False))]
    assert [m for _, m in of_type(answers, KnownMembers)] == [KnownMembers(Term(term + 1), newer)]
    granted = of_type(node.say("b", vote(term + 2, 7, 3)), VoteReply)
    assert granted == [("b", VoteReply(Term(term + 2), granted=True))]


def test_the_first_entry_of_an_era_is_a_configuration() -> None:
    """So everybody has the same again, whatever it knew."""
    network = group()
    restart(network, "a", "b", "c")
    network.advance(10_000)
    for node in network.alive():
        assert node.applied[0].kind is EntryKind.MEMBERS


def test_who_cannot_win_because_half_of_its_configuration_is_lost_forgets_at_last() -> None:
    """As a restart would do; after four election timeouts."""
    network = group("ab", "cd")
    network.cut("b")
    network["a"].raft.change_members("acd", "", network.now)  # type: ignore[arg-type]
    network.settle()
    restart(network, "c", "d")
    network.heal()
    network.advance(1_500)
    assert {node.raft.era for node in network.alive()} == {0}
    assert "leader" not in network.roles().values()
    assert not network["a"].raft.damaged
    network.advance(10_000)
    network.propose(network.leader().id, b"again")
    network.advance(1_000)
    assert network.leader().raft.era == 1
    assert network.leader().state == [b"again"]


# --- snapshots ---------------------------------------------------------------------------------


def test_the_log_is_dropped_without_a_snapshot_when_it_is_long_enough() -> None:
    """But for the suffix."""
    network = group(volatile_log_bytes_max=100, suffix_bytes_max=50)
    for _ in range(20):
        network.propose("a", b"x" * 20)
    state = network["a"].raft._state
    assert state.log.base_index > 10
    assert state.snapshot is None


def test_a_snapshot_is_made_when_a_peer_wants_it_and_dropped_when_it_has_it() -> None:
    """Of the state that is applied at that moment."""
    network = group(volatile_log_bytes_max=100, suffix_bytes_max=50)
    network.crash("c")
    for _ in range(20):
        network.propose("a", b"x" * 20)
    network.restart("c")
    network.advance(5_000)
    assert any(isinstance(packet.message, InstallSnapshot) for packet in network.delivered)
    assert network["c"].state == network.leader().state
    assert all(node.raft._state.snapshot is None for node in network.alive())
