"""What is wrong with a command by itself is refused before it enters the log."""

from array import array
from typing import Any

import msgspec
import pytest

from support.queue_service import SHARED, batch_of
from synaxis.errors import InvalidArgument, LimitExceeded
from synaxis.ids import LogTime
from synaxis.queues.commands import (
    END,
    Ack,
    Attach,
    Begin,
    Detach,
    Extend,
    Join,
    Leave,
    Nack,
    Part,
    Publish,
    Purge,
    PurgeDead,
    RecordBatch,
    Redrive,
    Reject,
    Release,
    Seek,
)
from synaxis.queues.limits import QueueLimits
from synaxis.queues.questions import Browse, BrowseDead, DescribeTopic
from synaxis.queues.validation import check_command, check_demand, check_question

LIMITS = QueueLimits(
    record_bytes_max=10,
    batch_messages_max=3,
    parts_max=2,
    settled_messages_max=10,
    delay_ms_max=1_000,
    ttl_ms_max=2_000,
    message_id_bytes_max=4,
    error_bytes_max=5,
    browse_messages_max=7,
)
ONE = (Part(0, 0, 0),)


def publish(batch: RecordBatch, producer: int = 1, sequence: int = 1) -> Publish:
    return Publish("t", 0, producer, sequence, batch)


RIGHT: list[msgspec.Struct] = [
    publish(batch_of(b"a" * 10, b"b" * 10, b"")),
    publish(batch_of(b"", b""), producer=2**63 - 1, sequence=2**63 - 1),
    publish(batch_of(b"a", keys=["k"], priorities=[9], delays=[1_000], ttls=[2_000], ids=["1234"])),
    Ack("t", "g", 1, ()),
    Ack("t", "g", 1, (Part(0, 0, 4), Part(0, 5, 9))),
    Nack("t", "g", 1, ONE),
    Nack("t", "g", 1, ONE, 0, "12345"),
    Nack("t", "g", 1, ONE, 1_000),
    Reject("t", "g", 1, ONE, "12345"),
    Join("t", "g", 1, SHARED),
    Join("t", "g", 1, SHARED, visibility_ms=1_000),
    Seek("t", "g", offset=0),
    Seek("t", "g", offset=END),
    Seek("t", "g", time=LogTime(0)),
    Redrive("t", "g"),
    Redrive("t", "g", partition=0, offsets=tuple(range(10))),
    PurgeDead("t", "g", limit=0),
    Purge("t"),
    Purge("t", 0),
    Leave("t", "g", 1),
]


@pytest.mark.parametrize("command", RIGHT, ids=repr)
def test_what_is_right_is_taken(command: msgspec.Struct) -> None:
    check_command(command, LIMITS)


WRONG: list[msgspec.Struct] = [
    publish(batch_of(b"a"), producer=0),
    publish(batch_of(b"a"), producer=2**63),
    publish(batch_of(b"a"), sequence=0),
    publish(batch_of(b"a"), sequence=2**63),
    publish(RecordBatch(b"", b"")),
    publish(RecordBatch(b"\1\0\0", b"a")),
    publish(RecordBatch(array("I", [2]).tobytes(), b"a")),
    publish(RecordBatch(array("I", [1]).tobytes(), b"aa")),
    publish(RecordBatch(array("I", [1]).tobytes(), b"a", b"\0" * 8)),
    publish(RecordBatch(array("I", [1]).tobytes(), b"a", b"\0")),
    publish(batch_of(b"a", b"b", priorities=[1])),
    publish(batch_of(b"a", b"b", delays=[1])),
    publish(batch_of(b"a", b"b", ttls=[1, 2, 3])),
    publish(batch_of(b"a", b"b", ids=["x"])),
    publish(batch_of(b"a", priorities=[10])),
    publish(batch_of(b"a", delays=[-1])),
    publish(batch_of(b"a", delays=[1_001])),
    publish(batch_of(b"a", ttls=[-1])),
    publish(batch_of(b"a", b"b", ttls=[0, 2_001])),
    publish(batch_of(b"a", ids=["12345"])),
    publish(batch_of(b"a", ids=["äöü"])),
    Ack("t", "g", 1, (Part(0, -1, 0),)),
    Ack("t", "g", 1, (Part(0, 1, 0),)),
    Ack("t", "g", 1, (Part(0, 0, 0, -1),)),
    Nack("t", "g", 1, (Part(0, 1, 0),)),
    Nack("t", "g", 1, ONE, -2),
    Nack("t", "g", 1, ONE, 1_001),
    Nack("t", "g", 1, ONE, 0, "123456"),
    Reject("t", "g", 1, (Part(0, 1, 0),)),
    Reject("t", "g", 1, ONE, "äöü"),
    Join("t", "", 1, SHARED),
    Join("t", "a group", 1, SHARED),
    Join("t", "g", 0, SHARED),
    Join("t", "g", 2**63, SHARED),
    Join("t", "g", 1, SHARED, "n" * 201),
    Join("t", "g", 1, SHARED, visibility_ms=999),
    Join("t", "g", 1, SHARED, visibility_ms=12 * 3_600_000 + 1),
    Join("t", "g", 1, SHARED, visibility_ms=0),
    Seek("t", "g"),
    Seek("t", "g", offset=0, time=LogTime(0)),
    Seek("t", "g", offset=-3),
    Seek("t", "g", time=LogTime(-2)),
    Redrive("t", "g", limit=-2),
    Redrive("t", "g", partition=-2),
    Redrive("t", "g", offsets=(1,)),
    PurgeDead("t", "g", limit=-2),
    PurgeDead("t", "g", offsets=(1,)),
    Purge("t", -2),
]


