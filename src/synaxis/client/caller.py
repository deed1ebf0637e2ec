"""Questions and commands of everything that is not a lock itself."""

import asyncio
from math import inf

import msgspec

from synaxis.client.calls import Command
from synaxis.client.clock import now
from synaxis.client.lock_options import checked
from synaxis.client.pool import SessionPool, lock_group
from synaxis.client.requests import QueryRequest, Question
from synaxis.client.session import Session, SessionState
from synaxis.effects import Refused
from synaxis.errors import error_from_wire
from synaxis.ids import GroupId
from synaxis.wire.client import Answer

__all__ = ["Caller"]


class Caller:
    """The client's sessions and habits, as the services of the facade use them."""

    __slots__ = ("label", "pool", "timeout_s")

    def __init__(self, pool: SessionPool, timeout_s: float, label: bytes) -> None:
        self.pool = pool
        self.timeout_s = timeout_s
        """How long the cluster may take to answer."""
        self.label = label
        """Shown beside everything that this client holds."""

    def group_of(self, name: str) -> GroupId:
        """Return the group that keeps ``name``."""
        return lock_group(name, self.pool.router.lock_groups)

    def lock_groups(self) -> list[GroupId]:
        """Return all groups that keep locks."""
        return [GroupId(f"locks/{number}") for number in range(self.pool.router.lock_groups)]

    async def session(self, group: GroupId) -> Session:
        """Return the open session of ``group``."""
        session = self.pool.session(group)
        if session.state is not SessionState.OPEN:
            await session.ready(now() + self.timeout_s)
        return session

    async def query(self, group: GroupId, question: Question, *, stale: bool = False) -> Answer:
        """Ask the leader of ``group`` (any replica, with ``stale``).

        Raises:
            SynaxisError: refused, or no answer in time.
        """
        request = QueryRequest(group, checked(question), now() + self.timeout_s, stale=stale)
        self.pool.router.send(request)
        answer: Answer = await request.future
        if isinstance(answer.body, Refused):
            raise error_from_wire(answer.body.code, answer.body.message, answer.body.details)
        return answer

    async def command(
        self, group: GroupId, command: Command, wait: float | None = 0, *, undoable: bool = False
    ) -> msgspec.Struct:
        """Put a command into the log of ``group`` and return the reply.

        A command that is ``undoable`` is undone when the caller stops waiting.

        Raises:
            SynaxisError: refused, or no answer in time.
        """
        checked(command)
        session = await self.session(group)
        deadline = inf if wait is None else now() + wait + self.timeout_s
        request = session.call(command, deadline, undoable=undoable)
        try:
            body: msgspec.Struct = await request.future
        except asyncio.CancelledError:
            if undoable:
                session.abandon(request)
            raise
        if isinstance(body, Refused):
            raise error_from_wire(body.code, body.message, body.details)
        return body
