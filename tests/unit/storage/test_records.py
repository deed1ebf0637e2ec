import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.storage.records import (
    ALIGNMENT,
    SECTOR_BYTES,
    Record,
    RecordType,
    decode_header,
    encode_batch,
    mask,
    payload_of,
    record_size,
    unmask,
)
from synaxis.storage.scan import scan_records

SEED = 12345
U64 = (1 << 64) - 1

payloads = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda head, zeros, tail: head + bytes(zeros) + tail,
        st.binary(max_size=20),
        st.integers(0, 2000),
        st.binary(max_size=20),
    ),
)
records = st.builds(
    Record,
    st.sampled_from(RecordType),
    st.integers(0, 0xFFFF),
    st.integers(0, U64),
    st.integers(0, U64),
    st.integers(0, 255),
    payloads,
)
batches = st.lists(st.lists(records, min_size=1, max_size=5), max_size=5)


def encoded(written: list[list[Record]], start: int) -> bytes:
    content, rolling = bytes(start), 7
    for number, batch in enumerate(written, start=1):
        encoded_batch = encode_batch(
            batch, seed=SEED, offset=len(content), batch=number, rolling=rolling, prefix=b""
        )
        content += encoded_batch.data
        rolling = encoded_batch.rolling
    return content


@given(batches, st.sampled_from([0, 8, 512, 4096]))
def test_what_was_encoded_is_scanned(written: list[list[Record]], start: int) -> None:
    content = encoded(written, start)
    scan = scan_records(content, start, SEED, 7, last=True)
    assert scan.found == [record for batch in written for record in batch]
    assert scan.end.length == len(content)
    assert scan.end.batch == len(written)


@given(batches)
def test_every_record_begins_at_an_aligned_offset(written: list[list[Record]]) -> None:
    content = encoded(written, 0)
    assert len(content) % ALIGNMENT == 0
    at = 0
    for record in (record for batch in written for record in batch):
        header = decode_header(content, at, SEED)
        assert header is not None
        assert payload_of(content, at, header) == record.payload
        at += record_size(header.length)


@given(batches)
def test_no_sector_of_a_batch_is_all_zeros(written: list[list[Record]]) -> None:
    content = encoded(written, 0)
    for at in range(0, len(content), SECTOR_BYTES):
        assert any(content[at : at + SECTOR_BYTES])


@given(batches, st.data())
def test_a_header_is_recognised_only_where_it_was_written(
    written: list[list[Record]], data: st.DataObject
) -> None:
    content = encoded(written, 0)
    shift = data.draw(st.sampled_from([8, 16, 512]))
    assert scan_records(bytes(shift) + content, shift, SEED, 7, last=True).end.batch == 0


@given(st.binary(max_size=2000))
def test_scanning_noise_finds_nothing_and_does_not_fail(noise: bytes) -> None:
    scan = scan_records(noise, 0, SEED, 7, last=False)
    assert not any(isinstance(item, Record) for item in scan.found)


@given(payloads)
def test_masking_is_undone(payload: bytes) -> None:
    assert unmask(mask(payload)) == payload


@pytest.mark.parametrize("length", [500, 2000, 100_000])
def test_masked_zeros_contain_no_zeros(length: int) -> None:
    assert b"\0" not in mask(bytes(length))


def test_masking_finds_a_key_that_makes_no_new_run_of_zeros() -> None:
    payload = b"".join(bytes((key,)) * 600 for key in range(4))
    assert bytes(SECTOR_BYTES - 16) not in mask(payload)
