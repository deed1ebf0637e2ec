"""One test per sentence of what the thesis adds to Raft's core: chapters 4 to 10.

Sections are those of Ongaro's thesis; "Fig. 3.1" is the summary of the rules ("Figure 2" of the
paper, whose 5.x are the thesis' 3.x). The sentences are paraphrased in the docstrings.
"""

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
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from synaxis.effects import EntryKind
from synaxis.errors import MembershipRefused, NotLeader
from synaxis.ids import LogIndex, NodeId, Term

SNAPSHOT = make_snapshot(5, 2, members("abc"), b"\x91\xc4\x01s")


def install(term: int, data: bytes = SNAPSHOT.data, offset: int = 0) -> InstallSnapshot:
    return InstallSnapshot(Term(term), SNAPSHOT.meta, offset, data, 0)


def append_reply(term: int, *, success: bool, index: int = 0, hint: int = 0) -> AppendReply:
    return AppendReply(Term(term), success, LogIndex(index), Term(hint), 0)


# --- 3.10 leadership transfer ----------------------------------------------------------------


def test_3_10_a_transfer_stops_proposals_catches_up_and_sends_timeout_now() -> None:
    """The leader stops accepting requests, brings the target's log up to date, then sends
    TimeoutNow."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.propose()
    node.raft.transfer_leadership(NodeId("b"), node.network.now)
    assert not of_type(node.drain(), TimeoutNow)
    with pytest.raises(NotLeader):
        node.raft.propose(b"late", node.network.now)
    sent = of_type(node.say("b", node.matched(2)), TimeoutNow)
    assert sent == [("b", TimeoutNow(Term(1)))]


def test_3_10_timeout_now_starts_an_election_at_once() -> None:
    """The target then starts a new election (as if its timer had run out), without delay."""
    node = Solo()
    node.say("b", append(1))
    sent = node.say("b", TimeoutNow(Term(1)))
    assert sent == [("b", vote(2, transfer=True)), ("c", vote(2, transfer=True))]


def test_3_10_a_transfer_that_takes_an_election_timeout_is_given_up() -> None:
    """If it does not complete after about an election timeout, the leader resumes."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.raft.transfer_leadership(NodeId("b"), node.network.now)
    node.wait(500)
    node.commit_all()
    assert node.status.transferring == "b"
    node.wait(500)
    assert node.raft.status().transferring is None
    assert node.propose(b"resumed")


# --- 4 membership changes --------------------------------------------------------------------


def test_4_1_a_configuration_is_used_as_soon_as_it_is_in_the_log() -> None:
    """A server uses the latest configuration in its log, committed or not."""
    network = Network("abc", "d")
    network.elect("a")
    network.advance(200)
    network["a"].raft.change_members((NodeId("a"), NodeId("d")), (), network.now)
    assert network["a"].status.members == members("ad", outgoing="abc")
    assert network["a"].status.commit_index == 1


def test_4_1_a_truncated_configuration_falls_back_to_the_one_before() -> None:
    """A server must be prepared to fall back to the previous configuration in its log."""
    network = Network("abc", "d")
    network.elect("a")
    network.advance(200)
    network.cut("a")
    network["a"].raft.change_members((NodeId("a"), NodeId("d")), (), network.now)
    network.settle()
    network.elect("b")
    network.heal()
    network.advance(1_000)
    assert network["a"].status.members == members("abc", "d")


@pytest.mark.parametrize("message", [append(1, 0, 0, 1), vote(1)], ids=repr)
def test_4_1_requests_of_servers_outside_the_configuration_are_heard(
    message: msgspec.Struct,
) -> None:
    """A server accepts appends from a leader that is not in its configuration, and grants votes
    to such candidates."""
    node = Solo("abc")
    [(target, reply)] = node.say("z", message)
    assert target == "z"
    assert getattr(reply, "success", True)
    assert getattr(reply, "granted", True)


