"""What values become on the wire, and back."""

from typing import Any

import msgspec
import pytest

from synaxis.client.queues.codecs import BYTES, JSON, MSGPACK, Codec, codec_named, read_record
from synaxis.client.queues.message import Source
from synaxis.client.queues.outgoing import Publication, encode, encode_plain
from synaxis.errors import InvalidArgument

UPPER = Codec("upper", lambda value: value.upper().encode(), lambda raw: raw.decode().lower())


@pytest.mark.parametrize(
    ("value", "codec", "name"),
    [
        (b"raw", None, ""),
        (bytearray(b"raw"), None, ""),
        ({"n": 1, 2: [None]}, None, "msgpack"),
        ("text", None, "msgpack"),
        ({"n": 1}, JSON, "json"),
        (b"raw", BYTES, ""),
        (b"raw", MSGPACK, "msgpack"),
        ("text", UPPER, "upper"),
    ],
)
def test_a_value_comes_back_as_it_was(value: Any, codec: Codec | None, name: str) -> None:
    record = read_record(encode_plain(value, codec))
    assert record.codec == name
    assert Source("t", UPPER).decode(record) == value
    assert read_record(encode(Publication(value), codec).record).payload == record.payload


@pytest.mark.parametrize(
    ("value", "codec", "said"),
    [
        ("text", BYTES, 'codec "bytes" takes bytes, not str'),
        (object(), None, "msgpack"),
        (object(), JSON, "json"),
    ],
)
def test_what_a_codec_cannot_express_is_refused(value: Any, codec: Codec, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        encode_plain(value, codec)


def test_the_codec_of_a_message_wins_over_the_topics() -> None:
    assert read_record(encode(Publication({"n": 1}, codec="json"), MSGPACK).record).codec == "json"


def test_a_plain_record_has_nothing_but_its_payload() -> None:
    assert msgspec.msgpack.decode(encode_plain(b"raw", None)) == [b"raw"]


def test_a_record_of_a_later_version_is_read() -> None:
    later = msgspec.msgpack.encode([b"raw", "", "key", {"a": "b"}, "id", "something", 7])
    record = read_record(later)
    assert (record.payload, record.key, record.headers, record.message_id) == (
        b"raw",
        "key",
        {"a": "b"},
        "id",
    )


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no record of this protocol"):
        read_record(b"\xc1")


def test_an_unknown_codec_is_named() -> None:
    record = read_record(encode_plain("text", UPPER))
    with pytest.raises(InvalidArgument, match=r"'upper': give it to cluster.topic"):
        Source("t").decode(record)
    with pytest.raises(InvalidArgument, match=r'"bytes", "msgpack", "json" or a synaxis.Codec'):
        codec_named("pickle")
