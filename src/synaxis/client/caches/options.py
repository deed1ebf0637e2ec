"""What may be said about a cache and about a write, and how the wire says it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from math import inf
from typing import Final, Literal, TypeAlias, TypedDict

from synaxis.caches.commands import ANY_VERSION, Backing, Item
from synaxis.client.caches.codecs import Codec, Value, codec_named, encode
from synaxis.client.caches.limits import LIMITS
from synaxis.errors import InvalidArgument, LimitExceeded
from synaxis.quantities import parse_duration_s, parse_size_bytes
from synaxis.queues.limits import QueueLimits
from synaxis.topics import check_name

__all__ = [
    "BY_CACHE",
    "ByCache",
    "CacheOptions",
    "Consistency",
    "Duration",
    "Loader",
    "Plan",
    "Terms",
    "Writer",
    "checked_consistency",
    "checked_tags",
    "milliseconds",
    "plan",
]

Duration: TypeAlias = float | str | timedelta
"""Seconds, ``"2h5m30s"``, ``"500ms"``, or a timedelta."""
Consistency = Literal["coherent", "stale_ok"]
Loader = Callable[[str], Value | Awaitable[Value]]
"""Computes the value of a key."""
Writer = Callable[[str, Value], object]
"""Stores the value of a key elsewhere; awaited, if it returns something to wait for."""

NEAR_BYTES = 64 * 1024 * 1024
STORES = ("redis",)
NAME_LIMITS = QueueLimits().topics


class ByCache(Enum):
    """The type of ``BY_CACHE``."""

    BY_CACHE = "as the cache says"


BY_CACHE: Final = ByCache.BY_CACHE
"""The default of options of a write, where None says "never"."""


class CacheOptions(TypedDict, total=False):
    """Options of a cache. Durations are seconds, ``"2h5m30s"`` or a timedelta."""

    ttl: Duration | None
    """How long a record lives, unless its write says otherwise. Default: for ever."""
    soft_ttl: Duration | None
    """From then on a record is served while one client renews it (``get_or_load``, ``cached``)."""
    idle: Duration | None
    """A record goes when nobody has read it for so long. Such records are not kept near."""
    near: bool
    """Keep what was read in this process, as long as the cluster says that it is current."""
    max_bytes: int | str | None
    """Of the near cache, about: bytes, or ``"64MiB"`` (the default)."""
    max_entries: int | None
    """Of the near cache. Default: only ``max_bytes`` counts."""
    write: Literal["through", "behind", "back"]
    """When a write is answered. ``through`` (default): the cluster and, with ``store``, the store
    have it. ``behind``: the cluster has it. ``back``: one node has it, which may lose it."""
    store: bool | str | None
    """Backed by the cluster's backing store: misses are looked for there, writes go there."""
    loader: Loader | None
    """Called with the key by ``get`` and ``get_or_load`` when there is no value."""
    writer: Writer | None
    """Called with key and value, and awaited, before a value is stored in the cluster."""
    codec: str | Codec | None
    """``"bytes"``, ``"msgpack"``, ``"json"`` or a ``synaxis.Codec``. Default: bytes as they are,
    whole numbers as the cluster counts them, everything else as msgpack."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a record is to live, and by what it may be called off."""

    ttl_ms: int
    soft_ms: int
    idle_ms: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Checked options of a cache."""

    name: str
    terms: Terms
    near: bool
    bytes_max: float | None
    """None: nobody has chosen."""
    entries_max: float | None
    back: bool
    backing: Backing
    loader: Loader | None
    writer: Writer | None
    codec: Codec | None

    @property
    def load(self) -> bool:
        """Whether a miss is to be looked for in the backing store."""
        return self.backing is not Backing.NONE

    def full_key(self, key: str) -> str:
        """Return what the cluster calls ``key``.

        Raises:
            InvalidArgument: it is no text that can be encoded, or empty.
            LimitExceeded: it is too long.
        """
        full = f"{self.name}/{_text(key, 'a key')}"
        if len(full) * 4 > LIMITS.key_bytes_max or not full.isascii():
            _check_encoded(full, LIMITS.key_bytes_max, "key_bytes_max", "a key, with its cache,")
        return full

    def terms_of(
        self,
        ttl: Duration | ByCache | None = BY_CACHE,
        soft_ttl: Duration | ByCache | None = BY_CACHE,
        tags: Iterable[str] = (),
    ) -> Terms:
        """Return the terms of one write.

        Raises:
            InvalidArgument: one is malformed or out of range.
        """
        base = self.terms
        if ttl is BY_CACHE and soft_ttl is BY_CACHE and not tags:
            return base
        ttl_ms = base.ttl_ms if ttl is BY_CACHE else milliseconds(ttl, "ttl")
        soft_ms = base.soft_ms if soft_ttl is BY_CACHE else milliseconds(soft_ttl, "soft_ttl")
        if ttl_ms and soft_ms >= ttl_ms:
            if soft_ttl is not BY_CACHE:
                raise InvalidArgument("soft_ttl must be shorter than ttl")
            soft_ms = 0
        return Terms(ttl_ms, soft_ms, base.idle_ms, checked_tags(tags))

    def item(self, key: str, value: Value, terms: Terms, if_version: int = ANY_VERSION) -> Item:
        """Return the record as the wire has it.

        Raises:
            InvalidArgument: the codec cannot express the value, or the key is malformed.
            LimitExceeded: it is too large.
        """
        payload, flags = encode(value, self.codec)
        if len(payload) > LIMITS.value_bytes_max:
            raise LimitExceeded(
                f"the value of {key!r} has {len(payload)} bytes: value_bytes_max is "
                f"{LIMITS.value_bytes_max}",
                limit="value_bytes_max",
                maximum=LIMITS.value_bytes_max,
            )
        return Item(
            self.full_key(key),
            payload,
            flags,
            terms.ttl_ms,
            terms.soft_ms,
            terms.idle_ms,
            terms.tags,
            if_version,
        )


def plan(  # noqa: PLR0913  # the one place where the options have names and defaults
    name: str,
    *,
    ttl: Duration | None = None,
    soft_ttl: Duration | None = None,
    idle: Duration | None = None,
    near: bool = False,
    max_bytes: int | str | None = None,
    max_entries: int | None = None,
    write: Literal["through", "behind", "back"] = "through",
    store: bool | str | None = None,
    loader: Loader | None = None,
    writer: Writer | None = None,
    codec: str | Codec | None = None,
) -> Plan:
    """Return the options, checked.

    Raises:
        InvalidArgument: one is malformed, or contradicts another.
    """
    check_name(_text(name, "the name of a cache"), "cache", NAME_LIMITS)
    ttl_ms, soft_ms = milliseconds(ttl, "ttl"), milliseconds(soft_ttl, "soft_ttl")
    if ttl_ms and soft_ms >= ttl_ms:
        raise InvalidArgument("soft_ttl must be shorter than ttl")
    backing = _backing(write, store)
    if near and write == "back":
        raise InvalidArgument('near=True and write="back" exclude each other: its node has it near')
    if near and idle is not None:
        raise InvalidArgument("near=True and idle exclude each other: near reads are not heard of")
    if not near and (max_bytes is not None or max_entries is not None):
        raise InvalidArgument("max_bytes and max_entries bound the near cache: add near=True")
    return Plan(
        name,
        Terms(ttl_ms, soft_ms, milliseconds(idle, "idle")),
        near,
        None if max_bytes is None else _size(max_bytes),
        None if max_entries is None else _count(max_entries),
        write == "back",
        backing,
        loader,
        writer,
        codec_named(codec),
    )


def _backing(write: str, store: bool | str | None) -> Backing:
    if write not in ("through", "behind", "back"):
        raise InvalidArgument(f'write must be "through", "behind" or "back", not {write!r}')
    if isinstance(store, str) and store not in STORES:
        raise InvalidArgument(f'store must be True, False or "redis", not {store!r}')
    if not store:
        if write == "behind":
            raise InvalidArgument('write="behind" needs a store: else there is nothing behind')
        return Backing.NONE
    return Backing.THROUGH if write == "through" else Backing.BEHIND


def milliseconds(value: Duration | None, what: str) -> int:
    """Return a duration as the wire has it; None is 0 (never).

    Raises:
        InvalidArgument: it is no duration, or out of range.
    """
    if value is None:
        return 0
    if isinstance(value, str):
        seconds = parse_duration_s(value)
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        seconds = _number(value, what)
    if not 0 < seconds < inf or not 1 <= (found := round(seconds * 1000)) <= LIMITS.ttl_ms_max:
        days = LIMITS.ttl_ms_max // 86_400_000
        raise InvalidArgument(f"{what} must be 1 ms to {days} days, not {value!r}")
    return found


def _number(value: object, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidArgument(f"{what} must be seconds, text or a timedelta, not {value!r}")
    return value


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags without repetition.

    Raises:
        InvalidArgument: they are no list of texts.
        LimitExceeded: they are too many or too long.
    """
    if isinstance(tags, str):
        raise InvalidArgument(f"tags are a list of texts, not {tags!r}")
    found = tuple(dict.fromkeys(tags))
    if len(found) > LIMITS.tags_per_record_max:
        raise LimitExceeded(
            f"a record has at most {LIMITS.tags_per_record_max} tags",
            limit="tags_per_record_max",
            maximum=LIMITS.tags_per_record_max,
        )
    for tag in found:
        _check_encoded(_text(tag, "a tag"), LIMITS.tag_bytes_max, "tag_bytes_max", "a tag")
    return found


def checked_consistency(consistency: str) -> None:
    """Refuse what is no consistency.

    Raises:
        InvalidArgument: says what is allowed.
    """
    if consistency not in ("coherent", "stale_ok"):
        raise InvalidArgument(f'consistency must be "coherent" or "stale_ok", not {consistency!r}')


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"{what} is text, and not empty, not {value!r}")
    return value


def _check_encoded(text: str, maximum: int, limit: str, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} cannot be encoded: {error}") from error
    if size > maximum:
        raise LimitExceeded(
            f"{what} has at most {maximum} bytes, not {size}", limit=limit, maximum=maximum
        )


def _size(value: object) -> int:
    found = parse_size_bytes(value) if isinstance(value, str) else value
    return _count(found, "max_bytes")


def _count(value: object, what: str = "max_entries") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{what} must be at least 1, not {value!r}")
    return value
