"""The quick check of registers agrees with the search, on what is right and on what is not."""

from collections.abc import Hashable
from random import Random

import pytest

from synaxis.simulation.wgl import Interval, Verdict, check
from synaxis.simulation.zones import Access, contradiction


def write(value: object, called: float, returned: float | None) -> Interval:
    return Interval(Access(value, writes=True), called, returned)


def read(value: object, called: float, returned: float | None) -> Interval:
    return Interval(Access(value, writes=False), called, returned)


def step(state: Hashable, access: Access) -> Hashable | None:
    if access.writes:
        return access.value
    return state if state == access.value else None


@pytest.mark.parametrize(
    "history",
    [
        [],
        [read(0, 1, 2)],
        [write(1, 1, 2), read(1, 3, 4)],
        [write(1, 1, 4), read(0, 2, 3)],
        [write(1, 1, 4), read(1, 2, 3), read(1, 5, 6)],
        [write(1, 1, 5), write(2, 1, 5), read(2, 2, 3), read(1, 4, 6)],
        [write(1, 1, None), read(0, 5, 6), read(1, 7, 8)],
        [write(1, 1, None), read(0, 5, 6)],
        [write(1, 1, 2), read(0, 2, 3)],
        [write(1, 1, 2), read(0, 3, None)],
    ],
)
def test_what_is_linearizable(history: list[Interval]) -> None:
    assert contradiction(history, 0) is None


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([read(1, 1, 2), write(1, 3, 4)], "read before it is written"),
        ([read(7, 1, 2)], "read before it is written"),
        ([write(1, 1, 2), read(0, 3, 4)], "1 came while 0"),
        (
            [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6), read(2, 7, 8)],
            "1 and 2 were each seen before the other",
        ),
        ([write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)], "2 came while 1"),
        ([write(1, 1, 9), read(1, 2, 3), read(0, 4, 5)], "0"),
        ([write(1, 1, 2), write(1, 3, 4)], "written twice"),
    ],
)
def test_what_is_not(history: list[Interval], why: str) -> None:
    found = contradiction(history, 0)
    assert found is not None
    assert why in found


def history_of(random: Random) -> list[Interval]:
    """Short histories of three clients, a third of them right."""
    history, written = [], [0]
    for _client in range(3):
        now = random.randrange(4)
        for _ in range(random.randrange(1, 4)):
            returned: float | None = now + random.randrange(6)
            after = returned
            if random.random() < 0.1:
                returned = None
            if random.random() < 0.4:
                written.append(len(written))
                history.append(write(written[-1], now, returned))
            else:
                history.append(read(-1, now, returned))
            now = int(after or 0) + random.randrange(3)
    return [
        each if each.operation.writes else read(random.choice(written), each.called, each.returned)
        for each in history
    ]


def test_it_agrees_with_the_search() -> None:
    random, bad = Random(11), 0
    for _ in range(3_000):
        history = history_of(random)
        verdict = check(
            [each for each in history if each.operation.writes or each.returned is not None],
            0,
            step,
        )
        found = contradiction(history, 0)
        assert (found is None) == (verdict is Verdict.LINEARIZABLE), (history, found)
        bad += found is not None
    assert 500 < bad < 2_500
