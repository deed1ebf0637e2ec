"""EXCLUSIVE: giving up partitions that are assigned to somebody else.

In order: the user's callback, the release of what is buffered, the end of what is being worked on,
and only then the Yield that lets the next owner begin.
"""

import logging
from typing import TYPE_CHECKING, Protocol

from synaxis.client.queues.options import Plan
from synaxis.client.queues.shelf import Shelf
from synaxis.errors import SynaxisError
from synaxis.queues.commands import Assignment, Yield

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from synaxis.client.caller import Caller
    from synaxis.client.queues.tenure import Tenure

__all__ = ["YieldOwner", "Yielding"]

log = logging.getLogger(__name__)


class YieldOwner(Protocol):
    """The consumer."""

    plan: Plan
    shelf: Shelf

    def spawn(self, work: "Coroutine[Any, Any, None]", name: str) -> None:
        """Run ``work`` beside everything else, until the consumer is closed."""
        ...


class Yielding:
    """See the module."""

    def __init__(self, owner: YieldOwner, caller: "Caller", topic: str) -> None:
        self.blocked: set[int] = set()
        """Partitions of which nothing more is handed out."""
        self._owner = owner
        self._caller = caller
        self._topic = topic

    def assigned(self, tenure: "Tenure", assignment: Assignment) -> None:
        """Take what the member owns in one shard, and begin to yield what it has to."""
        yielding = set(assignment.yielding)
        self.blocked -= set(assignment.partitions) - yielding
        fresh = yielding - self.blocked
        if fresh:
            self.blocked |= fresh
            self._owner.spawn(self._give_up(tenure, fresh), "synaxis-yield")

    async def _give_up(self, tenure: "Tenure", partitions: set[int]) -> None:
        owner, chosen = self._owner, tuple(sorted(partitions))
        if owner.plan.on_revoke is not None:
            try:
                waiting = owner.plan.on_revoke(chosen)
                if waiting is not None:
                    await waiting
            except Exception:  # the user's code; the partitions go whatever it thinks of that
                log.exception("on_revoke failed for partitions %s", chosen)
        tenure.give_back(owner.shelf.pull(partitions))
        while any(message.partition in partitions for message in tenure.held):
            await owner.shelf.movement()
        if tenure.error is not None:
            return
        try:
            command = Yield(self._topic, owner.plan.group, tenure.member, chosen)
            await self._caller.command(tenure.session.group, command)
        except SynaxisError as error:
            log.warning("partitions %s could not be yielded, they will be taken: %s", chosen, error)
