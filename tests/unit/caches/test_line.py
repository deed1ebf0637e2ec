"""One key at one agent, message by message."""

import msgspec

from synaxis.caches.bus import (
    BusRd,
    BusRdX,
    BusUpgr,
    Dirty,
    Flush,
    Flushed,
    Grant,
    LineState,
    ProbeAck,
)
from synaxis.caches.commands import (
    Add,
    Counted,
    Item,
    Lookup,
    Put,
    Reading,
    Readings,
    Remove,
    Removed,
    Stored,
    Version,
)
from synaxis.caches.line import Line, Outbox
from synaxis.caches.local import Operation, provisional
from synaxis.caches.mesi import Event
from synaxis.effects import Refused
from synaxis.ids import Instant

KEY = "c/k"
NOW = Instant(1_000)
I, S, E, M = LineState.I, LineState.S, LineState.E, LineState.M  # noqa: E741
OLD = Reading(b"old", 0, Version(5))


class Worked:
    """A line and what it says."""

    def __init__(self) -> None:
        self.line, self.out, self.now = Line(KEY), Outbox(), NOW

    def call(
        self, command: Lookup | Put | Add | Remove, token: str = "", *, back: bool = False
    ) -> None:
        self.line.add(Operation(command, token, back=back))
        self.line.work(self.out, self.now)

    def grant(self, state: LineState, seq: int = 10, reading: Reading | None = OLD) -> None:
        self.line.granted(Grant(self.line.request, KEY, seq, state, reading), self.out, self.now)

    def flushed(self, version: int, write_id: int = 1) -> None:
        self.line.flushed(Flushed(KEY, write_id, Version(version)), self.out)
        self.line.work(self.out, self.now)

    def said(self) -> list[msgspec.Struct]:
        messages, self.out.messages = self.out.messages, []
        return list(messages)

    def answers(self) -> list[object]:
        answers, self.out.answers = self.out.answers, []
        return [outcome for _, outcome in answers]


def put(value: bytes = b"new", **options: object) -> Put:
    return Put((Item(KEY, value, **options),))  # type: ignore[arg-type]


def owner(**options: object) -> Worked:
    worked = Worked()
    worked.call(Lookup((KEY,)))
    worked.grant(E, reading=msgspec.structs.replace(OLD, **options))
    worked.said()
    worked.answers()
    return worked


def test_a_miss_asks_once_for_all_that_wait() -> None:
    worked = Worked()
    worked.call(Lookup((KEY,), load=True))
    worked.call(Lookup((KEY,)))
    assert worked.said() == [BusRd(1, KEY, load=True)]
    worked.grant(S)
    assert worked.answers() == [Readings((OLD,))] * 2
    assert worked.line.state is S


def test_a_write_behind_a_read_that_asks_goes_on_by_itself() -> None:
    worked = Worked()
    worked.call(Lookup((KEY,)))
    worked.call(put())
    worked.said()
    worked.grant(S)
    assert worked.said() == [BusUpgr(2, KEY)]
    worked.grant(E, seq=11)
    (flush,) = worked.said()
    assert isinstance(flush, Flush)
    assert (flush.grant, flush.dirty.base) == (11, 5)


def test_a_write_without_a_copy_asks_for_the_line() -> None:
    worked = Worked()
    worked.call(put())
    assert worked.said() == [BusRdX(1, KEY)]


def test_absent_is_known_too() -> None:
    worked = Worked()
    worked.call(Lookup((KEY,)))
    worked.grant(S, reading=None)
    worked.call(Lookup((KEY,)))
    assert worked.answers() == [Readings((None,))] * 2
    worked.call(Remove((KEY,)))
    worked.grant(E, seq=11, reading=None)
    assert worked.answers() == [Removed(0)]


def test_what_changes_nothing_is_answered_without_the_home() -> None:
    worked = owner()
    worked.call(put(if_version=4))
    worked.call(Remove((KEY,), Version(4)))
    worked.call(Add(KEY, 1))
    stored, removed, refused = worked.answers()
    assert stored == Stored((), ((0, Version(5)),))
    assert removed == Removed(0, Version(5))
    assert isinstance(refused, Refused)
    assert not worked.said()
    assert worked.line.state is E


def test_a_confirmed_write_leaves_an_owner_with_the_new_version() -> None:
    worked = owner()
    worked.call(put())
    assert worked.line.state is M
    assert not worked.line.is_readable(NOW)
    worked.flushed(6)
    assert worked.answers() == [Stored((Version(6),))]
    assert worked.line.state is E
    assert worked.line.reading == Reading(b"new", 0, Version(6))


