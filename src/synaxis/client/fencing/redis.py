"""Guards for Redis: a script that compares the token and runs the command in one step.

Pass in a client of redis-py; this module does not import it. Tokens are below 2**53, which is
what Lua's numbers hold exactly.
"""

from collections.abc import Awaitable
from typing import Protocol

from synaxis.errors import StaleFencingToken

__all__ = ["AsyncRedisFence", "RedisFence"]

FENCE_PREFIX = "synaxis:fence:"

GUARD = """
local seen = tonumber(redis.call('GET', KEYS[1]) or '0')
local token = tonumber(ARGV[1])
if token < seen then
  return {0, string.format('%.0f', seen)}
end
if token > seen then
  redis.call('SET', KEYS[1], ARGV[1])
end
if #ARGV == 1 then
  return {1}
end
return {1, redis.call(unpack(ARGV, 2))}
"""
"""KEYS: the fence, then the command's. ARGV: the token, then the command (none = only check)."""

Argument = str | bytes | int | float


class RedisClient(Protocol):
    """The part of ``redis.Redis`` that a fence uses."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Argument) -> object:
        """Run a Lua script."""
        ...


class AsyncRedisClient(Protocol):
    """The part of ``redis.asyncio.Redis`` that a fence uses."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Argument) -> Awaitable[object]:
        """Run a Lua script."""
        ...


class RedisFence:
    """Guards one resource through ``redis.Redis``. With Redis Cluster, keys must share a slot."""

    def __init__(self, client: RedisClient, resource: str) -> None:
        self._client = client
        self._resource = resource

    def check(self, token: int) -> None:
        """Note ``token``.

        Raises:
            StaleFencingToken: a higher one was here.
        """
        self.execute(token)

    def execute(self, token: int, *command: Argument) -> object:
        """Run a Redis command, such as ``"SET", key, value``, under ``token``; returns its reply.

        Raises:
            StaleFencingToken: a higher one was here; the command did not run.
        """
        keys_and_args = arguments(self._resource, token, command)
        reply = self._client.eval(GUARD, key_count(command), *keys_and_args)
        return outcome(self._resource, token, reply)


class AsyncRedisFence:
    """Guards one resource through ``redis.asyncio.Redis``."""

    def __init__(self, client: AsyncRedisClient, resource: str) -> None:
        self._client = client
        self._resource = resource

    async def check(self, token: int) -> None:
        """Note ``token``.

        Raises:
            StaleFencingToken: a higher one was here.
        """
        await self.execute(token)

    async def execute(self, token: int, *command: Argument) -> object:
        """Run a Redis command, such as ``"SET", key, value``, under ``token``; returns its reply.

        Raises:
            StaleFencingToken: a higher one was here; the command did not run.
        """
        keys_and_args = arguments(self._resource, token, command)
        reply = await self._client.eval(GUARD, key_count(command), *keys_and_args)
        return outcome(self._resource, token, reply)


def key_count(command: tuple[Argument, ...]) -> int:
    """Return how many keys the script gets: the fence, and the command's own if it has one."""
    return 1 + len(command[1:2])


def arguments(resource: str, token: int, command: tuple[Argument, ...]) -> tuple[Argument, ...]:
    """Return the keys and the arguments of the script."""
    return (FENCE_PREFIX + resource, *command[1:2], token, *command)


def outcome(resource: str, token: int, reply: object) -> object:
    """Return the command's reply.

    Raises:
        StaleFencingToken: the script refused.
    """
    assert isinstance(reply, list)
    allowed, *rest = reply
    if not allowed:
        seen = int(rest[0])
        raise StaleFencingToken(
            f"{resource} has seen token {seen}; {token} is stale", token=token, seen=seen
        )
    return rest[0] if rest else None
