"""Checks of what users say, with one wording for all of them."""

from math import inf

from synaxis.client.queues.limits import LIMITS
from synaxis.errors import InvalidArgument
from synaxis.topics import check_name

__all__ = ["between", "checked_name", "choice", "duration"]


def checked_name(name: object, what: str) -> str:
    """Return ``name`` if it may name a topic or a group.

    Raises:
        InvalidArgument: it may not.
    """
    if not isinstance(name, str):
        raise InvalidArgument(f"the name of a {what} is text, not {name!r}")
    check_name(name, what, LIMITS.topics)
    return name


def between(value: object, lowest: int, highest: int, what: str) -> int:
    """Return a whole number.

    Raises:
        InvalidArgument: it is none, or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InvalidArgument(f"{what} must be {lowest} to {highest}, not {value!r}")
    return value


def duration(value: object, lowest_ms: int, highest_ms: int, what: str) -> int:
    """Return seconds as milliseconds.

    Raises:
        InvalidArgument: it is no number, or out of range.
    """
    ok = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf
    found = round(value * 1000) if ok else -1  # type: ignore[operator]  # a number, if ok
    if not lowest_ms <= found <= highest_ms:
        raise InvalidArgument(
            f"{what} must be {lowest_ms / 1000:g} to {highest_ms / 1000:g} seconds, not {value!r}"
        )
    return found


def choice(value: object, allowed: tuple[str, ...], what: str) -> str:
    """Return one of ``allowed``.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(value, str) or value not in allowed:
        names = ", ".join(f'"{each}"' for each in allowed)
        raise InvalidArgument(f"{what} must be one of {names}, not {value!r}")
    return value
