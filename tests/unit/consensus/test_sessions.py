"""Sessions: exact acknowledgement, and leases that survive a stalled leader."""

from hypothesis import given
from hypothesis import strategies as st

from synaxis.consensus.sessions import (
    ENDED_KEPT_MS,
    ENDED_MAX,
    RANGES_MAX,
    AckedSequences,
    CachedReply,
    LeaseKeeper,
    SessionTable,
)
from synaxis.ids import Instant, LogIndex, LogTime, Sequence, SessionId

ONE, TWO = SessionId(1), SessionId(2)
STALL_MS = 500


def table_with(*sessions: SessionId, ttl_ms: int = 1_000) -> SessionTable:
    table = SessionTable()
    for session in sessions:
        table.open(session, ttl_ms, "")
    return table


@given(st.lists(st.integers(1, 40)), st.lists(st.integers(0, 40)))
def test_acknowledged_sequences_are_exactly_those_told(
    single: list[int], floors: list[int]
) -> None:
    acked, model = AckedSequences(), set[int]()
    for position in range(max(len(single), len(floors))):
        if position < len(single):
            acked.add(single[position])
            model.add(single[position])
        if position < len(floors):
            acked.raise_floor(floors[position])
            model.update(range(1, floors[position] + 1))
        assert {n for n in range(1, 42) if n in acked} == model
        ends = [acked.floor, *(edge for pair in acked.ranges for edge in pair)]
        assert ends == sorted(ends)
        assert all(
            low > high + 1
            for (_, high), (low, _) in zip(
                [[0, acked.floor], *acked.ranges], acked.ranges, strict=False
            )
        )


def test_a_long_wait_does_not_pin_the_replies_of_later_commands() -> None:
    session = table_with(ONE).by_id[ONE]
    session.replies[Sequence(1)] = None
    for number in range(2, 1_000):
        session.replies[Sequence(number)] = CachedReply(LogIndex(number), 0, None)
        session.acknowledge(Sequence(0), (Sequence(number),))
    assert session.replies == {Sequence(1): None}
    assert len(session.acked.ranges) == 1


def test_gaps_between_acknowledged_sequences_are_bounded_and_nothing_is_forgotten_twice() -> None:
    """One call with 50,000 scattered acknowledgements blocked every replica for a minute."""
    session = table_with(ONE).by_id[ONE]
    scattered = tuple(Sequence(2 * n) for n in range(1, RANGES_MAX + 1_000))
    session.replies = {n: CachedReply(LogIndex(1), 0, None) for n in scattered}
    session.acknowledge(Sequence(0), scattered)
    assert len(session.acked.ranges) == RANGES_MAX
    assert all((n in session.replies) != (n in session.acked) for n in scattered)


def test_opening_a_session_twice_keeps_the_first() -> None:
    table = table_with(ONE)
    assert table.open(ONE, 9_999, "again") is table.by_id[ONE]
    assert table.by_id[ONE].ttl_ms == 1_000


def test_ended_sessions_are_forgotten_after_long_enough_and_are_bounded() -> None:
    table = table_with(*(SessionId(number) for number in range(1, ENDED_MAX + 3)))
    for number in range(1, ENDED_MAX + 2):
        table.end(SessionId(number), LogTime(0))
    assert len(table.ended) == ENDED_MAX
    table.end(SessionId(ENDED_MAX + 2), LogTime(ENDED_KEPT_MS + 1))
    assert list(table.ended) == [SessionId(ENDED_MAX + 2)]


def test_a_saved_table_is_equal_after_loading() -> None:
    table = table_with(ONE, TWO)
    table.by_id[ONE].acknowledge(Sequence(3), (Sequence(7),))
    copy = SessionTable()
    copy.load(table.save())
    assert copy.save() == table.save()


def test_a_silent_session_expires_after_its_ttl_and_not_before() -> None:
    keeper = LeaseKeeper(STALL_MS)
    keeper.start(table_with(ONE), Instant(0))
    for now in range(0, 1_000, 100):
        keeper.observe(Instant(now))
        assert keeper.expired(Instant(now)) == []
    keeper.observe(Instant(1_000))
    assert keeper.expired(Instant(1_000)) == [ONE]


def test_a_renewed_session_lives_for_a_ttl_from_when_it_was_heard() -> None:
    keeper = LeaseKeeper(STALL_MS)
    keeper.start(table_with(ONE), Instant(0))
    keeper.renew(ONE, 1_000, Instant(900))
    for now in range(0, 1_900, 100):
        keeper.observe(Instant(now))
        assert keeper.expired(Instant(now)) == []
    keeper.observe(Instant(1_900))
    assert keeper.expired(Instant(1_900)) == [ONE]


def test_a_leader_that_slept_expires_nobody_when_it_wakes() -> None:
    """Etcd 15247: the keep-alives of the time asleep still wait unread in the sockets."""
    keeper = LeaseKeeper(STALL_MS)
    keeper.start(table_with(ONE), Instant(0))
    keeper.observe(Instant(60_000))
    assert keeper.expired(Instant(60_000)) == []
    assert keeper.deadline() == Instant(61_000)


def test_a_new_leader_grants_every_session_a_full_ttl() -> None:
    keeper = LeaseKeeper(STALL_MS)
    keeper.start(table_with(ONE), Instant(5_000))
    assert keeper.expired(Instant(5_900)) == []


def test_a_forgotten_session_never_expires() -> None:
    keeper = LeaseKeeper(STALL_MS)
    keeper.start(table_with(ONE, TWO), Instant(0))
    keeper.forget(ONE)
    for now in range(0, 1_100, 100):
        keeper.observe(Instant(now))
    assert keeper.expired(Instant(1_000)) == [TWO]
