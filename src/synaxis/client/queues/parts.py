"""Messages as ranges of offsets, and back."""

import sys
from array import array
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TypeVar

from synaxis.client.queues.message import PLACE_SHIFT, Keeper, Message, Source, StoredMessage
from synaxis.queues.commands import Part, Records

__all__ = ["inside", "parts_of", "unpack", "unpack_stored"]

OFFSET_MASK = (1 << PLACE_SHIFT) - 1
M = TypeVar("M", bound=StoredMessage)

_by_place = attrgetter("place")


def parts_of(messages: Iterable[Message]) -> tuple[Part, ...]:
    """Return the ranges that hold exactly ``messages``.

    Neighbours are merged only if they failed equally often: the number fences a range as a whole.
    """
    parts: list[Part] = []
    first = last = -2
    failures = 0
    for message in sorted(messages, key=_by_place):
        place = message.place
        if place == last + 1 and message.failures == failures:
            last = place
            continue
        if first >= 0:
            parts.append(_part(first, last, failures))
        first = last = place
        failures = message.failures
    if first >= 0:
        parts.append(_part(first, last, failures))
    return tuple(parts)


def _part(first: int, last: int, failures: int) -> Part:
    return Part(first >> PLACE_SHIFT, first & OFFSET_MASK, last & OFFSET_MASK, failures)


def inside(messages: Iterable[Message], parts: Iterable[Part]) -> list[Message]:
    """Return those of ``messages`` that are within ``parts``."""
    ranges = [
        ((each.partition << PLACE_SHIFT) | each.first, (each.partition << PLACE_SHIFT) | each.last)
        for each in parts
    ]
    return [
        message
        for message in messages
        if any(first <= message.place <= last for first, last in ranges)
    ]


def unpack(keeper: Keeper, source: Source, records: Records) -> list[Message]:
    """Return the messages of a delivery."""
    place = (records.partition << PLACE_SHIFT) | records.first
    body, at_ms, failed = records.body, records.at, dict(records.failures)
    found: list[Message] = []
    start = 0
    for size in _sizes(records):
        end = start + size
        failures = failed.get(place & OFFSET_MASK, 0) if failed else 0
        found.append(Message(keeper, source, place, body[start:end], at_ms, failures))
        place += 1
        start = end
    return found


def unpack_stored(make: Callable[[int, bytes, int, int], M], records: Iterable[Records]) -> list[M]:
    """Return the messages of a page; ``make`` gets place, record, time and failures."""
    found: list[M] = []
    for each in records:
        place = (each.partition << PLACE_SHIFT) | each.first
        failed, start = dict(each.failures), 0
        for size in _sizes(each):
            end = start + size
            failures = failed.get(place & OFFSET_MASK, 0)
            found.append(make(place, each.body[start:end], each.at, failures))
            place += 1
            start = end
    return found


def _sizes(records: Records) -> "array[int]":
    sizes = array("I", records.sizes)
    if sys.byteorder == "big":
        sizes.byteswap()
    return sizes
