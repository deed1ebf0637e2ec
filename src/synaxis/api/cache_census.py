"""Counts the caches of this node for its metrics: a look at plain state for each scrape.

Cost: a few microseconds per cache and shard, and per near cache of the node; records cost nothing.

Evictions and expirations are decided in the log, so every replica counts them; they are told only
as far as they grew while this node led. What the last moments of a leader would have added is
missing.
"""

from itertools import accumulate

from synaxis.caches.home import CacheHome
from synaxis.caches.machine import CacheMachine
from synaxis.caches.tally import INVALIDATION_BOUNDS_MS
from synaxis.ids import GroupId
from synaxis.nodes.base_node import BaseNode
from synaxis.observability.cache_metrics import (
    AgentsSample,
    BackingSample,
    CacheSample,
    HomesSample,
    OneCacheSample,
)
from synaxis.observability.queue_counts import OTHER, LabelSlots

__all__ = ["CacheCensusTaker"]

CACHE_LABELS_MAX = 1_000
"""Caches that have series of their own; those beyond share the label ``(other)``."""

Decided = tuple[int, int]
"""Evictions and expirations."""


class CacheCensusTaker:
    """See the module."""

    def __init__(self, node: BaseNode, cache_labels_max: int = CACHE_LABELS_MAX) -> None:
        self.hits = 0
        """Reads of clients' near caches that found a record; the connections count them."""
        self.misses = 0
        self._node = node
        self._labels: LabelSlots[str] = LabelSlots(cache_labels_max)
        self._seen: dict[GroupId, Decided] = {}
        """By shard that is led: what was decided there when it was looked at last."""
        self._decided: Decided = (0, 0)

    def leadership(self, group: GroupId) -> None:
        """Take the news that the leader of ``group`` changed, or began to serve."""
        replica = self._node.replicas[group]
        if not isinstance(replica.machine, CacheMachine):
            return
        if replica.log.ready:
            self._seen[group] = _decided(replica.machine)
        else:
            self._seen.pop(group, None)

    def sample(self) -> CacheSample:
        """Return everything as it is now."""
        machines = self._machines()
        led = [machine for group, machine in machines.items() if group in self._seen]
        for group in self._seen:
            self._look(group, machines[group])
        agents = self._node.caches.agents
        return CacheSample(
            self.hits + agents.hits + sum(each.hits for each in machines.values()),
            self.misses + agents.misses + sum(each.misses for each in machines.values()),
            self._caches(led),
            self._homes(led),
            self._agents(),
            self._backing(),
        )

    def _machines(self) -> dict[GroupId, CacheMachine]:
        found = {}
        for group in self._node.homes:
            machine = self._node.replicas[group].machine
            assert isinstance(machine, CacheMachine)
            found[group] = machine
        return found

    def _look(self, group: GroupId, machine: CacheMachine) -> None:
        """Count what was decided since the last look; a new era of the shard begins with 0."""
        before, now = self._seen[group], _decided(machine)
        self._seen[group] = now
        evictions, expirations = self._decided
        self._decided = (
            evictions + (now[0] - before[0] if now[0] >= before[0] else now[0]),
            expirations + (now[1] - before[1] if now[1] >= before[1] else now[1]),
        )

    def _caches(self, led: list[CacheMachine]) -> list[OneCacheSample]:
        self._labels.keep({name for machine in led for name in machine.records.census})
        sums: dict[str, OneCacheSample] = {}
        for machine in led:
            for name, each in machine.records.census.items():
                label = name if self._labels.has_room_for(name) else OTHER
                known = sums.get(label) or OneCacheSample(label, 0, 0)
                sums[label] = OneCacheSample(
                    label, known.records + each.records, known.bytes + each.bytes
                )
        return list(sums.values())

    def _homes(self, led: list[CacheMachine]) -> HomesSample:
        homes = self._node.homes
        leading = [homes[group] for group in self._seen]
        tallies = [home.tally for home in homes.values()]
        transactions: dict[str, int] = {}
        for tally in tallies:
            for name, count in tally.transactions.items():
                transactions[name] = transactions.get(name, 0) + count
        return HomesSample(
            agents=sum(len(machine.agents) for machine in led),
            lines=sum(home.directory.pairs for home in leading),
            pending=sum(len(machine.pending) for machine in led),
            recovering=sum(home.is_recovering for home in leading),
            transactions=transactions,
            invalidations=_buckets(list(homes.values())),
            invalidation_s=sum(tally.invalidation_ms for tally in tallies) / 1000,
            lease_expiries=sum(tally.lease_expiries for tally in tallies),
            dirty_lost=sum(tally.dirty_lost for tally in tallies),
            evictions=self._decided[0],
            expirations=self._decided[1],
        )

    def _agents(self) -> AgentsSample:
        agents = self._node.caches.agents
        tallies = [agent.tally for agent in agents.agents]
        return AgentsSample(
            lines=sum(len(agent.lines) for agent in agents.agents),
            bytes=int(sum(agent.lines.currsize for agent in agents.agents)),
            waiting=agents.waiting,
            invalidations=sum(each.invalidations for each in tallies),
            flushes=sum(each.flushes for each in tallies),
            evictions=sum(each.evictions for each in tallies),
            lease_expiries=sum(each.lease_expiries for each in tallies),
        )

    def _backing(self) -> BackingSample:
        backing = self._node.caches.backing
        return BackingSample(
            unavailable=sum(backing[group].is_down for group in self._seen),
            written=sum(each.written for each in backing.values()),
            loaded=sum(each.loaded for each in backing.values()),
            failures=sum(each.failures for each in backing.values()),
        )


def _decided(machine: CacheMachine) -> Decided:
    return machine.evictions, machine.records.expired


def _buckets(homes: list[CacheHome]) -> list[tuple[str, float]]:
    bounds = [repr(bound / 1000) for bound in INVALIDATION_BOUNDS_MS]
    counts = [0] * (len(bounds) + 1)
    for home in homes:
        counts = [a + b for a, b in zip(counts, home.tally.invalidation_counts, strict=True)]
    return list(zip([*bounds, "+Inf"], accumulate(counts), strict=True))
