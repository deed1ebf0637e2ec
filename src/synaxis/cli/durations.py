"""Durations as people read them: ``500ms``, ``2m13s``, ``1h04m``."""

from synaxis.quantities import parse_duration_s

__all__ = ["format_duration", "parse_duration_s"]


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
