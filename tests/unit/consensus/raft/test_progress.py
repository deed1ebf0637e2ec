from support.raft_network import make_snapshot, members
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.progress import Flow, Progress
from synaxis.ids import Instant, LogIndex

CONFIG = RaftConfig(inflight_messages_max=3, inflight_bytes_max=100, append_bytes_max=100)


def replicating(match: int = 5) -> Progress:
    progress = Progress(CONFIG, LogIndex(match), Instant(0))
    progress.acknowledged(LogIndex(match))
    return progress


def test_a_peer_is_first_probed_with_one_message() -> None:
    progress = Progress(CONFIG, LogIndex(5), Instant(0))
    assert (progress.flow, progress.match, progress.next) == (Flow.PROBE, 0, 6)
    assert progress.may_send()
    progress.sent(LogIndex(6), 10)
    assert not progress.may_send()
    assert progress.next == 6


def test_an_acknowledged_probe_opens_the_window() -> None:
    progress = Progress(CONFIG, LogIndex(5), Instant(0))
    progress.sent(LogIndex(6), 10)
    assert progress.acknowledged(LogIndex(6))
    assert (progress.flow, progress.match, progress.next) == (Flow.REPLICATE, 6, 7)


def test_the_window_is_bounded_by_messages() -> None:
    progress = replicating()
    for index in (6, 7, 8):
        assert progress.may_send()
        progress.sent(LogIndex(index), 1)
    assert not progress.may_send()
    progress.acknowledged(LogIndex(6))
    assert progress.may_send()
    progress.check_invariants()


def test_the_window_is_bounded_by_bytes() -> None:
    progress = replicating()
    progress.sent(LogIndex(6), 100)
    assert not progress.may_send()
    progress.acknowledged(LogIndex(6))
    assert progress.inflight_bytes == 0


def test_one_acknowledgement_frees_everything_up_to_it() -> None:
    progress = replicating()
    for index in (6, 7, 8):
        progress.sent(LogIndex(index), 10)
    progress.acknowledged(LogIndex(7))
    assert (progress.inflight_messages, progress.inflight_bytes) == (1, 10)


def test_an_old_acknowledgement_is_no_news() -> None:
    progress = replicating(5)
    assert not progress.acknowledged(LogIndex(3))
    assert progress.match == 5


def test_a_refusal_goes_back_but_never_below_what_is_known() -> None:
    progress = Progress(CONFIG, LogIndex(20), Instant(0))
    progress.sent(LogIndex(21), 10)
    progress.refused(LogIndex(12))
    assert (progress.next, progress.may_send()) == (12, True)
    progress.acknowledged(LogIndex(14))
    progress.refused(LogIndex(3))
    assert (progress.flow, progress.next) == (Flow.PROBE, 15)


def test_a_late_refusal_does_not_go_forward() -> None:
    progress = Progress(CONFIG, LogIndex(20), Instant(0))
    progress.refused(LogIndex(5))
    progress.refused(LogIndex(9))
    assert progress.next == 5


def test_a_broken_link_forgets_what_was_under_way() -> None:
    progress = replicating(5)
    progress.sent(LogIndex(6), 10)
    progress.probe()
    assert (progress.flow, progress.next, progress.inflight_bytes) == (Flow.PROBE, 6, 0)
    progress.check_invariants()


def test_a_snapshot_stops_entries_until_it_is_installed() -> None:
    progress = replicating(5)
    progress.send_snapshot(make_snapshot(9, 1, members("a"), b"state"))
    assert (progress.flow, progress.may_send()) == (Flow.SNAPSHOT, False)
    progress.refused(LogIndex(2))
    assert progress.flow is Flow.SNAPSHOT
    progress.acknowledged(LogIndex(9))
    progress.probe()
    assert (progress.flow, progress.next, progress.sender) == (Flow.PROBE, 10, None)
    progress.check_invariants()
