"""Which commands make sense at all, and which are within the limits.

``flaw_of`` needs no limits: it is asked again when a command is applied, where replicas must not
differ even while their configurations do. ``check`` is asked before a command enters the log.
"""

import msgspec

from synaxis.errors import InvalidArgument
from synaxis.locks.commands import (
    WAIT_FOREVER_MS,
    Acquire,
    BarrierEnter,
    Convert,
    ForceRelease,
    LatchCount,
    LatchWait,
    LockKind,
    LockMode,
    SetPermits,
    SetValue,
)
from synaxis.locks.limits import LockLimits

__all__ = ["check", "flaw_of"]


def flaw_of(command: Acquire) -> str | None:
    """Return what makes an acquire meaningless, or None."""
    if not command.names:
        return "names is empty; an acquire needs at least one"
    if len(set(command.names)) != len(command.names):
        return "names holds a name twice"
    if command.kind is LockKind.SEMAPHORE:
        return _semaphore_flaw(command)
    if command.weight != 1 or command.permits != 1:
        return "weight and permits are for semaphores; a lock or election has 1 of each"
    if command.kind is LockKind.ELECTION and command.mode is LockMode.SHARED:
        return "an election has one leader; its mode is exclusive"
    return None


def _semaphore_flaw(command: Acquire) -> str | None:
    if command.mode is LockMode.SHARED:
        return "a semaphore has weights, not modes; leave mode at exclusive"
    if command.reentrant:
        return "a semaphore counts permits; it has no re-entry"
    if not 1 <= command.weight <= command.permits:
        return (
            f"weight is {command.weight}; it must be from 1 to permits, which is {command.permits}"
        )
    return None


def check(command: msgspec.Struct, limits: LockLimits) -> None:
    """Check a command against the limits.

    Raises:
        InvalidArgument: with a message that says what is allowed.
    """
    match command:
        case Acquire():
            _check_acquire(command, limits)
        case Convert():
            _check_wait(command.wait_ms, limits)
        case ForceRelease():
            _check_name(command.name, limits)
            _check_bytes("reason", len(command.reason.encode()), limits.reason_bytes_max)
        case SetPermits():
            _check_name(command.name, limits)
            _check_range("permits", command.permits, 0, limits.permits_max)
        case BarrierEnter():
            _check_name(command.name, limits)
            _check_range("parties", command.parties, 1, limits.barrier_parties_max)
            _check_wait(command.wait_ms, limits)
        case LatchCount():
            _check_name(command.name, limits)
            _check_range("count", command.count, 1, limits.latch_count_max)
            _check_range("by", command.by, -1, limits.latch_count_max)
        case LatchWait():
            _check_name(command.name, limits)
            _check_range("count", command.count, 1, limits.latch_count_max)
            _check_wait(command.wait_ms, limits)
        case SetValue():
            _check_bytes("value", len(command.value), limits.value_bytes_max)
        case _:
            pass


def _check_acquire(command: Acquire, limits: LockLimits) -> None:
    names = command.names
    if len(names) > limits.names_per_acquire_max:
        maximum = limits.names_per_acquire_max
        raise InvalidArgument(f"names has {len(names)} names; at most {maximum} are allowed")
    for name in names:
        _check_name(name, limits)
    flaw = flaw_of(command)
    if flaw is not None:
        raise InvalidArgument(flaw)
    _check_wait(command.wait_ms, limits)
    if command.permits > limits.permits_max:
        _check_range("permits", command.permits, 1, limits.permits_max)
    if command.max_hold_ms:
        _check_range("max_hold_ms", command.max_hold_ms, 0, limits.max_hold_ms_max)
    if command.lock_delay_ms:
        _check_range("lock_delay_ms", command.lock_delay_ms, 0, limits.lock_delay_ms_max)
    if command.priority:
        _check_range("priority", command.priority, -limits.priority_max, limits.priority_max)
    if command.task:
        _check_range("task", command.task, 0, 2**63 - 1)
    if command.value:
        _check_bytes("value", len(command.value), limits.value_bytes_max)


def _check_name(name: str, limits: LockLimits) -> None:
    if not name:
        raise InvalidArgument("name is empty; it needs at least one character")
    # Most names are ASCII, where characters are bytes: no encoding then.
    size = len(name) if name.isascii() else _utf8_bytes(name)
    if size > limits.name_bytes_max:
        raise InvalidArgument(
            f"name has {size} bytes; at most {limits.name_bytes_max} bytes of UTF-8 are allowed"
        )
    if not name.isprintable() and _has_control(name):
        raise InvalidArgument(f"name {name!r} holds a control character; none are allowed")


def _utf8_bytes(name: str) -> int:
    try:
        return len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"name {name!r} is not valid Unicode text") from error


def _has_control(name: str) -> bool:
    """Whether a C0 or C1 control (NUL, newline, DEL, ...) is in ``name``."""
    return any(char < " " or "\x7f" <= char <= "\x9f" for char in name)


def _check_bytes(what: str, size: int, maximum: int) -> None:
    if size > maximum:
        raise InvalidArgument(f"{what} has {size} bytes; at most {maximum} are allowed")


def _check_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"{what} is {value}; it must be from {least} to {most}")


def _check_wait(wait_ms: int, limits: LockLimits) -> None:
    if not WAIT_FOREVER_MS <= wait_ms <= limits.wait_ms_max:
        raise InvalidArgument(
            f"wait_ms is {wait_ms}; it must be -1 (for ever), 0 (do not wait) "
            f"or up to {limits.wait_ms_max}"
        )
