"""Sizes as people write them: ``512``, ``64KiB``, ``1.5GiB``."""

import re

from synaxis.errors import InvalidArgument

__all__ = ["format_size", "parse_size_bytes"]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
BYTES_BY_UNIT = {unit.lower(): 1024**power for power, unit in enumerate(UNITS)}
BYTES_BY_UNIT |= {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


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


def format_size(size_bytes: int) -> str:
    """Return two or three digits and a unit: ``17B``, ``4.0KiB``, ``312MiB``."""
    value = float(size_bytes)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{value:.1f}{unit}" if value < 10 and unit != "B" else f"{value:.0f}{unit}"