def test_4_2_1_a_learner_is_replicated_to_and_not_counted() -> None:
    """A new server joins as a non-voting member: entries are replicated to it, but it is not
    counted towards majorities."""
    node = Solo("abc", "d")
    node.become_candidate()
    node.say("d", VoteReply(Term(1), granted=True))
    assert node.status.role == "candidate"
    node.say("b", VoteReply(Term(1), granted=True))
    node.commit_all()
    assert "d" in [target for target, _ in of_type(node.propose(), AppendEntries)]
    node.say("d", node.matched(2))
    assert node.status.match[NodeId("d")] == 2
    assert node.status.commit_index == 1


def test_4_2_1_a_learner_must_catch_up_before_it_gets_a_vote() -> None:
    """The leader waits until the new server has caught up before the configuration change."""
    config = RaftConfig(promotion_lag_max=2)
    node = Solo("abc", "d", config=config)
    node.become_leader()
    for _ in range(4):
        node.propose()
    for peer in "bc":
        node.say(peer, node.matched(5))
    everyone = tuple(NodeId(name) for name in "abcd")
    with pytest.raises(MembershipRefused, match="5 entries behind"):
        node.raft.change_members(everyone, (), node.network.now)
    node.say("d", node.matched(3))
    node.raft.change_members(everyone, (), node.network.now)


def test_4_2_2_a_leader_outside_the_configuration_leads_without_counting_itself() -> None:
    """A removed leader manages a cluster that does not include itself: it replicates entries but
    does not count itself in majorities; it steps down when the configuration is committed."""
    node = Solo("abc")
    node.become_leader()
    node.commit_all()
    node.raft.change_members((NodeId("b"), NodeId("c")), (), node.network.now)
    node.drain()
    node.say("b", node.matched(2))
    assert node.status.commit_index == 1, "b and a: half of the new voters"
    node.say("c", node.matched(2))
    assert node.status.members == members("bc")
    assert node.status.role == "leader"
    node.say("b", node.matched(3))
    assert node.status.commit_index == 2
    node.say("c", node.matched(3))
    assert (node.status.commit_index, node.status.role) == (3, "learner")


def test_4_2_2_a_removed_leader_may_be_needed_until_its_removal_is_committed() -> None:
    """A server that is not in its own latest, uncommitted configuration still starts elections."""
    node = Solo("abc")
    node.become_leader()
    node.commit_all()
    node.raft.change_members((NodeId("b"), NodeId("c")), (), node.network.now)
    node.drain()
    node.commit_all()
    assert node.status.members == members("bc")
    node.say("b", append_reply(5, success=False))
    assert of_type(node.time_out(), RequestVote)


def test_4_2_3_a_vote_request_is_ignored_while_a_leader_is_heard() -> None:
    """A server that receives RequestVote within the minimum election timeout of hearing a
    current leader neither updates its term nor grants its vote."""
    node = Solo()
    node.say("b", append(1))
    node.wait(499)
    assert node.say("c", vote(9), vote(9, pre=True)) == []
    assert node.status.term == 1
    node.wait(1)
    assert node.say("c", vote(9, pre=True)) == [("c", VoteReply(Term(9), granted=True, pre=True))]


def test_4_2_3_an_election_that_the_leader_asked_for_is_not_ignored() -> None:
    """... unless the request carries the flag of a leadership transfer."""
    node = Solo()
    node.say("b", append(1))
    assert node.say("c", vote(2, transfer=True)) == [("c", VoteReply(Term(2), granted=True))]


def test_4_3_joint_consensus_needs_both_majorities_to_commit() -> None:
    """Agreement requires separate majorities from the old and the new configuration."""
    node = Solo("abc", "de")
    node.become_leader()
    node.commit_all()
    node.raft.change_members(tuple(NodeId(n) for n in "ade"), (), node.network.now)
    node.drain()
    node.say("d", node.matched(2))
    node.say("e", node.matched(2))
    assert node.status.commit_index == 1
    node.say("b", node.matched(2))
    assert node.status.commit_index == 2


