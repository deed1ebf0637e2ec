"""What may be said about a message, and how the batch says it."""

from array import array
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import pytest

from synaxis.client.clock import wall_now
from synaxis.client.queues.batching import Draft
from synaxis.client.queues.message import Source, StoredMessage
from synaxis.client.queues.outgoing import PLAIN, Publication, Receipt, encode, encode_plain
from synaxis.errors import InvalidArgument, SynaxisError
from synaxis.queues.commands import Publish, Published
from synaxis.queues.limits import QueueLimits
from synaxis.queues.validation import check_command


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": 7}, "key must be text"),
        ({"key": "\ud800"}, "key cannot be encoded"),
        ({"headers": {"a": 1}}, "header 'a' must be text"),
        ({"headers": {1: "a"}}, "name of a header must be text"),
        ({"priority": 10}, "priority must be 0 to 9"),
        ({"priority": True}, "priority must be 0 to 9"),
        ({"priority": 1.5}, "priority must be 0 to 9"),
        ({"delay": -1}, "delay must be 0 to"),
        ({"delay": float("inf")}, "delay must be 0 to"),
        ({"delay": "soon"}, "delay must be 0 to"),
        ({"ttl": 0}, r"ttl must be 0.001 to"),
        ({"message_id": ""}, "message_id must have 1 to 256 bytes"),
        ({"message_id": "x" * 257}, "message_id must have 1 to 256 bytes"),
        ({"message_id": b"x"}, "message_id must be text"),
        ({"delay": 1, "deliver_at": datetime(2030, 1, 1, tzinfo=UTC)}, "contradict"),
        ({"deliver_at": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_nonsense_is_refused_before_it_spoils_a_batch(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        encode(Publication(b"x", **options), None)


def test_a_key_decides_the_partition_and_has_a_hash() -> None:
    text, raw = (encode(Publication(b"x", key=key), None) for key in ("user-1", b"user-1"))
    assert text.placed_by == raw.placed_by == crc32(b"user-1")
    assert text.key_hash == raw.key_hash == crc32(b"user-1")


def test_a_message_id_decides_when_there_is_no_key() -> None:
    assert encode(Publication(b"x", message_id="m"), None).placed_by == crc32(b"m")
    assert encode(Publication(b"x", message_id="m", key="k"), None).placed_by == crc32(b"k")


def test_a_date_becomes_a_delay() -> None:
    at = datetime.fromtimestamp(wall_now(), UTC) + timedelta(seconds=100)
    assert 99_000 < encode(Publication(b"x", deliver_at=at), None).extras.delay_ms <= 100_000
    past = datetime(2020, 1, 1, tzinfo=UTC)
    assert encode(Publication(b"x", deliver_at=past), None).extras is PLAIN


def draft_of(*messages: Publication) -> Draft:
    draft = Draft(0.0)
    for message in messages:
        encoded = encode(message, None)
        draft.add(encoded.record, encoded.key_hash, encoded.extras)
    return draft


def test_columns_that_nobody_needs_are_empty() -> None:
    batch = draft_of(Publication(b"x"), Publication(b"yy")).batch()
    assert list(array("I", batch.sizes)) == [4, 5]
    assert batch.body == encode_plain(b"x", None) + encode_plain(b"yy", None)
    assert (batch.key_hashes, batch.priorities, batch.delays_ms) == (b"", b"", ())
    assert (batch.ttls_ms, batch.message_ids) == ((), ())


def test_a_column_that_one_needs_has_an_item_for_each() -> None:
    batch = draft_of(
        Publication(b"x"),
        Publication(b"y", key="k"),
        Publication(b"z", priority=3, delay=1.5, ttl=60, message_id="m"),
    ).batch()
    assert list(array("I", batch.key_hashes)) == [0, crc32(b"k"), 0]
    assert batch.priorities == bytes([0, 0, 3])
    assert (batch.delays_ms, batch.ttls_ms) == ((0, 0, 1500), (0, 0, 60_000))
    assert batch.message_ids == ("", "", "m")
    check_command(Publish("t", 0, 1, 1, batch), QueueLimits())


class Collected:
    """A sink."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.error: SynaxisError | None = None

    def stored(self, draft: Draft, receipts: list[Receipt]) -> None:
        self.receipts = receipts

    def failed(self, draft: Draft, error: SynaxisError) -> None:
        self.error = error


def test_known_messages_take_up_no_offset() -> None:
    sink = Collected()
    draft = Draft(0.0, sink)
    for _ in range(4):
        draft.add(b"record", 0, PLAIN)
    draft.stored(5, Published(100, False, ((1, 7), (3, 9))))
    assert sink.receipts == [
        Receipt(5, 100),
        Receipt(5, 7, duplicate=True),
        Receipt(5, 101),
        Receipt(5, 9, duplicate=True),
    ]


def test_a_batch_that_was_stored_by_an_earlier_try_is_no_duplicate_of_the_users() -> None:
    sink = Collected()
    draft = Draft(0.0, sink)
    draft.add(b"record", 0, PLAIN)
    draft.stored(5, Published(100, duplicate=True))
    assert sink.receipts == [Receipt(5, 100)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"key": ""},
        {"key": b"k"},
        {"headers": {"a": "b"}},
        {"message_id": "m"},
        {"key": "k", "headers": {"a": "b"}, "message_id": "m", "codec": "json"},
    ],
)
def test_what_is_said_of_a_message_reaches_its_reader(options: dict[str, Any]) -> None:
    raw = encode(Publication(b"" if "codec" not in options else "", **options), None).record
    message = StoredMessage(Source("t"), 1, raw, 0, 0)
    assert message.key == options.get("key")
    assert message.headers == options.get("headers", {})
    assert message.message_id == options.get("message_id")
    assert message.value in (b"", "")
