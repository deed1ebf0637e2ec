"""Lines: at most one message of a key is out, and what goes back is not overtaken."""

from typing import cast

from synaxis.client.queues.message import PLACE_SHIFT, Keeper, Message, Source
from synaxis.client.queues.ordering import Lines
from synaxis.client.queues.outgoing import Publication, encode

SOURCE = Source("t")


def message(offset: int, key: str | None = "k", partition: int = 0) -> Message:
    raw = encode(Publication(b"x", key=key), None).record
    place = (partition << PLACE_SHIFT) | offset
    return Message(cast("Keeper", None), SOURCE, place, raw, 0, 0)


def test_messages_of_a_key_go_out_one_by_one() -> None:
    lines = Lines(by_partition=False)
    one, two, three, other = message(1), message(2), message(3), message(4, "other")
    assert [lines.admits(each) for each in (one, two, three, other)] == [True, False, False, True]
    assert lines.finished(one) is two
    assert lines.admits(two)
    assert lines.finished(two) is three


def test_messages_without_a_key_know_no_order() -> None:
    lines = Lines(by_partition=False)
    assert all(lines.admits(message(n, key=None)) for n in range(3))


def test_equal_keys_of_different_partitions_are_different_lines() -> None:
    lines = Lines(by_partition=False)
    assert lines.admits(message(1, "k", 0))
    assert lines.admits(message(1, "k", 1))


def test_a_partition_is_one_line_in_exclusive_mode() -> None:
    lines = Lines(by_partition=True)
    assert lines.admits(message(1, None, 0))
    assert not lines.admits(message(2, "another", 0))
    assert lines.admits(message(1, "k", 1))


def test_what_is_behind_a_message_that_goes_back_follows_it() -> None:
    lines = Lines(by_partition=False)
    one, two, three, other = message(1), message(2), message(3), message(4, "other")
    assert lines.admits(one)
    assert not lines.admits(two)
    assert lines.turn_back(one, [three, other]) == [two, three]
    assert lines.queued == 0
    assert lines.finished(one) is None


def test_lost_messages_are_forgotten() -> None:
    lines = Lines(by_partition=False)
    one, two, three = message(1), message(2), message(3)
    lines.admits(one)
    lines.admits(two)
    lines.admits(three)
    assert lines.forget({two}) == 1
    assert lines.finished(one) is three


def test_a_message_that_was_not_handed_out_after_all_is_admitted_again() -> None:
    lines = Lines(by_partition=False)
    one, two = message(1), message(2)
    lines.admits(one)
    lines.admits(two)
    lines.withdraw(one)
    assert lines.admits(one)
    assert lines.finished(one) is two


def test_foreign_records_have_no_line() -> None:
    foreign = Message(cast("Keeper", None), SOURCE, 1, b"\xc1", 0, 0)
    assert Lines(by_partition=False).admits(foreign)
