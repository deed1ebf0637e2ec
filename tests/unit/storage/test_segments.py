import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.errors import IdentityMismatch, StorageError
from synaxis.ids import GroupId, NodeId
from synaxis.storage import segments
from synaxis.storage.segments import (
    Owner,
    Segment,
    SegmentHeader,
    SegmentList,
    segment_name,
    segment_number,
)

OWNER = Owner("a-cluster", NodeId("node-1"))
A, B = GroupId("a"), GroupId("b")


@given(
    st.builds(Owner, st.text(max_size=40), st.text(max_size=40).map(NodeId)),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
def test_a_header_survives_encoding(
    owner: Owner, number: int, baseline: bool, length: int, crc: int
) -> None:
    header = SegmentHeader(owner, number, baseline, length, crc)
    content = header.encode()
    assert len(content) % 8 == 0
    assert SegmentHeader.decode(content + b"records", owner) == (header, len(content))


def test_a_header_with_any_flipped_bit_is_no_header() -> None:
    content = SegmentHeader(OWNER, 3, False, 4096, 99).encode()
    for at in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        assert SegmentHeader.decode(bytes(flipped), OWNER) is None


def test_a_header_cut_off_anywhere_is_no_header() -> None:
    content = SegmentHeader(OWNER, 3, False, 4096, 99).encode()
    assert all(SegmentHeader.decode(content[:cut], OWNER) is None for cut in range(len(content)))


def test_a_header_of_another_owner_says_what_to_do() -> None:
    content = SegmentHeader(OWNER, 1, False, 0, 0).encode()
    with pytest.raises(IdentityMismatch, match="own data directory"):
        SegmentHeader.decode(content, Owner("a-cluster", NodeId("node-2")))


def test_a_newer_format_is_refused_rather_than_called_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(segments, "FORMAT_VERSION", 2)
        content = SegmentHeader(OWNER, 1, False, 0, 0).encode()
    with pytest.raises(StorageError, match="version 2"):
        SegmentHeader.decode(content, OWNER)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_names_sort_like_numbers_and_lead_back_to_them(one: int, other: int) -> None:
    assert segment_number(segment_name(one)) == one
    assert (segment_name(one) < segment_name(other)) == (one < other)


@pytest.mark.parametrize("name", ["votes", "1.wal", "zzzzzzzzzzzzzzzz.wal", "0" * 16])
def test_other_files_are_no_segments(name: str) -> None:
    assert segment_number(name) is None


def make_segments(*last_indexes: dict[GroupId, int]) -> SegmentList:
    made = []
    for number, last_index in enumerate(last_indexes, start=1):
        segment = Segment(number, size=100)
        segment.last_index = dict(last_index)
        made.append(segment)
    return SegmentList(made)


def test_segments_are_dropped_only_from_the_oldest_on() -> None:
    listed = make_segments({A: 5}, {A: 9}, {B: 1}, {A: 12})
    assert [s.number for s in listed.droppable({A: 5})] == [1]
    assert [s.number for s in listed.droppable({A: 8, B: 1})] == []
    assert [s.number for s in listed.droppable({A: 12, B: 1})] == [2, 3]
    assert listed.size == 100


def test_the_active_segment_is_never_dropped() -> None:
    listed = make_segments({A: 5})
    assert listed.droppable({A: 5}) == []


def test_entries_that_were_rewritten_do_not_pin_a_segment() -> None:
    listed = make_segments({A: 9}, {A: 7})
    assert listed.oldest_pinning_group({A: 6}) == A
    listed.cut(A, 6)
    assert listed.oldest_pinning_group({A: 6}) is None
    assert [s.number for s in listed.droppable({A: 6})] == [1]
