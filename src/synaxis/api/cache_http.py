"""Caches over plain HTTP, at any node: records, their state at home, what there is, clearing.

The node's own agent does the work, so a record that is read again comes from this node's memory.
``ETag`` is the version of a record and ``Content-Type`` stands for its flags; what HTTP has no word
for is in headers that begin with ``Synaxis-``.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson
from aiohttp import web

from synaxis.api.cache_headers import (
    backing_of,
    condition_of,
    etag,
    headers_of,
    is_known,
    item_of,
)
from synaxis.caches.commands import (
    Clear,
    DescribeCaches,
    DescribeKey,
    KeyInfo,
    Lookup,
    Put,
    Readings,
    Remove,
    Removed,
    ShardCensus,
    Stored,
)
from synaxis.caches.placement import cache_group
from synaxis.effects import Refused, Reply
from synaxis.errors import (
    LimitExceeded,
    NoQuorum,
    NotFound,
    OutcomeUnknown,
    RequestTimeout,
    SynaxisError,
    VersionConflict,
    error_from_wire,
)
from synaxis.ids import GroupId
from synaxis.nodes.base_node import BaseNode
from synaxis.nodes.cache_asks import CacheQuestion, CacheTold
from synaxis.nodes.cache_node import Single

__all__ = ["CacheHttp"]

TIMEOUT_S = 10.0
"""How long a request waits for homes."""
PRECONDITION_FAILED = 412


class CacheHttp:
    """See the module."""

    def __init__(self, node: BaseNode, body_s: float) -> None:
        """``body_s`` is how long a body may take to arrive."""
        self._node = node
        self._body_s = body_s

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve below ``/v1/caches``. A slash in a key is written %2F."""
        record = "/v1/caches/{cache}/{key}"
        router.add_get("/v1/caches", self._census)
        router.add_post("/v1/caches/{cache}/clear", self._clear)
        router.add_get(record + "/state", self._state)
        router.add_get(record, self._get)
        router.add_put(record, self._put)
        router.add_delete(record, self._delete)

    # --- records ----------------------------------------------------------------------------

    async def _get(self, request: web.Request) -> web.Response:
        key = _key(request)
        load = request.query.get("load", "") in ("1", "true")
        answer = await self._do(Lookup((key,), load))
        assert isinstance(answer, Readings)
        (reading,) = answer.readings
        if reading is None:
            raise NotFound(f"there is no record {key}")
        headers = headers_of(reading)
        if is_known(reading, request.headers):
            return web.Response(status=304, headers=headers)
        return web.Response(body=reading.value, headers=headers)

    async def _put(self, request: web.Request) -> web.Response:
        key = _key(request)
        value = await self._body(request)
        item = item_of(key, value, request.content_type, request.headers)
        answer = await self._do(Put((item,), backing_of(request.headers)))
        assert isinstance(answer, Stored)
        if answer.conflicts:
            return _conflict(key, answer.conflicts[0][1])
        (version,) = answer.versions
        return _json({"version": version}, headers={"ETag": etag(version)})

    async def _delete(self, request: web.Request) -> web.Response:
        key, condition = _key(request), condition_of(request.headers)
        answer = await self._do(Remove((key,), condition, backing_of(request.headers)))
        assert isinstance(answer, Removed)
        if answer.version:
            return _conflict(key, answer.version)
        if not answer.count:
            raise NotFound(f"there is no record {key}")
        return web.Response(status=204)

    async def _body(self, request: web.Request) -> bytes:
        maximum = self._node.config.bootstrap.caches.value_bytes_max
        value = bytearray()
        try:
            async with asyncio.timeout(self._body_s):
                async for chunk in request.content.iter_any():
                    value += chunk
                    if len(value) > maximum:
                        break
        except TimeoutError as error:
            raise RequestTimeout("the body did not arrive in time") from error
        if len(value) > maximum:
            raise LimitExceeded(
                f"a value has at most {maximum} bytes", limit="value_bytes_max", maximum=maximum
            )
        return bytes(value)

    async def _do(self, command: Single) -> msgspec.Struct:
        """Have the node's agent do it.

        Raises:
            RequestTimeout, OutcomeUnknown: the home did not answer in time.
            SynaxisError: refused.
        """
        future: asyncio.Future[msgspec.Struct] = asyncio.get_running_loop().create_future()

        def deliver(_: None, reply: Reply) -> None:
            if not future.done():
                future.set_result(reply.body)

        agents = self._node.caches.agents
        agents.call(command, (deliver, None))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                body = await future
        except TimeoutError as error:
            if isinstance(command, Lookup):
                raise RequestTimeout("the home of the key did not answer in time") from error
            raise OutcomeUnknown("the home of the key did not answer in time") from error
        finally:
            if not future.done() or future.cancelled():
                agents.cancel(deliver)
        if isinstance(body, Refused):
            raise error_from_wire(body.code, body.message, body.details)
        return body

    # --- shards -----------------------------------------------------------------------------

    async def _clear(self, request: web.Request) -> web.Response:
        question = Clear(request.match_info["cache"], request.query.get("tag", ""))
        answers = await self._ask_all(question)
        for each in answers.values():
            if isinstance(each, SynaxisError):
                raise each
        removed = [each.count for each in answers.values() if isinstance(each, Removed)]
        return _json({"removed_at_most": sum(removed)})

    async def _state(self, request: web.Request) -> web.Response:
        key = _key(request)
        group = cache_group(key, self._node.config.bootstrap.cache_groups)
        info = await self._ask(group, DescribeKey(key))
        assert isinstance(info, KeyInfo)
        return _json(msgspec.structs.asdict(info) | {"shard": group})

    async def _census(self, request: web.Request) -> web.Response:
        answers = await self._ask_all(DescribeCaches(request.query.get("cache", "")))
        shards = [each for each in answers.values() if isinstance(each, ShardCensus)]
        unreachable = [
            group for group, each in answers.items() if not isinstance(each, ShardCensus)
        ]
        body = {
            "caches": _caches(shards),
            "shards": {
                group: _totals(each)
                for group, each in answers.items()
                if isinstance(each, ShardCensus)
            },
            "unreachable": unreachable,
            "node": self._own(),
        }
        return _json(body)

    def _own(self) -> dict[str, Any]:
        """Return what this node's own agents did and hold: the predecessor's statistics."""
        node = self._node.caches.agents
        tallies = [agent.tally for agent in node.agents]
        reads = node.hits + node.misses
        return {
            "node_id": self._node.config.node_id,
            "hits": node.hits,
            "misses": node.misses,
            "hit_rate": node.hits / reads if reads else 0.0,
            "invalidations": sum(each.invalidations for each in tallies),
            "flushes": sum(each.flushes for each in tallies),
            "evictions": sum(each.evictions for each in tallies),
            "cache_size": sum(len(agent.lines) for agent in node.agents),
        }

    async def _ask_all(self, question: CacheQuestion) -> dict[GroupId, CacheTold | SynaxisError]:
        """Ask every home at once; those that do not answer stand for themselves."""
        groups = list(self._node.homes)
        asks = (self._ask(group, question) for group in groups)
        answers = await asyncio.gather(*asks, return_exceptions=True)
        found: dict[GroupId, CacheTold | SynaxisError] = {}
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, SynaxisError):
                raise answer
            found[group] = answer
        return found

    async def _ask(self, group: GroupId, question: CacheQuestion) -> CacheTold:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._node.caches.asks.ask(group, question)
        except TimeoutError as error:
            raise NoQuorum(f"no leader of {group} answered in time") from error


def _key(request: web.Request) -> str:
    return f"{request.match_info['cache']}/{request.match_info['key']}"


def _conflict(key: str, version: int) -> web.Response:
    error = VersionConflict(f"{key} has version {version}", version=version)
    body = {"error": error.code, "message": error.message, "details": error.details}
    return _json(body, status=PRECONDITION_FAILED, headers={"ETag": etag(version)})


def _caches(shards: Iterable[ShardCensus]) -> list[dict[str, Any]]:
    """Sum up what shards have of each cache."""
    sums: dict[str, list[int]] = {}
    for shard in shards:
        for row in shard.caches:
            total = sums.setdefault(row.cache, [0, 0])
            total[0] += row.records
            total[1] += row.bytes
    return [
        {"cache": name, "records": records, "bytes": size}
        for name, (records, size) in sorted(sums.items())
    ]


def _totals(shard: ShardCensus) -> dict[str, int]:
    found = msgspec.structs.asdict(shard)
    del found["caches"]
    return found


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )
