import msgspec
import pytest

from support.raft_network import Network, make_snapshot, members
from support.raft_solo import Solo, append, of_type, stored, vote
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from synaxis.errors import MembershipRefused, NotLeader, ProtocolViolation
from synaxis.ids import Instant, LogIndex, NodeId, Term
from synaxis.ports import ReplicatedLog


def test_raft_fits_the_port() -> None:
    names = [name for name in vars(ReplicatedLog) if not name.startswith("_")]
    assert "take_effects" in names
    assert [name for name in names if not hasattr(Solo().raft, name)] == []


def test_what_is_no_raft_message_is_a_violation() -> None:
    class Stranger(msgspec.Struct):
        term: int = 1

    with pytest.raises(ProtocolViolation, match="Stranger"):
        Solo().say("b", Stranger())


@pytest.mark.parametrize("leads", [True, False])
def test_two_leaders_of_one_term_are_a_violation(leads: bool) -> None:
    node = Solo()
    if leads:
        node.become_leader()
    else:
        node.say("b", append(1))
    with pytest.raises(ProtocolViolation, match="both lead term 1"):
        node.say("c", append(1))


def test_nothing_to_say_costs_nothing() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.wait(10)
    effects = node.raft.take_effects()
    assert (effects.send_now, effects.send_after, effects.persist, effects.apply) == (
        [],
        [],
        None,
        [],
    )


def test_proposals_of_one_turn_leave_in_one_message_per_peer() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    for _ in range(10):
        node.raft.propose(b"x", node.network.now)
    sent = of_type(node.raft.take_effects().send_now, AppendEntries)
    assert [(target, len(message.entries)) for target, message in sent] == [("b", 10), ("c", 10)]


def test_entries_beyond_one_message_leave_in_several_within_the_window() -> None:
    config = RaftConfig(append_bytes_max=50, inflight_bytes_max=100)
    node = Solo(config=config)
    node.become_leader()
    node.commit_all()
    for _ in range(9):
        node.raft.propose(b"12345678", node.network.now)
    sent = [m for target, m in of_type(node.drain(), AppendEntries) if target == "b"]
    assert [len(message.entries) for message in sent] == [2, 2, 2]


def test_a_leader_forgets_what_is_under_way_on_a_broken_link() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.propose()
    node.raft.peer_unreachable(NodeId("b"), node.network.now)
    again = of_type(node.drain(), AppendEntries)
    assert [(target, message.prev_index) for target, message in again] == [("b", 1)]


def test_a_follower_whose_leader_cannot_be_reached_campaigns_soon() -> None:
    for _ in range(20):
        node = Solo()
        node.say("b", append(1))
        node.raft.peer_unreachable(NodeId("b"), node.network.now)
        assert node.status.leader is None
        assert node.raft.deadline() <= node.network.now + 250


def test_another_unreachable_peer_is_no_reason_to_campaign() -> None:
    node = Solo()
    node.say("b", append(1))
    before = node.raft.deadline()
    node.raft.peer_unreachable(NodeId("c"), node.network.now)
    assert (node.raft.deadline(), node.status.leader) == (before, "b")


def test_a_killed_leader_is_replaced_within_half_an_election_timeout() -> None:
    for seed in range(10):
        network = Network(seed=seed)
        network.elect("a")
        network.advance(1_000)
        network.crash("a")
        for name in "bc":
            network[name].raft.peer_unreachable(NodeId("a"), network.now)
        network.advance(500)
        assert "leader" in network.roles().values()


def test_a_vote_that_cannot_be_won_is_not_waited_out() -> None:
    node = Solo()
    node.become_candidate()
    for peer in "bc":
        node.say(peer, VoteReply(Term(1), granted=False))
    assert node.status.role == "follower"
    assert node.raft.deadline() <= node.network.now + 250


def test_a_node_that_lost_the_pre_vote_does_not_insist() -> None:
    node = Solo()
    node.time_out()
    before = node.raft.deadline()
    for peer in "bc":
        node.say(peer, VoteReply(Term(0), granted=False, pre=True))
    assert node.status.role == "follower"
    assert node.raft.deadline() == before


