"""Which way the operations of one cache go: near, to the home of a shard, or by a node's agent."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec

from synaxis.caches.commands import (
    ANY_VERSION,
    Add,
    Clear,
    Counted,
    Item,
    Lookup,
    Put,
    Reading,
    Readings,
    Remove,
    Removed,
    Stored,
    Version,
)
from synaxis.client.caches.codecs import decode
from synaxis.client.caches.delegates import Delegated, delegate
from synaxis.client.caches.entries import MISS
from synaxis.client.caches.near import NO_LEASE, Held
from synaxis.client.caches.options import Plan
from synaxis.client.caches.reading import How
from synaxis.client.caches.service import CacheService
from synaxis.client.caches.writing import chunks_of_items, chunks_of_keys, write
from synaxis.client.clock import now
from synaxis.errors import ClusterError, RequestTimeout, SynaxisError, VersionConflict
from synaxis.ids import GroupId

__all__ = ["Engine"]

T = TypeVar("T")

STALE_PATIENCE_S = 0.5
"""How long replicas are waited for when there is something old to fall back on."""

Outcome = Reading | SynaxisError | None


class Engine:
    """See the module. Keys are the user's own, without the name of the cache."""

    __slots__ = ("_timeout_s", "plan", "service", "shelf")

    def __init__(self, service: CacheService, plan: Plan) -> None:
        """Prepare for the operations of one handle.

        Raises:
            InvalidArgument: another handle of this client reads its values with another codec.
        """
        self.service = service
        self.plan = plan
        self.shelf = service.shelf(plan)
        self._timeout_s = service.context.caller.timeout_s

    # --- reading ----------------------------------------------------------------------------

    async def find_one(self, key: str, *, stale_ok: bool = False) -> Held:
        """Return what is stored under ``key``; its ``reading`` is None if nothing is.

        Raises:
            InvalidArgument: the key is malformed, or the value was written by another codec.
            SynaxisError: refused, or no answer in time.
        """
        full = self.plan.full_key(key)
        group = self.service.group_of(full)
        (held,) = await self._find_in(group, {key: full}, stale_ok=stale_ok)
        return held

    async def find_at_home(self, key: str) -> Held:
        """Return what is stored, and have whoever owns the line tell; raises as ``find_one``."""
        since, full = now(), self.plan.full_key(key)
        reader = self.service.reader(self.service.group_of(full))
        (outcome,) = await reader.read([full], self._how)
        return self._held(key, outcome, since)

    async def find(self, keys: Iterable[str], *, stale_ok: bool = False) -> dict[str, Held]:
        """Return what is stored under many keys; raises as ``find_one``."""
        groups = list(self._by_group(keys).items())
        asked = (self._find_in(group, wanted, stale_ok=stale_ok) for group, wanted in groups)
        found: dict[str, Held] = {}
        for (_, wanted), part in zip(groups, await asyncio.gather(*asked), strict=True):
            found.update(zip(wanted, part, strict=True))
        return found

    def _by_group(self, keys: Iterable[str]) -> dict[GroupId, dict[str, str]]:
        """Return, by group, the keys and what the cluster calls them."""
        full_key, group_of = self.plan.full_key, self.service.group_of
        groups: dict[GroupId, dict[str, str]] = {}
        for key in keys:
            full = full_key(key)
            group = group_of(full)
            if group in groups:
                groups[group][key] = full
            else:
                groups[group] = {key: full}
        return groups

    async def _find_in(self, group: GroupId, keys: dict[str, str], *, stale_ok: bool) -> list[Held]:
        since = now()
        if not stale_ok:
            outcomes = await self._ask(group, keys)
        elif self.plan.near and self.service.link(group).attached:
            outcomes = await self._ask(group, keys)
            if any(isinstance(each, ClusterError) for each in outcomes):
                return await self._find_stale(group, keys)
        else:
            return await self._find_stale(group, keys)
        return [self._held(key, each, since) for key, each in zip(keys, outcomes, strict=True)]

    async def _ask(self, group: GroupId, keys: dict[str, str]) -> list[Outcome]:
        plan, service = self.plan, self.service
        full = list(keys.values())
        if plan.back:
            return await asyncio.gather(*(self._delegated_lookup(key) for key in full))
        if not plan.near:
            return await service.reader(group).read(full, self._how)
        link, deadline = service.link(group), now() + self._timeout_s
        try:
            answers = await link.read(full, load=plan.load, deadline=deadline)
        except ClusterError as error:
            return [error] * len(keys)
        return [each.readings[0] if isinstance(each, Readings) else each for each in answers]

    @property
    def _how(self) -> How:
        return How.LOADING if self.plan.load else How.COHERENT

    async def _delegated_lookup(self, full: str) -> Outcome:
        try:
            reply = await self._delegate(full, Lookup((full,), self.plan.load))
        except ClusterError as error:
            return error
        assert isinstance(reply, Readings)
        return reply.readings[0]

    def _held(self, key: str, outcome: Outcome, since: float) -> Held:
        """Return what a home answered, as the near cache has it if it does.

        Raises:
            SynaxisError: it answered with an error, or the value cannot be decoded.
        """
        if isinstance(outcome, SynaxisError):
            raise outcome
        near = self.shelf.near
        if near is not None and (known := near.items.get(key)) is not None:
            same = None if known.reading is None else known.reading.version
            if same == (None if outcome is None else outcome.version):
                return known
        if outcome is None:
            return Held(None, MISS, NO_LEASE, since)
        value = decode(outcome.value, outcome.flags, self.plan.codec)
        return Held(outcome, value, NO_LEASE, since)

    # --- reading what may be old ------------------------------------------------------------

    async def _find_stale(self, group: GroupId, keys: dict[str, str]) -> list[Held]:
        """Return what any replica has or, if none answers, what was here before."""
        since = now()
        kept = {key: held for key in keys if (held := self._kept(key, since)) is not None}
        complete = len(kept) == len(keys)
        outcomes: list[Outcome]
        if complete and not self.service.context.router.nodes:
            outcomes = [RequestTimeout("no node is connected")] * len(keys)
        else:
            full = list(keys.values())
            patience_s = STALE_PATIENCE_S if complete else None
            try:
                async with asyncio.timeout(patience_s):
                    outcomes = await self.service.reader(group).read(full, How.STALE)
            except TimeoutError:
                outcomes = [RequestTimeout("no replica answered in time")] * len(keys)
        found = []
        for key, outcome in zip(keys, outcomes, strict=True):
            if isinstance(outcome, ClusterError) and key in kept:
                held = kept[key]
            else:
                held = self._held(key, outcome, since)
            held.stale = not held.is_good(now())
            found.append(held)
        return found

    def _kept(self, key: str, moment: float) -> Held | None:
        """Return what the near cache had of ``key`` before it lost its lease."""
        near = self.shelf.near
        held = None if near is None else near.items.get(key)
        return held if held is not None and moment < held.until else None

    # --- writing ----------------------------------------------------------------------------

    async def fetch(self, key: str) -> None:
        """Have the cluster know what the store has: a change of it is about to depend on that.

        Raises:
            SynaxisError: as ``find_one``.
        """
        if self.plan.load:
            await self.find_one(key)

    async def put(self, item: Item, *, fill: int = 0) -> Version:
        """Store one record; returns its version.

        Raises:
            VersionConflict: something else is stored than the item's condition demands.
            LeaseLost: ``fill`` is a reservation that is void.
            OutcomeUnknown: it may or may not be stored.
            SynaxisError: it is not stored.
        """
        group = self._about_to_write(item.key)
        command = Put((item,), self.plan.backing, fill)
        if self.plan.back and not fill:
            reply = await self._delegate(item.key, command)
        else:
            reply = await write(self.service.context, group, command)
        assert isinstance(reply, Stored)
        if reply.conflicts:
            _conflict(item.key, reply.conflicts[0][1])
        return reply.versions[0]

    async def put_many(self, items: Sequence[Item]) -> None:
        """Store records, those of one shard (and frame) in one step; raises as ``put``."""
        if self.plan.back:
            await _all(self.put(item) for item in items)
            return
        groups: dict[GroupId, list[Item]] = {}
        for item in items:
            groups.setdefault(self._about_to_write(item.key), []).append(item)
        room = self.service.context.router.frame_bytes_max
        await _all(
            write(self.service.context, group, Put(chunk, self.plan.backing))
            for group, wanted in groups.items()
            for chunk in chunks_of_items(wanted, room)
        )

    async def remove(self, key: str, if_version: int = ANY_VERSION) -> bool:
        """Remove one record; returns whether there was one. Raises as ``put``."""
        full = self.plan.full_key(key)
        group = self._about_to_write(full)
        command = Remove((full,), if_version, self.plan.backing)
        if self.plan.back:
            reply = await self._delegate(full, command)
        else:
            reply = await write(self.service.context, group, command)
        assert isinstance(reply, Removed)
        if not reply.count and if_version not in (ANY_VERSION, reply.version):
            _conflict(full, reply.version)
        return reply.count > 0

    async def remove_many(self, keys: Iterable[str]) -> int:
        """Remove records; returns how many there were. Raises as ``put``."""
        wanted = list(dict.fromkeys(keys))
        if self.plan.back:
            return sum(await _all(self.remove(key) for key in wanted))
        groups: dict[GroupId, list[str]] = {}
        for key in wanted:
            full = self.plan.full_key(key)
            groups.setdefault(self._about_to_write(full), []).append(full)
        room = self.service.context.router.frame_bytes_max
        replies = await _all(
            write(self.service.context, group, Remove(chunk, ANY_VERSION, self.plan.backing))
            for group, full_keys in groups.items()
            for chunk in chunks_of_keys(full_keys, room)
        )
        return sum(reply.count for reply in replies if isinstance(reply, Removed))

    async def add(self, key: str, delta: int, initial: int, ttl_ms: int) -> int:
        """Add to an integer; returns the sum. Raises as ``put``."""
        full = self.plan.full_key(key)
        group = self._about_to_write(full)
        command = Add(full, delta, initial, ttl_ms, self.plan.backing)
        if self.plan.back:
            reply = await self._delegate(full, command)
        else:
            reply = await write(self.service.context, group, command)
        assert isinstance(reply, Counted)
        return reply.value

    async def clear(self, tag: str = "") -> int:
        """Remove what carries ``tag`` (all, if it is empty) in all shards, not in one step.

        Returns how many there may have been. Raises as ``put``.
        """
        near = self.shelf.near
        if near is not None:
            near.forget_lost()
        groups = self.service.groups()
        command = Clear(self.plan.name, tag)
        replies = await _all(write(self.service.context, group, command) for group in groups)
        return sum(reply.count for reply in replies if isinstance(reply, Removed))

    def _about_to_write(self, full: str) -> GroupId:
        """Forget the copy that is here; returns the group that has the key.

        The home has every copy dropped before a write is done; this one need not even be asked.
        """
        group = self.service.group_of(full)
        near = self.shelf.near
        if near is not None:
            near.forget(full.partition("/")[2])
            self.service.link(group).agent.drop(full)
        return group

    async def _delegate(self, full: str, command: Delegated) -> msgspec.Struct:
        self.service.reach_nodes()
        return await delegate(self.service.context, full, command)


async def _all(writes: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Wait for all, also if one fails; then raise the first error."""
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    done: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return done


def _conflict(full: str, version: int) -> NoReturn:
    there = f"version {version} is stored" if version else "nothing is stored"
    raise VersionConflict(f"{full} is not as the write demands: {there}", version=version)
