"""Bugs that real Raft implementations had; each test is named for the cause.

References: issues of PySyncObj, logcabin, copycat, camunda, canonical/raft, NuRaft, CCF,
cockroach, etcd, etcd-io/raft, raft-rs, Jepsen's Redis-Raft report, hashicorp/raft, and the
defects R1-R10 of the predecessor of this project.
"""

import pytest

from support.raft_network import Network, make_snapshot, members
from support.raft_solo import Solo, append, of_type, stored, vote
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.membership import encode_members
from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    TimeoutNow,
    VoteReply,
)
from synaxis.effects import Entry, EntryKind, HardState
from synaxis.errors import NotLeader, Overloaded
from synaxis.ids import LogIndex, NodeId, Term
from synaxis.ports import RecoveredGroup


def nodes(letters: str) -> tuple[NodeId, ...]:
    return tuple(NodeId(letter) for letter in letters)


# --- term and vote lost at a restart (PySyncObj#84, #201; predecessor R3) ---------------------


def test_restarting_everyone_loses_no_committed_entry() -> None:
    network = Network()
    network.elect("a")
    network.propose("a", b"kept")
    for name in "abc":
        network.crash(name)
    for name in "abc":
        network.restart(name)
    network.advance(5_000)
    assert [node.state for node in network.alive()] == [[b"kept"]] * 3


def test_a_node_that_restarts_in_the_middle_of_an_election_does_not_vote_again() -> None:
    network = Network()
    voter = network["c"]
    voter.raft.handle(NodeId("a"), vote(3), network.now)
    voter.drain()
    network.crash("c")
    network.restart("c")
    voter.raft.handle(NodeId("b"), vote(3), network.now)
    assert voter.drain().send_after == [(NodeId("b"), VoteReply(Term(3), granted=False))]


def test_a_vote_that_was_not_yet_durable_was_never_heard_of() -> None:
    network = Network()
    voter = network["c"]
    voter.is_disk_held = True
    voter.raft.handle(NodeId("a"), vote(3), network.now)
    voter.drain()
    assert network.packets == []
    network.crash("c")
    network.restart("c")
    voter.raft.handle(NodeId("b"), vote(3), network.now)
    assert voter.drain().send_after == [(NodeId("b"), VoteReply(Term(3), granted=True))]


# --- commitment (logcabin#44, PySyncObj#110, #169; copycat#265; predecessor R1, R2) -----------


def test_an_old_entry_on_a_majority_is_not_committed_by_counting() -> None:
    node = Solo("abcde", recovered=stored(1, 2))
    node.become_leader()
    for peer in "bcde":
        node.say(peer, node.matched(2))
    assert node.status.commit_index == 0
    node.say("b", node.matched(3))
    node.say("c", node.matched(3))
    assert node.status.commit_index == 3


def test_a_heartbeat_to_a_longer_divergent_log_commits_nothing_of_it() -> None:
    node = Solo(recovered=stored(1, 1, 1, 1, term=2))
    node.say("b", append(2, 1, 1, commit=4))
    assert node.status.commit_index == 1


def test_an_acknowledgement_never_speaks_of_a_stale_tail() -> None:
    node = Solo(recovered=stored(1, 1, 1, 1, term=2))
    [(_, reply)] = node.say("b", append(2, 1, 1))
    assert isinstance(reply, AppendReply)
    assert reply.index == 1


def test_a_stale_tail_is_not_counted_as_replicated() -> None:
    # c holds more entries than the leader has acknowledged anywhere; they are not the leader's.
    network = Network(
        recovered={
            "a": stored(1, term=2),
            "b": stored(1, term=2),
            "c": stored(1, 1, 1, 1, term=1),
        }
    )
    network.cut("c")
    network.elect("a")
    network.cut("b")
    network.heal()
    network.cut("b")
    network.propose("a", b"alone", settle=False)
    network.advance(300)
    assert network["c"].log == network["a"].log
    assert network["c"].state == [b"old", b"alone"]


def test_a_reordered_old_append_drops_nothing_that_was_acknowledged() -> None:
    node = Solo()
    old = append(1, 0, 0, 1)
    node.say("b", append(1, 0, 0, 1, 1, 1))
    [(_, reply)] = node.say("b", old)
    assert node.terms == [1, 1, 1]
    assert isinstance(reply, AppendReply)
    assert reply.index == 1


