"""Durations as people write them: ``500ms``, ``10``, ``2m13s``, ``1h``."""

import re

from synaxis.errors import InvalidArgument

__all__ = ["format_duration", "parse_duration_s"]

SECONDS_BY_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
PLAIN_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse_duration_s(text: str) -> float:
    """Return seconds; a number without a unit is seconds.

    Raises:
        InvalidArgument: ``text`` is no duration, or a negative one.
    """
    text = text.strip()
    if PLAIN_NUMBER.fullmatch(text):
        return float(text)
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"{text!r} is not a duration; write 10, 500ms, 2m30s or 1h")
    return sum(float(number) * SECONDS_BY_UNIT[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Return the two largest units: ``2m13s``, ``1h04m``, ``3d07h``; below a second, ``250ms``."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    total = int(seconds)
    if total < 60:
        return f"{total}s"
    minutes, second = divmod(total, 60)
    if minutes < 60:
        return f"{minutes}m{second:02d}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minute:02d}m"
    days, hour = divmod(hours, 24)
    return f"{days}d{hour:02d}h"
