"""A state machine of a volatile group that is as small as one can be: named registers.

A version begins with the era that it was handed out in, so that it is greater than every version of
an earlier era, of which this replica need not know anything.
"""

from typing import ClassVar

import msgspec

from synaxis.effects import Outcome
from synaxis.ids import LogTime, Sequence, SessionId

__all__ = ["VERSION_BITS", "Get", "Put", "RegisterMachine", "Stored", "Value", "era_of_version"]

VERSION_BITS = 40
"""Bits of a version below its era."""


class Put(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Set a register."""

    name: str
    value: str


class Get(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Ask for a register."""

    name: str


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """The register was set."""

    version: int


class Value(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """What a register holds; "" if it was not set in this era."""

    value: str
    version: int
    """That of the value; without one the last that was handed out."""


def era_of_version(version: int) -> int:
    """Return the era that handed ``version`` out."""
    return version >> VERSION_BITS


class RegisterMachine:
    """Implements ``ports.VolatileMachine``."""

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Put,)
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Put,)
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Stored,)

    def __init__(self) -> None:
        self.registers: dict[str, tuple[str, int]] = {}
        self.version = 0

    def begin_era(self, era: int) -> None:
        """Forget everything; versions go on above those of every earlier era."""
        self.registers = {}
        self.version = era << VERSION_BITS

    def validate(self, command: msgspec.Struct) -> None:
        """Accept everything."""

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Set a register."""
        del session, sequence, now
        assert isinstance(command, Put)
        self.version += 1
        self.registers[command.name] = (command.value, self.version)
        return Stored(self.version)

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """Do nothing: registers belong to nobody."""

    def advance(self, now: LogTime) -> None:
        """Do nothing: nothing is ever due."""

    def deadline(self) -> LogTime | None:
        """Return None: see ``advance``."""
        return None

    def take_outcomes(self) -> list[Outcome]:
        """Return nothing: every command is answered at once."""
        return []

    def take_events(self) -> list[msgspec.Struct]:
        """Return nothing."""
        return []

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Return a register."""
        del now
        assert isinstance(query, Get)
        value, version = self.registers.get(query.name, ("", self.version))
        return Value(value, version)

    def snapshot(self) -> bytes:
        """Return the whole state."""
        return msgspec.msgpack.encode((self.version, dict(sorted(self.registers.items()))))

    def restore(self, data: bytes) -> None:
        """Become the state that ``snapshot`` returned."""
        saved = msgspec.msgpack.decode(data, type=tuple[int, dict[str, tuple[str, int]]])
        self.version, self.registers = saved

    def check_invariants(self) -> None:
        """Assert that no version is from the future."""
        assert all(version <= self.version for _, version in self.registers.values())
