"""A snapshot with attachments is installed only when they have been gathered."""

import pytest

from support.raft_network import Network, make_snapshot, members
from support.raft_solo import Solo, append, of_type, stored
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import AppendReply, InstallSnapshot, SnapshotReply
from synaxis.effects import Snapshot
from synaxis.ids import LogIndex, Term

SNAPSHOT = make_snapshot(5, 2, members("abc"), b"\x91\xc4\x01s", attached=True)
NEWER = make_snapshot(9, 2, members("abc"), b"\x91\xc4\x01n", attached=True)


def install(
    snapshot: Snapshot = SNAPSHOT, *, term: int = 2, offset: int = 0, size: int = 100
) -> InstallSnapshot:
    data = snapshot.data[offset : offset + size]
    return InstallSnapshot(Term(term), snapshot.meta, offset, data, 0)


def received(node: Solo, message: InstallSnapshot, sender: str = "b") -> SnapshotReply:
    [(target, reply)] = of_type(node.say(sender, message), SnapshotReply)
    assert target == sender
    return reply


def gathers(node: Solo) -> list[int]:
    """Indexes of the snapshots that the node wanted gathered, in order."""
    return [each.gather.meta.index for each in node.node.history if each.gather is not None]


def gathered(node: Solo, snapshot: Snapshot = SNAPSHOT, *, complete: bool = True) -> list[object]:
    node.raft.gathered(snapshot.meta, complete=complete, now=node.network.now)
    return [message for _, message in node.drain()]


def test_a_whole_snapshot_is_not_installed_before_its_attachments_are_there() -> None:
    node = Solo()
    reply = received(node, install())
    assert (reply.installed, reply.next_offset) == (False, SNAPSHOT.meta.size)
    assert gathers(node) == [5]
    assert (node.status.last_index, node.status.snapshot_index) == (0, 0)
    assert all(each.persist is None or each.persist.snapshot is None for each in node.node.history)


def test_when_they_are_there_it_is_installed_and_the_leader_hears_it_at_once() -> None:
    node = Solo()
    received(node, install())
    [reply] = gathered(node)
    assert reply == SnapshotReply(Term(2), LogIndex(5), 4, installed=True, round=0)
    assert node.node.state == [b"s"]
    assert (node.status.commit_index, node.status.last_index) == (5, 5)
    assert node.node.disk.snapshot == SNAPSHOT


def test_the_leader_hears_it_only_when_the_snapshot_is_durable() -> None:
    node = Solo()
    received(node, install())
    node.node.is_disk_held = True
    node.raft.gathered(SNAPSHOT.meta, complete=True, now=node.network.now)
    node.node.drain()
    assert node.network.packets == []
    assert not any(isinstance(message, SnapshotReply) for _, message in node.node.drain().send_now)
    assert node.node.unwritten[-2].send_after[0][1] == SnapshotReply(
        Term(2), LogIndex(5), 4, installed=True, round=0
    )


def test_repeated_chunks_ask_and_change_nothing() -> None:
    node = Solo()
    received(node, install())
    for message in (install(offset=4), install(), install(size=2), install(offset=2)):
        reply = received(node, message)
        assert (reply.installed, reply.next_offset) == (False, 4)
    assert gathers(node) == [5]


def test_what_cannot_be_had_is_forgotten_and_may_come_again() -> None:
    node = Solo()
    received(node, install())
    assert gathered(node, complete=False) == []
    reply = received(node, install(offset=4))
    assert (reply.installed, reply.next_offset) == (False, 0)
    received(node, install())
    assert gathers(node) == [5, 5]
    assert gathered(node) != []
    assert node.node.state == [b"s"]


def test_entries_that_do_not_reach_are_refused_meanwhile() -> None:
    node = Solo()
    received(node, install())
    [(_, reply)] = node.say("b", append(2, 5, 2, 2))
    assert isinstance(reply, AppendReply)
    assert not reply.success


def test_another_snapshot_takes_the_place_of_the_one_that_is_gathered() -> None:
    node = Solo()
    received(node, install())
    received(node, install(NEWER, term=3), "c")
    assert gathers(node) == [5, 9]
    assert gathered(node) == [], "nobody waits for the first one any more"
    assert gathered(node, NEWER) != []
    assert node.node.state == [b"n"]


