"""Where an agent lives: its stream to whoever leads the shard, its timer, and who waits for it.

The same for nodes and clients; what differs (clock, network address, pauses) is the ``Place``.
"""

from collections.abc import Callable
from typing import Any, Protocol

from synaxis.caches.agent import NEVER, Agent
from synaxis.caches.bus import BusUpgr, Detached, Flush, Grant, InvTag, LineState, ProbeAck
from synaxis.effects import Refused
from synaxis.ids import Instant
from synaxis.simulation.caches.ledger import AgentCall, Ledger
from synaxis.simulation.caches.streams import Hangup, Say, Tell
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.kernel import Kernel

__all__ = ["AgentHost", "Place"]

ATTACH_PATIENCE_US = 1_500_000
RECONNECT_MAX_US = 200_000
TICK_MIN_US = 2_000


class Place(Protocol):
    """A process with a clock, as its agent sees it."""

    @property
    def address(self) -> str:
        """Its name in the network."""
        ...

    def instant(self) -> Instant:
        """Return the time of its clock."""
        ...

    def virtual_time_of(self, instant: Instant) -> int:
        """Return when its clock will show ``instant`` (us)."""
        ...

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay`` us, or after a pause, if the process still lives."""
        ...

    def flow(self, target: str, message: object) -> None:
        """Send on a connection."""
        ...

    def guess_home(self, hint: object) -> str:
        """Return the node that seems to lead; ``hint`` is what the last one said."""
        ...

    def draw(self) -> float:
        """Return a random number from 0 to 1."""
        ...


class AgentHost:
    """See the module. ``check`` is called whenever something happened to the agent."""

    def __init__(
        self,
        agent: Agent,
        place: Place,
        kernel: Kernel,
        coverage: Coverage,
        ledger: Ledger,
        check: Callable[["AgentHost"], None],
    ) -> None:
        self.agent = agent
        self.place = place
        self.closed = False
        self._kernel = kernel
        self._coverage = coverage
        self._ledger = ledger
        self._check = check
        self._number = kernel.now
        """Of the present stream; no two hosts at one address ever use the same."""
        self._home = ""
        self._heard = self._said = 0
        self._broken = True
        self._connecting = False
        self._timer_at: int | None = None
        self._waiting: dict[AgentCall, None] = {}

    # --- the stream -------------------------------------------------------------------------

    def connect(self, hint: object = None) -> None:
        """Open a stream to the node that seems to lead."""
        self._connecting = False
        if self.closed:
            return
        self._note_risk()
        self._number += 1
        self._home = self.place.guess_home(hint)
        self._heard = self._said = 0
        self._broken = False
        self.agent.attached_to(self._number, self.place.instant())
        if self.agent.unflushed:
            self._coverage.hit("cache.attached_with_dirty")
        number = self._number
        self.place.later(ATTACH_PATIENCE_US, lambda: self._look_whether_attached(number))
        self._flush()

    def _look_whether_attached(self, number: int) -> None:
        if number == self._number and self.agent.lease_until is NEVER:
            self._reconnect()

    def _reconnect(self, hint: object = None) -> None:
        """The stream is over; open another one soon."""
        self._note_risk()
        self._broken = True
        self.agent.detached()
        self._flush()
        if not self._connecting:
            self._connecting = True
            delay = 1 + int(self.place.draw() * RECONNECT_MAX_US)
            self.place.later(delay, lambda: self.connect(hint))

    def tell(self, told: Tell | Hangup) -> None:
        """Take what the home says, unless something before it is missing."""
        if told.stream != self._number or self._broken or self.closed:
            return
        if isinstance(told, Hangup) or told.serial != self._heard:
            self._coverage.hit("cache.stream_broken")
            self._reconnect()
            return
        self._heard += 1
        message = told.message
        if isinstance(message, Refused):
            self._reconnect(message.details.get("leader"))
            return
        self._note_grant(message)
        self.agent.receive(self._number, message, self.place.instant())
        if isinstance(message, Detached):
            self._coverage.hit("cache.detached")
            self._reconnect()
            return
        self._flush()

    def _note_grant(self, message: object) -> None:
        if isinstance(message, InvTag):
            self._coverage.hit("cache.tag_probed")
        if not isinstance(message, Grant):
            return
        line = self.agent.busy.get(message.key)
        if line is None or line.request != message.request:
            self._coverage.hit("cache.grant_unwanted")
        elif not self.agent.is_usable(self.place.instant()):
            self._coverage.hit("cache.grant_without_lease")
        elif message.state is LineState.I:
            self._coverage.hit("cache.served_once")
        elif message.seq <= line.floor:
            self._coverage.hit("cache.grant_superseded")

    def _note_risk(self) -> None:
        """Remember whose answered writes nobody else knows of while there is no stream."""
        for key, line in self.agent.busy.items():
            if line.dirty is not None or line.held:
                self._ledger.at_risk.add(key)

    # --- what users want --------------------------------------------------------------------

    def call(self, call: AgentCall) -> None:
        """Give the agent something to do."""
        self._ledger.calls.append(call)
        self._waiting[call] = None
        self.agent.call(call.command, call, self.place.instant(), back=call.back)
        self._flush()
        if call.returned_us is not None:
            self._coverage.hit("cache.hit")

    def reserve(self, key: str, token: object, *, renew: bool) -> int:
        """Ask for the right to compute a value."""
        number = self.agent.reserve(key, token, renew=renew)
        self._flush()
        return number

    def surrender(self, key: str, *, token: int = 0, request: int = 0) -> None:
        """Give the right back, or the wish for it."""
        self.agent.surrender(key, token=token, request=request)
        self._flush()

    def leave(self) -> None:
        """Say good-bye for good."""
        if self.agent.stream is not None and not self._broken:
            self.agent.leave()
            self._flush()
        self.close(crashed=False)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for the agent, and the home has all that it wrote."""
        return not self._waiting and not self.agent.unflushed

    def flush_all(self) -> None:
        """Send everything home that is unflushed."""
        self.agent.flush_all()
        self._flush()

    def close(self, *, crashed: bool) -> None:
        """The process ends."""
        if self.closed:
            return
        self._note_risk()
        self.closed = True
        agent, ledger = self.agent, self._ledger
        if crashed:
            ledger.crashed.add(agent.id)
            if agent.unflushed:
                self._coverage.hit("cache.owner_crashed_dirty")
        ledger.dirty_lost[agent.id] = agent.tally.dirty_lost
        for name in ("evictions", "invalidations", "flushes", "dirty_lost"):
            self._coverage.hit(f"cache.agent_{name}", getattr(agent.tally, name))
        self._check(self)

    # --- output -----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what the agent has to say, answer who waited, set the timer."""
        agent = self.agent
        for message in agent.take_messages():
            self._note_said(message)
            if self._broken:
                continue
            say = Say(self._number, self._said, message)
            self._said += 1
            if self._kernel.verbose:
                self._kernel.note(self.place.address, "->", self._home, say)
            self.place.flow(self._home, say)
        for token, outcome in agent.take_answers():
            self._answered(token, outcome)
        if any(line.leaving for line in agent.busy.values()):
            self._coverage.hit("cache.evicted_dirty")
        self._arm()
        self._check(self)

    def _note_said(self, message: Any) -> None:  # noqa: ANN401  whatever an agent says
        if isinstance(message, Flush):
            line, write_id = self.agent.busy.get(message.key), message.dirty.write_id
            if line is not None and line.writing is not None and line.writing.write_id == write_id:
                line.operations[0].token.write_id = write_id
        elif isinstance(message, ProbeAck) and message.dirty is not None:
            self._coverage.hit("cache.gave_dirty_away")
        elif isinstance(message, BusUpgr):
            self._coverage.hit("cache.upgrade")

    def _answered(self, token: Any, outcome: Any) -> None:  # noqa: ANN401  as the agent says
        if not isinstance(token, AgentCall):
            token(outcome)  # of a reservation
            return
        self._waiting.pop(token, None)
        token.returned_us = self._kernel.now
        token.outcome = outcome
        if token.when_answered is not None:
            token.when_answered(token)

    # --- time -------------------------------------------------------------------------------

    def _arm(self) -> None:
        deadline = self.agent.deadline()
        if deadline is None or self.closed:
            return
        at = max(self.place.virtual_time_of(deadline), self._kernel.now + TICK_MIN_US)
        if self._timer_at is None or at < self._timer_at:
            self._timer_at = at
            self.place.later(at - self._kernel.now, lambda: self._tick(at))

    def _tick(self, at: int) -> None:
        if self._timer_at != at or self.closed:
            return
        self._timer_at = None
        agent, now = self.agent, self.place.instant()
        lapsed = agent.lease_until is not NEVER and not agent.is_usable(now)
        if lapsed:
            self._coverage.hit("cache.lease_lapsed")
            self._note_risk()
        agent.tick(now)
        if lapsed:
            self._reconnect()
        else:
            self._flush()
