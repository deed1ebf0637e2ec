"""The bytes of one log record. Pure: no I/O.

A record is a 32-byte header, the payload, zeros up to the alignment, and a 4-byte trailer::

    length u32 | batch u32 | type u8 | detail u8 | group u16 | index u64 | term u64 | header CRC u32
    payload (length bytes) | padding | rolling CRC u32

The header CRC covers the header, seeded with the segment and the file offset. So a header can be
recognised at any aligned position without knowing what precedes it, and ``length`` can be
trusted even where the payload cannot. The rolling CRC covers the whole record and every record
before it. ``batch`` counts the writes of a segment from 1, and the last record of each write
carries a flag: since a write starts only after the one before it was synced, a record of a later
batch proves that every earlier batch was durable.

No written batch contains 512 zero bytes in a row (``mask``), so a zero sector always means that
the sector was never written.

Sources: etcd server/storage/wal (facts about torn entries); Alagappan et al.,
"Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

import google_crc32c

__all__ = [
    "ALIGNMENT",
    "HEADER_BYTES",
    "NO_GROUP",
    "SECTOR_BYTES",
    "BatchBytes",
    "Header",
    "Record",
    "RecordType",
    "decode_header",
    "encode_batch",
    "payload_of",
    "record_length",
    "record_size",
    "rolling_crc",
    "stored_crc",
]

ALIGNMENT = 8
HEADER_BYTES = 32
SECTOR_BYTES = 512
NO_GROUP = 0xFFFF

_TRAILER_BYTES = 4
_ENDS_BATCH = 0x80
_MASKED = 0x40
_TYPE_BITS = 0x3F

# Offset first, for the CRC only; the header on disk is the rest and the CRC.
_HEAD = Struct("<QIIBBHQQ")
_HEAD_ON_DISK = Struct("<IIBBHQQI")
_U32 = Struct("<I")
_U64 = Struct("<Q")
_PADDING = tuple(bytes(-(length + _TRAILER_BYTES) % ALIGNMENT) for length in range(ALIGNMENT))
_ZERO_RUN = bytes(SECTOR_BYTES - 2 * ALIGNMENT)
"""A sector without a header is payload but for at most 7 bytes of padding and the trailer."""

_extend = google_crc32c.extend


class RecordType(IntEnum):
    """What a record says."""

    GROUP = 1
    """Gives a group its number for this segment, and its whole state but the entries."""
    HARD_STATE = 2
    SNAPSHOT = 3
    """``detail`` is 1 if the entries above the snapshot stay valid, 0 if they are void."""
    ENTRY = 4
    """``detail`` is the EntryKind."""
    SEAL = 5
    """Says nothing itself; its presence proves that what precedes it was durable."""


class Record(NamedTuple):
    """One record, as the log means it."""

    type: RecordType
    group: int
    """Number of the group in this segment; ``NO_GROUP`` for SEAL."""
    log_index: int = 0
    term: int = 0
    detail: int = 0
    payload: bytes = b""


class Header(NamedTuple):
    """A header whose CRC was right."""

    length: int
    batch: int
    type: RecordType
    detail: int
    group: int
    log_index: int
    term: int
    ends_batch: bool
    masked: bool


class BatchBytes(NamedTuple):
    """An encoded batch, ready for one write."""

    data: bytes
    rolling: int


def record_size(length: int) -> int:
    """Return the bytes that a record with ``length`` payload bytes takes in the file."""
    return HEADER_BYTES + length + len(_PADDING[length % ALIGNMENT]) + _TRAILER_BYTES


def record_length(data: bytes, at: int) -> int:
    """Return the size of the record at ``at`` if one is there; else any number."""
    return record_size(_U32.unpack_from(data, at)[0])


def encode_batch(
    records: Sequence[Record], *, seed: int, offset: int, batch: int, rolling: int, prefix: bytes
) -> BatchBytes:
    """Return the bytes of one write: ``prefix`` (a segment header or nothing), then the records.

    Args:
        records: at least one; the last gets the end-of-batch flag.
        seed: header CRC seed of the segment.
        offset: file offset of the first record.
        batch: number of this write in the segment, from 1.
        rolling: rolling CRC of the record before.
        prefix: bytes that precede the records in the same write.
    """
    parts = [prefix]
    flags = 0
    last = len(records) - 1
    for position, (type_, group, index, term, detail, payload) in enumerate(records):
        if position == last:
            flags = _ENDS_BATCH
        masked = 0
        if len(payload) >= len(_ZERO_RUN) and _ZERO_RUN in payload:
            payload, masked = mask(payload), _MASKED  # noqa: PLW2901
        length = len(payload)
        head = _HEAD.pack(offset, length, batch, type_ | flags | masked, detail, group, index, term)
        padding = _PADDING[length & 7]
        body = b"".join((head[8:], _U32.pack(_extend(seed, head)), payload, padding))
        rolling = _extend(rolling, body)
        parts.append(body)
        parts.append(_U32.pack(rolling))
        offset += len(body) + _TRAILER_BYTES
    return BatchBytes(b"".join(parts), rolling)


def decode_header(data: bytes, at: int, seed: int) -> Header | None:
    """Return the header at ``at``, or None when none is there (cut off, damaged, no header)."""
    if at + HEADER_BYTES > len(data):
        return None
    (crc,) = _U32.unpack_from(data, at + HEADER_BYTES - 4)
    if crc != _extend(seed, _U64.pack(at) + data[at : at + HEADER_BYTES - 4]):
        return None
    length, batch, flags, detail, group, index, term, _ = _HEAD_ON_DISK.unpack_from(data, at)
    if flags & _TYPE_BITS not in _TYPES:
        return None
    return Header(
        length,
        batch,
        _TYPES[flags & _TYPE_BITS],
        detail,
        group,
        index,
        term,
        bool(flags & _ENDS_BATCH),
        bool(flags & _MASKED),
    )


def rolling_crc(data: bytes, at: int, header: Header, previous: int) -> int:
    """Return what the trailer of the record at ``at`` should say after ``previous``."""
    end = at + record_size(header.length) - _TRAILER_BYTES
    return int(_extend(previous, data[at:end]))


def stored_crc(data: bytes, at: int, header: Header) -> int:
    """Return what the trailer of the record at ``at`` says."""
    return int(_U32.unpack_from(data, at + record_size(header.length) - _TRAILER_BYTES)[0])


def payload_of(data: bytes, at: int, header: Header) -> bytes:
    """Return the payload of the (verified) record at ``at``."""
    start = at + HEADER_BYTES
    payload = data[start : start + header.length]
    return unmask(payload) if header.masked else payload


def mask(payload: bytes) -> bytes:
    """Return ``payload`` in a form without long runs of zeros; ``unmask`` undoes it.

    Every byte is XORed with a byte value that the payload does not repeat as often itself.
    """
    candidates: Iterable[int] = range(1, 256)
    key = next((k for k in candidates if bytes((k,)) * len(_ZERO_RUN) not in payload), 1)
    return bytes((key,)) + payload.translate(_xor_table(key))


def unmask(payload: bytes) -> bytes:
    """Undo ``mask``."""
    return payload[1:].translate(_xor_table(payload[0]))


def _xor_table(key: int) -> bytes:
    return bytes(value ^ key for value in range(256))


_TYPES: dict[int, RecordType] = {int(member): member for member in RecordType}
