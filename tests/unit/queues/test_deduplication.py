"""What was stored once is recognised, for as long as the memory of it reaches."""

import pytest

from synaxis.errors import OutcomeUnknown
from synaxis.ids import LogTime
from synaxis.queues.commands import Published
from synaxis.queues.deduplication import MessageIds, Producers
from synaxis.queues.limits import QueueLimits

NOW = LogTime(1_000)
SMALL = QueueLimits(producers_per_partition_max=2, sequences_per_producer_max=3)


def test_a_batch_is_recognised_and_its_first_answer_repeated() -> None:
    producers = Producers(SMALL)
    producers.note(1, 5, Published(40, False, ((1, 7),)), NOW)
    assert producers.find(1, 5) == Published(40, True, ((1, 7),))
    assert producers.find(1, 6) is None
    assert producers.find(2, 5) is None


def test_gaps_in_the_sequences_are_allowed() -> None:
    producers = Producers(SMALL)
    producers.note(1, 5, Published(0), NOW)
    assert producers.find(1, 3) is None


def test_a_batch_older_than_the_memory_has_an_unknown_outcome() -> None:
    producers = Producers(SMALL)
    for sequence in range(1, 6):
        producers.note(1, sequence, Published(sequence), NOW)
    assert producers.find(1, 3) == Published(3, True)
    for sequence in (1, 2):
        with pytest.raises(OutcomeUnknown):
            producers.find(1, sequence)


def test_the_producer_that_was_silent_longest_is_forgotten() -> None:
    producers = Producers(SMALL)
    producers.note(1, 1, Published(0), NOW)
    producers.note(2, 1, Published(1), NOW)
    producers.note(1, 2, Published(2), NOW)
    producers.note(3, 1, Published(3), NOW)
    assert producers.find(2, 1) is None
    assert producers.find(1, 1) == Published(0, True)
    assert len(producers) == 2


def test_producers_that_went_away_are_forgotten_in_time() -> None:
    """Each process that ever published would else be remembered with its last 1,024 batches."""
    limits = QueueLimits(producer_idle_ms_max=100)
    producers = Producers(limits)
    for producer in range(1, 4):
        producers.note(producer, 1, Published(producer), LogTime(10 * producer))
    producers.note(3, 2, Published(9), LogTime(119))
    assert (len(producers), producers.batches) == (2, 3)
    assert producers.find(2, 1) == Published(2, True)
    producers.note(3, 3, Published(9), LogTime(120))
    assert (len(producers), producers.batches) == (1, 3)
    producers.note(3, 4, Published(9), LogTime(9_999))
    assert producers.find(3, 1) == Published(3, True)


def test_what_is_remembered_is_counted_as_it_changes() -> None:
    producers, other = Producers(SMALL), Producers(SMALL)
    for producer in (1, 2, 3):
        for sequence in range(1, 6):
            producers.note(producer, sequence, Published(0), NOW)
    other.load(producers.save())
    assert producers.batches == other.batches == 6


def test_the_memory_of_producers_is_saved_in_order() -> None:
    producers, other = Producers(SMALL), Producers(SMALL)
    for producer, sequence in ((1, 1), (2, 1), (1, 2)):
        producers.note(producer, sequence, Published(sequence), NOW)
    other.load(producers.save())
    for each in (producers, other):
        each.note(3, 1, Published(9), NOW)
    assert other.save() == producers.save()
    assert other.find(2, 1) is None


def test_a_message_id_is_known_within_its_window_and_not_beyond() -> None:
    ids = MessageIds(10)
    ids.note("a", 4, LogTime(100), 50)
    assert ids.find("a", LogTime(149), 50) == 4
    assert ids.find("a", LogTime(150), 50) is None
    assert ids.find("b", LogTime(100), 50) is None


def test_ids_beyond_the_window_or_the_limit_are_forgotten() -> None:
    ids = MessageIds(2)
    ids.note("a", 1, LogTime(0), 50)
    ids.note("b", 2, LogTime(10), 50)
    ids.note("c", 3, LogTime(20), 50)
    assert [each[0] for each in ids.save()] == ["b", "c"]
    ids.note("d", 4, LogTime(65), 50)
    assert [each[0] for each in ids.save()] == ["c", "d"]


def test_an_id_that_is_stored_anew_is_young_again() -> None:
    ids, other = MessageIds(2), MessageIds(2)
    ids.note("a", 1, LogTime(0), 50)
    ids.note("b", 2, LogTime(0), 50)
    ids.note("a", 3, LogTime(60), 50)
    other.load(ids.save())
    assert other.find("a", LogTime(100), 50) == 3
    assert len(other) == len(ids) == 1