def test_4_3_joint_consensus_needs_both_majorities_to_elect() -> None:
    """... for elections as well."""
    snapshot = make_snapshot(1, 1, members("ade", outgoing="abc"), b"\x90")
    node = Solo(recovered=stored(snapshot=snapshot, term=1))
    node.become_candidate()
    for peer in "de":
        node.say(peer, VoteReply(Term(2), granted=True))
    assert node.status.role == "candidate"
    node.say("b", VoteReply(Term(2), granted=True))
    assert node.status.role == "leader"


def test_4_3_the_leader_leaves_the_joint_configuration_when_it_is_committed() -> None:
    """Once C-old,new is committed the leader creates C-new."""
    node = Solo("abc", "d")
    node.become_leader()
    node.commit_all()
    node.raft.change_members(tuple(NodeId(n) for n in "abd"), (), node.network.now)
    node.drain()
    assert node.status.members == members("abd", outgoing="abc")
    node.commit_all()
    assert node.status.members == members("abd")
    assert node.node.log[-1] == (3, 1)


# --- 5 log compaction ------------------------------------------------------------------------


def test_5_1_after_a_snapshot_the_log_before_it_is_dropped() -> None:
    """Once a snapshot is written, the server may delete the log up to its last included index."""
    network = Network("a", config=RaftConfig(suffix_entries_max=0))
    network.advance(0)
    for _ in range(3):
        network.propose("a")
    network["a"].compact()
    assert network["a"].log == []
    assert network["a"].disk.recover().entries == []
    network.crash("a")
    assert network.restart("a").state == [b"x", b"x", b"x"]


def test_5_2_a_follower_whose_next_entry_is_gone_is_sent_the_snapshot() -> None:
    """The leader sends a snapshot when it has discarded the next entry that it must send."""
    node = Solo(recovered=stored(3, snapshot=SNAPSHOT, term=3))
    node.become_leader()
    sent = node.say("b", append_reply(4, success=False, index=2, hint=1))
    [(target, message)] = of_type(sent, InstallSnapshot)
    assert (target, message.meta, message.data) == ("b", SNAPSHOT.meta, SNAPSHOT.data)


def test_5_2_chunks_are_gathered_until_the_last_one() -> None:
    """InstallSnapshot 2-5: write data at the offset, reply and wait for more unless done."""
    node = Solo()
    [(_, first)] = node.say("b", install(3, SNAPSHOT.data[:2]))
    assert first == SnapshotReply(Term(3), LogIndex(5), 2, installed=False, round=0)
    assert node.status.snapshot_index == 0
    [(_, second)] = node.say("b", install(3, SNAPSHOT.data[2:], offset=2))
    assert isinstance(second, SnapshotReply)
    assert second.installed
    assert node.node.state == [b"s"]


def test_5_2_every_chunk_resets_the_election_timer() -> None:
    """Each InstallSnapshot shows that the leader lives."""
    node = Solo()
    for _ in range(5):
        node.say("b", install(3, SNAPSHOT.data[:1]))
        node.wait(499)
    assert node.status.role == "follower"


def test_5_2_a_snapshot_replaces_a_log_that_conflicts_with_it() -> None:
    """InstallSnapshot 7-8: discard the entire log, reset the state machine, load the
    configuration."""
    node = Solo("xyz", recovered=stored(1, 1, 1, 1, 1, 1, 1))
    node.say("b", install(3))
    assert node.node.log == []
    assert node.node.state == [b"s"]
    assert node.status.members == members("abc")
    assert (node.status.commit_index, node.status.last_index) == (5, 5)


def test_5_2_a_snapshot_of_a_prefix_keeps_what_follows() -> None:
    """InstallSnapshot 6: if an entry has the index and term of the snapshot's last entry, retain
    the entries that follow it."""
    node = Solo(recovered=stored(1, 1, 2, 2, 2, 2, 2))
    [(_, reply)] = node.say("b", install(3))
    assert isinstance(reply, SnapshotReply)
    assert reply.installed
    assert node.terms == [1, 1, 2, 2, 2, 2, 2]
    assert [entry.index for entry in node.node.applied] == [1, 2, 3, 4, 5]


