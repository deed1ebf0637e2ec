"""Hostile users of caches against real nodes: whatever they say, the others are served."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from support.abuse import attacker, encode, poll
from support.cache_client import CacheClient, cache_client
from support.cluster_process import ClusterProcesses
from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    BusRd,
    BusRdX,
    BusUpgr,
    Detach,
    Dirty,
    Flush,
    ProbeAck,
    Renew,
    Reserve,
    Surrender,
)
from synaxis.caches.commands import (
    INTEGER,
    Add,
    AgentId,
    AgentKind,
    Backing,
    Clear,
    Item,
    Lookup,
    Put,
    Remove,
    Version,
)
from synaxis.ids import GroupId
from synaxis.wire.client import Answer, Bus, Delegate, Failure, Query

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

Start = Callable[..., ClusterProcesses]
KEYS = [f"c/{number}" for number in range(6)]
SHARDS = [GroupId("caches/0"), GroupId("caches/1")]
SETTINGS = {"cache_groups": 2, "cache_lease_ms": 1_000}


class Babbler:
    """Says things that are well-formed and make no sense."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self) -> int:
        return self.random.choice([0, 1, 2, 3, 5, -1, 2**63 - 1, self.random.randrange(100)])

    def item(self, key: str = "") -> Item:
        choose = self.random.choice
        return Item(
            key or choose(KEYS),
            choose([b"", b"x", b"12", b"y" * 100]),
            choose([0, 1, 2, INTEGER]),
            choose([0, 0, 1, 50, 1_000]),
            choose([0, 0, 10]),
            choose([0, 0, 0, 20]),
            choose([(), ("t",), ("t", "u")]),
            choose([-1, -1, -1, 0, self.number()]),
        )

    def backing(self) -> Backing:
        return self.random.choice([Backing.NONE, Backing.NONE, Backing.BEHIND, Backing.THROUGH])

    def command(self) -> Any:
        choose = self.random.choice
        return choose(
            [
                Put(tuple(self.item() for _ in range(choose([1, 1, 2]))), self.backing()),
                Put((self.item(),), fill=self.number()),
                Add(choose(KEYS), choose([1, -1, 2**63 - 1]), choose([0, 5]), choose([0, 10])),
                Remove(tuple(self.random.sample(KEYS, choose([1, 2]))), -1, self.backing()),
                Lookup((choose(KEYS),), choose([False, True])),
            ]
        )

    def agent_message(self) -> AgentMessage:
        choose, key = self.random.choice, self.random.choice(KEYS)
        number = self.random.randrange(1, 50)
        dirty = Dirty(number, Version(self.number()), self.item(key), backing=self.backing())
        messages: list[AgentMessage] = [
            Attach(AgentId(choose([7, 8, 9])), AgentKind.SHARER, "", choose([(), (dirty,)])),
            Renew(number),
            BusRd(number, key, choose([False, True]), choose([False, True])),
            BusRdX(number, key),
            BusUpgr(number, key),
            ProbeAck(key, self.random.randrange(1, 200), choose([None, dirty])),
            Flush(key, number, number, dirty),
            Reserve(number, key, choose([False, True])),
            Surrender(key, abs(self.number()), number),
            Detach(),
        ]
        return choose(messages)

    def say(self, client: CacheClient) -> Coroutine[Any, Any, Any]:
        """Return something to do to a client's connection."""
        shard, dice = self.random.choice(SHARDS), self.random.random()
        if dice < 0.3:
            return client.do(self.command(), back=self.random.random() < 0.5)
        if dice < 0.5:
            command = self.command()
            if isinstance(command, Lookup):
                return client.look_up(command.keys[0])
            return client.call(shard, self.random.choice([command, command, Clear("c", "t")]))
        stream = 1_000_000 + self.random.randrange(8)
        return client.say(Bus(stream, shard, self.agent_message()))


async def babble(babbler: Babbler, clients: list[CacheClient], seconds: float) -> None:
    """Say random things for a while, and wait for no answer."""
    loop = asyncio.get_running_loop()
    end, tasks, count = loop.time() + seconds, set(), 0
    while loop.time() < end:
        task = loop.create_task(babbler.say(babbler.random.choice(clients)))
        tasks.add(task)
        count += 1
        if count % 20 == 0:
            await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("seed", [1, 2])
async def test_nonsense_hurts_nobody(cluster: Start, seed: int) -> None:
    nodes = await asyncio.to_thread(cluster, 3, **SETTINGS)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(cache_client(node)) for node in nodes.nodes.values()
        ]
        await babble(Babbler(seed), clients, 4)
        async with asyncio.timeout(20):
            for key in KEYS:
                for client in clients:
                    await client.set(key, b"end")
                assert await clients[0].value(key) == b"end"
    assert all(node.running for node in nodes.nodes.values())
    assert "Traceback" not in "".join(node.log() for node in nodes.nodes.values())


async def test_who_asks_for_too_much_at_once_is_refused_and_nothing_of_it_is_left(
    cluster: Start,
) -> None:
    """Nobody can answer: the only other nodes are dead."""
    nodes = await asyncio.to_thread(cluster, 3, **SETTINGS)
    nodes["n2"].kill()
    nodes["n3"].kill()
    ask = Lookup(("c/k",))
    async with attacker(nodes["n1"]) as client:
        for start in range(0, 60_000, 5_000):
            numbers = range(start + 1, start + 5_001)
            await client.say(*(Delegate(number, ask) for number in numbers))
        answers = await client.hear(9_000, timeout_s=20)
        codes = {each.code for each in answers if isinstance(each, Failure)}
        assert codes == {"overloaded"}
        assert waiting(nodes) == 50_000
    await poll(lambda: waiting(nodes) == 0, "nothing waits for a client that is gone")
    assert nodes["n1"].running


def waiting(nodes: ClusterProcesses) -> int:
    _, text = nodes["n1"].get("/metrics")
    lines = [each for each in text.splitlines() if each.startswith("synaxis_cache_node_waiting ")]
    return int(float(lines[0].split()[1])) if lines else -1


async def test_a_read_of_very_many_records_is_a_read_of_its_own_kind(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1, cache_groups=1)
    keys = tuple(f"c/{number}" for number in range(10_000))
    async with attacker(nodes["n1"]) as client:
        await client.say(Query(1, SHARDS[0], Lookup((*keys, "c/more"))))
        (refused,) = await client.hear()
        assert isinstance(refused, Failure)
        assert refused.code == "limit_exceeded"
        some = Lookup(keys[:500])
        await client.say(*(Query(number, SHARDS[0], some) for number in range(2, 302)))
        answers = await client.hear(300, timeout_s=30)
        kinds = [each.code if isinstance(each, Failure) else "ok" for each in answers]
        assert set(kinds) <= {"ok", "overloaded"}
        await client.socket.send_bytes(encode(Query(400, SHARDS[0], Lookup(("c/1",)))))
        (answer,) = await client.hear()
        assert isinstance(answer, Answer)
        assert msgspec.structs.astuple(answer.body) == ((None,),)
