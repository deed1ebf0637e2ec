"""Machines that store units, reduced to what a message store sees of them."""

from random import Random

import google_crc32c
import msgspec

from synaxis.effects import (
    Attachment,
    Members,
    Snapshot,
    SnapshotMeta,
    StoreAppend,
    StoreCopy,
    StoreDrop,
    StoreOperation,
)
from synaxis.ids import GroupId, LogIndex, NodeId, Term
from synaxis.queues.units import encode_unit
from synaxis.storage.message_store import Range

__all__ = ["QUEUES", "Script", "StoredMachine", "meta_of", "unit_of"]

QUEUES = GroupId("queues/0")


def unit_of(number: int, size: int = 100) -> bytes:
    """Return the unit with this number; its tail has ``size`` bytes and four more."""
    body = Random(number).randbytes(size)
    return encode_unit(len(body).to_bytes(4, "little"), body)[0]


def meta_of(index: int, attachments: tuple[Attachment, ...]) -> SnapshotMeta:
    return SnapshotMeta(LogIndex(index), Term(1), Members(), 0, 0, attachments)


class Script:
    """Decides where units go, and knows what every replica's store must hold."""

    def __init__(self) -> None:
        self.content: dict[int, bytes] = {}
        """What is stored in each segment of the present state."""
        self.units: list[tuple[Range, bytes]] = []
        """Where each unit of the present state is, in order of storing."""
        self._checksums: dict[int, int] = {}
        self._next = 0

    def append(self, segment: int, size: int = 100) -> StoreAppend:
        """Store the next unit."""
        unit = unit_of(self._next, size)
        self._next += 1
        return StoreAppend(segment, self._put(segment, unit), unit)

    def copy(self, number: int, target: int) -> StoreCopy:
        """Store a copy of the unit with this number in ``units``."""
        (segment, position, length), unit = self.units[number]
        return StoreCopy(segment, position, length, target, self._put(target, unit))

    def drop(self, segment: int) -> StoreDrop:
        """Forget a segment with all that is in it."""
        del self.content[segment]
        self.units = [each for each in self.units if each[0][0] != segment]
        return StoreDrop(segment)

    def fill(self, segment: int, count: int, size: int = 100) -> list[StoreOperation]:
        """Store many units."""
        return [self.append(segment, size) for _ in range(count)]

    def ranges(self) -> list[Range]:
        return [where for where, _ in self.units]

    def stored(self) -> list[bytes]:
        return [unit for _, unit in self.units]

    def attachments(self) -> tuple[Attachment, ...]:
        """Return what a snapshot of the present state refers to."""
        return tuple(
            Attachment(segment, len(content), self._checksums[segment])
            for segment, content in sorted(self.content.items())
        )

    def meta(self, index: int) -> SnapshotMeta:
        return meta_of(index, self.attachments())

    def _put(self, segment: int, unit: bytes) -> int:
        known = self.content.get(segment, b"")
        self.content[segment] = known + unit
        self.units.append(((segment, len(known), len(unit)), unit))
        before = self._checksums.get(segment, 0)
        self._checksums[segment] = google_crc32c.extend(before, unit[8:12])
        return len(known)


class StoredMachine(Script):
    """A state machine over a message store: equal payloads in equal order give equal segments."""

    def __init__(self, saved: bytes | None = None) -> None:
        super().__init__()
        if saved is not None:
            self._next, where, self._checksums, self.content = msgspec.msgpack.decode(
                saved, type=tuple[int, list[Range], dict[int, int], dict[int, bytes]]
            )
            self.units = [
                ((segment, position, length), self.content[segment][position : position + length])
                for segment, position, length in where
            ]

    def save(self) -> bytes:
        """Return the state; for simplicity with the stored bytes."""
        state = (self._next, self.ranges(), self._checksums, self.content)
        return msgspec.msgpack.encode(state)

    def apply(self, payload: bytes) -> list[StoreOperation]:
        """Do what an entry demands: store, copy together, drop."""
        random = Random(payload)
        active = max(self.content, default=1)
        sizes = random.choices([5, 100, 700], k=random.randrange(1, 4))
        operations: list[StoreOperation] = [self.append(active, size) for size in sizes]
        if len(self.content.get(active, b"")) > 2000:
            active += 1
            operations.append(self.append(active))
        sealed = [segment for segment in self.content if segment != active]
        if sealed and random.random() < 0.4:
            oldest = min(sealed)
            numbers = [i for i, (where, _) in enumerate(self.units) if where[0] == oldest]
            kept = random.sample(numbers, random.randrange(len(numbers) // 2 + 1))
            operations += [self.copy(number, active) for number in kept]
            operations.append(self.drop(oldest))
        return operations

    def take_snapshot(self, index: int) -> Snapshot:
        data = self.save()
        checksum = google_crc32c.value(data)
        voters = Members(voters=(NodeId("a"), NodeId("b"), NodeId("c")))
        attachments = self.attachments()
        meta = SnapshotMeta(LogIndex(index), Term(1), voters, len(data), checksum, attachments)
        return Snapshot(meta, data)
