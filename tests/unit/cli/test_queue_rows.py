import json
from typing import Any

import pytest

from synaxis.cli.queue_rows import message_row, topic_row, value_text
from synaxis.client.queues.codecs import Codec
from synaxis.client.queues.message import Source, StoredMessage
from synaxis.client.queues.outgoing import Publication, encode
from synaxis.client.queues.states import GroupPartitionState, GroupState, TopicState
from synaxis.client.queues.topics import Backoff, TopicSettings

SETTINGS = TopicSettings(
    "orders", 2, "work", 30.0, 5, Backoff(), None, None, 120.0, "drop", paused=False, version=1
)


def stored(value: Any, **options: Any) -> StoredMessage:
    record = encode(Publication(value, **options), None).record
    return StoredMessage(Source("orders", None), (3 << 48) | 17, record, 1_700_000_000_123, 2)


def group(name: str, lag: int, oldest_age: float, dead: int) -> GroupState:
    partition = GroupPartitionState(0, 0, lag, 0, 0, dead, 0, oldest_age, "")
    return GroupState(name, "shared", (), (partition,), 0, 0, 0)


def test_a_message_is_told_with_its_place_and_its_past() -> None:
    row = message_row(stored(b"hello", key="user-1", headers={"a": "b"}, message_id="m"))
    assert row == {
        "topic": "orders",
        "partition": 3,
        "offset": 17,
        "published_at": "2023-11-14T22:13:20.123+00:00",
        "deliveries": 3,
        "key": "user-1",
        "headers": {"a": "b"},
        "message_id": "m",
        "value": "hello",
        "base64": None,
    }


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_a_value_is_decoded_by_the_codec_that_travelled_with_it(codec: str) -> None:
    row = message_row(stored({"total": 42}, codec=codec))
    assert (row["value"], row["base64"]) == ({"total": 42}, None)


@pytest.mark.parametrize(
    "value", [b"\xff\x00", {"bytes": b"\xff"}], ids=["no text", "no JSON within"]
)
def test_what_is_no_text_and_no_json_is_told_in_base64(value: Any) -> None:
    row = message_row(stored(value))
    assert row["value"] is None
    assert row["base64"]
    json.dumps(row)


def test_an_unknown_codec_does_not_stop_anybody_from_looking() -> None:
    ours = Codec("ours", lambda value: str(value).encode(), bytes.decode)
    row = message_row(stored("x", codec=ours))
    assert (row["value"], row["base64"]) == (None, "eA==")


def test_a_key_of_bytes_is_printable() -> None:
    assert message_row(stored(b"", key=b"\xffkey"))["key"] == r"\xffkey"


@pytest.mark.parametrize(("value", "text"), [("a b", "a b"), ({"ä": 1}, '{"ä": 1}'), (7, "7")])
def test_a_value_for_people_is_text_or_json(value: object, text: str) -> None:
    assert value_text(value) == text


def test_a_topic_is_as_late_as_its_latest_group() -> None:
    groups = (group("a", 10, 1.5, 1), group("b", 3, 9.0, 2))
    row = topic_row(SETTINGS, TopicState("orders", False, (), groups))
    assert (row["groups"], row["lag"], row["oldest_age_s"], row["dead"]) == (["a", "b"], 10, 9.0, 3)


def test_a_topic_without_groups_has_no_lag() -> None:
    row = topic_row(SETTINGS, TopicState("orders", False, (), ()))
    assert (row["lag"], row["oldest_age_s"], row["dead"]) == (None, None, 0)
