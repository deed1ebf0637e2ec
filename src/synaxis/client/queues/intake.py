"""A consumer's engine: feeds in, messages out to whoever waits, and nothing lost in between.

``Consumer`` and the implicit consumers of ``fetch`` are faces of it. Life: ``start``, ``drain`` if
wanted, ``close``.
"""

import asyncio
import logging
from collections.abc import Coroutine, Hashable, Iterable
from contextlib import suppress
from random import Random
from typing import Any

from synaxis.client.caller import Caller
from synaxis.client.clock import now
from synaxis.client.queues.catalog import Catalog
from synaxis.client.queues.credit import CreditPool
from synaxis.client.queues.feed import Feed
from synaxis.client.queues.lifeline import Lifeline
from synaxis.client.queues.message import Message, Source
from synaxis.client.queues.options import Plan
from synaxis.client.queues.ordering import Lines
from synaxis.client.queues.shelf import Shelf
from synaxis.client.queues.tenure import Tenure
from synaxis.client.queues.tuning import EVERY_S, Tuner
from synaxis.client.queues.yielding import Yielding
from synaxis.errors import SynaxisError
from synaxis.queues.commands import Assignment, GroupMode

__all__ = ["Intake"]

log = logging.getLogger(__name__)

PAUSE_S = 0.05
FAREWELL_S = 2.0
"""How long leaving waits for the answers to acknowledgements."""


