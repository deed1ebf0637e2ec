"""A simulated node with one cache shard: the real machine, its home, and the node's own agent.

Does what the shell does around them: carries streams, keeps the agent attached to whoever leads,
lets the agent do what clients delegate to the node.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import msgspec

from synaxis.caches.agent import Agent
from synaxis.caches.commands import AgentId, AgentKind
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import Effects, Members, Reply
from synaxis.ids import GroupId, Instant, SessionId
from synaxis.simulation.caches.host import AgentHost
from synaxis.simulation.caches.hub import Hub
from synaxis.simulation.caches.ledger import AgentCall, Ledger
from synaxis.simulation.caches.observed import ObservedCache, ObservedHome
from synaxis.simulation.caches.setup import WALL_CLOCK_MS, CacheSetup
from synaxis.simulation.caches.streams import (
    Delegate,
    Delegated,
    Hangup,
    HomeStream,
    Say,
    Tell,
)
from synaxis.simulation.caches.watch import Watch
from synaxis.simulation.disk import SimulatedDirectory
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND
from synaxis.simulation.observed import ObservedReplica
from synaxis.simulation.process import SimulatedNode, Surroundings

__all__ = ["CacheNode", "Shared"]

_NODE_ITSELF = SessionId(0)
FOLLOWER_GUESS = 0.8
"""How often a node believes its log about who leads."""


@dataclass(slots=True)
class Shared:
    """What all nodes of a world share."""

    setup: CacheSetup
    ledger: Ledger
    watch: Watch
    node_ids: Callable[[], list[str]]
    """Returns the members."""


class CacheNode(SimulatedNode):
    """See the module."""

    group: ClassVar[GroupId] = GroupId("caches/0")

    def __init__(
        self,
        shared: Shared,
        around: Surroundings,
        node_id: str,
        bootstrap: Members,
        disk: SimulatedDirectory,
    ) -> None:
        super().__init__(around, node_id, bootstrap, disk)
        self._shared = shared
        skew = shared.setup.wall_skew_ms
        self.wall_skew_ms = self.random.randrange(-skew, skew + 1)

    # --- life -------------------------------------------------------------------------------

    def _make_machine(self) -> ObservedCache:
        self.cache = ObservedCache(self._shared.setup.limits, self.around.monitor, self.id)
        return self.cache

    def _replica_config(self, now: Instant) -> ReplicaConfig:
        wall = WALL_CLOCK_MS + self.kernel.now // MICROSECONDS_PER_MILLISECOND + self.wall_skew_ms
        config = self.around.config.replica
        return msgspec.structs.replace(config, wall_offset_ms=wall - now)

    def _started(self, replica: ObservedReplica) -> None:
        around = self.around
        self.home = ObservedHome(self.cache, self._shared.setup.home)
        self.home.coverage = around.coverage
        replica.attended_by(self.home)
        replica.guarded_by(self.home.gate)
        self._hub = Hub(self.kernel, around.network, self.id, self._demand)
        number = AgentId(self.random.randrange(1, 1 << 63))
        agent = Agent(number, AgentKind.OWNER, self.id, self._shared.setup.node_agent)
        self.host = AgentHost(
            agent, self, self.kernel, around.coverage, self._shared.ledger, self._shared.watch.check
        )
        self.later(self.random.randrange(200_000), self.host.connect)

    def _end(self, *, power: bool) -> None:
        super()._end(power=power)
        self.host.close(crashed=True)

    # --- for its agent ----------------------------------------------------------------------

    @property
    def address(self) -> str:
        """See ``Place``."""
        return self.id

    def instant(self) -> Instant:
        """See ``Place``."""
        return self.clock.now()

    def virtual_time_of(self, instant: Instant) -> int:
        """See ``Place``."""
        return self.clock.virtual_time_of(instant)

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """See ``Place``."""
        self.kernel.after(delay, self._later, self.incarnation, action)

    def _later(self, incarnation: int, action: Callable[[], None]) -> None:
        if incarnation != self.incarnation:
            return
        if self.paused:
            self.kernel.at(self.paused_until, self._later, incarnation, action)
        else:
            action()

    def flow(self, target: str, message: object) -> None:
        """See ``Place``."""
        self.around.network.flow(self.id, target, message)

    def guess_home(self, hint: object) -> str:
        """See ``Place``."""
        known = hint if hint is not None or self.log is None else self.log.leader
        nodes = self._shared.node_ids()
        if known in nodes and self.random.random() < FOLLOWER_GUESS:
            return str(known)
        return self.random.choice(nodes)

    def draw(self) -> float:
        """See ``Place``."""
        return self.random.random()

    # --- inputs -----------------------------------------------------------------------------

    def _take(self, replica: ObservedReplica, sender: str, message: msgspec.Struct) -> None:
        if isinstance(message, Say):
            if self.kernel.verbose:
                self.kernel.note(self.id, "hears", sender, message)
            self._hub.hear(sender, message)
        elif isinstance(message, Tell | Hangup):
            self.host.tell(message)
        elif isinstance(message, Delegate):
            self._do(sender, message)
        else:
            super()._take(replica, sender, message)

    def _demand(self, message: msgspec.Struct, handle: HomeStream) -> None:
        assert self.replica is not None
        self.replica.demand(_NODE_ITSELF, message, handle, self.clock.now())

    def _do(self, client: str, delegate: Delegate) -> None:
        call = AgentCall(
            self.host.agent.id, self.id, delegate.command, delegate.back, self.kernel.now
        )
        call.when_answered = partial(self._done, client, delegate.id)
        self.host.call(call)

    def _done(self, client: str, number: int, call: AgentCall) -> None:
        self.flow(client, Delegated(number, call.outcome))

    # --- the turn ---------------------------------------------------------------------------

    def _after_log(self, effects: Effects) -> None:
        del effects
        self.home.check_invariants()
        self.cache.check_invariants()

    def _answer(self, reply: Reply) -> None:
        if isinstance(reply.handle, HomeStream):
            self._hub.tell(reply.handle, reply.body)
        else:
            super()._answer(reply)
