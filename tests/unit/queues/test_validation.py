"""What is wrong with a command by itself never enters the log."""

from typing import Any

import msgspec
import pytest

from support.queue_service import SHARED, batch_of
from synaxis.errors import InvalidArgument, LimitExceeded, SynaxisError
from synaxis.ids import LogTime
from synaxis.queues.commands import (
    ABSENT,
    END,
    Ack,
    Attach,
    Begin,
    Credit,
    DeleteGroup,
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
    Yield,
)
from synaxis.queues.limits import QueueLimits
from synaxis.queues.validation import check_command, check_demand

LIMITS = QueueLimits(
    record_bytes_max=10,
    batch_messages_max=3,
    parts_max=2,
    settled_messages_max=5,
    delay_ms_max=100,
    ttl_ms_max=200,
    message_id_bytes_max=4,
    error_bytes_max=4,
)


def publish(*bodies: bytes, producer: int = 1, sequence: int = 1, **columns: Any) -> Publish:
    return Publish("t", 0, producer, sequence, batch_of(*bodies, **columns))


def changed(**fields: Any) -> Publish:
    """A publish of two messages with a batch that is not what it should be."""
    batch = batch_of(b"a", b"b")
    return Publish("t", 0, 1, 1, msgspec.structs.replace(batch, **fields))


def parts(*ranges: tuple[int, int]) -> tuple[Part, ...]:
    return tuple(Part(0, first, last) for first, last in ranges)


FINE = [
    publish(b"a" * 10, b"", b"c" * 10, producer=2**63 - 1, sequence=2**63 - 1),
    publish(b"a", keys=["k"], priorities=[9], delays=[100], ttls=[200], ids=["idid"]),
    Ack("t", "g", 1, parts((0, 0), (2, 5))),
    Ack("t", "g", 1, ()),
    Nack("t", "g", 1, (), 100, "four"),
    Nack("t", "g", 1, (), ABSENT),
    Reject("t", "g", 1, parts((0, 4)), "four"),
    Join("t", "g", 2**63 - 1, SHARED, "n" * 200, 1_000),
    Join("t", "g", 1, SHARED),
    Leave("t", "g", -5),
    Yield("t", "g", 1, (-1,)),
    DeleteGroup("t", "g"),
    Seek("t", "g", offset=0),
    Seek("t", "g", offset=END),
    Seek("t", "g", time=LogTime(0)),
    Redrive("t", "g", 0),
    PurgeDead("t", "g", ABSENT, 0, (1, 2)),
    Purge("t"),
]

