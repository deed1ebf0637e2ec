"""The window follows the speed of consuming."""

from synaxis.client.queues.tuning import WINDOW_MAX, Tuner


def windows(tuner: Tuner, per_look: int, looks: int) -> list[int]:
    taken = 0
    found = []
    for _ in range(looks):
        taken += per_look
        found.append(tuner.look(taken))
    return found


def test_a_slow_consumer_keeps_the_least() -> None:
    assert set(windows(Tuner(64), 10, 20)) == {64}


def test_a_fast_consumer_gets_more_up_to_a_limit() -> None:
    found = windows(Tuner(64), 10_000, 10)
    assert found[:3] == [128, 256, 512]
    assert found[-1] == WINDOW_MAX


def test_a_consumer_that_slows_down_gives_it_back() -> None:
    tuner = Tuner(64)
    windows(tuner, 10_000, 10)
    taken = 100_000
    assert [tuner.look(taken) for _ in range(5)][-1] == 64


def test_a_large_choice_of_concurrency_is_never_cut() -> None:
    assert windows(Tuner(5_000), 100_000, 3) == [5_000, 5_000, 5_000]
