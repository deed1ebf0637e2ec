"""A partition knows what is not plain about its messages, and what that costs."""

from support.queue_service import batch_of
from synaxis.ids import LogTime
from synaxis.queues.batch_index import BATCH_INDEX_BYTES, Batch
from synaxis.queues.limits import QueueLimits
from synaxis.queues.partition import Partition, Special

NOW = LogTime(1_000)


def partition(*sizes: int) -> Partition:
    """Batches of these sizes; ten bytes a message."""
    made = Partition(0, QueueLimits())
    for size in sizes:
        batch = Batch(made.next_offset, size, 1, made.size, 10 * size, NOW, 0)
        made.index.append(batch)
        made.next_offset += size
        made.messages += size
        made.size += 10 * size
    return made


def test_plain_messages_cost_a_row_of_their_batch() -> None:
    made = partition(100)
    assert made.note_columns(0, batch_of(*[b"m"] * 100), NOW) == []
    assert made.memory_bytes() == BATCH_INDEX_BYTES


def test_keys_cost_four_bytes_a_message_and_only_where_there_are_any() -> None:
    made = partition(2, 2)
    made.note_columns(0, batch_of(b"a", b"b", keys=["k", ""]), NOW)
    made.note_columns(2, batch_of(b"a", b"b", keys=["", ""]), NOW)
    assert made.memory_bytes() == 2 * BATCH_INDEX_BYTES + 8
    column = made.key_column(0)
    assert column is not None
    assert (len(column), column[1]) == (2, 0)
    assert made.key_column(1) is None


def test_what_is_special_is_noted_in_absolute_time() -> None:
    made = partition(4)
    batch = batch_of(*[b"m"] * 4, priorities=[0, 0, 9, 0], delays=[0, 5, 0, 0], ttls=[0, 0, 0, 7])
    assert made.note_columns(0, batch, NOW) == [3]
    assert made.specials == {
        1: Special(LogTime(1_005), 0, LogTime(0)),
        2: Special(LogTime(0), 9, LogTime(0)),
        3: Special(LogTime(0), 0, LogTime(1_007)),
    }
    assert [made.expires_at(offset) for offset in range(5)] == [0, 0, 0, 1_007, 0]


def test_a_message_whose_life_is_over_does_not_expire_again() -> None:
    made = partition(1)
    made.note_columns(0, batch_of(b"m", ttls=[7]), NOW)
    made.gone.add(0, 0)
    assert made.expires_at(0) == 0


def test_forgetting_a_batch_leaves_nothing_of_it() -> None:
    made = partition(2, 2)
    made.note_columns(0, batch_of(b"a", b"b", keys=["k", "l"], delays=[1, 1]), NOW)
    assert made.forget(0) == (1, 20)
    made.index.trim()
    made.check_invariants()
    assert (made.first_offset, made.messages, made.size) == (2, 2, 20)
    assert (made.memory_bytes(), made.gone.floor) == (BATCH_INDEX_BYTES, 2)


def test_the_first_offset_of_an_empty_partition_is_the_next_one() -> None:
    made = partition(3)
    made.forget(0)
    made.index.trim()
    assert made.first_offset == 3


def test_what_retention_has_let_go_counts_apart_for_as_long_as_it_is_stored() -> None:
    made = partition(1, 1, 1)
    made.age(1)
    assert (made.aged, made.kept_size) == (2, 20)
    made.check_invariants()
    made.forget(0)
    assert made.kept_size == 10
    made.age(2)
    assert made.kept_size == 20


def test_reviving_a_message_ends_its_ttl_and_delay_only_if_they_had_ended_it() -> None:
    made = partition(2)
    made.note_columns(0, batch_of(b"a", b"b", ttls=[5, 5], delays=[9, 9], priorities=[3, 3]), NOW)
    made.gone.add(0, 0)
    made.revive(0)
    made.revive(1)
    assert 0 not in made.gone
    assert made.specials[0] == Special(LogTime(0), 3, LogTime(0))
    assert made.specials[1] == Special(LogTime(1_009), 3, LogTime(1_005))