def test_committed_entries_are_never_truncated() -> None:
    node = Solo()
    node.say("b", append(1, 0, 0, 1, 1, commit=2))
    with pytest.raises(AssertionError, match="committed 2"):
        node.raft._state.truncate(LogIndex(2))
    # A message that ends before the commit index is a late one, not a reason to look at it.
    node.say("b", append(1, 0, 0, 1))
    assert node.terms == [1, 1]


# --- two leaders in a term (camunda#1068, canonical/raft#386; predecessor R4) -----------------


def test_a_repeated_vote_counts_once() -> None:
    node = Solo("abcde")
    node.become_candidate()
    for _ in range(3):
        node.say("b", VoteReply(Term(1), granted=True))
    assert node.status.role == "candidate"


def test_a_node_does_not_answer_itself() -> None:
    node = Solo("abcd")
    node.become_candidate()
    assert node.say("a", VoteReply(Term(1), granted=True), vote(9), append(9)) == []
    assert (node.status.role, node.status.term) == ("candidate", 1)


def test_votes_of_nodes_outside_the_configuration_are_not_counted() -> None:
    node = Solo("abcd", "l")
    node.become_candidate()
    for stranger in ("lock-manager-1", "l", "z"):
        node.say(stranger, VoteReply(Term(1), granted=True))
    assert node.status.role == "candidate"


def test_a_node_is_a_member_by_its_id_and_needs_a_real_majority() -> None:
    node = Solo("abcd")
    node.become_candidate()
    node.say("b", VoteReply(Term(1), granted=True))
    assert node.status.role == "candidate", "2 of 4"
    node.say("c", VoteReply(Term(1), granted=True))
    assert node.status.role == "leader", "3 of 4"


# --- stepping down (camunda#5360; predecessor R6, R7) -----------------------------------------


def test_nothing_is_proposed_in_a_term_that_another_node_leads() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.raft.propose(b"mine", node.network.now)
    # The higher term arrives before the batch is drained.
    node.raft.handle(NodeId("b"), append(5), node.network.now)
    with pytest.raises(NotLeader):
        node.raft.propose(b"late", node.network.now)
    sent = of_type(node.drain(), AppendEntries)
    assert sent == []
    assert node.terms == [1, 1]


def test_a_candidate_steps_down_on_an_append_of_its_own_term() -> None:
    node = Solo()
    node.become_candidate()
    node.say("b", append(1))
    assert (node.status.role, node.status.leader) == ("follower", "b")


def test_an_answer_of_an_old_term_moves_nothing() -> None:
    node = Solo(recovered=stored(1, 1))
    node.become_leader()
    late = AppendReply(Term(1), True, LogIndex(3), Term(1), 0)
    node.say("b", late)
    node.say("c", late)
    assert node.status.match == {"b": 0, "c": 0}
    assert node.status.commit_index == 0


def test_an_answer_to_a_follower_is_ignored() -> None:
    node = Solo()
    node.become_leader()
    term = node.status.term
    node.say("b", append(term + 1))
    node.say("c", node.matched(1))
    assert node.status.commit_index == 0


# --- rolled back entries (NuRaft#185, CCF#5674) -----------------------------------------------


def test_committed_entries_survive_every_partition_of_five() -> None:
    network = Network("abcde")
    network.elect("a")
    network.propose("a", b"one")
    network.cut("ab")
    network.propose("a", b"lost", settle=False)
    network.advance(3_000)
    leader = network.leader()
    network.propose(leader.id, b"two")
    network.heal()
    network.cut("".join(sorted({"a", "b", str(leader.id)})))
    network.advance(3_000)
    network.heal()
    network.advance(3_000)
    states = [node.state for node in network.alive()]
    assert states == [[b"one", b"two"]] * 5


def test_a_commit_index_counts_only_with_the_term_of_its_leader() -> None:
    # cockroach#36353: heartbeats that carried the commit index alone.
    node = Solo(recovered=stored(1, 1, term=5))
    node.say("b", append(4, 2, 1, commit=2))
    assert node.status.commit_index == 0


# --- reads (etcd#741, etcd#20418, consul#54; etcd-io/raft PR#397) -----------------------------


def test_a_paused_leader_does_not_serve_a_stale_read() -> None:
    network = Network()
    network.elect("a")
    network.propose("a", b"old")
    old = network["a"]
    network.cut("a")
    network.elect("b")
    network.propose("b", b"new")
    ticket = old.raft.read(network.now)
    network.advance(300)
    assert old.reads == []
    network.heal()
    network.advance(300)
    assert (old.reads, old.failed_reads) == ([], [ticket])


