"""What is wrong with a command by itself, before it enters the log."""

import msgspec

from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    BusRd,
    BusRdX,
    BusUpgr,
    Flush,
    ProbeAck,
    Reserve,
)
from synaxis.caches.commands import (
    ANY_VERSION,
    INTEGER,
    Add,
    Clear,
    DescribeKey,
    Item,
    Lookup,
    Put,
    Remove,
)
from synaxis.caches.limits import CacheLimits
from synaxis.errors import InvalidArgument, LimitExceeded

__all__ = ["check_command", "check_demand", "check_key", "check_question"]

NUMBER_MAX = 2**63 - 1
INTEGER_BYTES_MAX = 20
"""Digits and sign of an integer."""


def check_command(command: msgspec.Struct, limits: CacheLimits) -> None:
    """Check what needs no state.

    Raises:
        InvalidArgument: says what is allowed.
        LimitExceeded: names the limit.
    """
    match command:
        case Put(items, _, fill):
            _check_count(len(items), limits)
            for item in items:
                check_item(item, limits)
            if len(items) > 1 and len({item.key for item in items}) != len(items):
                raise InvalidArgument("a key is put twice in one command")
            if fill and len(items) != 1:
                raise InvalidArgument("a reservation is for one key")
        case Add(key, _, _, ttl_ms):
            check_key(key, limits)
            _check_duration(ttl_ms, limits)
            _check_number(command.delta)
            _check_number(command.initial)
        case Remove(keys, if_version):
            _check_keys(keys, limits)
            if if_version != ANY_VERSION and len(keys) != 1:
                raise InvalidArgument("if_version is for a single key")
        case Clear(cache, tag):
            check_key(f"{cache}/*", limits)
            _check_tag(tag, limits)
        case _:
            pass


def check_question(question: msgspec.Struct, limits: CacheLimits) -> None:
    """Check a question; raises as ``check_command``."""
    if isinstance(question, Lookup):
        _check_count(len(question.keys), limits)
    elif isinstance(question, DescribeKey):
        check_key(question.key, limits)


def check_demand(message: AgentMessage, limits: CacheLimits) -> None:
    """Check what an agent says; raises as ``check_command``."""
    match message:
        case BusRd(_, key) | BusRdX(_, key) | BusUpgr(_, key) | Reserve(_, key):
            check_key(key, limits)
        case Flush(key, _, _, dirty):
            if dirty.item.key != key:
                raise InvalidArgument("a flush of one key carries another")
            check_item(dirty.item, limits)
        case ProbeAck(key, _, dirty) if dirty is not None:
            if dirty.item.key != key:
                raise InvalidArgument("an answer for one key carries another")
            check_item(dirty.item, limits)
        case Attach(agent, _, name, dirties):
            if not 0 < agent <= NUMBER_MAX or len(name.encode()) > limits.tag_bytes_max:
                raise InvalidArgument("an agent has a number from 1 to 2**63 - 1 and a short name")
            for each in dirties:
                check_item(each.item, limits)
        case _:
            pass


def check_item(item: Item, limits: CacheLimits) -> None:
    """Check a record that somebody wants to store; raises as ``check_command``."""
    check_key(item.key, limits)
    if len(item.value) > limits.value_bytes_max:
        raise LimitExceeded(
            f"a value has at most {limits.value_bytes_max} bytes, not {len(item.value)}; store it "
            "elsewhere and cache its address, or raise cache_value_bytes_max",
            limit="value_bytes_max",
            maximum=limits.value_bytes_max,
        )
    if item.flags == INTEGER:
        _check_integer(item.value)
    if item.ttl_ms or item.soft_ms or item.idle_ms:
        for duration in (item.ttl_ms, item.soft_ms, item.idle_ms):
            _check_duration(duration, limits)
    if item.tags:
        if len(item.tags) > limits.tags_per_record_max:
            raise LimitExceeded(
                f"a record has at most {limits.tags_per_record_max} tags",
                limit="tags_per_record_max",
                maximum=limits.tags_per_record_max,
            )
        for tag in item.tags:
            _check_tag(tag, limits)


def _check_integer(value: bytes) -> None:
    """What is marked as an integer is added to in the log, where nothing may fail."""
    try:
        good = len(value) <= INTEGER_BYTES_MAX and abs(int(value)) <= NUMBER_MAX
    except ValueError:
        good = False
    if not good:
        raise InvalidArgument("a value with the flag of integers is an integer of 64 bits")


def check_key(key: str, limits: CacheLimits) -> None:
    """Check ``cache/name``; raises as ``check_command``."""
    cache, slash, name = key.partition("/")
    if not slash or not name or not cache:
        raise InvalidArgument(f"a key is written cache/name, not {key!r}")
    # Letters of up to four bytes: only a long key is worth encoding.
    if len(key) * 4 > limits.key_bytes_max and len(key.encode()) > limits.key_bytes_max:
        raise LimitExceeded(
            f"a key has at most {limits.key_bytes_max} bytes with the name of its cache",
            limit="key_bytes_max",
            maximum=limits.key_bytes_max,
        )


def _check_keys(keys: tuple[str, ...], limits: CacheLimits) -> None:
    _check_count(len(keys), limits)
    for key in keys:
        check_key(key, limits)


def _check_count(count: int, limits: CacheLimits) -> None:
    if not 0 < count <= limits.items_max:
        raise LimitExceeded(
            f"a command is about 1 to {limits.items_max} keys, not {count}",
            limit="items_max",
            maximum=limits.items_max,
        )


def _check_duration(duration_ms: int, limits: CacheLimits) -> None:
    if not 0 <= duration_ms <= limits.ttl_ms_max:
        raise InvalidArgument(f"a duration is from 0 to {limits.ttl_ms_max} ms, not {duration_ms}")


def _check_number(number: int) -> None:
    if not -NUMBER_MAX <= number <= NUMBER_MAX:
        raise InvalidArgument("numbers have 64 bits")


def _check_tag(tag: str, limits: CacheLimits) -> None:
    if len(tag.encode()) > limits.tag_bytes_max:
        raise LimitExceeded(
            f"a tag has at most {limits.tag_bytes_max} bytes",
            limit="tag_bytes_max",
            maximum=limits.tag_bytes_max,
        )
