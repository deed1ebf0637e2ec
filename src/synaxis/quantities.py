"""Durations and sizes as people write them: ``500ms``, ``10``, ``2h5m30s``; ``512``, ``64MiB``.

For the command line and for the SDK, which may not import each other.
"""

import re

from synaxis.errors import InvalidArgument

__all__ = ["SIZE_UNITS", "parse_duration_s", "parse_size_bytes"]

SECONDS_BY_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
PLAIN_NUMBER = re.compile(r"\d+(?:\.\d+)?")

SIZE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
BYTES_BY_UNIT = {unit.lower(): 1024**power for power, unit in enumerate(SIZE_UNITS)}
BYTES_BY_UNIT |= {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


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


def parse_size_bytes(text: str) -> int:
    """Return bytes; a number without a unit is bytes, and units are powers of 1024.

    Raises:
        InvalidArgument: ``text`` is no size.
    """
    found = SIZE.fullmatch(text.strip())
    unit = BYTES_BY_UNIT.get(found[2].lower()) if found is not None else None
    if found is None or unit is None:
        raise InvalidArgument(f"{text!r} is not a size; write 4096, 64KiB, 512MiB or 2GiB")
    return int(float(found[1]) * unit)