def test_a_leader_that_was_asleep_looks_for_answers_before_it_gives_up() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.network.now = Instant(node.network.now + 5_000)
    node.raft.tick(node.network.now)
    assert node.status.role == "leader"
    node.drain()
    for peer in "bc":
        node.say(peer, node.matched(1))
    node.wait(100)
    assert node.status.role == "leader"


def test_a_leader_that_was_asleep_gives_up_after_one_more_heartbeat() -> None:
    node = Solo()
    node.become_leader()
    for _ in range(2):
        node.network.now = Instant(node.network.now + 5_000)
        node.raft.tick(node.network.now)
        node.drain()
    assert node.status.role == "follower"


def test_a_leader_in_touch_with_a_quorum_ignores_candidates() -> None:
    node = Solo()
    node.become_leader()
    assert node.say("c", vote(9, 9, 9), vote(9, 9, 9, pre=True)) == []
    node.wait(600)
    assert node.status.role == "leader"
    assert node.say("c", vote(9, 9, 9, pre=True)) == [
        ("c", VoteReply(Term(9), granted=True, pre=True))
    ]


def test_answers_of_removed_nodes_depose_nobody() -> None:
    node = Solo()
    node.become_leader()
    node.say("z", AppendReply(Term(9), False, LogIndex(0), Term(0), 0))
    node.say("z", VoteReply(Term(9), granted=False))
    assert (node.status.role, node.status.term) == ("leader", 1)


def test_a_commit_is_announced_soon_even_if_nothing_follows_it() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    sent = of_type(node.wait(node.network.config.commit_notice_ms), AppendEntries)
    assert [(target, message.commit_index) for target, message in sent] == [("b", 1), ("c", 1)]


def test_a_commit_that_rode_on_an_append_is_not_announced_again() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.propose()
    assert of_type(node.wait(node.network.config.commit_notice_ms), AppendEntries) == []


def test_a_later_commit_is_announced_too() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.propose()
    node.commit_all()
    sent = of_type(node.wait(2 * node.network.config.commit_notice_ms), AppendEntries)
    assert [message.commit_index for _, message in sent] == [2, 2]


def test_a_group_without_configuration_waits_to_be_added() -> None:
    node = Solo("")
    assert node.wait(5_000) == []
    assert node.status.role == "learner"
    [(_, reply)] = node.say("b", append(3, 0, 0, 1))
    assert isinstance(reply, AppendReply)
    assert reply.success


def test_a_learner_does_not_campaign() -> None:
    node = Solo("bc", "a")
    assert node.wait(5_000) == []
    assert node.say("b", TimeoutNow(Term(0))) == []
    assert (node.status.role, node.status.term) == ("learner", 0)


def test_a_learner_answers_requests_for_votes() -> None:
    # It may have been made a voter without knowing it yet.
    node = Solo("bc", "a")
    assert node.say("b", vote(1)) == [("b", VoteReply(Term(1), granted=True))]


def test_a_restart_begins_behind_the_snapshot_and_restores_nothing() -> None:
    snapshot = make_snapshot(5, 2, members("abc"), b"\x90")
    node = Solo(recovered=stored(2, 3, snapshot=snapshot))
    status = node.status
    assert (status.commit_index, status.last_index, status.stable_index) == (5, 7, 7)
    effects = node.raft.take_effects()
    assert (effects.restore, effects.apply, effects.persist) == (None, [], None)


def test_an_installed_snapshot_restores_before_what_follows_is_applied() -> None:
    snapshot = make_snapshot(5, 2, members("abc"), b"\x90")
    node = Solo()
    node.raft.handle(
        NodeId("b"),
        InstallSnapshot(Term(2), snapshot.meta, 0, snapshot.data, 0),
        node.network.now,
    )
    node.raft.handle(NodeId("b"), append(2, 5, 2, 2, commit=6), node.network.now)
    effects = node.raft.take_effects()
    assert effects.restore == snapshot
    assert [entry.index for entry in effects.apply] == [6]
    assert effects.persist is not None
    assert effects.persist.snapshot == snapshot


