"""What may be said about how to hold something, and how the wire says it."""

from math import inf
from typing import Literal, TypedDict, TypeVar

import msgspec

from synaxis.client.owners import owner_of_text
from synaxis.errors import InvalidArgument
from synaxis.locks.commands import Acquire, LockMode

__all__ = [
    "DEFAULT_WAIT_S",
    "HoldOptions",
    "LockOptions",
    "Mode",
    "checked",
    "lock_command",
    "milliseconds",
    "wait_milliseconds",
]

C = TypeVar("C", bound=msgspec.Struct)

Mode = Literal["exclusive", "shared"]
MODES: dict[str, LockMode] = {"exclusive": LockMode.EXCLUSIVE, "shared": LockMode.SHARED}

DEFAULT_WAIT_S = 10.0


class HoldOptions(TypedDict, total=False):
    """What may be said about how to hold a lock; durations are seconds."""

    wait: float | None
    """How long to wait for it, at most: None = for ever, 0 = not at all. Default 10."""
    max_hold: float | None
    """The cluster takes the lock back after this long, even from a healthy holder."""
    lock_delay: float | None
    """After a forced loss nobody gets the lock for this long: time for stray writes to arrive."""
    priority: int
    """In a deadlock the lowest loses. It does not reorder the queue."""
    owner: str | None
    """Who asks, where the asyncio task is not the answer (see ``owners``)."""


class LockOptions(HoldOptions, total=False):
    """What may be said about how to hold a lock."""

    mode: Mode
    """``"exclusive"`` (default) or ``"shared"``."""
    reentrant: bool
    """The same owner may enter again and gets the same token."""


def lock_command(  # noqa: PLR0913  # the one place where the options have names and defaults
    names: tuple[str, ...],
    value: bytes = b"",
    *,
    wait: float | None = DEFAULT_WAIT_S,
    mode: Mode = "exclusive",
    max_hold: float | None = None,
    lock_delay: float | None = None,
    priority: int = 0,
    reentrant: bool = False,
    owner: str | None = None,
) -> Acquire:
    """Return the command that asks for ``names``.

    Raises:
        InvalidArgument: an option is out of range.
    """
    if mode not in MODES:
        raise InvalidArgument(f'mode must be "exclusive" or "shared", not {mode!r}')
    command = Acquire(
        names,
        wait_milliseconds(wait),
        MODES[mode],
        max_hold_ms=0 if max_hold is None else milliseconds(max_hold, "max_hold"),
        lock_delay_ms=0 if lock_delay is None else milliseconds(lock_delay, "lock_delay"),
        priority=priority,
        reentrant=reentrant,
        value=value,
        task=0 if owner is None else owner_of_text(owner),
    )
    return checked(command) if priority or reentrant else command


def checked(command: C) -> C:
    """Return ``command`` if every value has the type that the wire demands.

    A node closes the connection on which it reads nonsense, so none may leave.

    Raises:
        InvalidArgument: names the value that is wrong.
    """
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=type(command))
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise InvalidArgument(f"{type(command).__name__}: {error}") from error
    return command


def milliseconds(seconds: float | None, what: str) -> int:
    """Return a duration as the wire has it; None is 0 (no limit).

    Raises:
        InvalidArgument: it is negative or no number.
    """
    if seconds is None:
        return 0
    if not 0 <= seconds < inf:
        raise InvalidArgument(f"{what} must be seconds, 0 or more, not {seconds!r}")
    return round(seconds * 1000)


def wait_milliseconds(wait: float | None) -> int:
    """Return ``wait`` as the wire has it: None is -1 (for ever).

    Raises:
        InvalidArgument: it is negative or no number.
    """
    return -1 if wait is None or wait == inf else milliseconds(wait, "wait")
