"""Caches over plain HTTP: any node does it, and says what it did."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest
from yarl import URL

from support.cluster_process import ClusterProcesses, NodeProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Start = Callable[..., ClusterProcesses]


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Ask = Callable[..., Any]


@asynccontextmanager
async def caches(*nodes: NodeProcess) -> AsyncIterator[tuple[Ask, ...]]:
    """Yield one function per node: ``await ask(method, path, body, header="value")``."""
    async with aiohttp.ClientSession() as session:

        def asking(node: NodeProcess) -> Ask:
            async def ask(
                method: str, path: str = "", body: bytes | None = None, **headers: str
            ) -> Answer:
                url = URL(f"{node.url}/v1/caches{path}", encoded=True)
                names = {name.replace("_", "-"): value for name, value in headers.items()}
                async with session.request(method, url, data=body, headers=names) as found:
                    return Answer(found.status, found.headers, await found.read())

            return ask

        yield tuple(asking(node) for node in nodes)


async def test_a_record_is_the_same_at_every_node(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    async with caches(*nodes.nodes.values()) as (one, two, three):
        for number in range(8):
            path = f"/users/{number}"
            assert (await one("GET", path)).status == 404
            stored = await two("PUT", path, b'{"n": 1}', content_type="application/json")
            assert stored.status == 200
            found = await three("GET", path)
            assert (found.status, found.body) == (200, b'{"n": 1}')
            assert found.headers["Content-Type"] == "application/json"
            assert found.headers["ETag"] == stored.headers["ETag"]
            assert (await one("DELETE", path)).status == 204
            assert (await one("DELETE", path)).status == 404
            assert (await three("GET", path)).status == 404


async def test_conditions_ttl_and_tags(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 1, cache_value_bytes_max=100_000)
    async with caches(nodes["n1"]) as (ask,):
        path = "/c/a%2Fb%20%C3%A4"
        first = await ask("PUT", path, b"1", if_none_match="*", synaxis_ttl_ms="60000")
        assert first.status == 200
        again = await ask("PUT", path, b"1", if_none_match="*")
        assert (again.status, again.json["error"]) == (412, "version_conflict")
        assert again.headers["ETag"] == first.headers["ETag"]
        found = await ask("GET", path)
        assert 0 < int(found.headers["Synaxis-Ttl-Ms"]) <= 60_000
        assert (await ask("GET", path, if_none_match=first.headers["ETag"])).status == 304
        changed = await ask("PUT", path, b"2", if_match=first.headers["ETag"], synaxis_tags="red")
        assert changed.status == 200
        assert (await ask("DELETE", path, if_match=first.headers["ETag"])).status == 412
        assert (await ask("GET", path)).headers["Synaxis-Tags"] == "red"
        assert (await ask("PUT", path, b"x" * 100_001)).status == 429
        assert (await ask("PUT", path, b"", synaxis_ttl_ms="soon")).status == 400
        assert (await ask("PUT", path, b"", synaxis_backing="through")).status == 503


async def test_clearing_counting_and_looking_behind_the_scenes(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    async with caches(*nodes.nodes.values()) as (one, two, three):
        for number in range(20):
            await one("PUT", f"/c/{number}", b"12345", synaxis_tags=("even", "odd")[number % 2])
        await two("PUT", "/other/k", b"1")
        (c, other) = (await three("GET")).json["caches"]
        assert (c["cache"], c["records"], other["cache"]) == ("c", 20, "other")
        assert (await three("GET", "?cache=other")).json["caches"] == [other]

        state = (await two("GET", "/c/1/state")).json
        assert (state["key"], state["state"], state["owner"]) == ("c/1", "E", "n1")
        assert (await two("GET", "/c/1")).body == b"12345"
        state = (await three("GET", "/c/1/state")).json
        assert (state["state"], set(state["sharers"])) == ("S", {"n1", "n2"})

        census = (await two("GET")).json
        assert census["unreachable"] == []
        assert sorted(census["shards"]) == [f"caches/{number}" for number in range(4)]
        assert census["node"] == {
            "node_id": "n2",
            "hits": 1,
            "misses": 0,
            "hit_rate": 1.0,
            "invalidations": 0,
            "flushes": 1,
            "evictions": 0,
            "cache_size": 2,
        }
        assert (await three("POST", "/c/clear?tag=odd")).json["removed_at_most"] >= 10
        assert [(await one("GET", f"/c/{number}")).status for number in range(4)] == [200, 404] * 2
        await three("POST", "/c/clear")
        assert (await one("GET", "/c/0")).status == 404
        assert (await one("GET", "/other/k")).status == 200


async def test_a_shard_without_a_majority_is_named(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    async with caches(nodes["n1"]) as (ask,):
        await ask("PUT", "/c/k", b"1")
        nodes["n2"].kill()
        nodes["n3"].kill()
        census = (await ask("GET")).json
        assert len(census["unreachable"]) + len(census["shards"]) == 4
        assert census["unreachable"]
