"""The linearizability search agrees with brute force, and refutes broken histories."""

from itertools import permutations
from random import Random
from typing import Any

import pytest

from synaxis.simulation.wgl import Interval, Verdict, check


def register(state: int | None, operation: tuple[Any, ...]) -> int | None:
    """Write a value, read one, or swap one for another."""
    kind: str = operation[0]
    arguments: list[int] = list(operation[1:])
    if kind == "write":
        return arguments[0]
    if kind == "read":
        return state if state == arguments[0] else None
    expected, new, swapped = arguments
    if swapped != (state == expected):
        return None
    return new if swapped else state


def brute_force(intervals: list[Interval]) -> bool:
    """Try every order of every subset that holds all answered operations."""
    answered = [i for i in intervals if i.returned is not None]
    open_ones = [i for i in intervals if i.returned is None]
    for mask in range(1 << len(open_ones)):
        chosen = answered + [i for bit, i in enumerate(open_ones) if mask >> bit & 1]
        for order in permutations(chosen):
            if respects_time(order) and legal(order):
                return True
    return False


def respects_time(order: tuple[Interval, ...]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.called
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def legal(order: tuple[Interval, ...]) -> bool:
    state: int | None = 0
    for interval in order:
        state = register(state, interval.operation)
        if state is None:
            return False
    return True


def random_history(random: Random, size: int, values: int = 3) -> list[Interval]:
    intervals: list[Interval] = []
    for _ in range(size):
        called = random.randrange(12)
        returned = None if random.random() < 0.2 else called + random.randrange(5)
        kind = random.choice(("write", "read", "swap"))
        if kind == "swap":
            pair = random.randrange(values), random.randrange(values)
            operation: tuple[Any, ...] = ("swap", *pair, random.random() < 0.5)
        else:
            operation = (kind, random.randrange(values))
        intervals.append(Interval(operation, called, returned))
    return intervals


def sequential_history(random: Random, size: int) -> list[Interval]:
    """A history that has a legal order by construction, with calls and returns spread out."""
    state: int | None = 0
    intervals: list[Interval] = []
    for moment in range(size):
        kind = random.choice(("write", "read"))
        operation: tuple[Any, ...] = ("write", moment + 1) if kind == "write" else ("read", state)
        state = register(state, operation)
        spread = random.randrange(1, 30)
        called = 10 * moment - spread
        intervals.append(Interval(operation, called, 10 * moment + random.randrange(1, 30)))
    return intervals


def test_it_agrees_with_brute_force_on_small_histories() -> None:
    random = Random(7)  # repeatable
    verdicts = {True: 0, False: 0}
    for _ in range(3000):
        history = random_history(random, random.randrange(1, 6))
        expected = brute_force(history)
        verdicts[expected] += 1
        assert (check(history, 0, register) is Verdict.LINEARIZABLE) == expected, history
    assert min(verdicts.values()) > 300


@pytest.mark.slow
def test_it_agrees_with_brute_force_on_seven_operations() -> None:
    random = Random(8)  # repeatable
    for _ in range(60):
        history = random_history(random, 7)
        expected = brute_force(history)
        assert (check(history, 0, register) is Verdict.LINEARIZABLE) == expected, history


def test_it_accepts_what_a_register_really_did() -> None:
    random = Random(9)  # repeatable
    for _ in range(20):
        assert check(sequential_history(random, 200), 0, register) is Verdict.LINEARIZABLE


def test_it_refutes_a_read_of_a_value_that_was_never_written() -> None:
    random = Random(10)  # repeatable
    for _ in range(50):
        history = sequential_history(random, 60)
        place = random.randrange(len(history))
        forged = Interval(("read", -1), history[place].called, history[place].returned)
        history[place] = forged
        assert check(history, 0, register) is Verdict.NOT_LINEARIZABLE


def test_a_stale_read_after_the_write_returned_is_refuted() -> None:
    history = [Interval(("write", 1), 0, 1), Interval(("read", 0), 2, 3)]
    assert check(history, 0, register) is Verdict.NOT_LINEARIZABLE


def test_an_unanswered_write_may_happen_late_or_never() -> None:
    late = [
        Interval(("write", 1), 0, None),
        Interval(("read", 0), 2, 3),
        Interval(("read", 1), 4, 5),
    ]
    never = [Interval(("write", 1), 0, None), Interval(("read", 0), 2, 3)]
    back = [*late, Interval(("read", 0), 6, 7)]
    assert check(late, 0, register) is Verdict.LINEARIZABLE
    assert check(never, 0, register) is Verdict.LINEARIZABLE
    assert check(back, 0, register) is Verdict.NOT_LINEARIZABLE


def test_it_gives_up_after_the_bound_and_says_so() -> None:
    history = [Interval(("write", n), 0, 100) for n in range(12)]
    history.append(Interval(("read", -1), 0, 100))
    assert check(history, 0, register, steps_max=500) is Verdict.UNKNOWN