WRONG: list[tuple[Any, type[SynaxisError], str]] = [
    (publish(b"a", producer=0), InvalidArgument, "producer"),
    (publish(b"a", producer=2**63), InvalidArgument, "producer"),
    (publish(b"a", sequence=0), InvalidArgument, "sequence"),
    (publish(), InvalidArgument, "at least one message"),
    (changed(sizes=b"\x01\0\0\0\x01"), InvalidArgument, "four bytes"),
    (changed(body=b"abc"), InvalidArgument, "add up"),
    (publish(b"a", b"b", b"c", b"d"), LimitExceeded, "batch_messages_max"),
    (publish(b"a" * 11), LimitExceeded, "at most 10 bytes"),
    (publish(b"a", b"b" * 11, b"c"), LimitExceeded, "not 11"),
    (changed(key_hashes=b"\0\0\0\0"), InvalidArgument, "key_hashes"),
    (changed(priorities=b"\0"), InvalidArgument, "priorities"),
    (changed(delays_ms=(1, 2, 3)), InvalidArgument, "delays_ms"),
    (changed(ttls_ms=(1,)), InvalidArgument, "ttls_ms"),
    (changed(message_ids=("a",)), InvalidArgument, "message_ids"),
    (changed(priorities=b"\0\x0a"), InvalidArgument, "from 0 to 9"),
    (changed(delays_ms=(0, 101)), InvalidArgument, "from 0 to 100"),
    (changed(delays_ms=(0, -1)), InvalidArgument, "from 0 to 100"),
    (changed(ttls_ms=(0, 201)), InvalidArgument, "from 0 to 200"),
    (changed(message_ids=("", "äää")), InvalidArgument, "at most 4 bytes"),
    (Ack("t", "g", 1, parts((0, 0), (1, 1), (2, 2))), LimitExceeded, "parts_max"),
    (Ack("t", "g", 1, parts((0, 5))), LimitExceeded, "settled_messages_max"),
    (Ack("t", "g", 1, parts((0, 2**62))), LimitExceeded, "settled_messages_max"),
    (Ack("t", "g", 1, parts((3, 2))), InvalidArgument, "no range"),
    (Ack("t", "g", 1, parts((-1, 2))), InvalidArgument, "no range"),
    (Ack("t", "g", 1, (Part(0, 1, 1, -1),)), InvalidArgument, "no range"),
    (Nack("t", "g", 1, (), 101), InvalidArgument, "delay_ms"),
    (Nack("t", "g", 1, (), -2), InvalidArgument, "delay_ms"),
    (Nack("t", "g", 1, (), 0, "fifth"), InvalidArgument, "error"),
    (Reject("t", "g", 1, (), "fifth"), InvalidArgument, "error"),
    (Join("t", "", 1, SHARED), InvalidArgument, "consumer group"),
    (Join("t", "a b", 1, SHARED), InvalidArgument, "consumer group"),
    (Join("t", "g", 0, SHARED), InvalidArgument, "member"),
    (Join("t", "g", 1, SHARED, "n" * 201), InvalidArgument, "name"),
    (Join("t", "g", 1, SHARED, visibility_ms=999), InvalidArgument, "visibility"),
    (Join("t", "g", 1, SHARED, visibility_ms=43_200_001), InvalidArgument, "visibility"),
    (Seek("t", "g"), InvalidArgument, "either"),
    (Seek("t", "g", offset=1, time=LogTime(1)), InvalidArgument, "either"),
    (Seek("t", "g", offset=-3), InvalidArgument, "not negative"),
    (Seek("t", "g", time=LogTime(-2)), InvalidArgument, "not negative"),
    (Redrive("t", "g", -2), InvalidArgument, "not negative"),
    (PurgeDead("t", "g", partition=-2), InvalidArgument, "not negative"),
    (Redrive("t", "g", offsets=(1,)), InvalidArgument, "name it"),
    (Redrive("t", "g", 1, 0, (1, 2, 3, 4, 5, 6)), LimitExceeded, "settled_messages_max"),
    (Purge("t", -2), InvalidArgument, "numbered from 0"),
]


@pytest.mark.parametrize("command", FINE, ids=lambda each: type(each).__name__)
def test_what_is_allowed_passes(command: msgspec.Struct) -> None:
    check_command(command, LIMITS)


@pytest.mark.parametrize(
    ("command", "kind", "words"), WRONG, ids=lambda each: str(each)[:30].replace("\n", " ")
)
def test_what_is_not_allowed_is_refused_in_words(
    command: msgspec.Struct, kind: type[SynaxisError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        check_command(command, LIMITS)


@pytest.mark.parametrize(
    "message",
    [
        Attach("t", "g", 1, 0, parts((0, 4))),
        Credit("t", "g", 1, -5),
        Release("t", "g", 1, ()),
        Extend("t", "g", 1, (), 1),
        Begin("t", "g", 1, parts((0, 0))),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_member_may_tell_its_leader_passes(message: msgspec.Struct) -> None:
    check_demand(message, LIMITS)


@pytest.mark.parametrize(
    "message",
    [
        Attach("t", "g", 1, -1),
        Attach("t", "g", 1, 1, parts((0, 5))),
        Release("t", "g", 1, parts((1, 0))),
        Extend("t", "g", 1, (), 0),
        Extend("t", "g", 1, (), 43_200_001),
        Extend("t", "g", 1, parts((0, 5)), 1),
        Begin("t", "g", 1, parts((0, 5))),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_member_may_not_tell_its_leader_is_refused(message: msgspec.Struct) -> None:
    with pytest.raises(SynaxisError):
        check_demand(message, LIMITS)


def test_no_columns_is_the_same_as_none_of_it() -> None:
    check_command(Publish("t", 0, 1, 1, RecordBatch(b"\0\0\0\0", b"")), LIMITS)
