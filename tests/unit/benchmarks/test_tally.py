from benchmarks.harness.tally import Tally


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_window_opens_with_the_first_confirmation() -> None:
    clock = Clock()
    tally = Tally(2.0, clock=clock)
    clock.now += 50
    tally.confirm(10)
    clock.now += 1.9
    assert not tally.over
    clock.now += 0.1
    assert tally.over


def test_the_window_opens_early_when_it_is_told_to() -> None:
    clock = Clock()
    tally = Tally(2.0, clock=clock)
    tally.begin()
    clock.now += 2
    assert tally.over


def test_what_is_confirmed_late_counts_for_cpu_but_not_for_the_rate() -> None:
    clock = Clock()
    tally = Tally(2.0, clock=clock)
    tally.confirm(10)
    clock.now += 3
    tally.confirm(5)
    assert (tally.in_time, tally.total, tally.window_seconds) == (10, 15, 2.0)


def test_a_reached_limit_ends_the_window_at_the_last_confirmation() -> None:
    clock = Clock()
    tally = Tally(10.0, limit=20, clock=clock)
    tally.confirm(10)
    clock.now += 4
    tally.confirm(10)
    clock.now += 1
    assert (tally.over, tally.window_seconds) == (True, 4.0)


def test_a_limit_that_was_not_reached_in_time_leaves_the_window_whole() -> None:
    clock = Clock()
    tally = Tally(2.0, limit=20, clock=clock)
    tally.confirm(10)
    clock.now += 3
    tally.confirm(10)
    assert (tally.over, tally.in_time, tally.window_seconds) == (True, 10, 2.0)


def test_a_limit_of_nothing_is_over_before_it_begins() -> None:
    assert Tally(2.0, limit=0).over


def test_what_is_confirmed_only_in_the_end_makes_the_window_longer() -> None:
    clock = Clock()
    tally = Tally(10.0, limit=20, clock=clock)
    tally.confirm(10)
    clock.now += 4
    tally.confirm(10)
    clock.now += 2
    tally.settle()
    assert tally.window_seconds == 6.0


def test_a_settlement_after_the_window_does_not_move_its_end() -> None:
    clock = Clock()
    tally = Tally(2.0, limit=20, clock=clock)
    tally.confirm(10)
    clock.now += 3
    tally.settle()
    assert tally.window_seconds == 2.0