def test_a_refused_write_is_worked_out_anew() -> None:
    worked = owner(value=b"1", flags=3)
    worked.call(Add(KEY, 1))
    worked.said()
    worked.flushed(0)
    assert not worked.answers()
    assert worked.said() == [BusRdX(2, KEY)]
    worked.grant(E, 20, Reading(b"10", 3, Version(9)))
    (flush,) = worked.said()
    assert isinstance(flush, Flush)
    assert (flush.dirty.write_id, flush.dirty.item.value) == (2, b"11")
    worked.flushed(10, 2)
    assert worked.answers() == [Counted(11, Version(10))]


def test_a_write_that_lost_its_line_waits_for_its_fate_and_is_not_kept() -> None:
    worked = owner()
    worked.call(put())
    worked.said()
    worked.line.probed(Event.INV, 12, worked.out)
    worked.line.work(worked.out, NOW)
    assert worked.said() == [ProbeAck(KEY, 12)]
    worked.flushed(6)
    assert worked.answers() == [Stored((Version(6),))]
    assert worked.line.state is I


def test_on_a_new_stream_it_asks_for_the_fate_under_no_grant() -> None:
    worked = owner()
    worked.call(put())
    worked.said()
    worked.line.lost(worked.out)
    worked.line.inquire(worked.out)
    (flush,) = worked.said()
    assert isinstance(flush, Flush)
    assert flush.grant == 0


def test_policy_back_answers_at_once_and_flushes_the_newest() -> None:
    worked = owner()
    for value in (b"1", b"2", b"3"):
        worked.call(put(value), back=True)
    assert worked.answers()[-1] == Stored((provisional(3),))
    worked.line.flush(worked.out)
    worked.line.flush(worked.out)
    (flush,) = worked.said()
    assert isinstance(flush, Flush)
    assert (flush.dirty.item.value, flush.dirty.base, flush.floor) == (b"3", 5, 3)
    worked.flushed(6, 3)
    assert worked.line.state is E
    assert worked.line.reading == Reading(b"3", 0, Version(6))
    assert worked.line.is_idle


def test_one_flush_at_a_time() -> None:
    worked = owner()
    worked.call(put(b"1"), back=True)
    worked.line.flush(worked.out)
    worked.call(put(b"2"), back=True)
    worked.line.flush(worked.out)
    assert len(worked.said()) == 1
    worked.flushed(6)
    assert worked.line.dirty == Dirty(2, Version(6), Item(KEY, b"2"), answered=True)
    worked.line.flush(worked.out)
    assert len(worked.said()) == 1


def test_a_dirty_line_gives_its_write_away_and_holds_it_until_it_is_confirmed() -> None:
    worked = owner()
    worked.call(put(b"1"), back=True)
    worked.line.probed(Event.DOWN, 12, worked.out)
    (ack,) = worked.said()
    assert isinstance(ack, ProbeAck)
    assert ack.dirty is not None
    assert (worked.line.state, worked.line.is_idle) == (S, False)
    worked.flushed(6)
    assert worked.line.is_idle
    assert worked.line.reading == Reading(b"1", 0, Version(6))


def test_what_was_given_away_in_vain_is_dropped() -> None:
    worked = owner()
    worked.call(put(b"1"), back=True)
    worked.line.probed(Event.DOWN, 12, worked.out)
    worked.flushed(-1)
    assert worked.line.state is I
    assert worked.line.is_idle


def test_the_end_of_a_record_ends_its_copy() -> None:
    worked = owner(ttl_ms=100)
    worked.now = Instant(NOW + 60)
    worked.call(Lookup((KEY,)))
    assert worked.answers() == [Readings((msgspec.structs.replace(OLD, ttl_ms=40),))]
    worked.now = Instant(NOW + 100)
    assert not worked.line.is_readable(worked.now)
    worked.call(Lookup((KEY,)))
    assert worked.said() == [BusRd(2, KEY)]


def test_an_answer_that_may_not_be_kept_serves_reads_only() -> None:
    worked = Worked()
    worked.call(Lookup((KEY,)))
    worked.call(Lookup((KEY,)))
    worked.call(put())
    worked.said()
    worked.grant(I)
    assert worked.answers() == [Readings((OLD,))], "the second came when it could be old already"
    assert worked.said() == [BusRd(2, KEY)]
    worked.grant(I, 11)
    assert worked.answers() == [Readings((OLD,))]
    assert worked.said() == [BusRdX(3, KEY)]
    assert worked.line.state is I


def test_a_backing_store_that_does_not_answer_refuses_the_reads() -> None:
    worked = Worked()
    worked.call(Lookup((KEY,), load=True))
    grant = Grant(1, KEY, 1, I, None, unavailable=True)
    worked.line.granted(grant, worked.out, NOW)
    (refused,) = worked.answers()
    assert isinstance(refused, Refused)
