"""A new node asks a running cluster to take it in."""

import asyncio

import aiohttp
import msgspec
import orjson

from synaxis.errors import ConnectionFailed, SynaxisError, error_from_wire
from synaxis.ids import NodeId
from synaxis.nodes.node_config import Bootstrap

__all__ = ["ask_to_join"]

ATTEMPTS = 10
PAUSE_S = 0.5


async def ask_to_join(url: str, node_id: NodeId, peer_address: str, api_key: str) -> Bootstrap:
    """Have ``node_id`` added, and return the shape the cluster was born with.

    Raises:
        ConnectionFailed: nobody answers at ``url``, or the cluster finds no leader.
        MembershipRefused: the id was used before, or the address is taken.
    """
    headers = {"Authorization": f"Bearer {api_key}"}
    timeout = aiohttp.ClientTimeout(total=10)
    failure: Exception | None = None
    target = url.rstrip("/")
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        for _ in range(ATTEMPTS):
            try:
                facts = await _get(session, f"{target}/v1/cluster")
                target = facts.leader_url or target
                body = orjson.dumps({"node_id": node_id, "peer_address": peer_address})
                async with session.post(f"{target}/v1/cluster/join", data=body) as answer:
                    await _raise_for(answer)
            except SynaxisError as error:
                if not error.retryable or error.code == "membership_refused":
                    raise
                failure = error
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
                failure = error
            else:
                return facts.bootstrap
            await asyncio.sleep(PAUSE_S)
    raise ConnectionFailed(f"cannot join by {url}: {failure}")


class _Facts(msgspec.Struct):
    bootstrap: Bootstrap
    leader_url: str


async def _get(session: aiohttp.ClientSession, url: str) -> _Facts:
    async with session.get(url) as answer:
        await _raise_for(answer)
        return msgspec.json.decode(await answer.read(), type=_Facts)


async def _raise_for(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 400:
        return
    try:
        body = orjson.loads(await answer.read())
        raise error_from_wire(body["error"], body["message"], body["details"])
    except (orjson.JSONDecodeError, KeyError) as error:
        raise ConnectionFailed(f"{answer.url} answered {answer.status}") from error
