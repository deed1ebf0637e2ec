"""What a node tells of its caches at a scrape."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from synaxis.api.cache_census import CacheCensusTaker
from synaxis.caches.commands import Evict, Item, Lookup, Put
from synaxis.caches.home import CacheHome
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.ids import GroupId, LogTime, Sequence, SessionId
from synaxis.observability.cache_metrics import OneCacheSample

if TYPE_CHECKING:
    from synaxis.nodes.base_node import BaseNode

LED, OTHER_SHARD = GroupId("caches/0"), GroupId("caches/1")
NOW = LogTime(1_000_000)


class Node:
    """As much of a node as the census looks at: two shards, of which it leads what it is told."""

    def __init__(self, labels_max: int = 100) -> None:
        self.machines = {group: CacheMachine(CacheLimits()) for group in (LED, OTHER_SHARD)}
        self.homes = {
            group: CacheHome(machine, HomeLimits()) for group, machine in self.machines.items()
        }
        self.logs = {group: SimpleNamespace(ready=False) for group in self.machines}
        self.backing = {
            group: SimpleNamespace(is_down=False, written=2, loaded=1, failures=0)
            for group in self.machines
        }
        agents = SimpleNamespace(hits=7, misses=3, waiting=1, agents=[])
        node = SimpleNamespace(
            homes=self.homes,
            replicas={
                **{
                    group: SimpleNamespace(machine=machine, log=self.logs[group])
                    for group, machine in self.machines.items()
                },
                GroupId("locks/0"): SimpleNamespace(machine=None, log=None),
            },
            caches=SimpleNamespace(agents=agents, backing=self.backing),
        )
        self.census = CacheCensusTaker(cast("BaseNode", node), labels_max)

    def lead(self, group: GroupId, *, ready: bool = True) -> None:
        self.logs[group].ready = ready
        self.census.leadership(group)

    def do(self, command: Any, group: GroupId = LED, now: int = NOW) -> Any:
        machine = self.machines[group]
        machine.advance(LogTime(now))
        return machine.apply(SessionId(1), Sequence(1), command, LogTime(now))

    def put(self, key: str, group: GroupId = LED, ttl_ms: int = 0) -> int:
        return int(self.do(Put((Item(key, b"12345", 0, ttl_ms),)), group).versions[0])


def test_what_is_stored_is_told_by_the_leader() -> None:
    node = Node()
    node.put("c/1")
    node.put("d/22")
    node.put("c/1", OTHER_SHARD)
    assert node.census.sample().caches == []
    node.lead(LED)
    node.census.leadership(GroupId("locks/0"))
    assert node.census.sample().caches == [
        OneCacheSample("c", 1, 8),
        OneCacheSample("d", 1, 9),
    ]
    node.lead(OTHER_SHARD)
    assert node.census.sample().caches[0] == OneCacheSample("c", 2, 16)
    node.lead(LED, ready=False)
    assert node.census.sample().caches == [OneCacheSample("c", 1, 8)]


def test_caches_beyond_a_limit_share_a_label() -> None:
    node = Node(labels_max=1)
    for key in ("c/1", "d/1", "e/1"):
        node.put(key)
    node.lead(LED)
    assert node.census.sample().caches == [
        OneCacheSample("c", 1, 8),
        OneCacheSample("(other)", 2, 16),
    ]


def test_reads_are_told_by_the_node_that_answered_them() -> None:
    node = Node()
    node.put("c/1")
    node.machines[LED].query(Lookup(("c/1", "c/2", "c/3")), NOW)
    node.census.hits += 10
    node.census.misses += 20
    sample = node.census.sample()
    assert (sample.hits, sample.misses) == (10 + 7 + 1, 20 + 3 + 2)


def test_what_the_log_decided_is_counted_while_this_node_leads() -> None:
    node = Node()
    versions = [(f"c/{number}", node.put(f"c/{number}")) for number in range(6)]
    node.put("c/over", ttl_ms=1_000)
    node.do(Evict((cast("Any", versions[0]),)))
    node.lead(LED)
    node.do(Evict(cast("Any", tuple(versions[1:3]))))
    assert node.census.sample().homes.evictions == 2
    node.do(Evict((cast("Any", versions[3]),)), now=NOW + 5_000)
    homes = node.census.sample().homes
    assert (homes.evictions, homes.expirations) == (3, 1)
    node.lead(LED, ready=False)
    node.do(Evict((cast("Any", versions[4]),)))
    assert node.census.sample().homes.evictions == 3


def test_a_new_era_counts_from_nothing() -> None:
    node = Node()
    node.lead(LED)
    node.put("c/1", ttl_ms=1_000)
    node.machines[LED].advance(LogTime(NOW + 5_000))
    assert node.census.sample().homes.expirations == 1
    node.machines[LED].begin_era(2)
    assert node.census.sample().homes.expirations == 1
    node.put("c/1", ttl_ms=1_000)
    node.machines[LED].advance(LogTime(NOW + 5_000))
    assert node.census.sample().homes.expirations == 2


def test_homes_are_summed_up() -> None:
    node = Node()
    for home in node.homes.values():
        home.tally.count("BusRd", 3)
        home.tally.invalidated(1)
        home.tally.invalidated(30)
        home.tally.dirty_lost += 2
    homes = node.census.sample().homes
    assert homes.transactions == {"BusRd": 6}
    assert homes.dirty_lost == 4
    assert homes.invalidation_s == 0.062
    buckets = dict(homes.invalidations)
    assert (buckets["0.001"], buckets["0.025"], buckets["0.05"], buckets["+Inf"]) == (2, 2, 4, 4)


def test_a_store_is_missed_by_those_who_lead() -> None:
    node = Node()
    for each in node.backing.values():
        each.is_down = True
    assert node.census.sample().backing == (0, 4, 2, 0)
    node.lead(LED)
    assert node.census.sample().backing.unavailable == 1
