"""Rows are found by offset and time; dead ones go."""

from hypothesis import given
from hypothesis import strategies as st

from synaxis.queues.batch_index import BATCH_INDEX_BYTES, Batch, BatchIndex


def batch(first: int, messages: int = 1, *, segment: int = 1, at: int = 0) -> Batch:
    return Batch(first, messages, segment, 7 * first, 10 * messages, at, first ^ 0xFFFF)


def filled(*sizes: int) -> BatchIndex:
    """Batches of these sizes, one after the other, published at 0, 10, 20, ..."""
    index, first = BatchIndex(), 0
    for number, size in enumerate(sizes):
        index.append(batch(first, size, at=10 * number))
        first += size
    return index


def living(index: BatchIndex) -> list[int]:
    return [index.row(at).first for at in index.rows if index.is_alive(at)]


def test_a_row_comes_back_as_it_went_in() -> None:
    index = BatchIndex()
    wanted = Batch(5, 3, 2**20, 2**32 - 1, 2**31, 2**40, 2**32 - 1)
    index.append(wanted)
    assert index.row(0) == wanted
    assert (index.bounds(0), wanted.last, index.published_at(0)) == ((5, 7), 7, 2**40)


def test_an_offset_is_found_in_its_row_or_the_next_one() -> None:
    index = filled(2, 3, 1)
    assert [index.find(offset) for offset in range(7)] == [0, 0, 1, 1, 1, 2, 3]


def test_rows_behind_a_moment_are_found() -> None:
    index = filled(1, 1, 1)
    assert [index.find_time(moment) for moment in (0, 1, 10, 11, 20, 21)] == [0, 1, 1, 2, 2, 3]


def test_dead_rows_are_skipped_and_those_at_the_head_go() -> None:
    index = filled(1, 1, 1, 1)
    for at in (0, 2):
        index.kill(at)
    index.trim()
    assert (living(index), len(index)) == ([1, 3], 3)
    assert list(index.alive(0, 9)) == [1, 3]
    assert [index.bounds(at) for at in index.rows] == [(1, 1), (2, 2), (3, 3)]
    assert index.find(0) == 1


def test_an_index_without_rows_has_none() -> None:
    index = filled(1)
    index.kill(0)
    index.trim()
    assert (len(index), list(index.rows), list(index.alive(0, 9))) == (0, [], [])
    assert index.find(0) not in index.rows


def test_one_message_that_nobody_finishes_does_not_keep_the_rows_behind_it() -> None:
    """A dead letter at the head of a topic that lives for weeks would else cost 36 bytes for each
    batch that came after it, until the shard takes no more."""
    index = BatchIndex()
    for number in range(10_000):
        index.append(batch(number, at=number))
        if number:
            index.kill(index.rows[-1])
            index.trim()
    assert living(index) == [0]
    assert len(index) < 3_000
    assert index.find(5_000) in (*index.rows, len(index))


def test_squeezing_keeps_the_living_in_order() -> None:
    index = filled(*[1] * 4_000)
    for at in range(4_000):
        if at % 10:
            index.kill(at)
    index.trim()
    wanted = list(range(0, 4_000, 10))
    assert len(index) == 400
    assert living(index) == wanted
    assert [index.find(offset) for offset in (0, 1, 10, 3_995)] == [0, 1, 1, 400]
    assert index.find_time(5_001) == 51


def test_rows_of_a_segment_are_found_and_moved() -> None:
    index = BatchIndex()
    for number, segment in enumerate((1, 2, 1, 3)):
        index.append(batch(number, segment=segment))
    index.kill(0)
    assert index.in_segment(1) == [2]
    index.move(2, 9, 12)
    assert (index.in_segment(1), index.in_segment(9)) == ([], [2])
    assert index.row(2)[2:4] == (9, 12)


@given(st.sets(st.integers(0, 29)), st.integers(0, 3))
def test_what_was_saved_is_loaded(dead: set[int], trims: int) -> None:
    index = filled(*[2] * 30)
    for at in dead:
        index.kill(at)
    for _ in range(trims):
        index.trim()
    saved = index.save()
    other = BatchIndex()
    other.load(saved)
    assert other.save() == saved
    assert living(other) == living(index)
    assert sum(map(len, saved)) == BATCH_INDEX_BYTES * len(index)
    index.trim()
    other.trim()
    assert other.save() == index.save()


def test_a_restored_index_is_squeezed_when_the_former_one_is() -> None:
    """Else equal states would not be equal bytes any more."""
    index, other = filled(*[1] * 3_000), BatchIndex()
    for at in range(1, 2_900, 2):
        index.kill(at)
    index.trim()
    other.load(index.save())
    assert len(index) == 3_000
    for at in range(2, 200, 2):
        index.kill(at)
        other.kill(at)
    index.trim()
    other.trim()
    assert len(index) == len(other) < 1_500
    assert other.save() == index.save()
