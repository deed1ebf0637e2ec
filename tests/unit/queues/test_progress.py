"""How far a group is: unfinished, failed, finished, dead."""

from synaxis.ids import LogTime
from synaxis.queues.offsets import OffsetSet
from synaxis.queues.progress import Dead, Failure, Progress


def failure(count: int = 1) -> Failure:
    return Failure(count, LogTime(0), LogTime(0), "")


def letter(at: int) -> Dead:
    return Dead("rejected", 1, LogTime(0), LogTime(at), "")


def test_what_is_finished_has_not_failed_any_more() -> None:
    progress = Progress(0, OffsetSet())
    progress.failures = {1: failure(2), 5: failure(), 900: failure()}
    assert (progress.failed(1), progress.failed(2)) == (2, 0)
    assert progress.finish(0, 1) == 2
    assert progress.finish(2, 500) == 499
    assert progress.failures.keys() == {900}
    progress.check_invariants(1_000)


def test_a_dead_message_is_finished_until_it_is_revived() -> None:
    progress = Progress(0, OffsetSet())
    progress.failures = {3: failure()}
    progress.bury(3, letter(7))
    progress.check_invariants(5)
    assert (3 in progress.done, progress.failures) == (True, {})
    assert list(progress.dead_letters()) == [(7, 0, 3, "rejected")]
    progress.revive(3)
    progress.check_invariants(5)
    assert (3 in progress.done, progress.dead) == (False, {})


def test_a_restart_keeps_dead_letters_finished_and_forgets_failures() -> None:
    progress = Progress(0, OffsetSet())
    progress.bury(8, letter(1))
    progress.bury(3, letter(2))
    progress.failures = {4: failure()}
    progress.restart(OffsetSet(2))
    progress.check_invariants(10)
    assert (progress.done, progress.failures) == (OffsetSet(2, ((3, 3), (8, 8))), {})


def test_very_many_scattered_dead_letters_are_no_burden_for_a_restart() -> None:
    """Added in the order of dying, each would move half of the ranges behind it."""
    progress = Progress(0, OffsetSet())
    for number in range(2_000):
        progress.dead[2 * (number * 7_919 % 2_000)] = letter(number)
    progress.restart(OffsetSet())
    assert progress.done.ranges()[-1] == (3_998, 3_998)
    assert len(progress.done.ranges()) == 1_999
