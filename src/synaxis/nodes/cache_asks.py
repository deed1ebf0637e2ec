"""Questions about caches, and clearings: any node takes them, the leader of the shard answers."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import count

import msgspec

from synaxis.caches.commands import (
    Clear,
    DescribeCaches,
    DescribeKey,
    KeyInfo,
    Removed,
    ShardCensus,
)
from synaxis.caches.limits import CacheLimits
from synaxis.caches.validation import check_question
from synaxis.consensus.commands import Proposal
from synaxis.effects import Refused, Reply, refusal
from synaxis.errors import (
    ClusterError,
    ConnectionFailed,
    NoQuorum,
    NotLeader,
    Overloaded,
    SynaxisError,
    error_from_wire,
)
from synaxis.ids import GroupId, NodeId, Sequence, SessionId
from synaxis.nodes.agent_link import Candidates
from synaxis.nodes.driver import NodeDriver
from synaxis.wire.peer import Ask, BusMessage, Told

__all__ = ["CacheAsks", "CacheQuestion", "CacheTold"]

CacheQuestion = Clear | DescribeKey | DescribeCaches
CacheTold = Removed | KeyInfo | ShardCensus
Send = Callable[[NodeId, BusMessage], bool]

ASKS_PER_PEER_MAX = 1_000
"""Asks of one peer that are not answered; one more is refused as overloaded."""
_NODE_ITSELF = SessionId(0)


class CacheAsks:
    """See the module. Lives on the running loop."""

    def __init__(
        self,
        node_id: NodeId,
        driver: NodeDriver,
        send: Send,
        candidates: Candidates,
        limits: CacheLimits,
    ) -> None:
        self._node_id = node_id
        self._driver = driver
        self._send = send
        self._candidates = candidates
        self._limits = limits
        self._numbers = count(1)
        self._open: dict[int, tuple[NodeId, asyncio.Future[msgspec.Struct]]] = {}
        """Asks of this node: whom, and who waits."""
        self._answering: dict[NodeId, int] = {}

    async def ask(self, group: GroupId, question: CacheQuestion) -> CacheTold:
        """Ask whoever leads ``group``; the caller limits the time.

        Raises:
            NoQuorum: nobody leads it, as far as is known here.
            SynaxisError: what the leader says.
        """
        leader, others = self._candidates(group)
        trouble: ClusterError = NoQuorum(f"no leader of {group} is known here")
        for node in others if leader is None else (leader, *others):
            try:
                return await self._ask(node, group, question)
            except (NotLeader, ConnectionFailed) as error:
                trouble = error
        raise NoQuorum(f"no leader of {group} was reached: {trouble.message}")

    async def _ask(self, node: NodeId, group: GroupId, question: CacheQuestion) -> CacheTold:
        future: asyncio.Future[msgspec.Struct] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._open[number] = node, future
        try:
            if node == self._node_id:
                self._do(group, question, lambda body: self._settle(number, body))
            elif not self._send(node, Ask(number, group, question)):
                raise ConnectionFailed(f"node {node} cannot be reached")
            body = await future
        finally:
            del self._open[number]
        if isinstance(body, Refused):
            raise error_from_wire(body.code, body.message, body.details)
        assert isinstance(body, CacheTold)
        return body

    def _settle(self, number: int, body: msgspec.Struct) -> None:
        _, future = self._open.get(number, (None, None))
        if future is not None and not future.done():
            future.set_result(body)

    def _do(
        self, group: GroupId, question: CacheQuestion, answer: Callable[[msgspec.Struct], None]
    ) -> None:
        """Do it here, if this node leads ``group``; ``answer`` may also get a Refused."""

        def deliver(_: None, reply: Reply) -> None:
            answer(reply.body)

        try:
            if isinstance(question, Clear):
                # A number of its own: the home tells by it which Clear has come through.
                number = Sequence(next(self._numbers))
                proposal = Proposal(_NODE_ITSELF, number, Sequence(0), question)
                self._driver.propose(group, proposal, (deliver, None))
            else:
                check_question(question, self._limits)
                self._driver.query(group, question, (deliver, None), stale=False)
        except SynaxisError as error:
            answer(refusal(error))

    # --- peers ------------------------------------------------------------------------------

    def asked(self, sender: NodeId, ask: Ask, groups: Mapping[GroupId, object]) -> None:
        """Answer a peer, if this node leads one of ``groups`` that it asks about."""

        def answer(body: msgspec.Struct) -> None:
            self._answering[sender] -= 1
            self._send(sender, Told(ask.id, body))  # type: ignore[arg-type]  # as the log answers

        open_asks = self._answering.get(sender, 0)
        self._answering[sender] = open_asks + 1
        if open_asks >= ASKS_PER_PEER_MAX:
            answer(refusal(Overloaded("too many questions of one node are open")))
        elif ask.group not in groups:
            answer(refusal(NotLeader(f"there is no cache shard {ask.group}")))
        else:
            self._do(ask.group, ask.command, answer)

    def told(self, sender: NodeId, told: Told) -> None:
        """Take the answer of a peer."""
        if self._open.get(told.id, (None, None))[0] == sender:
            self._settle(told.id, told.body)

    def down(self, node: NodeId) -> None:
        """The connection to ``node`` is gone, and its answers with it."""
        gone = refusal(ConnectionFailed(f"the connection to node {node} is gone"))
        for number, (asked, _) in list(self._open.items()):
            if asked == node:
                self._settle(number, gone)