def test_a_new_leader_does_not_serve_reads_before_it_knows_what_is_committed() -> None:
    node = Solo(recovered=stored(1, 1))
    node.become_leader()
    with pytest.raises(NotLeader):
        node.raft.read(node.network.now)


def test_a_later_read_does_not_get_the_index_of_an_earlier_one() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    first = node.raft.read(node.network.now)
    node.drain()
    node.propose(b"between")
    node.say("b", node.matched(2))
    second = node.raft.read(node.network.now)
    node.drain()
    node.say("c", node.matched(2, confirmed=2))
    assert node.node.reads == [(first, 1), (second, 2)]


def test_an_answer_that_was_under_way_before_the_read_confirms_nothing() -> None:
    node = Solo()
    node.become_leader()
    node.commit_all()
    node.wait(100)
    early = node.matched(1, confirmed=1)
    node.raft.read(node.network.now)
    node.say("b", early)
    assert node.node.reads == []


# --- etcd-io/raft e515a67, bd3c759, 8ecce32, a370b6f, e419ba5, 76f1249 ------------------------


def test_a_joint_configuration_survives_a_snapshot_and_a_restart() -> None:
    joint = members("abd", outgoing="abc")
    snapshot = make_snapshot(7, 2, joint, b"\x90")
    node = Solo(recovered=stored(snapshot=snapshot, term=2))
    assert node.status.members == joint
    follower = Solo("xyz")
    follower.say("b", InstallSnapshot(Term(2), snapshot.meta, 0, snapshot.data, 0))
    assert follower.status.members == joint


def test_the_joint_configuration_is_left_once() -> None:
    node = Solo("abc", "d")
    node.become_leader()
    node.commit_all()
    node.raft.change_members(nodes("abd"), (), node.network.now)
    node.drain()
    for _ in range(3):
        for peer in "bcd":
            node.say(peer, node.matched(2))
    assert [entry.kind for entry in node.node.disk.entries.values()] == [
        EntryKind.NOOP,
        EntryKind.MEMBERS,
        EntryKind.MEMBERS,
    ]


def test_a_new_leader_leaves_a_joint_configuration_that_it_inherits() -> None:
    joint = Entry(
        LogIndex(2), Term(1), EntryKind.MEMBERS, encode_members(members("abd", outgoing="abc"))
    )
    recovered = stored(1)
    recovered.entries = [*recovered.entries, joint]
    node = Solo(recovered=recovered)
    node.become_leader()
    assert node.status.last_index == 3
    node.commit_all()
    assert node.status.members == members("abd")


def test_a_page_of_committed_entries_skips_and_repeats_nothing() -> None:
    config = RaftConfig(apply_bytes_max=100)
    node = Solo(config=config, recovered=stored(*[1] * 50))
    node.raft.handle(NodeId("b"), append(1, 50, 1, commit=50), node.network.now)
    pages = []
    while node.raft.deadline() <= node.network.now:
        pages.append([entry.index for entry in node.raft.take_effects().apply])
    assert len(pages) > 5
    assert [index for page in pages for index in page] == list(range(1, 51))


def test_the_uncommitted_size_does_not_leak() -> None:
    node = Solo(config=RaftConfig(uncommitted_bytes_max=100))
    node.become_leader()
    node.commit_all()
    for _ in range(20):
        node.propose(b"x" * 60)
        with pytest.raises(Overloaded):
            node.raft.propose(b"x" * 60, node.network.now)
        node.commit_all()
    node.propose(b"x" * 60)
    node.say("b", append(9, 21, 1, 9))
    assert node.raft._state.log.uncommitted_bytes == len(b"new")


def test_one_proposal_larger_than_the_bound_is_taken_when_nothing_is_pending() -> None:
    node = Solo(config=RaftConfig(uncommitted_bytes_max=100))
    node.become_leader()
    node.propose(b"x" * 500)
    assert node.status.last_index == 2


