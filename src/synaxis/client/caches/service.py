"""Everything about caches that one client has: made with the client, ended with it."""

import asyncio
import logging
from collections.abc import Coroutine
from random import Random
from typing import Any

from synaxis.caches.bus import LineState
from synaxis.caches.line import Line
from synaxis.caches.placement import cache_group
from synaxis.client.caches.codecs import Codec, decode, own_codec
from synaxis.client.caches.context import Context
from synaxis.client.caches.entries import MISS
from synaxis.client.caches.flights import Flights
from synaxis.client.caches.link import HomeLink
from synaxis.client.caches.near import Held, NearCache, Tally
from synaxis.client.caches.options import NEAR_BYTES, Plan
from synaxis.client.caches.reading import Reader
from synaxis.client.caller import Caller
from synaxis.client.clock import now
from synaxis.errors import InvalidArgument, NotFound
from synaxis.ids import GroupId

__all__ = ["CacheService", "Shelf"]

log = logging.getLogger(__name__)

REACH_EVERY_S = 1.0
"""Clients that delegate want all nodes connected: a key has one node that is best."""
FAREWELL_TURNS = 10
"""Turns of the loop that the last messages may take to leave."""


class Shelf:
    """What this client has of one cache, whichever handle is used."""

    __slots__ = ("codec", "flights", "name", "near", "renewals", "tally")

    def __init__(self, name: str) -> None:
        self.name = name
        self.tally = Tally()
        self.flights = Flights()
        self.renewals: set[str] = set()
        """Keys whose value is being renewed, or was tried a moment ago."""
        self.near: NearCache | None = None
        """Once somebody asked for it."""
        self.codec: Codec | None = None
        """By which the near cache reads what was written by a codec of the user's own."""


class CacheService:
    """See the module. Made inside the event loop."""

    def __init__(self, caller: Caller, random: Random) -> None:
        self.context = Context(caller, random)
        self._router = self.context.router
        self._links: dict[GroupId, HomeLink] = {}
        self._readers: dict[GroupId, Reader] = {}
        self._shelves: dict[str, Shelf] = {}
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reached_at = -REACH_EVERY_S
        caller.pool.followers.append(self._beat)

    # --- shards -----------------------------------------------------------------------------

    def groups(self) -> list[GroupId]:
        """Return all groups that keep caches.

        Raises:
            NotFound: the cluster has none.
        """
        return [GroupId(f"caches/{number}") for number in range(self._shards())]

    def group_of(self, full: str) -> GroupId:
        """Return the group that has the key.

        Raises:
            NotFound: the cluster keeps no caches.
        """
        return cache_group(full, self._shards())

    def _shards(self) -> int:
        shards = self._router.cache_groups
        if not shards:
            raise NotFound("this cluster keeps no caches: it was created with cache_groups = 0")
        return shards

    def link(self, group: GroupId) -> HomeLink:
        """Return the agent of a shard."""
        found = self._links.get(group)
        if found is None:
            found = self._links[group] = HomeLink(self.context, group, self._line_changed)
        return found

    def reader(self, group: GroupId) -> Reader:
        """Return what asks a shard."""
        found = self._readers.get(group)
        if found is None:
            found = self._readers[group] = Reader(self.context, group)
        return found

    @property
    def lease_expiries(self) -> int:
        """How often lines were not believed in any more because a home was silent."""
        return sum(link.agent.tally.lease_expiries for link in self._links.values())

    def reach_nodes(self) -> None:
        """Dial nodes that are not connected, now and then."""
        if now() - self._reached_at > REACH_EVERY_S:
            self._reached_at = now()
            self._router.reach_all()

    # --- near caches ------------------------------------------------------------------------

    def shelf(self, plan: Plan) -> Shelf:
        """Return what there is of a cache, made to fit ``plan``.

        Raises:
            InvalidArgument: its near cache reads values by another codec.
        """
        shelf = self._shelves.get(plan.name)
        if shelf is None:
            shelf = self._shelves[plan.name] = Shelf(plan.name)
        if plan.near:
            self._open_near(shelf, plan)
        return shelf

    def _open_near(self, shelf: Shelf, plan: Plan) -> None:
        own = own_codec(plan.codec)
        if shelf.near is None:
            shelf.codec = own
            shelf.near = NearCache(shelf.tally, lambda key: self._made_room(f"{plan.name}/{key}"))
            shelf.near.bytes_max = NEAR_BYTES
        elif own is not None and shelf.codec not in (None, own):
            raise InvalidArgument(
                f"the near cache of {plan.name!r} reads values by another codec: one is enough"
            )
        shelf.codec = shelf.codec or own
        if plan.bytes_max is not None:
            shelf.near.bytes_max = plan.bytes_max
        if plan.entries_max is not None:
            shelf.near.entries_max = plan.entries_max
        shelf.near.shrink()

    def _made_room(self, full: str) -> None:
        link = self._links.get(self.group_of(full))
        if link is not None:
            link.agent.drop(full)

    def _line_changed(self, link: HomeLink, line: Line) -> None:
        """Follow an agent: its lines are what the near caches hold."""
        name, _, key = line.key.partition("/")
        shelf = self._shelves.get(name)
        near = None if shelf is None else shelf.near
        if shelf is None or near is None:
            link.agent.drop(line.key)
        elif line.state is not LineState.I:
            self._keep(link, line, shelf, near)
        elif link.agent.stream is not None:
            held = near.forget(key)
            shelf.tally.invalidations += held is not None and now() < held.until
        # Else the stream is over: what has lost its lease stays, for readers of stale values.

    def _keep(self, link: HomeLink, line: Line, shelf: Shelf, near: NearCache) -> None:
        key, reading = line.key.partition("/")[2], line.reading
        value = MISS
        if reading is not None:
            try:
                value = decode(reading.value, reading.flags, shelf.codec)
            except InvalidArgument:  # whoever reads it is told
                near.forget(key)
                link.agent.drop(line.key)
                return
        near.keep(key, Held(reading, value, link.lease, line.asked_at / 1000))

    # --- life -------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in the background, until the client is closed."""
        task = self._loop.create_task(work, name="synaxis-caches")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _beat(self, moment: float) -> None:
        for link in list(self._links.values()):
            link.beat(moment)

    async def close(self) -> None:
        """Give up what is being loaded, and drop all lines politely."""
        self.context.closed = True
        for shelf in self._shelves.values():
            shelf.flights.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links.values():
            link.close()
        for _ in range(FAREWELL_TURNS):
            if not self._router.unsent:
                break
            await asyncio.sleep(0)
