"""A simulated client of caches: what every client is, its near cache, and nodes to delegate to."""

from collections.abc import Callable
from typing import Any

import msgspec

from synaxis.caches.agent import Agent
from synaxis.caches.bus import Reserved
from synaxis.caches.commands import AgentId, AgentKind, Lookup
from synaxis.ids import Instant
from synaxis.simulation.caches.host import AgentHost
from synaxis.simulation.caches.ledger import AgentCall, Ledger
from synaxis.simulation.caches.setup import CacheSetup
from synaxis.simulation.caches.streams import Delegate, Delegated, Hangup, Tell
from synaxis.simulation.caches.watch import Watch
from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.clock import NodeClock
from synaxis.simulation.pending import AskKind, Pending
from synaxis.simulation.task import Script

__all__ = ["CacheClient"]


class CacheClient(Client):
    """See the module."""

    def __init__(
        self, name: str, site: ClientSite, config: ClientConfig, setup: CacheSetup, ledger: Ledger
    ) -> None:
        super().__init__(name, site, config)
        self._ledger = ledger
        drift = setup.client_drift
        self.clock = NodeClock(site.kernel, 1 + self.random.uniform(-drift, drift))
        self.clock.reboot(self.random)
        self._delegated: dict[int, Pending] = {}
        self._setup = setup
        self.near: AgentHost | None = None
        """Its near cache, if it has one."""

    def keep_near(self, watch: Watch) -> None:
        """Have a near cache from now on."""
        number = AgentId(self.random.randrange(1, 1 << 63))
        agent = Agent(number, AgentKind.SHARER, self.name, self._setup.client_agent)
        self.near = AgentHost(agent, self, self.kernel, self.coverage, self._ledger, watch.check)
        self.near.connect()

    def die(self) -> None:
        """Stop for ever."""
        if self.near is not None:
            self.near.close(crashed=True)
        self._delegated.clear()
        super().die()

    def leave(self) -> Script:
        """End everything in order."""
        if self.near is not None:
            self.near.leave()
        yield from self.close_session()

    # --- requests ---------------------------------------------------------------------------

    def read_near(self, key: str) -> Pending:
        """Read through the near cache."""
        assert self.near is not None
        pending = Pending(None, AskKind.QUERY, key)
        call = AgentCall(self.near.agent.id, self.name, Lookup((key,)), False, self.kernel.now)
        call.when_answered = lambda one: self._settle(pending, one.outcome)
        self.near.call(call)
        return pending

    def reserve(self, key: str) -> tuple[Pending, int]:
        """Ask for the right to compute ``key``; also returns the number of the wish."""
        assert self.near is not None
        pending = Pending(None, AskKind.QUERY, key)

        def reserved(outcome: Reserved) -> None:
            if outcome.token:
                self._ledger.reserved_us[outcome.token] = self.kernel.now
            self._settle(pending, outcome)

        return pending, self.near.reserve(key, reserved, renew=False)

    def delegate(self, node: str, command: msgspec.Struct, *, back: bool) -> Pending:
        """Let the agent of ``node`` do it; whether it was done stays unknown without an answer."""
        number = self._next_id
        self._next_id += 1
        pending = self._delegated[number] = Pending(None, AskKind.PROPOSE, command)
        self.network.flow(self.name, node, Delegate(number, command, back))
        return pending

    def _settle(self, pending: Pending, body: msgspec.Struct | None) -> None:
        pending.answered, pending.body = True, body
        self.completed += 1
        if pending.when_answered is not None:
            pending.when_answered(pending)

    def _receive(self, sender: str, told: Any) -> None:  # noqa: ANN401  whatever nodes say
        if not isinstance(told, Tell | Hangup | Delegated):
            super()._receive(sender, told)
        elif self.kernel.now < self.paused_until_us:
            self.kernel.at(self.paused_until_us, self._receive, sender, told)
        elif self.dead:
            return
        elif isinstance(told, Delegated):
            pending = self._delegated.pop(told.id, None)
            if pending is not None:
                self._settle(pending, told.outcome)
        elif self.near is not None:
            self.near.tell(told)

    # --- for its agent ----------------------------------------------------------------------

    @property
    def address(self) -> str:
        """See ``Place``."""
        return self.name

    def instant(self) -> Instant:
        """See ``Place``."""
        return self.clock.now()

    def virtual_time_of(self, instant: Instant) -> int:
        """See ``Place``."""
        return self.clock.virtual_time_of(instant)

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """See ``Place``."""
        self.kernel.after(delay, self._later, action)

    def _later(self, action: Callable[[], None]) -> None:
        if self.kernel.now < self.paused_until_us:
            self.kernel.at(self.paused_until_us, self._later, action)
        elif not self.dead:
            action()

    def flow(self, target: str, message: object) -> None:
        """See ``Place``."""
        self.network.flow(self.name, target, message)

    def guess_home(self, hint: object) -> str:
        """See ``Place``."""
        return str(hint) if hint in self.nodes else self.random.choice(self.nodes)

    def draw(self) -> float:
        """See ``Place``."""
        return self.random.random()
