"""Questions about shards find the leader wherever they are asked."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from synaxis.caches.commands import (
    Clear,
    DescribeCaches,
    DescribeKey,
    Removed,
    ShardCensus,
)
from synaxis.caches.limits import CacheLimits
from synaxis.consensus.commands import Proposal
from synaxis.effects import Reply, refusal
from synaxis.errors import (
    InvalidArgument,
    LimitExceeded,
    NoQuorum,
    NotLeader,
    Overloaded,
)
from synaxis.ids import GroupId, LogIndex, NodeId
from synaxis.nodes import cache_asks
from synaxis.nodes.cache_asks import CacheAsks
from synaxis.wire.peer import Ask, BusMessage, Told

if TYPE_CHECKING:
    from synaxis.nodes.driver import NodeDriver

SHARD = GroupId("caches/0")
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
CENSUS = ShardCensus((), 0, 0, 0, 0, 0, 0)


class Cluster:
    """Nodes whose messages arrive at once. ``leader`` is who leads; each may believe otherwise."""

    def __init__(self, leader: NodeId | None = N2) -> None:
        self.leader = leader
        self.nodes = {name: Node(self, name) for name in (N1, N2, N3)}
        self.lost: set[NodeId] = set()

    def __getitem__(self, name: NodeId) -> "Node":
        return self.nodes[name]


class Node:
    """One node, which is also its own driver."""

    def __init__(self, cluster: Cluster, name: NodeId) -> None:
        self.cluster = cluster
        self.name = name
        self.believes: NodeId | None = None
        self.proposed: list[Proposal] = []
        self.slow = False
        self.asks = CacheAsks(
            name, cast("NodeDriver", self), self._send, self._candidates, CacheLimits()
        )

    def _send(self, node: NodeId, message: BusMessage) -> bool:
        if node in self.cluster.lost:
            return False
        other = self.cluster.nodes[node]
        if isinstance(message, Ask):
            other.asks.asked(self.name, message, {SHARD: None})
        elif isinstance(message, Told):
            other.asks.told(self.name, message)
        return True

    def _candidates(self, group: GroupId) -> tuple[NodeId | None, Sequence[NodeId]]:
        leader = self.believes or self.cluster.leader
        others = [each for each in self.cluster.nodes if each not in (self.name, leader)]
        return leader, others

    # driver

    def _check(self) -> None:
        if self.cluster.leader != self.name:
            raise NotLeader("another one leads")

    def propose(self, group: GroupId, proposal: Proposal, handle: Any) -> None:
        self._check()
        self.proposed.append(proposal)
        handle[0](handle[1], Reply(None, LogIndex(1), 0, Removed(5)))

    def query(self, group: GroupId, query: msgspec.Struct, handle: Any, *, stale: bool) -> None:
        self._check()
        assert not stale
        if not self.slow:
            handle[0](handle[1], Reply(None, LogIndex(1), 0, CENSUS))


@pytest.mark.parametrize("leader", [N1, N2])
async def test_the_leader_answers_wherever_it_is(leader: NodeId) -> None:
    cluster = Cluster(leader)
    assert await cluster[N1].asks.ask(SHARD, DescribeCaches()) == CENSUS
    assert await cluster[N1].asks.ask(SHARD, Clear("c")) == Removed(5)
    (proposal,) = cluster[leader].proposed
    assert (proposal.session, proposal.command) == (0, Clear("c"))


async def test_every_clearing_has_a_number_of_its_own() -> None:
    """By which the home tells two that are under way from each other."""
    cluster = Cluster()
    for node in (N1, N2, N3):
        await cluster[node].asks.ask(SHARD, Clear("c"))
    assert len({each.sequence for each in cluster[N2].proposed}) == 3


@pytest.mark.parametrize("belief", [None, N3])
async def test_who_does_not_know_the_leader_asks_the_others(belief: NodeId | None) -> None:
    cluster = Cluster()
    cluster[N1].believes = belief
    assert await cluster[N1].asks.ask(SHARD, DescribeCaches()) == CENSUS


async def test_without_a_leader_there_is_no_answer() -> None:
    cluster = Cluster(None)
    with pytest.raises(NoQuorum, match="another one leads"):
        await cluster[N1].asks.ask(SHARD, DescribeCaches())
    cluster = Cluster()
    cluster.lost.update((N2, N3))
    with pytest.raises(NoQuorum, match="cannot be reached"):
        await cluster[N1].asks.ask(SHARD, DescribeCaches())


async def test_what_is_wrong_is_told_to_who_asks() -> None:
    cluster = Cluster()
    with pytest.raises(InvalidArgument):
        await cluster[N1].asks.ask(SHARD, DescribeKey("no slash"))
    with pytest.raises(LimitExceeded):
        await cluster[N2].asks.ask(SHARD, DescribeKey("c/" + "k" * 1_000))


async def test_when_the_leader_goes_down_another_one_is_asked() -> None:
    cluster = Cluster()
    cluster[N2].slow = True
    question = asyncio.get_running_loop().create_task(cluster[N1].asks.ask(SHARD, DescribeCaches()))
    await asyncio.sleep(0)
    cluster.leader = N3
    cluster[N1].asks.down(N2)
    assert await question == CENSUS


async def test_an_answer_that_comes_too_late_or_from_a_stranger_is_ignored() -> None:
    cluster = Cluster()
    cluster[N2].slow = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cluster[N1].asks.ask(SHARD, DescribeCaches())
    cluster[N1].asks.told(N2, Told(1, CENSUS))
    question = asyncio.get_running_loop().create_task(cluster[N1].asks.ask(SHARD, DescribeCaches()))
    await asyncio.sleep(0)
    cluster[N1].asks.told(N3, Told(2, refusal(Overloaded("a lie"))))
    cluster[N1].asks.told(N2, Told(2, CENSUS))
    assert await question == CENSUS


async def test_a_peer_may_ask_so_much_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_asks, "ASKS_PER_PEER_MAX", 1)
    cluster = Cluster()
    cluster[N2].slow = True
    first = asyncio.get_running_loop().create_task(cluster[N1].asks.ask(SHARD, DescribeCaches()))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await cluster[N1].asks.ask(SHARD, DescribeCaches())
    first.cancel()


async def test_a_shard_that_does_not_exist_has_no_leader() -> None:
    with pytest.raises(NoQuorum):
        await Cluster()[N1].asks.ask(GroupId("caches/99"), DescribeCaches())
