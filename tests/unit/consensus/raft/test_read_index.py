from synaxis.consensus.raft.read_index import ReadIndex
from synaxis.ids import LogIndex


def test_reads_are_confirmed_by_their_round_or_a_later_one() -> None:
    reads = ReadIndex()
    first = reads.register(LogIndex(4))
    second = reads.register(LogIndex(5))
    reads.begin_round()
    third = reads.register(LogIndex(6))
    assert reads.confirm(0) == []
    reads.begin_round()
    assert reads.confirm(1) == [(first, 4), (second, 5)]
    assert reads.confirm(2) == [(third, 6)]
    assert not reads.has_begun


def test_a_later_round_confirms_all_earlier_reads() -> None:
    reads = ReadIndex()
    reads.register(LogIndex(4))
    reads.begin_round()
    reads.register(LogIndex(5))
    reads.begin_round()
    assert [index for _, index in reads.confirm(2)] == [4, 5]


def test_a_read_without_a_round_is_not_confirmed() -> None:
    reads = ReadIndex()
    reads.begin_round()
    reads.register(LogIndex(4))
    assert reads.has_waiting
    assert reads.confirm(1) == []


def test_a_lost_leadership_fails_all_reads_once() -> None:
    reads = ReadIndex()
    begun = reads.register(LogIndex(4))
    reads.begin_round()
    waiting = reads.register(LogIndex(5))
    assert reads.fail() == [begun, waiting]
    assert reads.fail() == []
    reads.begin_round()
    assert reads.confirm(9) == []


def test_tickets_and_rounds_are_never_used_twice() -> None:
    reads = ReadIndex()
    tickets = []
    for _ in range(3):
        tickets.append(reads.register(LogIndex(1)))
        reads.begin_round()
        reads.fail()
    assert tickets == sorted(set(tickets))
    assert reads.round == 3
