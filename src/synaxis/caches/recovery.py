"""After a change of homes: agents may still be using what the old home granted (rule 8)."""

from collections.abc import Callable, Iterable

from synaxis.caches.commands import AgentId, AgentKind
from synaxis.ids import LogTime

__all__ = ["Recovery"]


class Recovery:
    """Who is waited for, until when at most, and what has to wait meanwhile."""

    def __init__(self) -> None:
        self._agents: dict[AgentId, AgentKind] = {}
        self._strangers = False
        self._ends_at = LogTime(0)
        self._later: list[Callable[[], None]] = []
        self._first: list[Callable[[], None]] = []
        """What must be done before the rest of it."""

    def begin(
        self,
        agents: Iterable[tuple[AgentId, AgentKind]],
        ends_at: LogTime,
        *,
        strangers: bool = False,
    ) -> None:
        """Wait for agents that an earlier home may have granted lines to.

        ``strangers``: there may be others, of whom nobody remembers: their leases must run out.
        """
        self._agents = dict(agents)
        self._strangers = strangers
        self._ends_at = ends_at

    @property
    def is_under_way(self) -> bool:
        """Whether nobody may write yet."""
        return self._strangers or bool(self._agents)

    @property
    def owners(self) -> bool:
        """Whether nobody may read yet: an owner may have written what only it knows of."""
        return AgentKind.OWNER in self._agents.values() or bool(self._first)

    def later(self, what: Callable[[], None], *, first: bool = False) -> None:
        """Do it when the recovery is over; ``first``: until then nobody reads."""
        (self._first if first else self._later).append(what)

    def attached(self, agent: AgentId) -> bool:
        """The agent has dropped what it held; return whether the recovery is over now."""
        return self._agents.pop(agent, None) is not None and not self.is_under_way

    def is_late(self, now: LogTime) -> bool:
        """Whether the leases of all that are missing have run out."""
        return self.is_under_way and now > self._ends_at

    def end(self) -> list[Callable[[], None]]:
        """Stop waiting, and return what was to be done later, in order."""
        self._agents, self._strangers = {}, False
        later = self._first + self._later
        self._first, self._later = [], []
        return later

    def deadline(self) -> LogTime | None:
        """Return when ``is_late`` comes true."""
        return LogTime(self._ends_at + 1) if self.is_under_way else None