def test_a_new_leader_with_the_same_snapshot_finds_it_gathering() -> None:
    node = Solo()
    received(node, install())
    reply = received(node, install(term=3, size=2), "c")
    assert (reply.term, reply.next_offset, reply.installed) == (3, 4, False)
    assert gathers(node) == [5]
    [answer] = gathered(node)
    assert answer == SnapshotReply(Term(3), LogIndex(5), 4, installed=True, round=0)


def test_a_snapshot_that_was_gathered_while_nobody_leads_is_installed_quietly() -> None:
    node = Solo()
    received(node, install())
    node.become_candidate()
    assert gathered(node) == []
    assert node.node.state == [b"s"]


def test_a_log_that_has_caught_up_otherwise_is_kept() -> None:
    node = Solo()
    received(node, install())
    node.say("b", append(2, 0, 0, 1, 1, 2, 2, 2, 2, 2, commit=3))
    [reply] = gathered(node)
    assert isinstance(reply, SnapshotReply)
    assert reply.installed
    assert node.terms == [1, 1, 2, 2, 2, 2, 2]
    assert node.status.commit_index == 5
    assert node.node.disk.snapshot is None


def test_a_log_that_has_gone_further_has_no_use_for_it() -> None:
    node = Solo()
    received(node, install())
    node.say("b", append(2, 0, 0, 1, 1, 2, 2, 2, 2, 2, commit=7))
    received(node, install())
    assert gathered(node) == []
    assert node.status.commit_index == 7


def test_a_leader_has_no_use_for_what_it_gathered_before() -> None:
    node = Solo(recovered=stored(1, 1, 2, 2))
    received(node, install())
    node.become_leader()
    assert gathered(node) == []
    assert node.terms[:4] == [1, 1, 2, 2]


def test_a_restart_begins_anew() -> None:
    network = Network("abc", config=RaftConfig(suffix_entries_max=0))
    network.elect("a")
    network.crash("c")
    network.propose("a")
    network["a"].compact(attached=True)
    network.restart("c")
    network.advance(200)
    assert network["c"].gathering is not None
    network.crash("c")
    network.restart("c")
    network.advance(200)
    assert network["c"].gathering is not None
    network["c"].gathered()
    network.propose("a", b"y")
    network.advance(100)
    assert network["c"].state == [b"x", b"y"]


def test_a_leader_change_in_the_middle_is_harmless() -> None:
    network = Network("abc", config=RaftConfig(suffix_entries_max=0))
    network.elect("a")
    network.crash("c")
    network.propose("a")
    network.advance(100)
    network["a"].compact(attached=True)
    network.restart("c")
    network.advance(200)
    network.elect("b")
    network["b"].compact(attached=True)
    network.advance(200)
    network["c"].gathered()
    network.advance(100)
    if network["c"].gathering is not None:
        network["c"].gathered()
    network.propose("b", b"y")
    network.advance(100)
    assert network["c"].state == [b"x", b"y"]


@pytest.mark.parametrize("attached", [False, True])
def test_the_leader_goes_on_with_its_newest_snapshot_when_the_old_one_was_thrown_away(
    attached: bool,
) -> None:
    old = make_snapshot(5, 2, members("abc"), b"\x91\xc4\x01s", attached=attached)
    node = Solo(recovered=stored(2, 2, snapshot=old, term=2))
    node.become_leader()
    node.say("c", node.matched(node.status.last_index))
    refusal = AppendReply(node.status.term, False, LogIndex(0), Term(0), 0)
    [(_, sent)] = of_type(node.say("b", refusal), InstallSnapshot)
    assert sent.meta.index == 5
    node.node.compact(attached=attached)
    newest = node.status.snapshot_index
    assert newest == 8
    node.say("b", SnapshotReply(node.status.term, LogIndex(5), 4, installed=False, round=0))
    thrown = SnapshotReply(node.status.term, LogIndex(5), 0, installed=False, round=0)
    again = [message.meta.index for _, message in of_type(node.say("b", thrown), InstallSnapshot)]
    assert again == ([newest] if attached else [])
