"""Looks at all lines of all agents at once, which nobody in the cluster can.

Checked whenever something happened to an agent, and whenever a write is applied by the first
replica: whoever may use a line by its own clock and its own lease

* is alone with it, if it may write it (single writer or many readers);
* reads exactly what the log has by now, unless it is the owner and wrote it itself (policy back).
"""

from collections.abc import Iterator

from cachetools import Cache

from synaxis.caches.bus import LineState
from synaxis.caches.commands import (
    ABSENT,
    Add,
    Clear,
    Counted,
    Evict,
    Fill,
    Put,
    Remove,
    Removed,
    Stored,
    Version,
    WriteBack,
)
from synaxis.caches.line import Line
from synaxis.caches.local import provisional
from synaxis.caches.placement import cache_of
from synaxis.simulation.caches.host import AgentHost
from synaxis.simulation.history import MachineCall
from synaxis.simulation.invariants import InvariantViolation

__all__ = ["AGED", "Watch"]

AGED = "aged"
"""The cache whose records end by themselves: a line may outlive its record, or the other way."""
OWNED = (LineState.E, LineState.M)
Tagged = tuple[Version, tuple[str, ...]]
NOTHING: Tagged = (Version(ABSENT), ())


class Watch:
    """See the module."""

    def __init__(self) -> None:
        self.hosts: dict[AgentHost, None] = {}
        self.store: dict[str, Tagged] = {}
        """What the first replica has: version and tags of each key."""

    # --- agents -----------------------------------------------------------------------------

    def check(self, host: AgentHost) -> None:
        """Something happened to an agent."""
        if host.closed:
            self.hosts.pop(host, None)
            return
        self.hosts[host] = None
        now = host.place.instant()
        if not host.agent.is_usable(now):
            return
        for line in _lines_of(host):
            if line.state in OWNED:
                self._demand_alone(host, line)
            elif line.is_readable(now):
                self._demand_no_owner(host, line)
            if line.is_readable(now):
                self._demand_current(host, line)

    def _demand_alone(self, host: AgentHost, line: Line) -> None:
        for other in self.hosts:
            if other is not host:
                found = _line_of(other, line.key)
                if found is not None and _may_read(other, found):
                    raise _not_alone(host, line, other, found)

    def _demand_no_owner(self, host: AgentHost, line: Line) -> None:
        for other in self.hosts:
            found = _line_of(other, line.key) if other is not host else None
            usable = other.agent.is_usable(other.place.instant())
            if found is not None and found.state in OWNED and usable:
                raise _not_alone(host, line, other, found)

    def _demand_current(self, host: AgentHost, line: Line) -> None:
        version = line.reading.version if line.reading is not None else ABSENT
        if line.dirty is not None or line.held or version >= provisional(0):
            return
        known, _ = self.store.get(line.key, NOTHING)
        if version == known or (version == ABSENT and cache_of(line.key) == AGED):
            return
        name, state = host.place.address, line.state.name
        message = f"{name} may read version {version} of {line.key} in {state}, not {known}"
        raise InvariantViolation("lines are current", message)

    # --- the log ----------------------------------------------------------------------------

    def applied(self, call: MachineCall) -> None:
        """The first replica applied something."""
        for key, tagged in list(self._changes(call)):
            self.store[key] = tagged
            for host in self.hosts:
                line = _line_of(host, key)
                if line is not None and _may_read(host, line):
                    self._demand_current(host, line)

    def _changes(self, call: MachineCall) -> Iterator[tuple[str, Tagged]]:
        match call.command, call.reply:
            case (Put(items) | Fill(items), Stored(versions)):
                for item, version in zip(items, versions, strict=False):
                    yield item.key, (version, item.tags)
            case WriteBack(), Stored(versions) if versions:
                item = call.command.item
                yield item.key, NOTHING if call.command.removed else (versions[0], item.tags)
            case Add(key), Counted(_, version):
                yield key, (version, self.store.get(key, NOTHING)[1])
            case _, Removed(count, found):
                for key in self._removed(call.command, is_done=count > 0 or not found):
                    yield key, NOTHING
            case _:
                return

    def _removed(self, command: object, *, is_done: bool) -> Iterator[str]:
        match command:
            case Remove(keys) if is_done:
                yield from keys
            case Clear(cache, tag):
                for key, (_, tags) in self.store.items():
                    if cache_of(key) == cache and (not tag or tag in tags):
                        yield key
            case Evict(records):
                yield from (key for key, at in records if self.store.get(key, NOTHING)[0] == at)
            case _:
                return


def _lines_of(host: AgentHost) -> list[Line]:
    agent = host.agent
    # Looking through the cache's own eyes would count as use, and change what is evicted.
    kept = [Cache.__getitem__(agent.lines, key) for key in agent.lines]
    leaving = [line for key, line in agent.busy.items() if key not in agent.lines]
    return kept + [line for line in leaving if line.state is not LineState.I]


def _line_of(host: AgentHost, key: str) -> Line | None:
    agent = host.agent
    if key in agent.lines:
        return Cache.__getitem__(agent.lines, key)
    return agent.busy.get(key)


def _may_read(host: AgentHost, line: Line) -> bool:
    now = host.place.instant()
    return host.agent.is_usable(now) and line.is_readable(now)


def _not_alone(host: AgentHost, line: Line, other: AgentHost, found: Line) -> InvariantViolation:
    one = f"{host.place.address} has {line.key} in {line.state.name}"
    two = f"{other.place.address} in {found.state.name}"
    return InvariantViolation("single writer or many readers", f"{one}, and {two}")
