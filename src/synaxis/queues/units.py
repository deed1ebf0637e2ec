"""Units: what a batch of messages is on disk. Pure: no I/O.

A unit is a 12-byte head and a tail::

    length u32 (of the tail) | count u32 | CRC32C of count and tail u32
    sizes (count x u32) | records

It is written once, to a segment of its shard's message store, and delivered in whole or by slices;
``sizes`` is what makes slicing possible without knowing what a record looks like. All integers are
little endian. The head alone tells whether a unit is whole, so a segment can be checked without
an index.
"""

from array import array
from collections.abc import Iterator
from struct import Struct

import google_crc32c

from synaxis.errors import StorageCorrupt

__all__ = ["HEAD_BYTES", "cut", "encode_unit", "heads", "open_unit"]

_HEAD = Struct("<III")
HEAD_BYTES = _HEAD.size

_U32 = Struct("<I")


def _checksum(count: int, tail: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(_U32.pack(count)), tail))


def encode_unit(sizes: bytes, body: bytes) -> tuple[bytes, int]:
    """Return the unit and the checksum in its head."""
    tail = sizes + body
    count = len(sizes) >> 2
    checksum = _checksum(count, tail)
    return _HEAD.pack(len(tail), count, checksum) + tail, checksum


def open_unit(unit: bytes) -> tuple[bytes, bytes]:
    """Return the sizes and the records of a unit.

    Raises:
        StorageCorrupt: it is not what was written.
    """
    if len(unit) < HEAD_BYTES:
        raise StorageCorrupt(f"a unit of {len(unit)} bytes")
    length, count, checksum = _HEAD.unpack_from(unit)
    tail = unit[HEAD_BYTES:]
    if length != len(tail) or checksum != _checksum(count, tail):
        raise StorageCorrupt("a unit of stored messages does not match its checksum")
    return tail[: 4 * count], tail[4 * count :]


def cut(sizes: bytes, records: bytes, skip: int, count: int) -> tuple[bytes, bytes]:
    """Return ``count`` records behind the first ``skip``, with their sizes."""
    if skip == 0 and 4 * count == len(sizes):
        return sizes, records
    lengths = array("I", sizes)
    start = sum(lengths[:skip])
    end = start + sum(lengths[skip : skip + count])
    return sizes[4 * skip : 4 * (skip + count)], records[start:end]


def heads(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (position, length of the unit, checksum) of each unit of a segment.

    Stops before the first one that is cut off or does not match its checksum.
    """
    at = 0
    view = memoryview(data)
    while at + HEAD_BYTES <= len(data):
        length, count, checksum = _HEAD.unpack_from(data, at)
        end = at + HEAD_BYTES + length
        if end > len(data) or _checksum(count, bytes(view[at + HEAD_BYTES : end])) != checksum:
            return
        yield at, end - at, checksum
        at = end
