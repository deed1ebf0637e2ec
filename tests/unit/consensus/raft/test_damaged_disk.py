"""A node whose disk lost records: what it may have promised is no longer known to it."""

import pytest

from support.raft_network import Network, make_snapshot, members
from support.raft_solo import Solo, append, of_type, stored, vote
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import AppendReply, InstallSnapshot, RequestVote, VoteReply
from synaxis.ids import Term

SNAPSHOT = make_snapshot(5, 2, members("abc"), b"\x90")


def test_a_damaged_node_neither_votes_nor_campaigns_before_it_is_repaired() -> None:
    node = Solo(recovered=stored(1, damaged=True), config=RaftConfig(damaged_term_leap=100))
    assert node.status.term == 101
    assert node.time_out() == []
    assert node.say("b", vote(102, 9, 9)) == [("b", VoteReply(Term(102), granted=False))]
    assert node.say("b", vote(110, 9, 9, pre=True)) == [
        ("b", VoteReply(Term(102), granted=False, pre=True))
    ]


def test_a_leader_that_may_be_older_than_the_damage_repairs_nothing() -> None:
    node = Solo(recovered=stored(1, damaged=True), config=RaftConfig(damaged_term_leap=100))
    [(_, reply)] = node.say("b", append(7, 1, 1, 7))
    assert isinstance(reply, AppendReply)
    assert (reply.success, reply.term) == (False, 101)
    assert node.raft.damaged


def test_a_damaged_node_is_repaired_by_a_durable_entry_of_a_later_term() -> None:
    node = Solo(recovered=stored(1, damaged=True), config=RaftConfig(damaged_term_leap=100))
    node.say("b", append(102, 1, 1, 1, 1))
    assert node.raft.damaged, "entries of old terms prove nothing"
    node.node.is_disk_held = True
    node.say("b", append(102, 3, 1, 102))
    assert node.raft.damaged, "not durable yet"
    node.node.sync_disk()
    node.drain()
    node.node.sync_disk()
    assert node.node.disk.hard_state.repair_after == 0
    assert of_type(node.time_out(), RequestVote)


@pytest.mark.parametrize(("damaged_again", "term"), [(False, 100), (True, 200)])
def test_a_damaged_node_stays_so_over_a_restart_and_leaps_once_per_damage(
    damaged_again: bool, term: int
) -> None:
    network = Network(config=RaftConfig(damaged_term_leap=100))
    network.crash("c")
    network.restart("c", damaged=True)
    network["c"].drain()
    network.crash("c")
    network.restart("c", damaged=damaged_again)
    network["c"].drain()
    assert network["c"].status.term == term
    assert network["c"].raft.damaged


def test_the_others_go_on_without_a_damaged_node_and_repair_it() -> None:
    network = Network(config=RaftConfig(damaged_term_leap=100))
    network.elect("a")
    network.propose("a", b"one")
    network.crash("c")
    network.restart("c", damaged=True)
    network.advance(5_000)
    network.propose(network.leader().id, b"two")
    network.advance(100)
    assert [node.state for node in network.alive()] == [[b"one", b"two"]] * 3
    assert network.leader().status.term > 100
    assert not network["c"].raft.damaged


def test_two_damaged_nodes_of_three_elect_nobody() -> None:
    network = Network(config=RaftConfig(damaged_term_leap=100))
    network.elect("a")
    for name in "bc":
        network.crash(name)
        network.restart(name, damaged=True)
    network.advance(10_000)
    assert "leader" not in network.roles().values()


def test_a_snapshot_alone_repairs_nothing_and_its_log_does() -> None:
    node = Solo(recovered=stored(damaged=True), config=RaftConfig(damaged_term_leap=100))
    node.say("b", InstallSnapshot(Term(102), SNAPSHOT.meta, 0, SNAPSHOT.data, 0))
    assert node.status.snapshot_index == 5
    assert node.raft.damaged
    node.say("b", append(102, 5, 2, 102))
    assert not node.raft.damaged