class Intake:
    """See the module."""

    def __init__(  # made in one place, from what the service has
        self,
        caller: Caller,
        catalog: Catalog,
        lifeline: Lifeline,
        random: Random,
        source: Source,
        plan: Plan,
    ) -> None:
        self.source = source
        self.plan = plan
        self.group = plan.group
        self.ordered = plan.mode is not GroupMode.SHARED
        self.timeout_s = caller.timeout_s
        self.loop = asyncio.get_running_loop()
        self.pool = CreditPool(plan.prefetch, self._grant)
        lines = Lines(by_partition=plan.mode is GroupMode.EXCLUSIVE) if self.ordered else None
        self.shelf = Shelf(plan.concurrency, self.pool, lines)
        self.feeds: list[Feed] = []
        self._caller = caller
        self._catalog = catalog
        self._lifeline = lifeline
        self._random = random
        self._member = random.randrange(1, 1 << 63)
        self._joined: set[Feed] = set()
        self._not_joined: set[Feed] = set()
        self._yielding = Yielding(self, caller, source.topic)
        self._tasks: set[asyncio.Task[None]] = set()
        self._tuner = Tuner(plan.prefetch)
        self._tuning: asyncio.TimerHandle | None = None
        self._stopping = False
        self.closed = False

    # --- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the group in every shard of the topic; does not wait until all have answered.

        Raises:
            NotFound: there is no such topic.
            SynaxisError: the cluster could not be reached in time.
        """
        record = await self._catalog.record(self.source.topic)
        groups = self._catalog.groups_of(record)
        for group in groups:
            feed = Feed(self, self._caller, self._lifeline, group, self._random)
            self.feeds.append(feed)
            self.pool.open(len(groups), feed)
        if self.plan.tuned:
            self._tune()
        for feed in self.feeds:
            self.spawn(feed.run(), f"synaxis-feed {self.source.topic} {feed.group}")

    async def ready(self) -> None:
        """Wait until every shard has taken us in; those that do not answer in time may come later.

        Raises:
            SynaxisError: one refused for good, or none was reached in time.
        """
        deadline = now() + self.timeout_s
        while len(self._joined) < len(self.feeds) and not self.shelf.closed:
            left = deadline - now()
            if left <= 0 and self._joined:
                log.warning("%s: not all shards could be joined yet", self.source.topic)
                break
            await self.shelf.movement(max(left, PAUSE_S))
        if self.shelf.error is not None:
            raise self.shelf.error

    def _tune(self) -> None:
        """Let the window follow the speed of consuming; see ``tuning``."""
        self._tuning = self.loop.call_later(EVERY_S, self._tune)
        window = self._tuner.look(self.pool.total)
        if window != self.pool.window and not self._stopping:
            self.pool.resize(window)
            self.give_back(self.shelf.pull_surplus())

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` beside everything else, until the consumer is closed."""
        task = self.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a consumer's task ended with a bug of ours", exc_info=error)
            self.broken(SynaxisError(f"the consumer ended with a bug of ours: {error!r}"))

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing more and wait until what is out is settled; returns whether it is."""
        self._stopping = True
        self.shelf.close()
        for feed in self.feeds:
            if feed.tenure is not None:
                feed.tenure.grant(-self.pool.window)
        self.give_back(self.shelf.pull())
        try:
            async with asyncio.timeout(timeout_s):
                while self.shelf.unconfirmed:
                    await self.shelf.movement()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Give back everything and leave the group. Safe to repeat."""
        if self.closed:
            return
        self.closed = self._stopping = True
        if self._tuning is not None:
            self._tuning.cancel()
        self.shelf.close()
        await self._confirmed(now() + self.timeout_s)
        await self._hear_out()
        await asyncio.gather(*(feed.leave() for feed in self.feeds))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear_out(self) -> None:
        """Wait a little for the answers to what the user has settled: who leaves gets none."""
        shelf = self.shelf
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                while shelf.unconfirmed > shelf.out:
                    await shelf.movement()

    async def _confirmed(self, deadline: float) -> None:
        """Wait for the confirmation of what users have decided."""
        while self.shelf.unconfirmed > self.shelf.out and (left := deadline - now()) > 0:
            await self.shelf.movement(left)

    @property
    def owned(self) -> list[int]:
        """EXCLUSIVE: the partitions that are ours now."""
        tenures = [feed.tenure for feed in self.feeds if feed.tenure is not None]
        return sorted(partition for tenure in tenures for partition in tenure.owned)

    # --- for feeds --------------------------------------------------------------------------

    def member(self, *, fresh: bool) -> int:
        """Return the number to join with; a ``fresh`` one after the last was fenced."""
        if fresh:
            self._member = self._random.randrange(1, 1 << 63)
        return self._member

    def joined(self, feed: Feed) -> None:
        """A feed has begun."""
        self._joined.add(feed)
        self._not_joined.discard(feed)
        self.shelf.put([])

    def not_joined(self, feed: Feed, error: SynaxisError) -> None:
        """A feed could not begin, and will try again. If none could, that is an error."""
        self._not_joined.add(feed)
        if not self._joined and len(self._not_joined) == len(self.feeds):
            self.shelf.close(error)

    def broken(self, error: SynaxisError) -> None:
        """A feed cannot go on, for a reason that repeating it does not mend."""
        if not self._stopping:
            self.shelf.close(error)

    # --- for tenures ------------------------------------------------------------------------

    def credit(self, tenure: Tenure) -> int:
        """Return how many messages a new stream may bring at once."""
        feed = self._feed_of(tenure)
        return 0 if feed is None or self._stopping else self.pool.offer(feed)

    def _feed_of(self, tenure: Tenure) -> Feed | None:
        for feed in self.feeds:
            if feed.tenure is tenure:
                return feed
        return None

    def _grant(self, shard: Hashable, more: int) -> None:
        assert isinstance(shard, Feed)
        if shard.tenure is not None and not self._stopping:
            shard.tenure.grant(more)

    def arrived(self, tenure: Tenure, messages: list[Message]) -> None:
        """Take messages."""
        feed = self._feed_of(tenure)
        if feed is None:
            return
        self.pool.delivered(feed, len(messages))
        blocked = self._yielding.blocked
        if self._stopping or (blocked and messages[0].partition in blocked):
            tenure.give_back(messages)
            self.pool.taken(len(messages))
        else:
            self.shelf.put(messages)

    def assigned(self, tenure: Tenure, assignment: Assignment) -> None:
        """Take the news of what the member owns."""
        self._yielding.assigned(tenure, assignment)
        self.shelf.put([])

    def decided(self, message: Message) -> None:
        """The user has decided the fate of a message."""
        self.shelf.decided(message)

    def begun(self, messages: list[Message]) -> list[Message]:
        """The cluster has heard that we begin with these; returns those that nobody wants now."""
        return self.shelf.begun(messages)

    def settled(self, messages: Iterable[Message]) -> None:
        """The cluster has confirmed the fate of these."""
        self.shelf.settled(messages)

    def lost(self, held: set[Message]) -> None:
        """A tenure is over, and these are not ours any more."""
        self.shelf.lost(held)

    def turn_back(self, message: Message) -> list[Message]:
        """A message goes back to the queue; returns what must not overtake it."""
        return self.shelf.turn_back(message)

    def give_back(self, messages: list[Message]) -> None:
        """Release messages that were not handed out."""
        by_tenure: dict[Tenure, list[Message]] = {}
        for message in messages:
            assert isinstance(message.keeper, Tenure)
            by_tenure.setdefault(message.keeper, []).append(message)
        for tenure, chosen in by_tenure.items():
            tenure.give_back(chosen)
