"""The heap of deadlines."""

from dataclasses import dataclass

from synaxis.ids import LogTime
from synaxis.locks.deadlines import DELAY_END, HOLD_END, WAIT_END, Deadlines


@dataclass(eq=False)
class Subject:
    name: str
    deadline: LogTime | None = None


def due(deadlines: Deadlines, now: int) -> list[str]:
    found = []
    while (subject := deadlines.pop_due(LogTime(now))) is not None:
        assert isinstance(subject, Subject)
        found.append(subject.name)
    return found


def test_nothing_is_due_when_nothing_is_watched() -> None:
    deadlines = Deadlines()
    assert deadlines.next() is None
    assert due(deadlines, 10) == []


def test_what_is_due_comes_in_order_of_time_then_rank_then_number() -> None:
    deadlines = Deadlines()
    deadlines.watch(LogTime(5), WAIT_END, 1, Subject("wait"))
    deadlines.watch(LogTime(5), DELAY_END, 9, Subject("delay"))
    deadlines.watch(LogTime(5), HOLD_END, 8, Subject("second hold"))
    deadlines.watch(LogTime(5), HOLD_END, 7, Subject("first hold"))
    deadlines.watch(LogTime(4), WAIT_END, 2, Subject("earlier"))
    deadlines.watch(LogTime(6), HOLD_END, 3, Subject("later"))
    assert due(deadlines, 5) == ["earlier", "first hold", "second hold", "delay", "wait"]
    assert deadlines.next() == 6


def test_a_deadline_is_due_at_its_own_millisecond() -> None:
    deadlines = Deadlines()
    deadlines.watch(LogTime(5), WAIT_END, 1, Subject("wait"))
    assert due(deadlines, 4) == []
    assert due(deadlines, 5) == ["wait"]


def test_a_forgotten_deadline_never_comes() -> None:
    deadlines = Deadlines()
    subject = Subject("gone")
    deadlines.watch(LogTime(5), WAIT_END, 1, subject)
    deadlines.forget(subject)
    deadlines.forget(subject)
    assert deadlines.next() is None


def test_a_subject_that_got_another_deadline_comes_once() -> None:
    deadlines = Deadlines()
    subject = Subject("moved")
    deadlines.watch(LogTime(5), WAIT_END, 1, subject)
    deadlines.forget(subject)
    deadlines.watch(LogTime(9), HOLD_END, 1, subject)
    assert due(deadlines, 5) == []
    assert due(deadlines, 9) == ["moved"]


def test_forgotten_entries_do_not_pile_up_behind_a_distant_one() -> None:
    deadlines = Deadlines()
    deadlines.watch(LogTime(1), HOLD_END, 0, Subject("blocks the head"))
    for number in range(1, 10_000):
        subject = Subject("short")
        deadlines.watch(LogTime(1_000), HOLD_END, number, subject)
        deadlines.forget(subject)
    assert len(deadlines) < 200
