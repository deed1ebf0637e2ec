"""A record in HTTP: which header says what, in both directions."""

from collections.abc import Mapping
from urllib.parse import quote, unquote

from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    INTEGER,
    Backing,
    Item,
    Reading,
    Version,
)
from synaxis.errors import InvalidArgument

__all__ = ["backing_of", "condition_of", "etag", "headers_of", "is_known", "item_of"]

TTL, SOFT_TTL, IDLE = "Synaxis-Ttl-Ms", "Synaxis-Soft-Ttl-Ms", "Synaxis-Idle-Ms"
TAGS, BACKING = "Synaxis-Tags", "Synaxis-Backing"
ANYTHING = "*"

PLAIN = "application/octet-stream"
CONTENT_TYPES = {0: PLAIN, 1: "application/msgpack", 2: "application/json", INTEGER: "text/plain"}
"""By the flags with which the SDK stores bytes, msgpack, JSON and counters."""
FLAGS = {"application/msgpack": 1, "application/x-msgpack": 1, "application/json": 2}
"""The flags of what is stored as such; everything else is bytes."""

Headers = Mapping[str, str]
"""Names in any case are found."""


def etag(version: int) -> str:
    """Return the ``ETag`` of a version."""
    return f'"{version}"'


def headers_of(reading: Reading) -> dict[str, str]:
    """Return what an answer says about its record."""
    headers = {
        "ETag": etag(reading.version),
        "Content-Type": CONTENT_TYPES.get(reading.flags, PLAIN),
    }
    if reading.ttl_ms:
        headers[TTL] = str(reading.ttl_ms)
    if reading.soft_ms:
        headers[SOFT_TTL] = str(reading.soft_ms)
    if reading.tags:
        headers[TAGS] = ",".join(quote(tag, safe="") for tag in reading.tags)
    return headers


def item_of(key: str, value: bytes, content_type: str, headers: Headers) -> Item:
    """Return what a request wants to store.

    Raises:
        InvalidArgument: names the header that is wrong.
    """
    tags = tuple(unquote(tag.strip()) for tag in headers.get(TAGS, "").split(",") if tag.strip())
    return Item(
        key,
        value,
        FLAGS.get(content_type, 0),
        _milliseconds(headers, TTL),
        _milliseconds(headers, SOFT_TTL),
        _milliseconds(headers, IDLE),
        tags,
        condition_of(headers),
    )


def _milliseconds(headers: Headers, name: str) -> int:
    text = headers.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidArgument(f"{name} is a whole number of milliseconds, not {text!r}")
    return int(text)


def condition_of(headers: Headers) -> int:
    """Return the version that a write demands.

    Raises:
        InvalidArgument: a condition that no version stands for.
    """
    match, none_match = headers.get("If-Match"), headers.get("If-None-Match")
    if match is None and none_match is None:
        return ANY_VERSION
    if match is None and none_match == ANYTHING:
        return ABSENT
    if none_match is None and match is not None:
        return _version(match)
    raise InvalidArgument('a write takes If-None-Match: * or If-Match: "<version>", not both')


def _version(tag: str) -> Version:
    digits = tag.strip('"')
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        raise InvalidArgument(f'If-Match names one version, as in If-Match: "17", not {tag!r}')
    return Version(int(digits))


def is_known(reading: Reading, headers: Headers) -> bool:
    """Whether a reader has this version already (``If-None-Match``)."""
    known = headers.get("If-None-Match", "")
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return known.strip() == ANYTHING or etag(reading.version) in tags


def backing_of(headers: Headers) -> Backing:
    """Return what becomes of a write beside the cluster's memory.

    Raises:
        InvalidArgument: says what there is.
    """
    name = headers.get(BACKING, Backing.NONE.name.lower())
    try:
        return Backing[name.upper()]
    except KeyError:
        raise InvalidArgument(f"{BACKING} is none, through or behind, not {name!r}") from None
