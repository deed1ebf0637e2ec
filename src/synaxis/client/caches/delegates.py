"""Operations that a node does for us with its own agent (``write="back"``).

All clients that see the same nodes give a key to the same one, so that its line stays there; any
other node answers as truly, only later.
"""

import asyncio
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from synaxis.caches.commands import Add, Lookup, Put, Remove
from synaxis.client.caches.context import Context
from synaxis.client.clock import now
from synaxis.client.requests import ANY_NODE, Request
from synaxis.client.routing import RETRIED_CODES
from synaxis.effects import Refused
from synaxis.errors import (
    ClusterError,
    NoQuorum,
    NotLeader,
    OutcomeUnknown,
    error_from_wire,
)
from synaxis.ids import NodeId
from synaxis.wire.client import Delegate

__all__ = ["Delegated", "delegate", "ranking"]

Delegated = Lookup | Put | Add | Remove

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 0.5


class _DelegateRequest(Request):
    """One try at one node. Nothing tells a repetition from the first, so it is never repeated."""

    __slots__ = ("command",)

    def __init__(self, command: Delegated, deadline: float) -> None:
        super().__init__(ANY_NODE, deadline)
        self.command = command

    def message(self, number: int) -> Delegate:
        """Return the Delegate."""
        return Delegate(number, self.command, back=True)

    @property
    def changes_state(self) -> bool:
        """Whether not knowing its fate is a problem of its own."""
        return not isinstance(self.command, Lookup)

    @property
    def repeatable(self) -> bool:
        """Whoever sent it decides what is done when the node is gone."""
        return False

    @property
    def portable(self) -> bool:
        """As ``repeatable``."""
        return False


async def delegate(context: Context, key: str, command: Delegated) -> msgspec.Struct:
    """Have the node that is best for ``key`` do ``command``; if it cannot, the next one.

    Raises:
        OutcomeUnknown: a write was sent and the node did not answer.
        SynaxisError: refused, or no node could do it in time.
    """
    router, deadline = context.router, now() + context.caller.timeout_s
    pause_s = PAUSE_FIRST_S
    trouble: ClusterError | None = None
    while True:
        for node in ranking(key, router.nodes) or (None,):
            context.check()
            request = _DelegateRequest(command, deadline)
            if node is None:
                router.send(request)  # to the first that is reached
            elif not router.send_to(node, request):
                continue
            try:
                return await _done(request)
            except ClusterError as error:
                unknown = isinstance(error, OutcomeUnknown) and request.changes_state
                if unknown or error.code not in RETRIED_CODES:
                    raise
                trouble = error
        if now() + pause_s >= deadline:
            raise _plain(trouble)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


async def _done(request: _DelegateRequest) -> msgspec.Struct:
    answer = await request.future
    body: msgspec.Struct = answer.body
    if isinstance(body, Refused):
        raise error_from_wire(body.code, body.message, body.details)
    return body


def _plain(trouble: ClusterError | None) -> ClusterError:
    """Return what to tell the user, who knows nothing of delegates."""
    if trouble is None or isinstance(trouble, NotLeader | OutcomeUnknown):
        return NoQuorum("no node could do it in time")
    return trouble


def ranking(key: str, nodes: Iterable[NodeId]) -> list[NodeId]:
    """Return the nodes, best first: equal in all clients that see the same ones.

    Reference: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
    """
    return sorted(nodes, key=lambda node: blake2b(f"{node}/{key}".encode(), digest_size=8).digest())