def test_an_older_snapshot_than_the_known_one_is_ignored() -> None:
    snapshot = make_snapshot(5, 2, members("abc"), b"\x90")
    node = Solo(recovered=stored(snapshot=snapshot, term=2))
    node.raft.compact(make_snapshot(3, 1, members("abc"), b"\x90"))
    assert node.raft.take_effects().persist is None


def test_a_follower_within_the_kept_suffix_needs_no_snapshot() -> None:
    network = Network(config=RaftConfig(suffix_entries_max=10))
    network.elect("a")
    network.crash("c")
    for _ in range(8):
        network.propose("a")
    network["a"].compact()
    network.restart("c")
    network.advance(300)
    assert network["c"].state == network["a"].state
    assert not [p for p in network.delivered if isinstance(p.message, InstallSnapshot)]


def test_members_are_known_at_every_index_since_the_snapshot() -> None:
    network = Network("abc", "d")
    network.elect("a")
    network["a"].raft.change_members((NodeId("a"),), (), network.now)
    network.settle()
    raft = network["a"].raft
    assert raft.members_at(LogIndex(1)) == members("abc", "d")
    assert raft.members_at(LogIndex(2)) == members("a", outgoing="abc")
    assert raft.members_at(LogIndex(3)) == members("a")


def test_every_node_but_one_can_be_removed_at_once() -> None:
    network = Network("abcde")
    network.elect("a")
    network["a"].raft.change_members((NodeId("b"),), (), network.now)
    network.settle()
    network.advance(2_000)
    assert network["b"].role == "leader"
    network.propose("b", b"alone")
    assert network["b"].state == [b"alone"]
    network.advance(10_000)
    assert network.roles() == dict.fromkeys("acde", "learner") | {"b": "leader"}


def test_changes_are_refused_where_they_cannot_be_made() -> None:
    node = Solo("abc", "d")
    everyone = tuple(NodeId(name) for name in "abcd")
    with pytest.raises(NotLeader):
        node.raft.change_members(everyone, (), node.network.now)
    node.become_leader()
    with pytest.raises(MembershipRefused, match="has not committed"):
        node.raft.change_members(everyone, (), node.network.now)
    node.commit_all()
    node.raft.transfer_leadership(NodeId("b"), node.network.now)
    with pytest.raises(NotLeader):
        node.raft.change_members(everyone, (), node.network.now)


def test_a_second_transfer_waits_for_the_first() -> None:
    node = Solo()
    node.become_leader()
    node.raft.transfer_leadership(NodeId("b"), node.network.now)
    node.raft.transfer_leadership(NodeId("b"), node.network.now)
    with pytest.raises(MembershipRefused, match="transfer to b"):
        node.raft.transfer_leadership(NodeId("c"), node.network.now)


def test_the_status_of_a_leader_names_what_is_going_on() -> None:
    node = Solo("abc", "d")
    node.become_leader()
    node.commit_all()
    node.propose(b"12345")
    node.raft.transfer_leadership(NodeId("b"), node.network.now)
    status = node.status
    assert (status.role, status.leader, status.ready) == ("leader", "a", True)
    assert status.match == {"b": 1, "c": 1, "d": 1}
    assert (status.log_bytes, status.transferring, status.change_pending) == (5, "b", False)


def test_all_reads_fail_when_leadership_ends() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    tickets = [node.raft.read(node.network.now)]
    node.drain()
    tickets.append(node.raft.read(node.network.now))
    node.say("b", append(2))
    assert node.node.failed_reads == tickets


def test_a_sole_voter_confirms_its_own_reads() -> None:
    network = Network("a", "b")
    network.advance(0)
    ticket = network["a"].raft.read(network.now)
    network.settle()
    assert network["a"].reads == [(ticket, 1)]


def test_the_same_seed_gives_the_same_messages() -> None:
    def trace() -> list[str]:
        network = Network("abcde", seed=7)
        network.advance(5_000)
        network.propose(network.leader().id)
        network.advance(500)
        return [repr(packet) for packet in network.delivered]

    assert trace() == trace()


def test_an_election_request_carries_the_end_of_the_log() -> None:
    node = Solo(recovered=stored(1, 4, 4))
    assert of_type(node.time_out(), RequestVote)[0] == ("b", vote(5, 3, 4, pre=True))
