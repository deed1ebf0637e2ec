import msgspec

from support.raft_network import make_snapshot, members
from synaxis.consensus.raft.messages import InstallSnapshot
from synaxis.consensus.raft.snapshot import SnapshotReceiver, SnapshotSender
from synaxis.effects import Snapshot
from synaxis.ids import Term

SNAPSHOT = make_snapshot(9, 2, members("abc"), b"0123456789")
NEWER = make_snapshot(12, 2, members("abc"), b"abcdefghijkl")


def chunk(offset: int, data: bytes, snapshot: Snapshot = SNAPSHOT) -> InstallSnapshot:
    return InstallSnapshot(Term(2), snapshot.meta, offset, data, 0)


def receiver() -> SnapshotReceiver:
    return SnapshotReceiver(1000)


def test_chunks_leave_one_at_a_time() -> None:
    sender = SnapshotSender(SNAPSHOT)
    assert sender.take_chunk(4, 1) == (0, b"0123")
    assert sender.take_chunk(4, 1) is None
    sender.received(4)
    assert sender.take_chunk(4, 1) == (4, b"4567")
    sender.received(8)
    assert sender.take_chunk(4, 1) == (8, b"89")


def test_an_answer_to_something_later_shows_that_a_chunk_was_lost() -> None:
    sender = SnapshotSender(SNAPSHOT)
    sender.take_chunk(4, 7)
    sender.heard(7)
    assert sender.take_chunk(4, 7) is None
    sender.heard(8)
    assert sender.take_chunk(4, 8) == (0, b"0123")


def test_a_receiver_that_has_more_is_taken_at_its_word() -> None:
    sender = SnapshotSender(SNAPSHOT)
    sender.take_chunk(4, 1)
    sender.received(8)
    assert sender.take_chunk(4, 1) == (8, b"89")


def test_without_progress_the_next_chunk_waits_for_a_heartbeat() -> None:
    sender = SnapshotSender(SNAPSHOT)
    sender.take_chunk(4, 1)
    sender.received(4)
    sender.take_chunk(4, 1)
    sender.received(0)
    assert sender.take_chunk(4, 1) is None
    sender.heard(2)
    assert sender.take_chunk(4, 2) == (0, b"0123")


def test_an_empty_snapshot_is_one_empty_chunk() -> None:
    empty = make_snapshot(9, 2, members("abc"), b"")
    assert SnapshotSender(empty).take_chunk(4, 1) == (0, b"")
    assert receiver().accept(chunk(0, b"", empty)) == empty


def test_chunks_in_order_make_the_snapshot() -> None:
    incoming = receiver()
    assert incoming.accept(chunk(0, b"01234")) is None
    assert incoming.next_offset(SNAPSHOT.meta) == 5
    assert incoming.accept(chunk(5, b"56789")) == SNAPSHOT
    assert incoming.next_offset(SNAPSHOT.meta) == 0


def test_a_repeated_or_early_chunk_changes_nothing() -> None:
    incoming = receiver()
    incoming.accept(chunk(0, b"01234"))
    incoming.accept(chunk(0, b"01234"))
    incoming.accept(chunk(8, b"89"))
    assert incoming.next_offset(SNAPSHOT.meta) == 5


def test_a_bad_checksum_starts_again() -> None:
    incoming = receiver()
    assert incoming.accept(chunk(0, b"0123456780")) is None
    assert incoming.next_offset(SNAPSHOT.meta) == 0
    assert incoming.accept(chunk(0, b"0123456789")) == SNAPSHOT


def test_more_bytes_than_announced_are_thrown_away() -> None:
    incoming = receiver()
    assert incoming.accept(chunk(0, b"0123456789abc")) is None
    assert incoming.next_offset(SNAPSHOT.meta) == 0


def test_a_snapshot_that_is_too_large_is_not_buffered() -> None:
    small = SnapshotReceiver(9)
    assert small.accept(chunk(0, b"01234")) is None
    assert small.next_offset(SNAPSHOT.meta) == 0


def test_another_snapshot_starts_with_its_first_chunk_only() -> None:
    incoming = receiver()
    incoming.accept(chunk(0, b"01234"))
    incoming.accept(chunk(3, b"def", NEWER))
    assert incoming.next_offset(SNAPSHOT.meta) == 5
    incoming.accept(chunk(0, b"abc", NEWER))
    assert (incoming.next_offset(SNAPSHOT.meta), incoming.next_offset(NEWER.meta)) == (0, 3)


def test_an_older_snapshot_replaces_a_newer_one_whose_leader_is_gone() -> None:
    # Found by the random network: the follower waited for ever for the rest of the newer one.
    incoming = receiver()
    incoming.accept(chunk(0, b"abc", NEWER))
    assert incoming.accept(chunk(0, b"0123456789")) == SNAPSHOT


def test_a_new_leader_with_equal_bytes_continues_where_the_old_one_stopped() -> None:
    incoming = receiver()
    incoming.accept(chunk(0, b"01234"))
    again = msgspec.structs.replace(chunk(5, b"56789"), term=Term(7))
    assert incoming.accept(again) == SNAPSHOT
