"""Bytes are placed alike everywhere, and given back when nobody needs them."""

from array import array

import google_crc32c
from hypothesis import given
from hypothesis import strategies as st

from synaxis.effects import Attachment, StoreAppend, StoreCopy, StoreDrop
from synaxis.queues.segments import SavedSegment, Segments


def segments(bytes_max: int = 100, live_percent_min: int = 25) -> Segments:
    return Segments(bytes_max, live_percent_min)


def test_units_lie_one_after_the_other() -> None:
    store = segments()
    assert store.append(b"a" * 10, 1) == (1, 0)
    assert store.append(b"b" * 20, 2) == (1, 10)
    assert store.take_operations() == [
        StoreAppend(1, 0, b"a" * 10),
        StoreAppend(1, 10, b"b" * 20),
    ]
    assert (store.stored_bytes, store.take_operations()) == (30, [])


def test_a_full_segment_is_sealed_and_the_next_one_grows() -> None:
    store = segments()
    store.append(b"a" * 60, 1)
    assert store.append(b"b" * 60, 2) == (2, 0)
    assert store.active.number == 2


def test_a_unit_larger_than_a_segment_has_one_for_itself() -> None:
    store = segments()
    assert store.append(b"a" * 300, 1) == (1, 0)
    assert store.append(b"b", 2) == (2, 0)


def test_a_sealed_segment_of_which_nothing_is_needed_goes() -> None:
    store = segments()
    store.append(b"a" * 60, 1)
    store.append(b"b" * 60, 2)
    store.take_operations()
    store.free(1, 60)
    assert store.take_operations() == [StoreDrop(1)]
    assert list(store.by_number) == [2]


def test_the_active_segment_stays_though_it_is_empty() -> None:
    store = segments()
    store.append(b"a" * 60, 1)
    store.free(1, 60)
    assert store.append(b"b", 2) == (1, 60)


def test_a_segment_whose_units_went_while_it_grew_goes_when_it_is_sealed() -> None:
    store = segments()
    store.append(b"a" * 60, 1)
    store.free(1, 60)
    store.append(b"b" * 60, 2)
    assert StoreDrop(1) in store.take_operations()


def test_a_sealed_segment_is_sparse_when_little_of_it_is_needed() -> None:
    store = segments()
    places = [store.append(b"a" * 10, number) for number in range(21)]
    for segment, _ in places[:7]:
        store.free(segment, 10)
    assert store.sparse() is None
    store.free(1, 10)
    assert store.sparse() == 1
    store.free(2, 10)
    assert store.sparse() == 1


def test_copying_what_is_left_lets_a_sparse_segment_go() -> None:
    store = segments()
    for number in range(11):
        store.append(b"a" * 10, number)
    for _ in range(8):
        store.free(1, 10)
    store.take_operations()
    for position in (80, 90):
        store.copy(1, position, 10, position // 10)
        store.free(1, 10)
    assert store.take_operations() == [
        StoreCopy(1, 80, 10, 2, 10),
        StoreCopy(1, 90, 10, 2, 20),
        StoreDrop(1),
    ]
    assert (store.sparse(), store.stored_bytes) == (None, 30)


def test_an_attachment_names_the_checksums_of_its_units() -> None:
    store = segments()
    assert store.attachments() == ()
    store.append(b"a" * 10, 7)
    store.append(b"b" * 10, 9)
    checksum = google_crc32c.value(array("I", [7, 9]).tobytes())
    assert store.attachments() == (Attachment(1, 20, checksum),)


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=30))
def test_a_restored_table_goes_on_like_the_former_one(steps: list[tuple[int, bool]]) -> None:
    store, places = segments(), []
    for number, (length, frees) in enumerate(steps):
        segment, _ = store.append(b"a" * length, number)
        places.append((segment, length))
        if frees:
            store.free(*places.pop(0))
    other = segments()
    other.load([SavedSegment(*each) for each in map(astuple, store.save())])
    assert (other.save(), other.stored_bytes) == (store.save(), store.stored_bytes)
    assert other.sparse() == store.sparse()
    assert other.append(b"z" * 50, 1) == store.append(b"z" * 50, 1)
    assert other.attachments() == store.attachments()


def astuple(saved: SavedSegment) -> tuple[int, int, int, int]:
    return saved.number, saved.length, saved.live, saved.checksum
