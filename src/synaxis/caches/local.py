"""Operations on one key as an owner carries them out by itself, and what comes of them."""

from typing import TYPE_CHECKING, Any

from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    INTEGER,
    Add,
    Backing,
    Counted,
    Item,
    Lookup,
    Put,
    Reading,
    Readings,
    Remove,
    Removed,
    Stored,
    Version,
)
from synaxis.effects import Refused, refusal
from synaxis.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Operation", "Outcome", "added", "provisional"]

Outcome = Readings | Stored | Counted | Removed | Refused

NOTHING = Version(ABSENT)
INTEGER_MAX = 2**63 - 1


def provisional(write_id: int) -> Version:
    """Return the version of a write whose real one the home has not told yet (policy back)."""
    return Version(1 << 60 | write_id)


def added(reading: Reading | None, command: Add) -> int:
    """Return the sum that ``command`` makes.

    Raises:
        InvalidArgument: what is stored is no integer, or the sum does not fit 64 bits.
    """
    before = command.initial
    if reading is not None:
        if reading.flags != INTEGER:
            raise InvalidArgument(f"{command.key} holds no integer: it was not made by incr")
        before = int(reading.value)
    total = before + command.delta
    if not -INTEGER_MAX <= total <= INTEGER_MAX:
        raise InvalidArgument(f"{command.key} would leave the range of 64 bits")
    return total


class Operation:
    """A command of one key that waits at an agent, with the shell's ``token``."""

    __slots__ = ("_answer", "_command", "asked", "back", "backing", "removes", "token", "writes")

    def __init__(self, command: Lookup | Put | Add | Remove, token: object, *, back: bool) -> None:
        self.token: Any = token
        self.asked = False
        """Whether it waited already when the home was asked last."""
        self.back = back
        """Answered by its owner before the home has it."""
        self.writes = not isinstance(command, Lookup)
        self.removes = isinstance(command, Remove)
        self.backing = Backing.NONE if isinstance(command, Lookup) else command.backing
        self._command = command
        self._answer: Callable[[Version], Outcome] = lambda _: Refused("internal", "no outcome")

    @property
    def load(self) -> bool:
        """Whether an absent record is to be looked for in the backing store."""
        return isinstance(self._command, Lookup) and self._command.load

    def read(self, reading: Reading | None) -> Outcome:
        """Return the answer to a read."""
        return Readings((reading,))

    def evaluate(self, reading: Reading | None) -> Item | None:
        """Return what to store (of a removal, only its key counts), or None to change nothing."""
        found = reading.version if reading is not None else Version(ABSENT)
        match self._command:
            case Put(items):
                (item,) = items
                if item.if_version in (ANY_VERSION, found):
                    self._answer = lambda version: Stored((version,))
                    return item
                self._nothing(Stored((), ((0, found),)))
            case Add():
                return self._add(self._command, reading)
            case Remove(keys, condition):
                if reading is not None and condition in (ANY_VERSION, found):
                    self._answer = lambda _: Removed(1)
                    return Item(keys[0], b"")
                self._nothing(Removed(0, found if condition != ANY_VERSION else Version(ABSENT)))
            case Lookup():
                raise AssertionError("a lookup writes nothing")
        return None

    def _add(self, command: Add, reading: Reading | None) -> Item | None:
        try:
            total = added(reading, command)
        except InvalidArgument as error:
            self._nothing(refusal(error))
            return None
        self._answer = lambda version: Counted(total, version)
        if reading is None:
            return Item(command.key, b"%d" % total, INTEGER, command.ttl_ms)
        left = reading.ttl_ms, max(reading.soft_ms, 0)
        return Item(command.key, b"%d" % total, INTEGER, *left, reading.idle_ms, reading.tags)

    def _nothing(self, outcome: Outcome) -> None:
        self._answer = lambda _: outcome

    def outcome(self, version: Version = NOTHING) -> Outcome:
        """Return the answer after ``evaluate``, once the write has its version."""
        return self._answer(version)
