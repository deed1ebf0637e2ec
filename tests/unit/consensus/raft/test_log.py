import pytest

from support.raft_network import entry
from synaxis.consensus.raft.log import ENTRY_OVERHEAD_BYTES, RaftLog
from synaxis.effects import Entry
from synaxis.errors import StorageCorrupt
from synaxis.ids import LogIndex, Term


def log_of(*terms: int, base: int = 0, base_term: int = 0) -> RaftLog:
    entries = [entry(base + 1 + i, term, b"12345678") for i, term in enumerate(terms)]
    return RaftLog(LogIndex(base), Term(base_term), entries)


def test_a_log_knows_the_term_of_its_entries_and_of_the_one_before_them() -> None:
    log = log_of(3, 4, base=5, base_term=2)
    assert [log.term_at(LogIndex(i)) for i in (5, 6, 7)] == [2, 3, 4]


@pytest.mark.parametrize("index", [4, 8])
def test_the_term_of_an_unknown_entry_is_an_error(index: int) -> None:
    with pytest.raises(LookupError, match=str(index)):
        log_of(3, 4, base=5, base_term=2).term_at(LogIndex(index))


def test_the_empty_log_ends_at_zero() -> None:
    log = log_of()
    assert (log.last_index, log.last_term, log.term_at(LogIndex(0))) == (0, 0, 0)


@pytest.mark.parametrize(
    "entries", [[entry(2, 1)], [entry(1, 2), entry(2, 1)], [entry(1, 1), entry(3, 1)]]
)
def test_entries_that_do_not_follow_each_other_are_corrupt(entries: list[Entry]) -> None:
    with pytest.raises(StorageCorrupt):
        RaftLog(LogIndex(0), Term(0), entries)


@pytest.mark.parametrize(
    ("index", "term", "found"),
    [
        (9, 9, (6, 3)),
        (6, 2, (4, 2)),
        (5, 3, (5, 3)),
        (3, 1, (2, 1)),
        (1, 1, (1, 1)),
        (4, 0, (0, 0)),
    ],
)
def test_back_off_skips_a_term_at_a_time(index: int, term: int, found: tuple[int, int]) -> None:
    log = log_of(1, 1, 2, 2, 3, 3)
    assert log.last_not_after(LogIndex(index), Term(term)) == found


@pytest.mark.parametrize(("index", "term", "found"), [(6, 1, 4), (3, 9, 3), (5, 2, 5)])
def test_back_off_below_the_base_says_that_it_was_compacted_away(
    index: int, term: int, found: int
) -> None:
    log = log_of(3, base=5, base_term=2)
    assert log.last_not_after(LogIndex(index), Term(term))[0] == found


@pytest.mark.parametrize(
    ("terms", "position"),
    [((), 0), ((2,), 1), ((2, 2), 2), ((2, 3), 1), ((2, 2, 2), 2), ((3,), 0)],
)
def test_the_first_conflict_is_where_truncation_begins(
    terms: tuple[int, ...], position: int
) -> None:
    log = log_of(1, 2, 2)
    entries = [entry(2 + i, term) for i, term in enumerate(terms)]
    assert log.first_conflict(entries) == position


def test_truncation_gives_the_bytes_back() -> None:
    log = log_of(1, 1, 2)
    log.truncate(LogIndex(2))
    assert (log.last_index, log.last_term) == (1, 1)
    assert (log.log_bytes, log.uncommitted_bytes) == (8, 8)
    log.check_invariants()


def test_truncating_everything_goes_back_to_the_base() -> None:
    log = log_of(3, 3, base=5, base_term=2)
    log.truncate(LogIndex(6))
    assert (log.last_index, log.last_term) == (5, 2)


def test_the_commit_index_does_not_go_back() -> None:
    log = log_of(1, 1, 1)
    log.commit_to(LogIndex(2))
    log.commit_to(LogIndex(1))
    assert log.commit_index == 2
    assert log.uncommitted_bytes == 8


@pytest.mark.parametrize(("bytes_max", "count"), [(0, 1), (24, 1), (47, 1), (48, 2), (1000, 4)])
def test_a_slice_is_bounded_by_bytes_but_never_empty(bytes_max: int, count: int) -> None:
    assert ENTRY_OVERHEAD_BYTES == 16
    entries = log_of(1, 1, 1, 1).slice(LogIndex(1), bytes_max)
    assert [each.index for each in entries] == list(range(1, count + 1))


@pytest.mark.parametrize(("bytes_max", "pages"), [(0, 3), (48, 2), (1000, 1)])
def test_committed_entries_are_handed_out_once_and_in_pages(bytes_max: int, pages: int) -> None:
    log = log_of(1, 1, 1, 1)
    log.commit_to(LogIndex(3))
    handed_out = []
    for _ in range(pages):
        page = log.take_committed(bytes_max)
        assert page
        handed_out += page
    assert [each.index for each in handed_out] == [1, 2, 3]
    assert log.take_committed(bytes_max) == []


@pytest.mark.parametrize(
    ("entries_max", "bytes_max", "base"), [(0, 1000, 4), (2, 1000, 2), (9, 48, 2), (9, 1000, 0)]
)
def test_compaction_keeps_a_bounded_suffix(entries_max: int, bytes_max: int, base: int) -> None:
    log = log_of(1, 1, 1, 2, 2)
    log.commit_to(LogIndex(5))
    log.take_committed(1000)
    log.compact(LogIndex(4), entries_max, bytes_max)
    assert (log.base_index, log.snapshot_index, log.log_bytes) == (base, 4, 8)
    assert log.term_at(LogIndex(5)) == 2
    log.check_invariants()
    log.commit_to(LogIndex(5))


def test_a_reset_log_starts_behind_the_snapshot() -> None:
    log = log_of(1, 1)
    log.reset(LogIndex(9), Term(3))
    assert (log.base_index, log.last_index, log.last_term, log.applied_index) == (9, 9, 3, 9)
    assert log.log_bytes == 0
    log.check_invariants()


@pytest.mark.parametrize(
    ("index", "term", "is_enough"),
    [(3, 2, True), (2, 2, False), (1, 3, True), (9, 1, False), (4, 2, True)],
)
def test_a_log_is_more_up_to_date_by_term_then_by_length(
    index: int, term: int, is_enough: bool
) -> None:
    assert log_of(1, 2, 2).is_outdated_by(LogIndex(index), Term(term)) is is_enough
