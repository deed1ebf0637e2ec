"""Two clocks, and looks that come when they are due."""

from synaxis.ids import LogTime
from synaxis.queues.delivery.desk import Desk
from synaxis.queues.limits import DeliveryLimits


class Flow:
    """Something to look at."""


def desk(now: int = 1_000) -> Desk:
    made = Desk(DeliveryLimits(stall_ms=100))
    made.restart_clock(LogTime(now))
    return made


def due(made: Desk) -> list[object]:
    found: list[object] = []
    while (alarm := made.pop_due()) is not None:
        found.append(alarm)
    return found


def test_live_time_leaves_out_the_stalls_of_the_leader() -> None:
    made = desk()
    made.see(LogTime(1_100))
    assert (made.now, made.live) == (1_100, 1_100)
    made.see(LogTime(1_301))
    assert (made.now, made.live) == (1_301, 1_100)
    made.see(LogTime(1_320))
    assert made.live == 1_119


def test_time_does_not_go_back() -> None:
    made = desk()
    made.see(LogTime(900))
    assert (made.now, made.live) == (1_000, 1_000)


def test_a_stall_delays_looks_at_what_cannot_be_heard_and_no_others() -> None:
    made, one, other = desk(), Flow(), Flow()
    made.alarm(1_300, one)  # type: ignore[arg-type]  # anything may be looked at
    made.alarm_live(1_300, other)  # type: ignore[arg-type]
    made.see(LogTime(1_400))
    assert due(made) == [one]
    assert made.next_alarm == 1_700
    for now in (1_500, 1_600, 1_699):
        made.see(LogTime(now))
        assert due(made) == []
    made.see(LogTime(1_700))
    assert due(made) == [other]
    assert made.next_alarm is None


def test_looks_come_in_the_order_of_their_times() -> None:
    made = desk(0)
    flows = [Flow() for _ in range(4)]
    for flow, at in zip(flows, (30, 10, 20, 10), strict=True):
        made.alarm(at, flow)  # type: ignore[arg-type]
    assert made.next_alarm == 10
    made.see(LogTime(25))
    assert due(made) == [flows[1], flows[3], flows[2]]
