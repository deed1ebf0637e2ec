"""Stored bytes come beside what a shard says of them, in order, without waiting for the disk."""

from array import array
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from synaxis.api.payloads import Payloads
from synaxis.errors import StorageCorrupt, StorageError
from synaxis.ids import GroupId, LogTime
from synaxis.queues.commands import Records, Slice
from synaxis.queues.units import encode_unit

GROUP = GroupId("queues/0")
Range = tuple[int, int, int]


def unit(*records: bytes) -> bytes:
    return encode_unit(array("I", map(len, records)).tobytes(), b"".join(records))[0]


class Store:
    """Units by (segment, position); those in ``cold`` are on disk only, ``gone`` nowhere."""

    def __init__(self, units: dict[tuple[int, int], bytes]) -> None:
        self.units = units
        self.cold: set[int] = set()
        self.reads: list[list[Range]] = []

    def read(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        assert group == GROUP
        self.reads.append(list(ranges))
        if any(segment in self.cold for segment, _, _ in ranges):
            return None
        return self.read_blocking(group, ranges)

    def read_blocking(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        found = [self.units.get((segment, position)) for segment, position, _ in ranges]
        return None if None in found else [each for each in found if each is not None]


class Client:
    def __init__(self, store: Store) -> None:
        self.tasks: list[Coroutine[Any, Any, None]] = []
        self.failures: list[StorageError] = []
        self.got: list[tuple[Records, ...]] = []
        self.payloads = Payloads(store, self.tasks.append, self.failures.append)

    def ask(self, *slices: Slice) -> None:
        self.payloads.resolve(GROUP, slices, self.got.append)

    def bodies(self) -> list[list[bytes]]:
        return [[each.body for each in records] for records in self.got]


def part(first: int, count: int, skip: int = 0, segment: int = 1) -> Slice:
    return Slice(0, first, count, skip, segment, 0, 0, LogTime(7))


def test_what_is_in_memory_is_delivered_at_once_and_cut_to_what_is_meant() -> None:
    client = Client(Store({(1, 0): unit(b"zero", b"one", b"two", b"three")}))
    client.ask(part(11, 2, skip=1))
    assert client.bodies() == [[b"onetwo"]]
    assert client.got[0][0].first == 11
    assert client.tasks == []


def test_a_unit_that_was_cut_is_not_read_again_for_the_next_slice() -> None:
    store = Store({(1, 0): unit(b"zero", b"one", b"two", b"three")})
    client = Client(store)
    for offset in range(4):
        client.ask(part(offset, 1, skip=offset))
    assert client.bodies() == [[b"zero"], [b"one"], [b"two"], [b"three"]]
    assert len(store.reads) == 1


def test_units_that_were_delivered_whole_are_not_kept() -> None:
    store = Store({(1, 0): unit(b"all")})
    client = Client(store)
    client.ask(part(0, 1))
    client.ask(part(0, 1))
    assert len(store.reads) == 2


async def test_later_deliveries_wait_for_one_that_is_read_from_disk() -> None:
    store = Store({(1, 0): unit(b"cold"), (2, 0): unit(b"warm")})
    store.cold = {1}
    client = Client(store)
    client.ask(part(0, 1))
    client.ask(part(1, 1, segment=2))
    assert client.got == []
    [reading] = client.tasks
    await reading
    assert client.bodies() == [[b"cold"], [b"warm"]]


async def test_what_is_left_of_a_delivery_is_delivered_when_a_segment_is_gone() -> None:
    store = Store({(2, 0): unit(b"left")})
    client = Client(store)
    client.ask(part(0, 1), part(1, 1, segment=2))
    await client.tasks[0]
    assert client.bodies() == [[b"left"]]


async def test_a_unit_from_disk_that_is_not_what_was_written_stops_the_node() -> None:
    damaged = bytearray(unit(b"a message"))
    damaged[-1] ^= 1
    store = Store({(1, 0): bytes(damaged)})
    store.cold = {1}
    client = Client(store)
    client.ask(part(0, 1))
    await client.tasks[0]
    assert client.got == []
    assert isinstance(client.failures[0], StorageCorrupt)


def test_a_unit_in_memory_that_is_not_what_was_written_is_never_delivered() -> None:
    client = Client(Store({(1, 0): unit(b"a message")[:-1]}))
    with pytest.raises(StorageCorrupt):
        client.ask(part(0, 1))
