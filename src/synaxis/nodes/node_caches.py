"""Everything of a node that has to do with caches: its agents, its homes, and those of the peers.

An agent talks to a home in the same words wherever the home is; only the way differs. So the agents
of this node and those of each peer are streams at the homes here, as those of clients are.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from synaxis.backends.backing_store import BackingStore
from synaxis.caches.bus import AgentMessage, HomeMessage
from synaxis.caches.commands import AgentKind
from synaxis.ids import GroupId, NodeId
from synaxis.nodes.agent_streams import AgentStreams, Say
from synaxis.nodes.cache_asks import CacheAsks
from synaxis.nodes.cache_backing import CacheBacking
from synaxis.nodes.cache_losses import CacheLosses
from synaxis.nodes.cache_node import CacheNode, CacheNodeConfig
from synaxis.nodes.driver import NodeDriver
from synaxis.nodes.groups import Groups
from synaxis.nodes.node_config import NodeConfig
from synaxis.wire.peer import Ask, BusMessage, ToAgent, ToHome

__all__ = ["BusOutlet", "CacheNeeds", "NodeCaches"]


class BusOutlet(Protocol):
    """The way to the peers."""

    @property
    def connected(self) -> list[NodeId]:
        """Peers that can be spoken to."""
        ...

    def send_bus(self, node: NodeId, message: BusMessage) -> bool:
        """Say ``message`` to ``node`` in order; False: it cannot be said."""
        ...


class CacheNeeds(Protocol):
    """The node around it."""

    def broken(self, error: Exception) -> None:
        """A rule failed: the node must not go on."""
        ...


class NodeCaches:
    """See the module. Implements ``cache_node.CacheHost``."""

    def __init__(
        self,
        config: NodeConfig,
        driver: NodeDriver,
        groups: Groups,
        outlet: BusOutlet,
        host: CacheNeeds,
        store: BackingStore | None,
    ) -> None:
        bootstrap = config.bootstrap
        self._node_id = config.node_id
        self._driver = driver
        self._replicas = groups.replicas
        self._homes = groups.homes
        self._outlet = outlet
        self._host = host
        self.agents = CacheNode(
            CacheNodeConfig(
                node_id=config.node_id,
                shards=bootstrap.cache_groups,
                limits=bootstrap.caches,
                agent=config.agent,
                has_store=store is not None,
            ),
            self,
        )
        self.asks = CacheAsks(
            config.node_id, driver, outlet.send_bus, self.home_candidates, bootstrap.caches
        )
        self.backing = {
            group: CacheBacking(self._replicas[group], home, driver, store, host)
            for group, home in groups.homes.items()
        }
        """What carries the writes of each shard to the store behind it."""
        self.losses = CacheLosses(groups.homes)
        self._own = self.streams(self._say_to_own, AgentKind.OWNER)
        self._of_peers: dict[NodeId, AgentStreams] = {}

    def streams(self, say: Say, kind: AgentKind) -> AgentStreams:
        """Return what keeps the streams of one more connection to agents."""
        return AgentStreams(self._driver, self._replicas, self._homes, say, kind)

    # --- CacheHost --------------------------------------------------------------------------

    def say_to_home(self, home: NodeId, group: GroupId, stream: int, message: AgentMessage) -> bool:
        """Say what an agent of this node has to say."""
        if home == self._node_id:
            self._own.take(group, stream, message)
            return True
        return self._outlet.send_bus(home, ToHome(group, stream, message))

    def home_candidates(self, group: GroupId) -> tuple[NodeId | None, Sequence[NodeId]]:
        """Return who leads ``group`` and can be reached, if that is known, and all others."""
        log = self._replicas[group].log
        connected = sorted(self._outlet.connected)
        leader = log.leader
        if leader == self._node_id:
            return (leader if log.ready else None), connected
        if leader not in connected:
            return None, connected
        return leader, [node for node in connected if node != leader]

    def broken(self, error: Exception) -> None:
        """Stop the node."""
        self._host.broken(error)

    # --- what homes here say ----------------------------------------------------------------

    def _say_to_own(self, group: GroupId, stream: int, message: HomeMessage) -> bool:
        self.agents.heard(self._node_id, group, stream, message)
        return True

    def _say_to_peer(self, node: NodeId, group: GroupId, stream: int, message: HomeMessage) -> bool:
        return self._outlet.send_bus(node, ToAgent(group, stream, message))

    # --- what peers say ---------------------------------------------------------------------

    def received(self, sender: NodeId, message: BusMessage) -> None:
        """Take what a peer says; it was checked.

        Raises:
            ProtocolViolation: no node of this program says that.
        """
        if isinstance(message, ToHome):
            streams = self._of_peers.get(sender)
            if streams is None:
                say = partial(self._say_to_peer, sender)
                streams = self._of_peers[sender] = self.streams(say, AgentKind.OWNER)
            streams.take(message.group, message.stream, message.message)
        elif isinstance(message, ToAgent):
            self.agents.heard(sender, message.group, message.stream, message.message)
        elif isinstance(message, Ask):
            self.asks.asked(sender, message, self._homes)
        else:
            self.asks.told(sender, message)

    def down(self, node: NodeId) -> None:
        """We cannot speak to ``node`` any more."""
        self.agents.down(node)
        self.asks.down(node)
        streams = self._of_peers.get(node)
        if streams is not None:
            streams.close()

    def leadership(self, group: GroupId) -> None:
        """``group`` changed hands."""
        if group in self._homes:
            self.agents.leadership(group, self._replicas[group].log.leader)
            self.backing[group].leadership()

    # --- the end ----------------------------------------------------------------------------

    async def leave(self, seconds: float) -> None:
        """Bring home what only this node knows, for at most ``seconds``."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        await self.agents.leave(seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(give_up_at):
                for group, backing in self.backing.items():
                    if self._is_last_to_know(group):
                        await backing.emptied()

    def _is_last_to_know(self, group: GroupId) -> bool:
        """Whether writes that the store can take are in the memory of this node only."""
        backing, replica = self.backing[group], self._replicas[group]
        alone = replica.log.ready and replica.status().members.voters == (self._node_id,)
        return alone and backing.pending > 0 and backing.is_available

    def stop(self) -> None:
        """Do nothing from now on."""
        self.agents.stop()
        for backing in self.backing.values():
            backing.stop()
