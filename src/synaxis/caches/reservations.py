"""Who computes a value that the cache lacks: one agent per key, the others wait for it.

The leader's own. A token is void as soon as anybody writes the key: what its holder computes may be
older than that write (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, 3.2.1).
"""

from collections import deque
from heapq import heappop, heappush

from synaxis.caches.commands import AgentId
from synaxis.caches.placement import cache_of
from synaxis.errors import Overloaded
from synaxis.ids import LogTime

__all__ = ["Promise", "Reservation", "Reservations"]

TOKEN_SHIFT = 20


class Promise:
    """What an agent is told: the right with its token, or 0: read again, or serve what you have."""

    __slots__ = ("agent", "key", "request", "token")

    def __init__(self, agent: AgentId, request: int, key: str, token: int) -> None:
        self.agent = agent
        self.request = request
        self.key = key
        self.token = token


class Reservation:
    """One key that an agent computes."""

    __slots__ = ("agent", "ends_at", "token", "void", "waiting")

    def __init__(self, agent: AgentId, token: int, ends_at: LogTime) -> None:
        self.agent = agent
        self.token = token
        self.ends_at = ends_at
        self.void = False
        self.waiting: deque[tuple[AgentId, int]] = deque()


class Reservations:
    """See the module."""

    def __init__(self, lease_ms: int, waiting_max: int) -> None:
        self.by_key: dict[str, Reservation] = {}
        self.promises: list[Promise] = []
        """To be told; drained by the home."""
        self._lease_ms = lease_ms
        self._waiting_max = waiting_max
        self._ends: list[tuple[LogTime, str]] = []
        self._token = 0

    def ask(self, agent: AgentId, request: int, key: str, now: LogTime, *, renew: bool) -> None:
        """An agent wants to compute ``key``; it is told when it may, or that it need not.

        Raises:
            Overloaded: too many wait.
        """
        reservation = self.by_key.get(key)
        if reservation is None:
            self._give(agent, request, key, now, deque())
        elif renew:
            self.promises.append(Promise(agent, request, key, 0))
        elif len(reservation.waiting) >= self._waiting_max:
            raise Overloaded("too many wait for the value of this key", limit="waiting_per_key_max")
        else:
            reservation.waiting.append((agent, request))

    def _give(
        self,
        agent: AgentId,
        request: int,
        key: str,
        now: LogTime,
        waiting: deque[tuple[AgentId, int]],
    ) -> None:
        # Larger than any token of an earlier home, whose log time was less.
        self._token = max(self._token + 1, now << TOKEN_SHIFT)
        reservation = Reservation(agent, self._token, LogTime(now + self._lease_ms))
        reservation.waiting = waiting
        self.by_key[key] = reservation
        heappush(self._ends, (reservation.ends_at, key))
        self.promises.append(Promise(agent, request, key, self._token))

    def is_good(self, key: str, token: int) -> bool:
        """Whether a value that was computed under ``token`` may be stored."""
        reservation = self.by_key.get(key)
        return reservation is not None and reservation.token == token and not reservation.void

    def touched(self, key: str) -> None:
        """A write of the key is on its way: the token is void from now on."""
        reservation = self.by_key.get(key)
        if reservation is not None:
            reservation.void = True

    def cleared(self, cache: str) -> None:
        """All of a cache is being cleared: what is computed may be older than that."""
        for key, reservation in self.by_key.items():
            if cache_of(key) == cache:
                reservation.void = True

    def written(self, key: str) -> None:
        """A write of the key is applied: everybody reads again."""
        reservation = self.by_key.pop(key, None)
        if reservation is not None:
            for agent, request in reservation.waiting:
                self.promises.append(Promise(agent, request, key, 0))

    def surrender(self, agent: AgentId, key: str, token: int, request: int, now: LogTime) -> None:
        """The agent will not compute it, or does not wait any more."""
        reservation = self.by_key.get(key)
        if reservation is None:
            return
        if reservation.agent == agent and reservation.token == token:
            self._next(key, reservation, now)
        elif (agent, request) in reservation.waiting:
            reservation.waiting.remove((agent, request))

    def _next(self, key: str, reservation: Reservation, now: LogTime) -> None:
        del self.by_key[key]
        if reservation.waiting:
            agent, request = reservation.waiting.popleft()
            self._give(agent, request, key, now, reservation.waiting)

    def gone(self, agent: AgentId, now: LogTime) -> None:
        """The agent is not attached any more."""
        for key, reservation in list(self.by_key.items()):
            kept = (each for each in reservation.waiting if each[0] != agent)
            reservation.waiting = deque(kept)
            if reservation.agent == agent:
                self._next(key, reservation, now)

    def expire(self, now: LogTime) -> None:
        """Pass on what took too long."""
        while self._ends and self._ends[0][0] <= now:
            _, key = heappop(self._ends)
            reservation = self.by_key.get(key)
            if reservation is not None and reservation.ends_at <= now:
                self._next(key, reservation, now)

    def deadline(self) -> LogTime | None:
        """Return when ``expire`` next has something to do."""
        return self._ends[0][0] if self._ends else None