# --- 6 client interaction --------------------------------------------------------------------


def test_6_2_a_follower_knows_whom_to_name() -> None:
    """A server that is not the leader rejects the request and says who leads."""
    node = Solo()
    node.say("b", append(1))
    with pytest.raises(NotLeader) as caught:
        node.raft.propose(b"x", node.network.now)
    assert caught.value.leader == "b"


def test_6_2_a_leader_steps_down_without_a_quorum() -> None:
    """A leader steps down if an election timeout passes without a heartbeat round to a
    majority."""
    node = Solo("abcde")
    node.become_leader()
    for _ in range(20):
        node.wait(100)
        for peer in "bc":
            node.say(peer, node.matched(0))
    assert node.status.role == "leader"
    for _ in range(11):
        node.wait(100)
        node.say("b", node.matched(0))
    assert node.status.role == "follower"


def test_6_4_no_read_before_an_entry_of_the_term_is_committed() -> None:
    """A leader must commit a no-op at the start of its term before it serves reads."""
    node = Solo(recovered=stored(1))
    node.become_leader()
    with pytest.raises(NotLeader):
        node.raft.read(node.network.now)
    node.say("b", node.matched(2))
    assert node.node.applied[-1].kind is EntryKind.NOOP
    node.raft.read(node.network.now)


def test_6_4_a_read_waits_for_a_round_of_heartbeats_begun_after_it() -> None:
    """The leader saves its commit index, then exchanges heartbeats with a majority, then serves
    the read at that index."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    ticket = node.raft.read(node.network.now)
    sent = of_type(node.drain(), AppendEntries)
    assert [target for target, _ in sent] == ["b", "c"]
    [number] = {message.round for _, message in sent}
    node.say("b", node.matched(1, confirmed=number - 1))
    assert node.node.reads == []
    node.say("b", node.matched(1, confirmed=number))
    assert node.node.reads == [(ticket, 1)]


def test_6_4_reads_of_one_batch_share_a_round() -> None:
    """A round of heartbeats confirms any number of reads that have accumulated."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    tickets = [node.raft.read(node.network.now) for _ in range(100)]
    assert len(of_type(node.drain(), AppendEntries)) == 2
    node.say("c", node.matched(1, confirmed=1))
    assert [ticket for ticket, _ in node.node.reads] == tickets


# --- 9.6 PreVote, 10.2.1 parallel writing ----------------------------------------------------


def test_9_6_a_candidate_first_learns_whether_it_could_win() -> None:
    """In the Pre-Vote phase a candidate increments its term only if a majority would vote."""
    node = Solo(recovered=stored(term=3))
    requests = node.time_out()
    assert requests == [("b", vote(4, pre=True)), ("c", vote(4, pre=True))]
    assert node.status.term == 3
    node.say("b", VoteReply(Term(3), granted=False, pre=True))
    assert node.status.term == 3
    node.say("c", VoteReply(Term(4), granted=True, pre=True))
    assert (node.status.role, node.status.term) == ("candidate", 4)


def test_9_6_granting_a_pre_vote_changes_nothing() -> None:
    """A pre-vote is a question: neither the term nor the vote of the answering server moves."""
    node = Solo(recovered=stored(term=3))
    before, deadline = node.node.disk.hard_state, node.raft.deadline()
    for peer in "bc":
        assert node.say(peer, vote(9, pre=True)) == [
            (peer, VoteReply(Term(9), granted=True, pre=True))
        ]
    assert node.node.disk.hard_state == before
    assert node.raft.deadline() == deadline


def test_10_2_1_the_leader_replicates_while_its_own_disk_works() -> None:
    """The leader may write to its disk in parallel with replicating, and may even commit before
    its own write, if a majority of others is durable."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.node.is_disk_held = True
    node.raft.propose(b"x", node.network.now)
    effects = node.node.drain()
    assert len(effects.send_now) == 2
    node.say("b", node.matched(2))
    assert node.status.commit_index == 1
    node.say("c", node.matched(2))
    assert (node.status.commit_index, node.status.stable_index) == (2, 1)
