"""Plain numbers of the hot path."""

from synaxis.ids import SessionId
from synaxis.locks.commands import LockEvent, LockEventType, LockKind
from synaxis.observability.counters import LatencyHistogram, NodeCounters


def test_a_value_on_a_bound_belongs_to_the_bucket_below_it() -> None:
    histogram = LatencyHistogram((0.1, 1.0))
    histogram.observe(0.1)
    histogram.observe(0.11)
    assert histogram.counts == [1, 1, 0]


def test_a_value_above_all_bounds_is_counted_in_the_open_bucket() -> None:
    histogram = LatencyHistogram((0.1, 1.0))
    histogram.observe(7.0)
    assert histogram.counts == [0, 0, 1]


def test_exported_buckets_are_cumulative_and_end_with_everything() -> None:
    histogram = LatencyHistogram((0.1, 1.0))
    for value in (0.05, 0.5, 0.5, 9.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("0.1", 1), ("1.0", 3), ("+Inf", 4)]
    assert histogram.total_s == 10.05


def test_a_grant_is_counted_with_the_time_it_waited() -> None:
    counters = NodeCounters()
    counters.count_lock_event(
        LockEvent(LockEventType.GRANTED, LockKind.LOCK, "a", SessionId(1), waited_ms=200)
    )
    assert counters.lock_events[LockEventType.GRANTED] == 1
    assert counters.lock_waits.total_s == 0.2


def test_other_lock_events_are_counted_without_a_wait() -> None:
    counters = NodeCounters()
    counters.count_lock_event(
        LockEvent(LockEventType.DEADLOCK, LockKind.LOCK, "a", SessionId(1), waited_ms=200)
    )
    assert counters.lock_events[LockEventType.DEADLOCK] == 1
    assert sum(counters.lock_waits.counts) == 0


def test_every_frame_adds_its_bytes_in_its_direction() -> None:
    link = NodeCounters().peers
    link.received(10)
    link.received(20)
    link.sent(5)
    assert (link.frames_in, link.bytes_in, link.frames_out, link.bytes_out) == (2, 30, 1, 5)
