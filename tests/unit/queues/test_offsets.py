"""Sets of offsets are sets, however they are stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.queues.offsets import OffsetSet

END = 40
bounds = st.tuples(st.integers(0, END - 1), st.integers(0, END - 1)).map(
    lambda pair: (min(pair), max(pair))
)
changes = st.lists(st.tuples(st.sampled_from(("add", "add", "add", "remove")), bounds), max_size=25)


def built(steps: list[tuple[str, tuple[int, int]]]) -> tuple[OffsetSet, set[int]]:
    """Do the same to an offset set and to a plain one."""
    offsets, plain = OffsetSet(), set[int]()
    for what, (first, last) in steps:
        if what == "add":
            fresh = set(range(first, last + 1)) - plain
            assert offsets.add(first, last) == len(fresh)
            plain |= fresh
        else:
            assert offsets.remove(first) == (first in plain)
            plain.discard(first)
        check_form(offsets)
    return offsets, plain


def check_form(offsets: OffsetSet) -> None:
    """Demand that ranges are ascending and apart, from each other and from the floor."""
    edge = offsets.floor
    for first, last in offsets.ranges():
        assert edge < first <= last
        edge = last + 1


def rebuilt(plain: set[int]) -> OffsetSet:
    offsets = OffsetSet()
    for offset in sorted(plain, reverse=True):
        offsets.add(offset, offset)
    return offsets


@given(changes)
def test_it_holds_what_a_plain_set_holds(steps: list[tuple[str, tuple[int, int]]]) -> None:
    offsets, plain = built(steps)
    assert {offset for offset in range(END) if offset in offsets} == plain
    assert END not in offsets


@given(changes)
def test_equal_sets_look_alike_whatever_made_them(
    steps: list[tuple[str, tuple[int, int]]],
) -> None:
    offsets, plain = built(steps)
    assert rebuilt(plain) == offsets
    assert OffsetSet(offsets.floor, offsets.ranges()) == offsets


@given(changes, bounds)
def test_it_knows_what_it_lacks(
    steps: list[tuple[str, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    offsets, plain = built(steps)
    first, last = asked
    missing = [o for a, b in offsets.missing(first, last) for o in range(a, b + 1)]
    lacking = [offset for offset in range(first, last + 1) if offset not in plain]
    assert missing == lacking
    assert offsets.covers(first, last) == (not lacking)
    assert offsets.count_missing(last) == sum(offset not in plain for offset in range(last))


@given(changes)
def test_a_copy_goes_its_own_way(steps: list[tuple[str, tuple[int, int]]]) -> None:
    offsets, plain = built(steps)
    copy = offsets.copy()
    copy.add(0, END - 1)
    assert {offset for offset in range(END) if offset in offsets} == plain


def test_ranges_that_touch_become_one() -> None:
    offsets = OffsetSet()
    offsets.add(2, 3)
    offsets.add(6, 7)
    offsets.add(4, 5)
    assert offsets.ranges() == ((2, 7),)
    offsets.add(0, 1)
    assert (offsets.floor, offsets.ranges()) == (8, ())


def test_a_backward_range_is_nothing() -> None:
    offsets = OffsetSet(5)
    assert offsets.add(7, 6) == 0
    assert offsets.add(2, 4) == 0
    assert offsets == OffsetSet(5)


def test_removing_below_the_floor_leaves_the_rest_above_it() -> None:
    offsets = OffsetSet(5)
    assert offsets.remove(3)
    assert (offsets.floor, offsets.ranges()) == (3, ((4, 4),))
    assert offsets.remove(2)
    assert offsets.remove(4)
    assert (offsets.floor, offsets.ranges()) == (2, ())


def test_it_says_what_it_is_and_is_no_key() -> None:
    assert repr(OffsetSet(1, ((3, 4),))) == "OffsetSet(1, ((3, 4),))"
    assert OffsetSet() != {0}
    with pytest.raises(TypeError):
        hash(OffsetSet())
