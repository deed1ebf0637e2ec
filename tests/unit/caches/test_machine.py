"""The replicated half: what each command does, and that a snapshot is all of it."""

from itertools import count

import msgspec
import pytest

from synaxis.caches.commands import (
    ABSENT,
    INTEGER,
    Add,
    AgentId,
    AgentKind,
    Backing,
    Clear,
    Counted,
    DescribeKey,
    Enlist,
    Evict,
    Fill,
    Item,
    KeyInfo,
    Lookup,
    Put,
    Remove,
    Removed,
    Retire,
    Stored,
    Version,
    WriteBack,
    Written,
)
from synaxis.caches.limits import CacheLimits
from synaxis.caches.machine import ERA_SHIFT, CacheMachine
from synaxis.effects import Outcome, Refused
from synaxis.ids import LogTime, Sequence, SessionId

KEY = "c/k"
NOW = LogTime(1_000_000)
AGENT = AgentId(7)


class Applied(CacheMachine):
    """A machine and a twin that is restored from a snapshot before every command."""

    def __init__(self, limits: CacheLimits | None = None) -> None:
        super().__init__(limits or CacheLimits())
        self.sequences = count(1)

    def do(self, command: msgspec.Struct, now: int = NOW) -> msgspec.Struct | None:
        twin = CacheMachine(self.limits)
        twin.restore(self.snapshot())
        arguments = SessionId(1), Sequence(next(self.sequences)), command, LogTime(now)
        replies = []
        for machine in (self, twin):
            machine.advance(LogTime(now))
            replies.append(machine.apply(*arguments))
            machine.check_invariants()
        assert replies[0] == replies[1]
        assert self.snapshot() == twin.snapshot()
        return replies[0]

    def value(self, key: str = KEY, now: int = NOW) -> bytes | None:
        record = self.records.live(key, LogTime(now))
        return None if record is None else record.value


@pytest.fixture
def machine() -> Applied:
    return Applied()


def put(value: bytes = b"1", key: str = KEY, **options: object) -> Put:
    return Put((Item(key, value, **options),))  # type: ignore[arg-type]


def test_versions_only_grow(machine: Applied) -> None:
    assert machine.do(put()) == Stored((Version(1),))
    assert machine.do(Remove((KEY,))) == Removed(1)
    assert machine.do(put()) == Stored((Version(3),))
    machine.begin_era(2)
    assert machine.value() is None
    assert machine.do(put()) == Stored((Version((2 << ERA_SHIFT) + 1),))


def test_a_condition_that_does_not_hold_stores_nothing(machine: Applied) -> None:
    machine.do(put())
    both = Put((Item("c/new", b"x"), Item(KEY, b"2", if_version=ABSENT)))
    assert machine.do(both) == Stored((), ((1, Version(1)),))
    assert machine.value("c/new") is None
    assert machine.do(put(b"2", if_version=1)) == Stored((Version(2),))
    assert machine.do(Remove((KEY,), 1)) == Removed(0, Version(2))
    assert machine.do(Remove((KEY,), 2)) == Removed(1)


def test_adding(machine: Applied) -> None:
    assert machine.do(Add(KEY, 2, 40, 500)) == Counted(42, Version(1))
    assert machine.do(Add(KEY, -2), NOW + 100) == Counted(40, Version(2))
    assert machine.records.by_key[KEY].expires_at == NOW + 500
    assert machine.do(Add(KEY, 1), NOW + 500) == Counted(1, Version(3))
    machine.do(put(b"text", "c/t"))
    assert isinstance(machine.do(Add("c/t", 1)), Refused)
    assert isinstance(machine.do(Add(KEY, 2**63 - 1)), Refused)


def test_clearing_voids_without_touching(machine: Applied) -> None:
    machine.do(put(tags=("t",)))
    machine.do(put(key="c/other"))
    assert machine.do(Clear("c", "t")) == Removed(2)
    assert (machine.value(), machine.value("c/other")) == (None, b"1")
    assert machine.do(put(b"2", if_version=ABSENT, tags=("t",))) is not None
    assert machine.value() == b"2"
    machine.do(Clear("c"))
    assert machine.value("c/other") is None


def test_a_full_shard_refuses_what_is_new_and_takes_what_replaces() -> None:
    machine = Applied(CacheLimits(records_max=1, bytes_max=100))
    machine.do(put())
    assert isinstance(machine.do(put(key="c/two")), Refused)
    assert isinstance(machine.do(put(b"2")), Stored)
    assert isinstance(machine.do(put(b"x" * 100)), Refused)
    assert machine.value() == b"2"