@pytest.mark.parametrize("command", WRONG, ids=repr)
def test_what_is_wrong_is_refused(command: msgspec.Struct) -> None:
    with pytest.raises(InvalidArgument):
        check_command(command, LIMITS)


TOO_MUCH: list[tuple[msgspec.Struct, str]] = [
    (publish(batch_of(b"", b"", b"", b"")), "batch_messages_max"),
    (publish(batch_of(b"a" * 11)), "record_bytes_max"),
    (publish(batch_of(b"", b"a" * 11)), "record_bytes_max"),
    (Ack("t", "g", 1, ONE * 3), "parts_max"),
    (Ack("t", "g", 1, (Part(0, 0, 4), Part(0, 5, 10))), "settled_messages_max"),
    (Nack("t", "g", 1, (Part(0, 0, 10),)), "settled_messages_max"),
    (Reject("t", "g", 1, (Part(0, 0, 10),)), "settled_messages_max"),
    (Redrive("t", "g", partition=0, offsets=tuple(range(11))), "settled_messages_max"),
    (PurgeDead("t", "g", partition=0, offsets=tuple(range(11))), "settled_messages_max"),
]


@pytest.mark.parametrize(("command", "limit"), TOO_MUCH, ids=repr)
def test_what_is_too_much_is_refused_with_the_name_of_the_limit(
    command: msgspec.Struct, limit: str
) -> None:
    with pytest.raises(LimitExceeded) as caught:
        check_command(command, LIMITS)
    assert caught.value.details["limit"] == limit
    assert caught.value.details["maximum"] == getattr(LIMITS, limit)


@pytest.mark.parametrize(
    "demand",
    [
        Attach("t", "g", 1, -1),
        Attach("t", "g", 1, 1, (Part(0, 1, 0),)),
        Release("t", "g", 1, (Part(0, 1, 0),)),
        Extend("t", "g", 1, (Part(0, 1, 0),), 1),
        Extend("t", "g", 1, ONE, 0),
        Extend("t", "g", 1, ONE, 12 * 3_600_000 + 1),
        Begin("t", "g", 1, (Part(0, 1, 0),)),
    ],
    ids=repr,
)
def test_a_member_that_tells_its_leader_nonsense_is_refused(demand: msgspec.Struct) -> None:
    with pytest.raises(InvalidArgument):
        check_demand(demand, LIMITS)


def test_a_member_may_tell_its_leader_what_is_right() -> None:
    for demand in (
        Attach("t", "g", 1, 0, ONE),
        Release("t", "g", 1, ONE),
        Extend("t", "g", 1, ONE, 1),
        Begin("t", "g", 1, ONE),
        Detach("t", "g", 1),
    ):
        check_demand(demand, LIMITS)


def test_what_a_member_holds_has_the_limits_of_what_it_settles() -> None:
    for make in (
        lambda parts: Attach("t", "g", 1, 1, parts),
        lambda parts: Begin("t", "g", 1, parts),
    ):
        with pytest.raises(LimitExceeded):
            check_demand(make(ONE * 3), LIMITS)


@pytest.mark.parametrize(("offset", "limit"), [(-1, 1), (0, 0), (0, 8), (0, -1)])
def test_a_page_outside_the_bounds_is_refused(offset: int, limit: int) -> None:
    questions: tuple[Any, ...] = (
        Browse("t", 0, offset, limit),
        BrowseDead("t", "g", 0, offset, limit),
    )
    for question in questions:
        with pytest.raises(InvalidArgument):
            check_question(question, LIMITS)


def test_a_page_within_the_bounds_is_taken() -> None:
    for question in (Browse("t", 0, 0, 7), BrowseDead("t", "g", 0, 5, 1), DescribeTopic("t")):
        check_question(question, LIMITS)
