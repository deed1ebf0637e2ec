"""What a producer says about a message, checked here because a batch is refused as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zlib import crc32

import msgspec

from synaxis.client.clock import wall_now
from synaxis.client.queues.checks import between, duration
from synaxis.client.queues.codecs import BYTES, MSGPACK, Codec, Value, codec_named
from synaxis.client.queues.limits import LIMITS
from synaxis.errors import InvalidArgument, LimitExceeded
from synaxis.queues.placement import hash_of_key

__all__ = [
    "PLAIN",
    "Encoded",
    "Extras",
    "Publication",
    "Receipt",
    "encode",
    "encode_plain",
    "key_bytes",
    "too_large",
]


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where a published message is: stored on a majority of disks."""

    partition: int
    offset: int
    duplicate: bool = False
    """A message with this ``message_id`` was there already; ``offset`` is where."""


@dataclass(slots=True)
class Publication:
    """A message for ``publish_many`` with options of its own; see ``Topic.publish``."""

    value: Value
    key: str | bytes | None = None
    headers: Mapping[str, str] | None = None
    delay: float | None = None
    deliver_at: datetime | None = None
    priority: int = 0
    ttl: float | None = None
    message_id: str | None = None
    partition: int | None = None
    codec: str | Codec | None = None


class Extras(msgspec.Struct, frozen=True, gc=False):
    """What few messages have: the columns of a batch that are empty otherwise."""

    priority: int = 0
    delay_ms: int = 0
    ttl_ms: int = 0
    message_id: str = ""


PLAIN = Extras()

_encode = msgspec.msgpack.Encoder().encode


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A message ready to be put into a batch."""

    record: bytes
    key_hash: int = 0
    placed_by: int = -1
    """What decides the partition: a hash of the key or the message id; -1: anything may."""
    extras: Extras = PLAIN


def encode_plain(value: Value, codec: Codec | None) -> bytes:
    """Return the record of a message that has nothing but a value.

    Raises:
        InvalidArgument: the codec cannot express the value.
    """
    if codec is None:
        if type(value) is bytes:
            return _encode((value,))
        codec = BYTES if isinstance(value, bytearray | memoryview) else MSGPACK
    if codec is BYTES and type(value) is bytes:
        return _encode((value,))
    return _encode((_payload(value, codec), codec.name))


def _payload(value: Value, codec: Codec) -> bytes:
    try:
        return codec.encode(value)
    except (TypeError, ValueError) as error:
        name = codec.name or "bytes"
        raise InvalidArgument(f"codec {name!r} cannot express the value: {error}") from error


def encode(wanted: Publication, default: Codec | None) -> Encoded:
    """Return the message ready for a batch.

    Raises:
        InvalidArgument: an option is malformed or contradicts another.
    """
    codec = default if wanted.codec is None else codec_named(wanted.codec)
    if codec is None:
        plain = isinstance(wanted.value, bytes | bytearray | memoryview)
        codec = BYTES if plain else MSGPACK
    payload = _payload(wanted.value, codec)
    headers = None if wanted.headers is None else _checked_headers(wanted.headers)
    extras = _extras(wanted)
    key = None if wanted.key is None else key_bytes(wanted.key)
    record = _record(payload, codec.name, wanted.key, headers, extras.message_id)
    if key is not None:
        return Encoded(record, hash_of_key(key), crc32(key), extras)
    placed_by = crc32(extras.message_id.encode()) if extras.message_id else -1
    return Encoded(record, 0, placed_by, extras)


def _record(
    payload: bytes,
    codec: str,
    key: str | bytes | None,
    headers: dict[str, str] | None,
    message_id: str,
) -> bytes:
    """Return the record without the empty fields at its end."""
    if message_id:
        return _encode((payload, codec, key, headers, message_id))
    if headers:
        return _encode((payload, codec, key, headers))
    if key is not None:
        return _encode((payload, codec, key))
    return _encode((payload, codec) if codec else (payload,))


def key_bytes(key: object) -> bytes:
    """Return the bytes by which keys are compared, whichever way they were written.

    Raises:
        InvalidArgument: it is neither text nor bytes.
    """
    if isinstance(key, bytes):
        return key
    return _text(key, "key").encode()


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} must be text, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} cannot be encoded: {error}") from error
    return value


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        _text(name, "the name of a header"): _text(value, f"header {name!r}")
        for name, value in headers.items()
    }


def _extras(wanted: Publication) -> Extras:
    priority = between(wanted.priority, 0, LIMITS.priority_max, "priority")
    delay_ms = _delay_ms(wanted)
    ttl_ms = 0 if wanted.ttl is None else duration(wanted.ttl, 1, LIMITS.ttl_ms_max, "ttl")
    message_id = "" if wanted.message_id is None else _checked_id(wanted.message_id)
    if priority or delay_ms or ttl_ms or message_id:
        return Extras(priority, delay_ms, ttl_ms, message_id)
    return PLAIN


def _delay_ms(wanted: Publication) -> int:
    if wanted.deliver_at is None:
        delay = 0 if wanted.delay is None else wanted.delay
    elif wanted.delay is not None:
        raise InvalidArgument("delay and deliver_at contradict each other: give one of them")
    elif wanted.deliver_at.tzinfo is None:
        raise InvalidArgument("deliver_at must have a time zone, for example datetime.UTC")
    else:
        delay = max(0.0, wanted.deliver_at.timestamp() - wall_now())
    return duration(delay, 0, LIMITS.delay_ms_max, "delay")


def _checked_id(message_id: object) -> str:
    text = _text(message_id, "message_id")
    if not 1 <= len(text.encode()) <= LIMITS.message_id_bytes_max:
        raise InvalidArgument(f"message_id must have 1 to {LIMITS.message_id_bytes_max} bytes")
    return text


def too_large(size: int, maximum: int, limit: str) -> LimitExceeded:
    """Return the refusal of a message that fits no batch."""
    return LimitExceeded(
        f"a message of {size} bytes, with its key and headers: {limit} is {maximum}",
        limit=limit,
        maximum=maximum,
    )