def test_an_owners_write_is_done_once_and_its_fate_is_known(machine: Applied) -> None:
    machine.do(Enlist(AGENT, AgentKind.OWNER))
    write = WriteBack(AGENT, 1, 1, Item(KEY, b"1"))
    assert machine.do(write) == Stored((Version(1),))
    machine.do(put(b"2"))
    assert machine.do(write) == Stored((Version(1),))
    assert machine.value() == b"2"
    machine.do(WriteBack(AGENT, 2, 2, Item(KEY, b""), removed=True))
    assert machine.value() is None
    assert machine.do(write) == Stored((), ((0, Version(0)),)), "below the floor"
    assert machine.value() is None


def test_writes_of_agents_that_nobody_knows_are_not_done(machine: Applied) -> None:
    machine.do(Enlist(AGENT, AgentKind.OWNER))
    machine.do(Retire((AGENT,)))
    assert machine.do(WriteBack(AGENT, 1, 1, Item(KEY, b"1"))) == Stored((), ((0, Version(0)),))
    assert machine.value() is None


def test_too_many_agents_and_too_many_open_writes_are_refused() -> None:
    machine = Applied(CacheLimits(agents_max=1, write_ids_per_agent_max=1))
    machine.do(Enlist(AGENT, AgentKind.OWNER))
    assert isinstance(machine.do(Enlist(AgentId(8), AgentKind.OWNER)), Refused)
    assert machine.do(Enlist(AGENT, AgentKind.OWNER)) == Removed(0)
    machine.do(WriteBack(AGENT, 1, 1, Item(KEY, b"1")))
    assert isinstance(machine.do(WriteBack(AGENT, 2, 1, Item(KEY, b"2"))), Refused)
    assert machine.value() == b"1"


def test_evicting_spares_what_was_written_since_and_what_the_backing_store_lacks(
    machine: Applied,
) -> None:
    machine.do(put())
    assert machine.do(Evict(((KEY, Version(9)),))) == Removed(0)
    machine.do(Put((Item("c/b", b"1"),), Backing.BEHIND))
    evict = Evict(((KEY, Version(1)), ("c/b", Version(2))))
    assert machine.do(evict) == Removed(1)
    machine.do(Written((("c/b", Version(2)),)))
    assert machine.do(evict) == Removed(1)


def test_a_fill_never_replaces(machine: Applied) -> None:
    assert machine.do(Fill((Item(KEY, b"filled"),))) == Stored((Version(1),))
    machine.do(put(b"new"))
    assert machine.do(Fill((Item(KEY, b"filled"),))) == Stored((Version(2),))
    machine.do(Remove((KEY,), backing=Backing.BEHIND))
    assert machine.do(Fill((Item(KEY, b"filled"),))) == Stored((Version(0),))
    assert machine.value() is None, "the backing store has it still, but not for long"


def test_writing_through_is_answered_when_the_backing_store_has_it(machine: Applied) -> None:
    command = Put((Item(KEY, b"1"), Item("c/b", b"2")), Backing.THROUGH)
    assert machine.do(command) is None
    assert [each[:2] for each in machine.pending_writes(10)] == [(KEY, 1), ("c/b", 2)]
    machine.do(Written(((KEY, Version(1)),)))
    assert not machine.take_outcomes()
    machine.do(put(b"3", "c/b"))
    machine.do(Put((Item("c/b", b"4"),), Backing.BEHIND))
    machine.do(Written((("c/b", Version(2)),)))
    (outcome,) = machine.take_outcomes()
    assert outcome == Outcome(SessionId(1), Sequence(1), Stored((Version(1), Version(2))))
    assert len(machine.pending) == 1, "the newer write is still to come"


def test_the_queue_to_the_backing_store_is_bounded() -> None:
    machine = Applied(CacheLimits(pending_max=1))
    machine.do(Put((Item(KEY, b"1"),), Backing.BEHIND))
    assert isinstance(machine.do(Put((Item("c/b", b"1"),), Backing.BEHIND)), Refused)
    machine.do(Enlist(AGENT, AgentKind.OWNER))
    write = WriteBack(AGENT, 1, 1, Item("c/b", b"1"), backing=Backing.BEHIND)
    assert isinstance(machine.do(write), Refused)


def test_waiters_are_numbered_alike_on_a_replica_that_was_restored(machine: Applied) -> None:
    for number in (1, 2):
        machine.do(Put((Item(KEY, b"1"),), Backing.THROUGH))
        machine.do(Written(((KEY, Version(number)),)))
    machine.do(Put((Item(KEY, b"1"),), Backing.THROUGH))  # compares with its twin


def test_questions(machine: Applied) -> None:
    machine.do(put(flags=INTEGER, ttl_ms=500))
    found = machine.query(Lookup((KEY, "c/none")), NOW)
    assert [each is not None for each in found.readings] == [True, False]  # type: ignore[attr-defined]
    assert (machine.hits, machine.misses) == (1, 1)
    info = machine.query(DescribeKey(KEY), NOW)
    assert isinstance(info, KeyInfo)
    assert (info.state, info.version, info.expires_at) == ("I", 1, NOW + 500)
    assert isinstance(machine.query(put(), NOW), Refused)
