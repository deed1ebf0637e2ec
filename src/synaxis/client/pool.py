"""The sessions of one client, one per group, and the pulse that keeps them alive."""

import asyncio
from math import inf
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

from synaxis.client.clock import now
from synaxis.client.routing import Router
from synaxis.client.session import Session, SessionState
from synaxis.errors import InvalidArgument
from synaxis.ids import GroupId, SessionId
from synaxis.wire.client import Lost

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SessionPool", "lock_group"]

PULSE_S = 0.1
"""How often deadlines are looked at: the precision of every timeout of the client."""


def lock_group(name: str, groups: int) -> GroupId:
    """Return the group that keeps the lock ``name``: equal in every process and version.

    Raises:
        InvalidArgument: the name is no text that can be encoded.
    """
    try:
        number = crc32(name.encode()) % groups
    except (AttributeError, UnicodeEncodeError) as error:
        raise InvalidArgument(f"a name must be text, not {name!r}") from error
    return _GROUP_IDS.setdefault(number, GroupId(f"locks/{number}"))


_GROUP_IDS: dict[int, GroupId] = {}


class SessionPool:
    """Opens sessions when a group is first used, and again when one has ended."""

    def __init__(self, router: Router, ttl_ms: int, owner: str, random: Random) -> None:
        self.router = router
        self.beat_at = now()
        """When the pulse last beat; the watchdog reads it from its own thread."""
        self.followers: list[Callable[[float], object]] = []
        """Called at each beat with the time."""
        self._ttl_ms = ttl_ms
        self._owner = owner
        self._random = random
        self._by_group: dict[GroupId, Session] = {}
        self._pulse: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._beat()

    def _beat(self) -> None:
        moment = self.beat_at = now()
        self._pulse = asyncio.get_running_loop().call_later(PULSE_S, self._beat)
        for session in list(self._by_group.values()):
            session.tick(moment)
        for follower in self.followers:
            follower(moment)
        self.router.sweep(moment)

    def session(self, group: GroupId) -> Session:
        """Return the session of ``group``, which may not be open yet."""
        session = self._by_group.get(group)
        if session is None or session.state is SessionState.ENDED:
            number = SessionId(self._random.randrange(1, 1 << 63))
            session = Session(self.router, group, number, self._ttl_ms, self._owner)
            self._by_group[group] = session
        return session

    def sessions(self) -> list[Session]:
        """Return the sessions that live."""
        alive = list(self._by_group.values())
        return [session for session in alive if session.state is not SessionState.ENDED]

    def grant_lost(self, lost: Lost) -> None:
        """Pass on to the holder that the cluster took a grant back."""
        session = self._by_group.get(lost.group)
        if session is not None and session.id == lost.session:
            grant = session.grants.get(lost.token)
            if grant is not None:
                grant.lose(lost.reason)

    def doubtful_since(self) -> float:
        """Return the earliest moment at which something held may have been lost."""
        held = [session.lost_at for session in self.sessions() if session.grants]
        return min(held, default=inf)

    async def close(self, timeout_s: float) -> None:
        """Close all sessions, in parallel, and stop the pulse."""
        deadline = now() + timeout_s
        closing = (session.close(deadline) for session in self.sessions())
        await asyncio.gather(*closing)
        if self._pulse is not None:
            self._pulse.cancel()
