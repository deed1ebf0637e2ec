"""One shard's messages for one consumer, for as long as the consumer lives.

Joins, attaches, and begins anew when the tenure ends: as another member, with nothing held.
"""

import asyncio
import logging
from random import Random
from typing import Protocol

from synaxis.client.caller import Caller
from synaxis.client.queues.lifeline import Lifeline
from synaxis.client.queues.options import Plan
from synaxis.client.queues.tenure import Tenure, TenureOwner
from synaxis.errors import ClusterError, ConsumerFenced, SessionExpired, SynaxisError
from synaxis.ids import GroupId
from synaxis.queues.commands import Joined, Leave

__all__ = ["Feed", "FeedOwner"]

log = logging.getLogger(__name__)

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 2.0
"""Between tries to join a shard that does not answer."""


class FeedOwner(TenureOwner, Protocol):
    """The consumer, as one of its feeds sees it."""

    plan: Plan

    def member(self, *, fresh: bool) -> int:
        """Return the number to join with; a ``fresh`` one after the last was fenced."""
        ...

    def joined(self, feed: "Feed") -> None:
        """A feed has begun."""
        ...

    def not_joined(self, feed: "Feed", error: SynaxisError) -> None:
        """A feed could not begin, and will try again."""
        ...

    def broken(self, error: SynaxisError) -> None:
        """A feed cannot go on, for a reason that repeating it does not mend."""
        ...


class Feed:
    """See the module."""

    def __init__(
        self, owner: FeedOwner, caller: Caller, lifeline: Lifeline, group: GroupId, random: Random
    ) -> None:
        self.group = group
        self.tenure: Tenure | None = None
        self._owner = owner
        self._caller = caller
        self._lifeline = lifeline
        self._random = random
        self._leaving = False

    async def run(self) -> None:
        """Keep up membership until ``leave``, or until the cluster refuses for good."""
        fresh, pause = False, PAUSE_FIRST_S
        while not self._leaving:
            try:
                tenure = await self._join(fresh=fresh)
            except SynaxisError as error:
                if not _passes(error):
                    self._owner.broken(error)
                    return
                self._owner.not_joined(self, error)
                fresh |= isinstance(error, ConsumerFenced)
                log.debug("joining %s: %s", self.group, error)
                await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
                pause = min(2 * pause, PAUSE_MAX_S)
                continue
            pause = PAUSE_FIRST_S
            end = await self._serve(tenure)
            if not _passes(end):
                self._owner.broken(end)
                return
            if isinstance(end, ConsumerFenced) and not self._leaving:
                # Who said so may have led no more. For as long as our session lives a new leader
                # would wait to hear what the member holds.
                await self._end_membership(tenure)
            fresh = True

    async def _join(self, *, fresh: bool) -> Tenure:
        owner = self._owner
        session = await self._caller.session(self.group)
        member = owner.member(fresh=fresh)
        tenure = Tenure(owner, session, member)
        try:
            reply = await self._caller.command(
                self.group, owner.plan.join(owner.source.topic, member)
            )
        except BaseException:
            tenure.end(SessionExpired("the member never joined"))
            raise
        assert isinstance(reply, Joined)
        if tenure.error is not None:
            raise tenure.error
        tenure.max_deliveries = reply.max_deliveries
        self._lifeline.watch(tenure, session, reply.visibility_ms)
        return tenure

    async def _serve(self, tenure: Tenure) -> SynaxisError:
        self.tenure = tenure
        try:
            self._owner.joined(self)
            tenure.attach()
            return await asyncio.shield(tenure.ended)
        finally:
            self.tenure = None
            self._lifeline.unwatch(tenure)

    async def leave(self) -> None:
        """Give back what is held, and stop being a member. Does not wait long."""
        self._leaving = True
        tenure = self.tenure
        if tenure is None or tenure.error is not None:
            return
        await self._end_membership(tenure)
        tenure.end(ConsumerFenced("the consumer was closed"))

    async def _end_membership(self, tenure: Tenure) -> None:
        owner = self._owner
        try:
            command = Leave(owner.source.topic, owner.plan.group, tenure.member)
            await self._caller.command(self.group, command)
        except SynaxisError as error:
            log.debug("leaving %s: %s", self.group, error)


def _passes(error: SynaxisError) -> bool:
    return isinstance(error, ClusterError | ConsumerFenced | SessionExpired)
