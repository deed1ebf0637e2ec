"""Everything about queues that one client has: made with the client, ended with it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

from synaxis.client.caller import Caller
from synaxis.client.queues.catalog import Catalog
from synaxis.client.queues.consumer import Consumer
from synaxis.client.queues.fetching import Fetcher
from synaxis.client.queues.intake import Intake
from synaxis.client.queues.lifeline import Lifeline
from synaxis.client.queues.message import Source
from synaxis.client.queues.options import Plan
from synaxis.client.queues.outlet import Outlet
from synaxis.client.queues.publisher import Publisher
from synaxis.client.routing import Router
from synaxis.queues.commands import GroupMode

__all__ = ["QueueService"]

log = logging.getLogger(__name__)

Kind = tuple[Source, str, GroupMode, int]
"""What fetches must have in common to share a member."""

ABANDONED_DRAIN_S = 30.0
"""How long a consumer that was dropped waits for messages that are still being worked on."""


class QueueService:
    """See the module. Made inside the event loop."""

    def __init__(self, caller: Caller, make_router: Callable[[], Router], random: Random) -> None:
        self.caller = caller
        self.random = random
        self.catalog = Catalog(caller, random)
        self.publisher = Publisher(caller, self.catalog, random)
        self.publisher.contradicted = self.forget
        self.lifeline = Lifeline(make_router)
        self._outlets: dict[str, Outlet] = {}
        self._intakes: set[Intake] = set()
        self._fetchers: dict[Kind, Fetcher] = {}
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def owner(self) -> str:
        """The client's name."""
        return self.caller.label.decode(errors="replace")

    def outlet(self, topic: str) -> Outlet:
        """Return the entrance of a topic, shared by all its handles."""
        found = self._outlets.get(topic)
        if found is None:
            found = self._outlets[topic] = Outlet(self.publisher, topic)
        return found

    def forget(self, topic: str) -> None:
        """A topic is not what it was: ask before its next use."""
        self.catalog.forget(topic)
        outlet = self._outlets.get(topic)
        if outlet is not None:
            outlet.forget()

    # --- consumers --------------------------------------------------------------------------

    def consumer(self, source: Source, plan: Plan) -> Consumer:
        """Return a consumer, which joins when it is first used."""
        return Consumer(lambda: self.intake(source, plan), self._abandoned)

    def intake(self, source: Source, plan: Plan) -> Intake:
        """Return an engine, which is ended with the client at the latest."""
        self._intakes = {each for each in self._intakes if not each.closed}
        made = Intake(self.caller, self.catalog, self.lifeline, self.random, source, plan)
        self._intakes.add(made)
        return made

    def fetcher(self, source: Source, plan: Plan) -> Fetcher:
        """Return the member behind the fetches of one kind."""
        kind = (source, plan.group, plan.mode, plan.visibility_ms)
        found = self._fetchers.get(kind)
        if found is None or found.intake.closed:
            found = Fetcher(self.intake(source, plan), self._fetcher_over)
            self._fetchers[kind] = found
        return found

    def _fetcher_over(self, fetcher: Fetcher) -> None:
        self._fetchers = {
            kind: each for kind, each in self._fetchers.items() if each is not fetcher
        }
        self.spawn(fetcher.intake.close())

    def _abandoned(self, intake: Intake) -> None:
        """Of any thread: somebody dropped a consumer without closing it."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(lambda: self.spawn(self._end(intake)))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in the background, until the client is closed."""
        task = self._loop.create_task(work, name="synaxis-queues")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _end(intake: Intake) -> None:
        await intake.drain(ABANDONED_DRAIN_S)
        await intake.close()

    # --- the end ----------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> bool:
        """Stop consuming, finish what is out, and wait until everything published is stored."""
        intakes = [each for each in self._intakes if not each.closed]
        settled = await asyncio.gather(*(intake.drain(timeout_s) for intake in intakes))
        await asyncio.gather(*(intake.close() for intake in intakes))
        stored = await self.publisher.drain(timeout_s)
        return all(settled) and stored

    async def close(self) -> None:
        """Leave all groups politely and give up what is not told."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(intake.close() for intake in self._intakes))
        await self.publisher.close()
        await self.lifeline.close()
