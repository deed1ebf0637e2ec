"""Writes of owners on their way through the log, and what the owners are told then (rule 4)."""

from collections.abc import Callable

import msgspec

from synaxis.caches.bus import NO_ROOM, Dirty, Flushed
from synaxis.caches.commands import AgentId, Backing, Version, WriteBack
from synaxis.caches.machine import CacheMachine
from synaxis.caches.placement import cache_of

__all__ = ["Flights"]


class Flight(msgspec.Struct):
    """A write that was proposed."""

    agent: AgentId
    key: str
    write_id: int
    through: bool
    """The owner is answered when the backing store has it too."""
    sent: bool = False
    """It is on its way into the log, before whatever comes now."""


class Flights:
    """See the module. ``tell`` says something to an agent, if it is still attached."""

    def __init__(self, machine: CacheMachine, tell: Callable[[AgentId, Flushed], None]) -> None:
        self._machine = machine
        self._tell = tell
        self._under_way: dict[tuple[AgentId, int], Flight] = {}
        self._later: list[tuple[set[tuple[AgentId, int]], Callable[[], None]]] = []
        """(writes that are not applied, what comes after them)."""
        self._unwritten: dict[str, list[tuple[Version, Flight]]] = {}

    def begin(self, agent: AgentId, key: str, dirty: Dirty, floor: int) -> WriteBack:
        """Return the command for the log."""
        through = dirty.backing is Backing.THROUGH
        self._under_way[agent, dirty.write_id] = Flight(agent, key, dirty.write_id, through)
        return WriteBack(agent, dirty.write_id, floor, dirty.item, dirty.removed, dirty.backing)

    def sent(self, command: WriteBack) -> None:
        """The command goes into the log now."""
        flight = self._under_way.get((command.agent, command.write_id))
        if flight is not None:
            flight.sent = True

    def after_those_of(self, cache: str, what: Callable[[], None]) -> None:
        """Do ``what`` when the writes of ``cache`` that are in the log by now are applied."""
        sent = {
            number
            for number, each in self._under_way.items()
            if each.sent and cache_of(each.key) == cache
        }
        if sent:
            self._later.append((sent, what))
        else:
            what()

    def is_under_way(self, agent: AgentId, write_id: int) -> bool:
        """Whether the owner will be told by itself."""
        return (agent, write_id) in self._under_way

    def applied(self, command: WriteBack) -> None:
        """A write is in the store."""
        flight = self._under_way.pop((command.agent, command.write_id), None)
        if flight is None:
            return  # the same write, sent twice
        self._go_on((command.agent, command.write_id))
        known = self._machine.agents.get(command.agent)
        version = NO_ROOM
        if known is not None:
            version = known.answers.get(command.write_id, version)
        pending = self._machine.pending.by_key.get(flight.key)
        if flight.through and pending is not None and pending.version <= version:
            self._unwritten.setdefault(flight.key, []).append((version, flight))
        else:
            self._confirm(flight, version)

    def _go_on(self, applied: tuple[AgentId, int]) -> None:
        """Do what waited for this write as the last one."""
        later, self._later = self._later, []
        for waiting, what in later:
            waiting.discard(applied)
            if waiting:
                self._later.append((waiting, what))
            else:
                what()

    def _confirm(self, flight: Flight, version: Version) -> None:
        self._tell(flight.agent, Flushed(flight.key, flight.write_id, version))

    def written(self) -> None:
        """The backing store has more by now."""
        pending = self._machine.pending.by_key
        for key in [key for key in self._unwritten if key not in pending]:
            for version, flight in self._unwritten.pop(key):
                self._confirm(flight, version)