def test_the_inflight_window_does_not_leak() -> None:
    config = RaftConfig(inflight_bytes_max=200, append_bytes_max=200)
    node = Solo(config=config)
    node.become_leader()
    node.commit_all()
    progress = node.raft._leadership.replication.peers[NodeId("b")]
    for _ in range(5):
        for _ in range(8):
            node.propose(b"x" * 50)
        assert progress.inflight_bytes > 0
        node.raft.peer_unreachable(NodeId("b"), node.network.now)
        assert (progress.inflight_bytes, progress.inflight_messages) == (0, 0)
        while progress.match < node.status.last_index:
            node.say("b", node.matched(progress.next - 1))
    assert progress.inflight_bytes == 0


def test_the_term_of_a_compacted_entry_is_an_error_and_not_zero() -> None:
    snapshot = make_snapshot(5, 2, members("abc"), b"\x90")
    node = Solo(recovered=stored(snapshot=snapshot, term=2))
    assert node.raft.term_at(LogIndex(5)) == 2
    for index in (4, 6):
        with pytest.raises(LookupError):
            node.raft.term_at(LogIndex(index))


# --- snapshots (Jepsen redis-raft-1b3fbf6, PySyncObj#133; predecessor R9, R10) ----------------


def test_fail_overs_between_snapshots_lose_nothing() -> None:
    network = Network(config=RaftConfig(suffix_entries_max=0, snapshot_chunk_bytes=16))
    expected = []
    for number, name in enumerate("abcabc"):
        leader = network.elect(name)
        expected.append(b"%d" % number)
        network.propose(leader.id, expected[-1])
        leader.compact()
        network.advance(50)
        network.crash(name)
        network.advance(50)
        network.restart(name)
    network.advance(5_000)
    assert [node.state for node in network.alive()] == [expected] * 3


def test_a_first_configuration_given_at_start_does_not_override_the_log() -> None:
    network = Network("abc")
    network.elect("a")
    network.add("d")
    network["a"].raft.change_members(nodes("abc"), nodes("d"), network.now)
    network.advance(100)
    network.crash("a")
    network.restart("a")
    assert network["a"].status.members == members("abc", "d")
    network.advance(3_000)
    network["a"].compact()
    network.crash("a")
    network.restart("a")
    assert network["a"].status.members == members("abc", "d")


def test_a_follower_far_behind_catches_up_whatever_the_message_limit() -> None:
    config = RaftConfig(append_bytes_max=1024, inflight_bytes_max=4096)
    network = Network(config=config)
    network.elect("a")
    network.crash("c")
    for _ in range(300):
        network.propose("a", b"x" * 100)
    network.restart("c")
    network.advance(500)
    assert len(network["c"].state) == 300
    sizes = [
        sum(len(entry.payload) for entry in packet.message.entries)
        for packet in network.delivered
        if isinstance(packet.message, AppendEntries)
    ]
    assert max(sizes) <= 1024


# --- transfer (hashicorp/raft GH-570, GH-581) -------------------------------------------------


def test_writes_during_a_transfer_are_refused_or_kept_and_never_doubled() -> None:
    network = Network()
    network.elect("a")
    network.propose("a", b"before", settle=False)
    network["a"].raft.transfer_leadership(NodeId("b"), network.now)
    with pytest.raises(NotLeader):
        network["a"].raft.propose(b"during", network.now)
    network.settle()
    network.propose("b", b"after")
    network.advance(200)
    assert [node.state for node in network.alive()] == [[b"before", b"after"]] * 3


def test_leadership_is_not_handed_to_a_learner_or_a_stranger() -> None:
    node = Solo("abc", "d")
    node.become_leader()
    for target in ("a", "d", "z"):
        with pytest.raises(Exception, match="is not another voter"):
            node.raft.transfer_leadership(NodeId(target), node.network.now)


def test_only_the_leader_can_make_a_node_campaign() -> None:
    node = Solo()
    node.say("b", append(1))
    assert node.say("c", TimeoutNow(Term(1))) == []
    assert node.status.term == 1


# --- pre-vote (raft-rs#83, #84, #42) ----------------------------------------------------------


def test_answers_to_an_earlier_pre_campaign_elect_nobody() -> None:
    node = Solo("abcde")
    node.time_out()
    node.say("b", VoteReply(Term(1), granted=True, pre=True))
    node.say("c", VoteReply(Term(4), granted=False, pre=True))
    assert (node.status.role, node.status.term) == ("follower", 4)
    node.time_out()
    node.say("b", VoteReply(Term(1), granted=True, pre=True))
    node.say("c", VoteReply(Term(1), granted=True, pre=True))
    assert node.status.role == "pre_candidate"


