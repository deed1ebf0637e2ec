"""How cached values travel, and who can read them again."""

from datetime import UTC, datetime

import pytest

import synaxis
from synaxis.caches.commands import INTEGER
from synaxis.client.caches.codecs import JSON_TEXT, OWN, PACKED, RAW, codec_named, decode, encode
from synaxis.errors import InvalidArgument

CSV = synaxis.Codec("csv", lambda row: ",".join(row).encode(), lambda raw: raw.decode().split(","))


@pytest.mark.parametrize(
    ("value", "payload", "flags"),
    [
        (b"raw", b"raw", RAW),
        (bytearray(b"raw"), b"raw", RAW),
        (7, b"7", INTEGER),
        (-(2**63) + 1, b"-9223372036854775807", INTEGER),
        (True, b"\xc3", PACKED),
        (None, b"\xc0", PACKED),
        (2**63, b"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", PACKED),
        ("text", b"\xa4text", PACKED),
    ],
)
def test_without_a_codec_values_go_as_what_they_are(
    value: object, payload: bytes, flags: int
) -> None:
    assert encode(value, None) == (payload, flags)
    assert decode(payload, flags, None) == value
    assert type(decode(payload, flags, None)) is (bytes if flags == RAW else type(value))


@pytest.mark.parametrize(
    ("codec", "value", "flags"),
    [("bytes", b"x", RAW), ("msgpack", 5, PACKED), ("json", {"a": [1]}, JSON_TEXT)],
)
def test_a_named_codec_is_used_for_everything(codec: str, value: object, flags: int) -> None:
    payload, found = encode(value, codec_named(codec))
    assert found == flags
    assert decode(payload, flags, None) == value


def test_an_own_codec_must_be_had_to_read() -> None:
    payload, flags = encode(["a", "b"], CSV)
    assert (payload, flags) == (b"a,b", OWN)
    assert decode(payload, flags, CSV) == ["a", "b"]
    for codec in (None, codec_named("json"), codec_named("bytes")):
        with pytest.raises(InvalidArgument, match="another codec"):
            decode(payload, flags, codec)


def test_an_own_codec_that_borrows_a_name_is_no_impostor() -> None:
    impostor = synaxis.Codec("json", lambda value: repr(value).encode(), bytes)
    assert encode({}, impostor) == (b"{}", OWN)


@pytest.mark.parametrize(
    ("codec", "value"), [("bytes", "text"), ("json", {1, 2}), (None, object())]
)
def test_what_a_codec_cannot_express_is_refused(codec: str | None, value: object) -> None:
    with pytest.raises(InvalidArgument, match="cannot express"):
        encode(value, codec_named(codec))


@pytest.mark.parametrize(
    ("payload", "flags"), [(b"\xc1", PACKED), (b"{", JSON_TEXT), (b"x", INTEGER)]
)
def test_damaged_values_are_refused(payload: bytes, flags: int) -> None:
    with pytest.raises(InvalidArgument, match="decoded"):
        decode(payload, flags, None)


def test_what_msgpack_reads_differently_stays_the_users_business() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert decode(*encode(moment, None), None) == moment.isoformat()
