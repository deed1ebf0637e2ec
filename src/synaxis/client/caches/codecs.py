"""What a cached value looks like in bytes. ``flags`` of the record say how to read it again."""

from synaxis.caches.commands import INTEGER
from synaxis.client.queues.codecs import BYTES, JSON, MSGPACK, Codec, Value, codec_named
from synaxis.errors import InvalidArgument

__all__ = ["RAW", "Codec", "Value", "codec_named", "decode", "encode", "own_codec"]

RAW = 0
PACKED = 1
JSON_TEXT = 2
OWN = 4
"""A codec of the user's own: who reads it must have been given the same one."""

CODECS = {RAW: BYTES, PACKED: MSGPACK, JSON_TEXT: JSON}
"""Those that every client knows, by the flags of what they wrote."""
FLAGS = {BYTES.name: RAW, MSGPACK.name: PACKED, JSON.name: JSON_TEXT}
INTEGER_MAX = 2**63 - 1


def encode(value: Value, codec: Codec | None) -> tuple[bytes, int]:
    """Return (bytes, flags).

    Without a codec: bytes as they are, whole numbers as the cluster counts them (64 bits),
    everything else as msgpack.

    Raises:
        InvalidArgument: the codec cannot express the value.
    """
    if codec is None:
        kind = type(value)
        if kind is bytes:
            return value, RAW
        if kind is int and -INTEGER_MAX <= value <= INTEGER_MAX:
            return b"%d" % value, INTEGER
        codec = BYTES if isinstance(value, bytearray | memoryview) else MSGPACK
    try:
        payload = codec.encode(value)
    except (TypeError, ValueError) as error:
        name = codec.name or "bytes"
        raise InvalidArgument(f"codec {name!r} cannot express the value: {error}") from error
    flags = FLAGS.get(codec.name, OWN)
    return payload, flags if CODECS.get(flags) is codec else OWN


def own_codec(codec: Codec | None) -> Codec | None:
    """Return ``codec`` if it is one that other clients do not know."""
    return None if codec in CODECS.values() else codec


def decode(payload: bytes, flags: int, codec: Codec | None) -> Value:
    """Return what was encoded; ``codec`` is needed only for one of the user's own.

    Raises:
        InvalidArgument: it was written with another codec, or by no client of this kind.
    """
    if flags == RAW:
        return payload
    try:
        if flags == INTEGER:
            return int(payload)
        chosen = own_codec(codec) if flags == OWN else CODECS.get(flags)
        if chosen is not None:
            return chosen.decode(payload)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"the cached value cannot be decoded: {error}") from error
    raise InvalidArgument(
        f"the value was cached with another codec (flags {flags}): give it to cluster.cache"
    )
