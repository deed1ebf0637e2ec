"""Positions in a topic as people write them: ``start``, ``end``, ``1500``, a time, ``2h``."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from synaxis.cli.durations import parse_duration_s
from synaxis.errors import InvalidArgument

__all__ = ["Position", "parse_position"]

Position = int | Literal["start", "end"] | datetime
"""An offset, ``start``, ``end``, or a moment with its time zone."""


def parse_position(text: str, now: datetime) -> Position:
    """Return the position that is meant; a duration such as ``2h`` is counted back from ``now``.

    Raises:
        InvalidArgument: ``text`` is none of them, or a time without a zone.
    """
    text = text.strip()
    if text == "start":
        return "start"
    if text == "end":
        return "end"
    if text.isdecimal():
        return int(text)
    if not text[-1:].isalpha() or text.endswith("Z"):
        return _moment(text)
    try:
        return now - timedelta(seconds=parse_duration_s(text))
    except InvalidArgument:
        return _moment(text)
    except OverflowError as error:
        raise InvalidArgument(f"{text} ago is before all time") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{text!r} is no position; write start, end, an offset such as 1500, a time such as "
            "2026-11-25T12:00:00Z, or a duration such as 2h for two hours ago"
        ) from error
    if moment.tzinfo is None:
        raise InvalidArgument(f"{text!r} lacks its time zone; write {text}Z for UTC")
    return moment.astimezone(UTC)
