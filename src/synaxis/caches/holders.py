"""The agents that are attached to a home, and until when each may be using its lines (rule 7)."""

from collections.abc import Iterator

from synaxis.caches.bus import Attach
from synaxis.caches.commands import AgentId, AgentKind
from synaxis.caches.limits import HomeLimits
from synaxis.ids import LogTime

__all__ = ["Holder", "Holders"]


class Holder:
    """One attached agent."""

    __slots__ = ("attached", "dirty", "handle", "heard", "id", "kind", "name", "probes")

    def __init__(self, message: Attach, handle: object) -> None:
        self.id = message.agent
        self.kind = message.kind
        self.name = message.name
        self.dirty = message.dirty
        """What it still had to say when it attached."""
        self.handle = handle
        """Its present stream."""
        self.heard = LogTime(0)
        """When it last asked for time: it may be using its lines for a lease from then on."""
        self.attached = False
        """Whether the log knows it: before, nothing is granted."""
        self.probes: dict[int, LogTime] = {}
        """Probes that it has not answered, oldest first, and when they were sent."""

    def is_prompt(self, now: LogTime, limits: HomeLimits) -> bool:
        """Whether it answers its probes; who does not gets no more time."""
        for sent_at in self.probes.values():
            return now - sent_at < limits.lease_ms
        return True


class Holders:
    """See the module."""

    def __init__(self, limits: HomeLimits) -> None:
        self.by_id: dict[AgentId, Holder] = {}
        self.by_handle: dict[object, Holder] = {}
        self._limits = limits
        self._look_at: LogTime | None = None

    def __iter__(self) -> Iterator[Holder]:
        return iter(self.by_id.values())

    def add(self, holder: Holder) -> None:
        """Take in an agent, or its new stream."""
        self.by_id[holder.id] = holder
        self.by_handle[holder.handle] = holder

    def remove(self, holder: Holder) -> None:
        """Let an agent go."""
        self.by_id.pop(holder.id, None)
        self.by_handle.pop(holder.handle, None)

    def kind_of(self, agent: AgentId) -> AgentKind | None:
        """Return the kind of an attached agent; None if it is not (any more)."""
        holder = self.by_id.get(agent)
        return holder.kind if holder is not None else None

    def silent(self, now: LogTime) -> list[Holder]:
        """Return the agents whose lines are dead by now whatever they think."""
        patience = self._limits.patience_ms
        silent = [each for each in self.by_id.values() if now - each.heard > patience]
        oldest = min((each.heard for each in self.by_id.values()), default=None)
        self._look_at = None if oldest is None else LogTime(oldest + patience + 1)
        return silent

    def deadline(self) -> LogTime | None:
        """Return when ``silent`` may next have something to say (never later than true)."""
        if self._look_at is None and self.by_id:
            oldest = min(each.heard for each in self.by_id.values())
            self._look_at = LogTime(oldest + self._limits.patience_ms + 1)
        return self._look_at
