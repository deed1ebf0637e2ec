"""What a message looks like in bytes. The cluster stores and delivers them unread.

A record is a msgpack array: payload, name of the codec, key, headers, message id. What is empty at
its end is left out; readers ignore what they do not know behind it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import orjson
import ormsgpack

from synaxis.errors import InvalidArgument

__all__ = ["BYTES", "JSON", "MSGPACK", "Codec", "Record", "Value", "codec_named", "read_record"]


Value: TypeAlias = Any
"""What users publish: whatever a codec can express."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How values become bytes. Make one to teach a topic a format of your own.

    The name travels with each message; a consumer finds the codec by it, so a codec of one's own
    must be given to ``cluster.topic`` on both sides.
    """

    name: str
    encode: Callable[[Value], bytes]
    """Raises TypeError or ValueError for what it cannot express."""
    decode: Callable[[bytes], Value]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message as producers and consumers know it."""

    payload: bytes
    codec: str = ""
    key: Any = None
    """str or bytes, as the producer wrote it."""
    headers: dict[str, str] | None = None
    message_id: str = ""


def _as_bytes(value: Value) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f'codec "bytes" takes bytes, not {type(value).__name__}')


def _unchanged(payload: bytes) -> bytes:
    return payload


def _pack(value: Value) -> bytes:
    return ormsgpack.packb(value, option=ormsgpack.OPT_NON_STR_KEYS)


def _unpack(payload: bytes) -> Value:
    return ormsgpack.unpackb(payload, option=ormsgpack.OPT_NON_STR_KEYS)


BYTES = Codec("", _as_bytes, _unchanged)
MSGPACK = Codec("msgpack", _pack, _unpack)
JSON = Codec("json", orjson.dumps, orjson.loads)

_BY_NAME = {"bytes": BYTES, "": BYTES, "msgpack": MSGPACK, "json": JSON}


def codec_named(codec: str | Codec | None) -> Codec | None:
    """Return the codec that is meant; None: bytes as they are, everything else as msgpack.

    Raises:
        InvalidArgument: there is no codec of this name.
    """
    if codec is None or isinstance(codec, Codec):
        return codec
    found = _BY_NAME.get(codec)
    if found is None:
        raise InvalidArgument(
            f'codec must be "bytes", "msgpack", "json" or a synaxis.Codec, not {codec!r}'
        )
    return found


_DECODER = msgspec.msgpack.Decoder(Record)


def read_record(raw: bytes) -> Record:
    """Return what ``raw`` says.

    Raises:
        InvalidArgument: it was not written by a client of this kind.
    """
    try:
        return _DECODER.decode(raw)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"the message is no record of this protocol: {error}") from error
