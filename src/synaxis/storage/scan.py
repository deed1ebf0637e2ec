"""Reads the bytes of one segment and says what they prove. Pure: no I/O.

The one difficult question is whether bytes that make no sense were *torn* by a crash, which is
normal and loses nothing that was acknowledged, or *damaged*, which must never be repaired by
forgetting. They were torn only if all of this holds:

* they are in the last segment;
* nothing after them belongs to a later batch (a batch is written only after the one before it
  was synced);
* the file ends before the batch does, or a 512-byte sector of the batch is all zeros. A disk
  loses whole sectors; a batch never contains such a sector itself.

A torn batch is dropped whole. After damage the scan goes on at the next record that can be
recognised, so that what follows still counts where it is provable.

Sources: etcd wal/decoder.go isTornEntry (the zero-sector rule); DESIGN.md, "Torn or damaged".
"""

from typing import NamedTuple

from synaxis.storage.records import (
    ALIGNMENT,
    HEADER_BYTES,
    NO_GROUP,
    SECTOR_BYTES,
    Header,
    Record,
    RecordType,
    decode_header,
    payload_of,
    record_length,
    record_size,
    rolling_crc,
    stored_crc,
)

__all__ = ["BatchEnd", "Loss", "ScanResult", "has_zero_sector", "next_record", "scan_records"]


class Loss(NamedTuple):
    """Records are missing here: of one group, or (None) of any group."""

    group: int | None


class BatchEnd(NamedTuple):
    """A place in a segment at which writing may go on."""

    length: int
    """Bytes before it."""
    batch: int
    """Number of the batch that ends here; 0 at the segment's beginning."""
    rolling: int
    """Rolling CRC of the last record before it."""


class ScanResult(NamedTuple):
    """What a segment holds."""

    found: list[Record | Loss]
    """In file order."""
    end: BatchEnd
    """Of the last complete batch; before the end of the file if that was torn."""
    before_seal: BatchEnd | None
    """If the last batch is a single SEAL: the end of the batch before it, surely synced."""
    blemished: bool = False
    """Whether there is damage, even if nothing is missing because of it: a SEAL says nothing, but
    the next torn tail would be taken for more of the same."""


class _Scan:
    """Position and findings of one pass over a segment."""

    def __init__(
        self, data: bytes, start: int, seed: int, rolling: int | None, *, last: bool
    ) -> None:
        self._bytes = data
        self._seed = seed
        self._may_be_torn = last
        self._at = start
        self._batch_start = start
        self._batch = 1
        """Number of the batch that the record at ``_at`` belongs to."""
        self._rolling: tuple[int, ...] = () if rolling is None else (rolling,)
        """Values that the CRC of the last record may have had; empty: unknown."""
        self._batch_rolling = rolling or 0
        self._batch_found = 0
        self._before_seal: BatchEnd | None = None
        self._found: list[Record | Loss] = []
        self._blemished = False

    def run(self) -> ScanResult:
        """Scan to the end."""
        size = len(self._bytes)
        while self._at < size or self._at > self._batch_start:
            header = decode_header(self._bytes, self._at, self._seed)
            if header is None or header.batch != self._batch:
                short = self._at + HEADER_BYTES > size
                intact = None
            else:
                short = self._at + record_size(header.length) > size
                intact = None if short else header
            if intact is not None and self._accept(intact):
                continue
            if self._torn(short=short):
                del self._found[self._batch_found :]
                break
            # One damage is enough to distrust the tail as well.
            self._may_be_torn = False
            self._blemished = True
            if intact is None:
                self._skip_to_next_record()
            else:
                self._lose(intact)
        end = self._end_of_last_batch()
        return ScanResult(self._found, end, self._before_seal, self._blemished)

    def _end_of_last_batch(self) -> BatchEnd:
        return BatchEnd(self._batch_start, self._batch - 1, self._batch_rolling)

    def _accept(self, header: Header) -> bool:
        stored = stored_crc(self._bytes, self._at, header)
        if not any(
            rolling_crc(self._bytes, self._at, header, previous) == stored
            for previous in self._rolling
        ):
            return False
        payload = payload_of(self._bytes, self._at, header)
        self._found.append(
            Record(header.type, header.group, header.log_index, header.term, header.detail, payload)
        )
        self._advance(header, (stored,))
        return True

    def _advance(self, header: Header, rolling: tuple[int, ...]) -> None:
        self._rolling = rolling
        self._at += record_size(header.length)
        if header.ends_batch:
            only = len(self._found) == self._batch_found + 1
            sealed = only and header.type is RecordType.SEAL and header.batch > 1
            self._before_seal = self._end_of_last_batch() if sealed else None
            self._batch_start = self._at
            self._batch = header.batch + 1
            self._batch_rolling = rolling[0]
            self._batch_found = len(self._found)

    def _torn(self, *, short: bool) -> bool:
        return (
            self._may_be_torn
            and (short or has_zero_sector(self._bytes, self._batch_start))
            and self._next_record(later_than=self._batch) is None
        )

    def _lose(self, header: Header) -> None:
        """Step over a record whose header is intact and whose payload is not."""
        if header.type is not RecordType.SEAL:
            nameless = header.type is RecordType.GROUP or header.group == NO_GROUP
            self._found.append(Loss(None if nameless else header.group))
        # Either the payload is damaged or the trailer is; the next record tells which.
        stored = stored_crc(self._bytes, self._at, header)
        computed = [rolling_crc(self._bytes, self._at, header, old) for old in self._rolling]
        self._advance(header, (stored, *computed))

    def _skip_to_next_record(self) -> None:
        self._found.append(Loss(None))
        found = self._next_record(later_than=0)
        if found is None:
            # Nothing can be recognised any more; the caller will not append to this file.
            self._at = self._batch_start = len(self._bytes)
            self._batch_found = len(self._found)
            return
        self._at, header = found
        self._batch = header.batch
        self._rolling = ()

    def _next_record(self, later_than: int) -> tuple[int, Header] | None:
        return next_record(self._bytes, self._at, self._seed, later_than=later_than)


def scan_records(
    data: bytes, start: int, seed: int, rolling: int | None, *, last: bool
) -> ScanResult:
    """Scan the records of a segment.

    Args:
        data: the whole file.
        start: where the segment header ends.
        seed: see ``segment_seed``.
        rolling: checksum of the segment header; None if that is damaged.
        last: whether this is the segment that was being written.
    """
    return _Scan(data, start, seed, rolling, last=last).run()


def next_record(data: bytes, at: int, seed: int, *, later_than: int) -> tuple[int, Header] | None:
    """Return the first recognisable record at or after ``at`` of a batch above ``later_than``."""
    size = len(data)
    for position in range(at, size - HEADER_BYTES + 1, ALIGNMENT):
        # Most positions are ruled out by a length beyond the end, long before a CRC is needed.
        if position + record_length(data, position) > size:
            continue
        header = decode_header(data, position, seed)
        if header is not None and header.batch > later_than:
            return position, header
    return None


def has_zero_sector(data: bytes, start: int) -> bool:
    """Return whether a sector of ``data[start:]``, or the part of one at an end, is all zeros."""
    zeros = bytes(SECTOR_BYTES)
    while start < len(data):
        end = min(len(data), (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if data[start:end] == zeros[: end - start]:
            return True
        start = end
    return False
