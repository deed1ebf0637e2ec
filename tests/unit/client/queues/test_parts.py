"""Messages as ranges."""

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from synaxis.client.queues.message import PLACE_SHIFT, Keeper, Message, Source
from synaxis.client.queues.parts import inside, parts_of, unpack
from synaxis.ids import LogTime
from synaxis.queues.commands import Part, Records

NOBODY = cast("Keeper", None)
SOURCE = Source("t")


def message(partition: int, offset: int, failures: int = 0) -> Message:
    return Message(NOBODY, SOURCE, (partition << PLACE_SHIFT) | offset, b"", 0, failures)


def test_neighbours_that_failed_equally_often_are_one_part() -> None:
    messages = [message(0, 3), message(0, 1), message(0, 2), message(1, 4), message(0, 4, 1)]
    assert parts_of(messages) == (Part(0, 1, 3), Part(0, 4, 4, 1), Part(1, 4, 4))


places = st.dictionaries(
    st.tuples(st.integers(0, 2), st.integers(0, 12)), st.integers(0, 1), max_size=30
)


@given(places)
def test_parts_hold_exactly_the_messages(chosen: dict[tuple[int, int], int]) -> None:
    parts = parts_of(
        message(partition, offset, failures) for (partition, offset), failures in chosen.items()
    )
    held = {
        (part.partition, offset): part.failures
        for part in parts
        for offset in range(part.first, part.last + 1)
    }
    assert held == chosen
    assert sum(part.last - part.first + 1 for part in parts) == len(chosen)


@given(places)
def test_what_is_inside_of_parts_is_found_again(chosen: dict[tuple[int, int], int]) -> None:
    messages = [
        message(partition, offset, failures) for (partition, offset), failures in chosen.items()
    ]
    others = [message(7, 1), message(0, 100)]
    assert set(inside([*messages, *others], parts_of(messages))) == set(messages)


def test_a_delivery_is_cut_into_its_messages() -> None:
    sizes = (2).to_bytes(4, "little") + (3).to_bytes(4, "little")
    records = Records(3, 10, sizes, b"aabbb", LogTime(5), ((11, 2),))
    first, second = unpack(NOBODY, SOURCE, records)
    assert (first.partition, first.offset, first.failures, first.deliveries) == (3, 10, 0, 1)
    assert (second.offset, second.failures, second.deliveries) == (11, 2, 3)
    assert (first._raw, second._raw) == (b"aa", b"bbb")
    assert first.published_at.timestamp() == 0.005
