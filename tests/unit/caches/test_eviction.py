"""Which records go when room is wanted, or when nobody reads them."""

from synaxis.caches.commands import Backing, Clear, Evict, Item, Put
from synaxis.caches.eviction import LOOK_MS, Evictor
from synaxis.caches.limits import CacheLimits
from synaxis.caches.machine import CacheMachine
from synaxis.ids import LogTime, Sequence, SessionId

NOW = LogTime(1_000_000)


def machine_of(number: int, backing: Backing = Backing.NONE, **options: int) -> CacheMachine:
    machine = CacheMachine(CacheLimits(records_max=20, bytes_max=1_000))
    for each in range(number):
        item = Item(f"c/{each}", b"x" * 10, **options)  # type: ignore[arg-type]
        apply(machine, Put((item,), backing))
    return machine


def apply(machine: CacheMachine, command: object) -> None:
    machine.apply(SessionId(1), Sequence(1), command, NOW)  # type: ignore[arg-type]


def keys(evictor: Evictor, now: int = NOW) -> list[str]:
    return [key for key, _ in evictor.victims(LogTime(now))]


def test_nothing_goes_while_there_is_room() -> None:
    evictor = Evictor(machine_of(19))
    evictor.begin(NOW)
    assert not evictor.is_crowded()
    assert not keys(evictor)
    assert evictor.deadline() is None


def test_what_was_not_read_goes_first() -> None:
    machine = machine_of(20)
    evictor = Evictor(machine)
    evictor.begin(NOW)
    for key in ("c/0", "c/1", "c/3"):
        machine.records.read(key, NOW)
    assert keys(evictor) == ["c/2", "c/4"], "down to 90 %"


def test_what_was_read_once_gets_a_second_chance_only() -> None:
    machine = machine_of(20)
    evictor = Evictor(machine)
    evictor.begin(NOW)
    for key in machine.records.by_key:
        machine.records.read(key, NOW)
    assert len(keys(evictor)) == 2


def test_what_the_backing_store_lacks_stays() -> None:
    evictor = Evictor(machine_of(20, Backing.BEHIND))
    evictor.begin(NOW)
    assert not keys(evictor)


def test_idle_records_go_when_nobody_read_them_for_so_long() -> None:
    machine = machine_of(2, idle_ms=3_000)
    evictor = Evictor(machine)
    evictor.begin(NOW)
    assert evictor.deadline() == NOW + LOOK_MS
    machine.records.read("c/0", NOW)
    assert not keys(evictor, NOW + 1_000)
    assert keys(evictor, NOW + 3_000) == ["c/1"]
    apply(machine, Evict((("c/1", machine.records.by_key["c/1"].version),)))
    assert not keys(evictor, NOW + 3_999)
    assert keys(evictor, NOW + 4_000) == ["c/0"]


def test_cleared_records_are_swept_after_a_while() -> None:
    machine = machine_of(5)
    apply(machine, Clear("c"))
    evictor = Evictor(machine)
    evictor.begin(NOW)
    assert not keys(evictor)
    assert len(keys(evictor, NOW + LOOK_MS)) == 5
