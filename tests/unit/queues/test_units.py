"""A batch on disk can be checked, opened, and cut into slices."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.errors import StorageCorrupt
from synaxis.queues.units import HEAD_BYTES, cut, encode_unit, heads, open_unit

bodies = st.lists(st.binary(max_size=6), min_size=1, max_size=8)


def unit_of(*records: bytes) -> tuple[bytes, int]:
    return encode_unit(array("I", map(len, records)).tobytes(), b"".join(records))


def opened(sizes: bytes, body: bytes) -> list[bytes]:
    found, at = [], 0
    for size in array("I", sizes):
        found.append(body[at : at + size])
        at += size
    return found


@given(bodies, st.data())
def test_any_slice_of_a_unit_is_those_records(records: list[bytes], data: st.DataObject) -> None:
    skip = data.draw(st.integers(0, len(records) - 1))
    count = data.draw(st.integers(1, len(records) - skip))
    sizes, body = cut(*open_unit(unit_of(*records)[0]), skip, count)
    assert opened(sizes, body) == records[skip : skip + count]


@given(bodies, st.data())
def test_a_flipped_bit_anywhere_is_noticed(records: list[bytes], data: st.DataObject) -> None:
    unit = bytearray(unit_of(*records)[0])
    bit = data.draw(st.integers(0, 8 * len(unit) - 1))
    unit[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StorageCorrupt):
        open_unit(bytes(unit))


def test_a_torn_unit_is_noticed() -> None:
    unit = unit_of(b"abc")[0]
    for length in range(len(unit)):
        with pytest.raises(StorageCorrupt):
            open_unit(unit[:length])


@given(st.lists(bodies, max_size=4), st.data())
def test_the_heads_of_a_segment_end_where_it_is_torn(
    batches: list[list[bytes]], data: st.DataObject
) -> None:
    units = [unit_of(*records) for records in batches]
    segment = b"".join(unit for unit, _ in units)
    length = data.draw(st.integers(0, len(segment)))
    whole, at = [], 0
    for unit, checksum in units:
        if at + len(unit) > length:
            break
        whole.append((at, len(unit), checksum))
        at += len(unit)
    assert list(heads(segment[:length])) == whole


def test_heads_stop_at_damage() -> None:
    one, other = unit_of(b"abc"), unit_of(b"def")
    damaged = bytearray(one[0] + other[0])
    damaged[len(one[0]) + HEAD_BYTES] ^= 1
    assert list(heads(bytes(damaged))) == [(0, len(one[0]), one[1])]