def test_a_pre_candidate_has_no_leader_to_name() -> None:
    node = Solo()
    node.say("b", append(1))
    node.time_out()
    assert node.status.leader is None


def test_a_node_with_a_higher_term_is_not_stuck_below_a_leader() -> None:
    # A campaign that failed left c with a term that the others never heard of.
    network = Network()
    network.elect("a")
    network["c"].raft._election.start(network.now)
    network["c"].drain()
    network.packets.clear()
    network.advance(3_000)
    terms = {node.status.term for node in network.alive()}
    assert len(terms) == 1
    assert len([role for role in network.roles().values() if role == "leader"]) == 1


# --- single node (predecessor R5, etcd#14370), latency (R8), quorum (R10), hint (R11) ---------


def test_a_single_node_leads_at_once_and_commits_without_any_peer() -> None:
    network = Network("a")
    network.advance(0)
    network.propose("a", b"x")
    assert network["a"].state == [b"x"]


def test_a_single_node_acknowledges_nothing_before_its_disk_does() -> None:
    network = Network("a")
    network.advance(0)
    network["a"].is_disk_held = True
    network.propose("a", b"x")
    assert network["a"].state == []
    network["a"].sync_disk()
    network.settle()
    assert network["a"].state == [b"x"]


def test_a_sole_voter_tells_its_learners_nothing_of_a_term_that_could_be_entered_twice() -> None:
    network = Network("a", "b")
    network["a"].is_disk_held = True
    network.advance(0)
    assert network["a"].role == "leader"
    assert network.packets == []
    network.crash("a")
    network.restart("a")
    network.advance(200)
    assert network["b"].log == network["a"].log


def test_a_proposal_does_not_wait_for_the_next_heartbeat() -> None:
    network = Network()
    network.elect("a")
    before = network.now
    network.propose("a", b"x")
    assert network["a"].state == [b"x"]
    assert network.now == before


def test_an_isolated_leader_does_not_lead_for_ever() -> None:
    network = Network()
    network.elect("a")
    network.cut("a")
    network.advance(1_200)
    assert network["a"].role != "leader"
    with pytest.raises(NotLeader):
        network["a"].raft.propose(b"x", network.now)


def test_no_message_is_sent_twice_to_a_peer_that_does_not_answer() -> None:
    # One message per heartbeat, not one more per heartbeat that hangs.
    node = Solo()
    node.become_leader()
    for peer in "bc":
        node.say(peer, node.matched(1))
    sent = of_type(node.wait(900), AppendEntries)
    assert len(sent) == 2 * 9 + 2  # and one notice of the commit index


# --- storage races ----------------------------------------------------------------------------


def test_a_late_confirmation_does_not_make_a_rewritten_entry_durable() -> None:
    # etcd-io/raft's ABA race: 2/1 is written, replaced by 2/2, and written again as 2/1 was.
    node = Solo(recovered=stored(1))
    node.node.is_disk_held = True
    first_write = node.say("b", append(1, 1, 1, 1)) and node.node.unwritten[0].persist
    assert first_write
    node.say("c", append(2, 1, 1, 2))
    assert node.status.stable_index == 1
    node.raft.persisted(first_write.mark, node.network.now)
    assert node.status.stable_index == 1
    node.node.sync_disk()
    assert node.raft.status().stable_index == 2


def test_the_same_entry_written_twice_is_durable_only_after_the_second_write() -> None:
    node = Solo(recovered=stored(1, term=1))
    node.node.is_disk_held = True
    node.say("b", append(3, 1, 1, 2))
    node.say("c", append(4, 1, 1, 4))
    node.say("d", append(5, 1, 1, 2))
    first, second, third = [e.persist for e in node.node.unwritten if e.persist is not None]
    assert first.mark.index == third.mark.index
    assert first.mark.term == third.mark.term
    node.raft.persisted(first.mark, node.network.now)
    assert node.status.stable_index == 1
    node.raft.persisted(second.mark, node.network.now)
    node.raft.persisted(third.mark, node.network.now)
    assert node.raft.status().stable_index == 2


def test_a_term_below_that_of_the_log_is_mended_at_the_start() -> None:
    recovered = RecoveredGroup(HardState(Term(1), NodeId("b")), None, stored(3).entries)
    node = Solo(recovered=recovered)
    assert node.status.term == 3
    assert node.node.disk.hard_state == HardState(Term(3), None)
