"""Sizes as people read them: ``512B``, ``64KiB``, ``1.5GiB``."""

from synaxis.quantities import SIZE_UNITS, parse_size_bytes

__all__ = ["format_size", "parse_size_bytes"]


def format_size(size_bytes: int) -> str:
    """Return two or three digits and a unit: ``17B``, ``4.0KiB``, ``312MiB``."""
    value = float(size_bytes)
    for unit in SIZE_UNITS:
        if value < 1000 or unit == SIZE_UNITS[-1]:
            break
        value /= 1024
    return f"{value:.1f}{unit}" if value < 10 and unit != "B" else f"{value:.0f}{unit}"
