"""One test per sentence of Raft's rules.

Sections are those of Ongaro's thesis; "Fig. 3.1" is the summary of the rules ("Figure 2" of the
paper, whose 5.x are the thesis' 3.x). The sentences are paraphrased in the docstrings.
"""

import msgspec
import pytest

from support.raft_network import Network, make_snapshot, members
from support.raft_solo import Solo, append, of_type, stored, vote
from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    RequestVote,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from synaxis.ids import Instant, LogIndex, NodeId, Term

SNAPSHOT = make_snapshot(5, 2, members("abc"), b"\x91\xc4\x01s")


def install(term: int, data: bytes = SNAPSHOT.data, offset: int = 0) -> InstallSnapshot:
    return InstallSnapshot(Term(term), SNAPSHOT.meta, offset, data, 0)


def append_reply(term: int, *, success: bool, index: int = 0, hint: int = 0) -> AppendReply:
    return AppendReply(Term(term), success, LogIndex(index), Term(hint), 0)


# --- 3.3 terms -------------------------------------------------------------------------------


def test_3_3_a_node_starts_as_a_follower() -> None:
    """When servers start up, they begin as followers."""
    assert Solo().status.role == "follower"


@pytest.mark.parametrize(
    "message",
    [
        append(7),
        append_reply(7, success=False),
        vote(7),
        VoteReply(Term(7), granted=False),
        VoteReply(Term(7), granted=False, pre=True),
        install(7),
        SnapshotReply(Term(7), LogIndex(5), 0, installed=False, round=0),
        TimeoutNow(Term(7)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_3_3_a_higher_term_in_any_message_is_taken_over(message: msgspec.Struct) -> None:
    """If one server's current term is smaller than the other's, it updates to the larger one."""
    node = Solo(recovered=stored(term=1))
    node.say("b", message)
    # TimeoutNow is obeyed, so that the term has grown once more.
    assert node.status.term == (8 if isinstance(message, TimeoutNow) else 7)


@pytest.mark.parametrize("role", ["leader", "candidate"])
def test_3_3_a_leader_or_candidate_of_an_old_term_becomes_a_follower(role: str) -> None:
    """A candidate or leader that finds its term out of date reverts to follower at once."""
    node = Solo()
    if role == "leader":
        node.become_leader()
    else:
        node.become_candidate()
    assert node.status.role == role
    node.say("b", append_reply(5, success=False))
    assert (node.status.role, node.status.term) == ("follower", 5)


@pytest.mark.parametrize("message", [append(3), install(3), vote(3), vote(3, pre=True)], ids=repr)
def test_3_3_a_request_of_an_old_term_is_refused(message: msgspec.Struct) -> None:
    """A request with a stale term number is rejected, with the current term in the answer."""
    node = Solo(recovered=stored(term=5))
    [(target, reply)] = node.say("b", message)
    assert target == "b"
    assert isinstance(reply, AppendReply | VoteReply)
    assert reply.term == 5
    assert not (reply.success if isinstance(reply, AppendReply) else reply.granted)
    assert node.status.leader is None


# --- 3.4 leader election ---------------------------------------------------------------------


def test_3_4_a_follower_stays_one_while_it_hears_a_leader() -> None:
    """A server remains a follower as long as it receives valid RPCs from a leader."""
    node = Solo()
    for _ in range(50):
        node.say("b", append(1))
        node.wait(node.network.config.election_timeout_min_ms - 1)
        assert node.status.role == "follower"


def test_3_4_a_leader_speaks_to_all_periodically() -> None:
    """Leaders send periodic heartbeats to all followers to keep their authority."""
    node = Solo("abcde")
    node.become_leader()
    sent = of_type(node.wait(node.network.config.heartbeat_ms), AppendEntries)
    assert [target for target, _ in sent] == ["b", "c", "d", "e"]
    assert all(not message.entries for _, message in sent)


def test_3_4_a_candidate_increments_its_term_and_votes_for_itself() -> None:
    """To begin an election, a follower increments its term, becomes candidate, votes for itself
    and issues RequestVote in parallel to every other server."""
    node = Solo(recovered=stored(1, 2, term=3))
    requests = node.become_candidate()
    assert node.status.term == 4
    assert node.node.disk.hard_state.voted_for == "a"
    assert requests == [("b", vote(4, 2, 2)), ("c", vote(4, 2, 2))]


@pytest.mark.parametrize(
    ("voters", "granted", "won"),
    [
        ("a", "", True),
        ("ab", "", False),
        ("ab", "b", True),
        ("abc", "", False),
        ("abc", "b", True),
        ("abcd", "b", False),
        ("abcd", "bc", True),
        ("abcde", "b", False),
        ("abcde", "bc", True),
    ],
)
def test_3_4_a_majority_of_the_whole_cluster_wins(voters: str, granted: str, won: bool) -> None:
    """A candidate wins with the votes of a majority of the servers in the full cluster."""
    node = Solo(voters)
    node.become_candidate()
    for peer in granted:
        node.say(peer, VoteReply(Term(1), granted=True))
    assert node.status.role == ("leader" if won else "candidate")


def test_3_4_votes_of_another_term_are_not_counted() -> None:
    """... for the same term."""
    node = Solo()
    node.become_candidate()
    node.time_out()
    node.say("b", VoteReply(Term(2), granted=True, pre=True))
    assert (node.status.role, node.status.term) == ("candidate", 2)
    node.say("b", VoteReply(Term(1), granted=True))
    assert node.status.role == "candidate"


def test_3_4_each_server_votes_once_per_term_first_come_first_served() -> None:
    """Each server votes for at most one candidate in a term, on a first-come basis."""
    node = Solo()
    assert node.say("b", vote(1)) == [("b", VoteReply(Term(1), granted=True))]
    assert node.say("c", vote(1)) == [("c", VoteReply(Term(1), granted=False))]
    assert node.say("b", vote(1)) == [("b", VoteReply(Term(1), granted=True))]
    assert node.say("c", vote(2)) == [("c", VoteReply(Term(2), granted=True))]


@pytest.mark.parametrize("term", [1, 2])
def test_3_4_a_candidate_recognises_a_leader_of_at_least_its_term(term: int) -> None:
    """If the leader's term is at least as large as the candidate's, the candidate recognises it
    and returns to follower state."""
    node = Solo()
    node.become_candidate()
    node.say("b", append(term))
    status = node.status
    assert (status.role, status.term, status.leader) == ("follower", term, "b")


def test_3_4_a_candidate_ignores_a_leader_of_a_smaller_term() -> None:
    """If the term in the RPC is smaller, the candidate rejects it and stays candidate."""
    node = Solo(recovered=stored(term=4))
    node.become_candidate()
    [(_, reply)] = node.say("b", append(4))
    assert isinstance(reply, AppendReply)
    assert (reply.term, reply.success) == (5, False)
    assert node.status.role == "candidate"


def test_3_4_a_candidate_without_result_starts_a_new_election() -> None:
    """With a split vote each candidate times out and starts a new election with a higher term."""
    node = Solo()
    node.become_candidate()
    node.become_candidate()
    assert (node.status.role, node.status.term) == ("candidate", 2)


def test_3_4_election_timeouts_are_random_in_a_fixed_interval() -> None:
    """Election timeouts are chosen randomly from a fixed interval."""
    node = Solo()
    config = node.network.config
    seen = set()
    for _ in range(200):
        node.say("b", append(1))
        timeout = node.raft.deadline() - node.network.now
        assert config.election_timeout_min_ms <= timeout <= config.election_timeout_max_ms
        seen.add(timeout)
    assert len(seen) > 100


def test_3_4_a_candidate_restarts_its_randomized_timeout() -> None:
    """Each candidate restarts its randomized election timeout at the start of an election."""
    node = Solo()
    before = node.raft.deadline()
    node.become_candidate()
    least = node.network.config.election_timeout_min_ms
    assert node.raft.deadline() >= before + least


def test_3_4_a_new_leader_speaks_to_all_at_once() -> None:
    """Once a candidate wins, it sends heartbeats to all to establish its authority."""
    node = Solo("abcd")
    sent = of_type(node.become_leader(), AppendEntries)
    assert [target for target, _ in sent[:3]] == ["b", "c", "d"]


def test_3_4_granting_a_vote_resets_the_election_timer_and_refusing_does_not() -> None:
    """Fig. 3.1, followers: convert to candidate without an RPC from a leader or granting a vote."""
    node = Solo(recovered=stored(1, 1))
    before = node.raft.deadline()
    node.network.now = Instant(node.network.now + 400)
    node.say("b", vote(2, 1, 1))
    assert node.raft.deadline() == before
    node.say("c", vote(3, 2, 1))
    assert node.raft.deadline() >= node.network.now + 500


# --- 3.5 log replication ---------------------------------------------------------------------


def test_3_5_a_leader_appends_and_sends_to_all_in_parallel() -> None:
    """The leader appends the command to its log, then issues AppendEntries in parallel."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    sent = of_type(node.propose(b"put"), AppendEntries)
    assert [target for target, _ in sent] == ["b", "c"]
    [first, second] = [message for _, message in sent]
    assert first == second
    [entry] = first.entries
    assert (entry.index, entry.term, entry.payload) == (2, 1, b"put")
    assert (first.prev_index, first.prev_term) == (1, 1)


@pytest.mark.parametrize(
    ("voters", "acknowledging", "committed"),
    [("abc", "", 1), ("abc", "b", 2), ("abcd", "b", 1), ("abcd", "bc", 2), ("abcde", "bc", 2)],
)
def test_3_5_an_entry_on_a_majority_is_committed(
    voters: str, acknowledging: str, committed: int
) -> None:
    """An entry is committed once the leader that created it has replicated it on a majority."""
    node = Solo(voters)
    node.become_leader()
    node.commit_all()
    node.propose()
    for peer in acknowledging:
        node.say(peer, node.matched(2))
    assert node.status.commit_index == committed


def test_3_5_committing_an_entry_commits_all_before_it() -> None:
    """... this also commits all preceding entries, including those of previous leaders."""
    node = Solo(recovered=stored(1, 2, 2))
    node.become_leader()
    assert node.status.commit_index == 0
    node.say("b", node.matched(4))
    assert [entry.index for entry in node.node.applied] == [1, 2, 3, 4]


def test_3_5_a_follower_learns_the_commit_index_and_applies_in_order() -> None:
    """The leader includes the commit index in later AppendEntries; a follower that learns of it
    applies the entries in log order."""
    node = Solo()
    node.say("b", append(1, 0, 0, 1, 1, 1))
    assert node.node.applied == []
    node.say("b", append(1, 3, 1, commit=2))
    node.say("b", append(1, 3, 1, commit=3))
    assert [entry.index for entry in node.node.applied] == [1, 2, 3]


def test_3_5_the_leader_sends_the_commit_index_in_heartbeats_too() -> None:
    """The leader keeps track of the highest index committed and includes it in AppendEntries,
    including heartbeats."""
    node = Solo()
    node.become_leader()
    node.commit_all()
    heartbeats = of_type(node.wait(node.network.config.heartbeat_ms), AppendEntries)
    assert heartbeats[-1][1].commit_index == 1


def test_3_5_a_leader_creates_one_entry_per_index_and_never_moves_it() -> None:
    """A leader creates at most one entry with a given index in a term, and entries never change
    their position (log matching); it never overwrites its own log (leader append-only)."""
    node = Solo()
    node.become_leader()
    for _ in range(5):
        node.propose()
    before = node.node.log
    node.say("b", append_reply(1, success=False, index=0))
    node.say("c", node.matched(1))
    assert node.node.log == before == [(i, 1) for i in range(1, 7)]


@pytest.mark.parametrize(
    ("after", "after_term", "success"),
    [(0, 0, True), (1, 1, True), (2, 2, True), (2, 1, False), (3, 2, False), (9, 2, False)],
)
def test_3_5_an_append_is_refused_unless_its_predecessor_is_there(
    after: int, after_term: int, success: bool
) -> None:
    """If the follower finds no entry with that index and term, it refuses the new entries."""
    node = Solo(recovered=stored(1, 2))
    [(_, reply)] = node.say("b", append(3, after, after_term, 3))
    assert isinstance(reply, AppendReply)
    assert reply.success is success
    assert (node.terms[-1] == 3) is success


@pytest.mark.parametrize(
    ("mine", "after", "after_term", "sent", "result"),
    [
        ((1, 1, 2, 2), 2, 1, (3,), [1, 1, 3]),
        ((1, 1, 2, 2), 0, 0, (1, 3), [1, 3]),
        ((1, 1, 2, 2), 2, 1, (2, 2, 3), [1, 1, 2, 2, 3]),
        ((1, 1, 2, 2), 1, 1, (1,), [1, 1, 2, 2]),
        ((1, 1, 2, 2), 2, 1, (), [1, 1, 2, 2]),
        ((), 0, 0, (1, 1), [1, 1]),
    ],
)
def test_3_5_a_conflict_and_only_a_conflict_drops_what_follows(
    mine: tuple[int, ...], after: int, after_term: int, sent: tuple[int, ...], result: list[int]
) -> None:
    """Fig. 3.1, AppendEntries 3-4: an entry that conflicts with a new one is deleted with all
    that follow it; entries not yet in the log are appended."""
    node = Solo(recovered=stored(*mine, term=3))
    node.say("b", append(3, after, after_term, *sent))
    assert node.terms == result


@pytest.mark.parametrize(
    ("follower", "why"),
    [
        ((1, 1, 1, 4, 4, 5, 5, 6, 6), "(a) one entry is missing"),
        ((1, 1, 1, 4), "(b) many are missing"),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), "(c) one too many"),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), "(d) two too many, of a later term"),
        ((1, 1, 1, 4, 4, 4, 4), "(e) both"),
        ((1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), "(f) both, many terms ago"),
    ],
)
def test_3_5_figure_7_every_follower_is_brought_to_the_leaders_log(
    follower: tuple[int, ...], why: str
) -> None:
    """Fig. 3.6: the leader finds the last entry where the two logs agree, and the follower's log
    becomes its own."""
    logs = {
        "a": stored(1, 1, 1, 4, 4, 5, 5, 6, 6, 6, term=7),
        "b": stored(*follower, term=7),
        "c": stored(term=7),
    }
    network = Network("abc", recovered=logs)
    network.elect("a")
    network.advance(200)
    assert network["b"].log == network["a"].log, why
    assert network["b"].status.commit_index == 11


def test_3_5_a_new_leader_tries_first_just_behind_its_log() -> None:
    """A leader initialises every nextIndex to the index just after the last one in its log."""
    node = Solo(recovered=stored(1, 1, 2))
    [(_, to_b), (_, to_c)] = of_type(node.become_leader(), AppendEntries)[:2]
    assert (to_b.prev_index, to_c.prev_index) == (3, 3)


def test_3_5_the_leader_retries_until_the_follower_has_everything() -> None:
    """If followers crash or are slow the leader retries AppendEntries indefinitely, even after
    it has answered the client."""
    network = Network()
    network.elect("a")
    network.crash("c")
    network.propose("a", b"one")
    network.advance(5_000)
    assert network["a"].state == [b"one"]
    network.restart("c")
    network.advance(300)
    assert network["c"].state == [b"one"]


def test_3_5_a_repeated_append_changes_nothing() -> None:
    """3.7: Raft RPCs are idempotent: a repeated request with entries that are there is ignored."""
    node = Solo()
    message = append(1, 0, 0, 1, 1, commit=1)
    assert node.say("b", message) == node.say("b", message)
    assert node.terms == [1, 1]
    assert len(node.node.applied) == 1


@pytest.mark.parametrize(
    ("after", "sent", "leader_commit", "committed"),
    [(0, (), 9, 0), (1, (), 9, 1), (2, (1,), 9, 3), (2, (1,), 1, 1), (4, (), 3, 3)],
)
def test_3_5_commit_is_bounded_by_the_last_new_entry(
    after: int, sent: tuple[int, ...], leader_commit: int, committed: int
) -> None:
    """Fig. 3.1, AppendEntries 5: commitIndex = min(leaderCommit, index of last new entry)."""
    node = Solo(recovered=stored(1, 1, 1, 1))
    node.say("b", append(1, after, 1 if after else 0, *sent, commit=leader_commit))
    assert node.status.commit_index == committed


def test_3_5_the_commit_index_never_falls() -> None:
    """Fig. 3.1, volatile state: commitIndex is initialised to 0 and increases monotonically."""
    node = Solo()
    assert node.status.commit_index == 0
    node.say("b", append(1, 0, 0, 1, 1, commit=2))
    node.say("b", append(1, 2, 1, commit=1))
    assert node.status.commit_index == 2


def test_3_5_match_never_falls() -> None:
    """Fig. 3.1, leader state: matchIndex is initialised to 0 and increases monotonically."""
    node = Solo()
    node.become_leader()
    assert node.status.match == {"b": 0, "c": 0}
    node.propose()
    node.say("b", node.matched(2))
    node.say("b", node.matched(1))
    assert node.status.match == {"b": 2, "c": 0}


# --- 3.6 safety ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "last", "last_term", "granted"),
    [
        ((1,), 1, 1, True),
        ((1,), 2, 1, True),
        ((1, 1), 1, 1, False),
        ((1, 1), 1, 2, True),
        ((1, 1), 3, 2, True),
        ((1, 2), 3, 1, False),
        ((2,), 9, 1, False),
        ((), 0, 0, True),
        ((1,), 0, 0, False),
    ],
)
@pytest.mark.parametrize("pre", [False, True])
def test_3_6_1_a_vote_is_refused_to_a_less_complete_log(
    mine: tuple[int, ...], last: int, last_term: int, granted: bool, pre: bool
) -> None:
    """The voter denies its vote if its own log is more up to date: the later last term, or the
    same last term and the longer log."""
    node = Solo(recovered=stored(*mine, term=3))
    [(_, reply)] = node.say("b", vote(4, last, last_term, pre=pre))
    assert isinstance(reply, VoteReply)
    assert reply.granted is granted


@pytest.mark.parametrize(("index", "committed"), [(1, 0), (2, 0), (3, 3)])
def test_3_6_2_only_entries_of_the_current_term_are_committed_by_counting(
    index: int, committed: int
) -> None:
    """Raft never commits entries of previous terms by counting replicas."""
    node = Solo(recovered=stored(1, 2))
    node.become_leader()
    node.say("b", node.matched(index))
    node.say("c", node.matched(index))
    assert node.status.commit_index == committed


# --- 3.8 persisted state ---------------------------------------------------------------------


@pytest.mark.parametrize("message", [vote(3), append(3, 0, 0, 3), install(3)], ids=repr)
def test_3_8_a_promise_leaves_only_when_it_is_durable(message: msgspec.Struct) -> None:
    """A server persists its term, vote and log before it responds to an RPC."""
    node = Solo()
    node.raft.handle(NodeId("b"), message, node.network.now)
    effects = node.raft.take_effects()
    assert effects.persist is not None
    assert effects.persist.hard_state is not None
    assert effects.persist.hard_state.term == 3
    assert effects.send_now == []
    assert [target for target, _ in effects.send_after] == ["b"]


def test_3_8_a_candidate_asks_for_votes_after_its_own_is_durable() -> None:
    """... and its own vote counts like any other."""
    node = Solo()
    node.time_out()
    node.raft.handle(NodeId("b"), VoteReply(Term(1), granted=True, pre=True), node.network.now)
    effects = node.raft.take_effects()
    assert not of_type(effects.send_now, RequestVote)
    assert len(of_type(effects.send_after, RequestVote)) == 2
    assert effects.persist is not None
    assert effects.persist.hard_state is not None
    assert effects.persist.hard_state.voted_for == "a"


def test_3_8_term_and_vote_survive_a_restart() -> None:
    """Each server stores its current term and vote, to prevent voting twice in one term."""
    network = Network()
    network["b"].raft.handle(NodeId("c"), vote(4), network.now)
    network["b"].drain()
    network.crash("b")
    network.restart("b")
    network["b"].raft.handle(NodeId("a"), vote(4), network.now)
    [(_, reply)] = network["b"].drain().send_after
    assert reply == VoteReply(Term(4), granted=False)
