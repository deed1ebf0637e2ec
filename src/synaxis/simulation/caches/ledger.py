"""What agents were asked and what they answered, and what the log says became of their writes."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from synaxis.caches.commands import AgentId, Stored, Version, WriteBack
from synaxis.effects import Refused
from synaxis.simulation.history import MachineCall

__all__ = ["AgentCall", "Applied", "Ledger"]


@dataclass(slots=True, eq=False)
class AgentCall:
    """One operation at one agent. Its token at the agent is this object itself."""

    agent: AgentId
    place: str
    command: Any
    back: bool
    called_us: int
    returned_us: int | None = None
    outcome: msgspec.Struct | None = None
    write_id: int = 0
    """Under which it went home, if it did."""
    when_answered: Any = None
    """Called with this object."""


@dataclass(slots=True, frozen=True)
class Applied:
    """A write of an agent in the log."""

    key: str
    version: Version
    time_us: int


@dataclass(slots=True)
class Ledger:
    """See the module."""

    calls: list[AgentCall] = field(default_factory=list)
    applied: dict[tuple[AgentId, int], Applied] = field(default_factory=dict)
    """(agent, write id) -> the write; only what was stored."""
    news: list[MachineCall] = field(default_factory=list)
    """What was applied, but for repetitions of what an agent wrote."""
    crashed: set[AgentId] = field(default_factory=set)
    """Agents whose process ended before they had left."""
    at_risk: set[str] = field(default_factory=set)
    """Keys of which a write of policy back was under way when its owner's stream ended, or that
    there was no room for."""
    reserved_us: dict[int, int] = field(default_factory=dict)
    """Token of a reservation -> when its holder knew of it."""
    dirty_lost: dict[AgentId, int] = field(default_factory=dict)
    """What agents themselves counted as lost."""

    def log_applied(self, call: MachineCall) -> bool:
        """Note what was applied; return False if it was only a write of an agent again."""
        command, reply = call.command, call.reply
        if isinstance(command, WriteBack) and isinstance(reply, Refused):
            self.at_risk.add(command.item.key)  # there was no room, which its owner has to count
        elif isinstance(command, WriteBack) and isinstance(reply, Stored) and reply.versions:
            key = (command.agent, command.write_id)
            if key in self.applied:
                return False
            self.applied[key] = Applied(command.item.key, reply.versions[0], call.time_us)
        self.news.append(call)
        return True
