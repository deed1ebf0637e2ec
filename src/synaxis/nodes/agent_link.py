"""One cache agent of this node, and its way to the home of its shard wherever that is.

The link attaches to whoever leads. When that node says that it does not, or says nothing, the link
tries again after a pause, and every other time asks another node: who has no vote in the shard
hears of no election.
"""

from collections.abc import Callable, Sequence

from synaxis.caches.agent import Agent
from synaxis.caches.bus import AgentMessage, Attached, Detached, HomeMessage
from synaxis.ids import GroupId, Instant, NodeId

__all__ = ["AgentLink", "Candidates", "Send"]

PAUSE_MS_MIN = 10
PAUSE_MS_MAX = 500
"""Between attempts to attach; doubles from min to max."""
ATTACH_MS = 3_000
"""How long a home may take to answer Attach."""
FLUSH_BYTES = 4 * 1024 * 1024
"""Bytes of writes with policy back that are sent home before their time ..."""
BACK_BYTES_MAX = 8 * 1024 * 1024
"""... and beyond which no more are answered before the home has them. All of them must fit the
message with which the agent attaches anew."""
BACK_LINES_MAX = 5_000
"""The same as a number of lines that something is under way for."""

Send = Callable[[NodeId, GroupId, int, AgentMessage], bool]
"""Says something to a home, in order; False: it cannot be said."""
Candidates = Callable[[GroupId], tuple[NodeId | None, Sequence[NodeId]]]
"""Returns who leads, if that is known and it can be reached, and who else could be asked."""


class AgentLink:
    """See the module. Streams are numbered by ``draw``, never twice for the same node."""

    def __init__(
        self,
        group: GroupId,
        agent: Agent,
        send: Send,
        candidates: Candidates,
        draw: Callable[[], int],
    ) -> None:
        self.group = group
        self.agent = agent
        self.marked = False
        """Whether its turn comes."""
        self.home: NodeId | None = None
        """Where the present stream leads."""
        self._send = send
        self._candidates = candidates
        self._draw = draw
        self._attempt = 0
        """Attempts to attach in vain since the last one that was not."""
        self._retry_at = Instant(0)
        self._attach_until: Instant | None = None
        """When to give up waiting for Attached."""
        self._back_bytes = 0
        """Of writes with policy back; too many until they are measured."""

    # --- the stream -------------------------------------------------------------------------

    def heard(self, home: NodeId, stream: int, message: HomeMessage, now: Instant) -> None:
        """Take what a home says."""
        if home != self.home or stream != self.agent.stream:
            return
        self.agent.receive(stream, message, now)
        if type(message) is Attached:
            self._attach_until, self._attempt = None, 0
        elif type(message) is Detached:
            self._lost(now)

    def ended(self, now: Instant) -> None:
        """The connection to the home is gone."""
        if self.home is not None:
            self._lost(now)

    def leads(self, leader: NodeId) -> None:
        """Hear that ``leader`` leads the shard: whoever did before does not any more."""
        if self.home not in (None, leader):
            self.agent.detached()
            self.home, self._attach_until = None, None
        if self.home is None:
            self._attempt, self._retry_at = 0, Instant(0)

    def _lost(self, now: Instant) -> None:
        was_attached = self.home is not None and self._attach_until is None
        self.agent.detached()
        self.home, self._attach_until = None, None
        pause_ms = min(PAUSE_MS_MIN << min(self._attempt, 16), PAUSE_MS_MAX)
        self._attempt += not was_attached
        self._retry_at = Instant(now + pause_ms)

    def _attach(self, now: Instant) -> None:
        home = self._choose()
        if home is None:
            self._lost(now)
            return
        self.home, self._attach_until = home, Instant(now + ATTACH_MS)
        self.agent.attached_to(self._draw(), now)

    def _choose(self) -> NodeId | None:
        """Return whom to ask now: the leader every other time, if it is known."""
        leader, others = self._candidates(self.group)
        turn = self._attempt
        if leader is not None:
            if turn % 2 == 0 or not others:
                return leader
            turn //= 2
        return others[turn % len(others)] if others else None

    # --- its turn ---------------------------------------------------------------------------

    def pump(self, now: Instant) -> None:
        """Attach if that is due, and send what the agent has to say."""
        agent = self.agent
        if self._back_bytes > FLUSH_BYTES:
            self._measure_back()
        agent.tick(now)
        if self.home is not None and agent.stream is None:
            self._lost(now)  # its lease ran out
        elif self._attach_until is not None and now >= self._attach_until:
            self._lost(now)
        if self.home is None and now >= self._retry_at:
            self._attach(now)
        home, stream = self.home, agent.stream
        if home is None or stream is None:
            return
        for message in agent.take_messages():
            if not self._send(home, self.group, stream, message):
                self._lost(now)
            if agent.stream != stream:
                return  # what is left was meant for a stream that is over

    def deadline(self) -> Instant | None:
        """Return when ``pump`` is due, whatever happens meanwhile."""
        if self.home is None:
            return self._retry_at
        return self.agent.deadline() if self._attach_until is None else self._attach_until

    # --- policy back ------------------------------------------------------------------------

    def may_hold_back(self, size: int) -> bool:
        """Whether a write of ``size`` bytes may be answered before the home has it."""
        self._back_bytes += size
        return self._back_bytes <= BACK_BYTES_MAX and len(self.agent.busy) < BACK_LINES_MAX

    def _measure_back(self) -> None:
        """Find out what really is unconfirmed: of a line that is written often, the last counts."""
        self._back_bytes = 0
        for line in self.agent.busy.values():
            if line.dirty is not None:
                self._back_bytes += len(line.dirty.item.value)
            for _, dirty in line.held.values():
                self._back_bytes += len(dirty.item.value)
        if self._back_bytes > FLUSH_BYTES:
            self.agent.flush_all()

    def leave(self) -> None:
        """Say good-bye to the home, if there is one."""
        agent, home, stream = self.agent, self.home, self.agent.stream
        if home is not None and stream is not None:
            agent.leave()
            for message in agent.take_messages():
                self._send(home, self.group, stream, message)
        agent.detached()
        self.home = None
