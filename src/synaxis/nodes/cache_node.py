"""The node's own cache agents, one per shard from its first use on, and those who use them.

Whoever hands in an operation is answered at the end of some turn: the next one if the agent holds
the line, else when the home has granted it. All agents share one timer.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import HomeMessage
from synaxis.caches.commands import (
    Add,
    AgentId,
    AgentKind,
    Backing,
    Lookup,
    Put,
    Readings,
    Remove,
)
from synaxis.caches.limits import CacheLimits
from synaxis.caches.local import Outcome
from synaxis.caches.placement import cache_group
from synaxis.caches.validation import check_command, check_key
from synaxis.effects import Refused, Reply, refusal
from synaxis.errors import (
    BackingUnavailable,
    ConnectionFailed,
    InvalidArgument,
    OutcomeUnknown,
    Overloaded,
    SynaxisError,
)
from synaxis.ids import GroupId, Instant, LogIndex, NodeId
from synaxis.nodes.agent_link import AgentLink, Candidates, Send
from synaxis.nodes.driver import TICK_MS_MIN, ReplyHandle

__all__ = ["CacheHost", "CacheNode", "CacheNodeConfig", "Single"]

Single = Lookup | Put | Add | Remove
"""A command or question about one key."""

FLUSH_POLL_S = 0.01

log = structlog.stdlib.get_logger("synaxis.caches")


class CacheNodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the agents of one node may hold, and how much may wait for them."""

    node_id: NodeId
    shards: int
    limits: CacheLimits
    agent: AgentConfig
    has_store: bool = False
    """Whether there is a store behind the caches."""
    waiting_max: int = 200_000
    """Operations that are not answered; one more is refused as overloaded."""
    waiting_bytes_max: int = 256 * 1024 * 1024
    """The same in bytes of the values that they want to store."""


class CacheHost(Protocol):
    """The node around it."""

    def say_to_home(self, home: NodeId, group: GroupId, stream: int, message: Any) -> bool:  # noqa: ANN401  # any message of an agent
        """Say something to a home; see ``agent_link.Send``."""
        ...

    def home_candidates(self, group: GroupId) -> tuple[NodeId | None, Sequence[NodeId]]:
        """Return whom to ask; see ``agent_link.Candidates``."""
        ...

    def broken(self, error: Exception) -> None:
        """A rule failed: the node must not go on."""
        ...


class _Call:
    """An operation and who waits for it."""

    __slots__ = ("handle", "is_read", "size")

    def __init__(self, handle: ReplyHandle, size: int, *, is_read: bool) -> None:
        self.handle = handle
        self.size = size
        self.is_read = is_read


Input = TypeVar("Input", bound=Callable[..., Any])


def _stops_the_node(method: Input) -> Input:
    """Make ``method`` the boundary of the agents' rules: what fails in them stops the node."""

    @wraps(method)
    def guarded(self: "CacheNode", *args: Any, **options: Any) -> Any:  # noqa: ANN401  # any input
        try:
            return method(self, *args, **options)
        except SynaxisError:
            raise
        except Exception as error:  # noqa: BLE001  # see CacheHost.broken
            self._fail(error)
            return None

    return guarded  # type: ignore[return-value]  # the same signature


class CacheNode:
    """See the module. Must be created and used inside the running loop."""

    def __init__(self, config: CacheNodeConfig, host: CacheHost) -> None:
        self.hits = 0
        """Reads that found a record."""
        self.misses = 0
        self._config = config
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._links: dict[GroupId, AgentLink] = {}
        self._marked: list[AgentLink] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = Instant(0)
        self._waiting = 0
        self._waiting_bytes = 0
        self._stream = secrets.randbits(40)
        self._is_leaving = False
        self._is_gone = False

    @property
    def agents(self) -> list[Agent]:
        """All agents that were used so far."""
        return [link.agent for link in self._links.values()]

    @property
    def waiting(self) -> int:
        """Operations that are not answered."""
        return self._waiting

    def _now(self) -> Instant:
        return Instant(int(self._loop.time() * 1000))

    # --- operations -------------------------------------------------------------------------

    @_stops_the_node
    def call(self, command: Single, handle: ReplyHandle, *, back: bool = False) -> None:
        """Do a command of one key; ``handle`` gets the outcome as a Reply.

        Args:
            command: what to do.
            handle: called once, unless it is cancelled.
            back: answer a write before the home has it.

        Raises:
            InvalidArgument, LimitExceeded: the command breaks a limit.
            BackingUnavailable: it needs a store behind the caches, and there is none.
            Overloaded: too much waits already.
            ConnectionFailed: the node is going away.
        """
        key, size = self._checked(command)
        if not self._config.has_store and _needs_store(command):
            raise BackingUnavailable("there is no store behind the caches: see cache_store_url")
        if self._is_gone:
            raise ConnectionFailed("this node is going away")
        config = self._config
        bytes_after = self._waiting_bytes + size
        if self._waiting >= config.waiting_max or bytes_after > config.waiting_bytes_max:
            raise Overloaded("too much waits for the caches of this node", retry_after=0.1)
        group = cache_group(key, config.shards)
        link = self._links.get(group) or self._begin(group)
        back = back and not self._is_leaving and link.may_hold_back(size)
        call = _Call(handle, size, is_read=type(command) is Lookup)
        self._waiting += 1
        self._waiting_bytes = bytes_after
        link.agent.call(command, call, self._now(), back=back)
        self._mark(link)

    def _checked(self, command: Single) -> tuple[str, int]:
        """Return the key of ``command``, and how many bytes it wants to store."""
        limits, size = self._config.limits, 0
        match command:
            case Lookup((key,)):
                check_key(key, limits)
                return key, size
            case Put((item,), _, fill):
                if fill:
                    raise InvalidArgument("a reservation is used at the home of the key")
                key, size = item.key, len(item.value)
            case Add(key) | Remove((key,)):
                pass
            case _:
                raise InvalidArgument("an agent does one key at a time")
        check_command(command, limits)
        return key, size

    def _begin(self, group: GroupId) -> AgentLink:
        config = self._config
        number = AgentId(secrets.randbelow(2**63 - 1) + 1)
        agent = Agent(number, AgentKind.OWNER, config.node_id, config.agent)
        send: Send = self._host.say_to_home
        candidates: Candidates = self._host.home_candidates
        link = self._links[group] = AgentLink(group, agent, send, candidates, self._draw)
        return link

    def _draw(self) -> int:
        self._stream += 1
        return self._stream

    def cancel(self, deliver: Callable[[Any, Reply], None]) -> None:
        """Nobody listens to ``deliver`` any more; writes that were begun go on."""
        for link in self._links.values():
            for call in link.agent.cancel_all(lambda call: call.handle[0] is deliver):
                self._forget(call)

    def _forget(self, call: _Call) -> None:
        self._waiting -= 1
        self._waiting_bytes -= call.size

    def _answer(self, call: _Call, outcome: Outcome) -> None:
        self._forget(call)
        if call.is_read and isinstance(outcome, Readings):
            found = outcome.readings[0] is not None
            self.hits += found
            self.misses += not found
        deliver, reminder = call.handle
        deliver(reminder, Reply(None, LogIndex(0), 0, outcome))

    # --- news -------------------------------------------------------------------------------

    @_stops_the_node
    def heard(self, home: NodeId, group: GroupId, stream: int, message: HomeMessage) -> None:
        """Take what a home says to an agent of this node."""
        link = self._links.get(group)
        if link is not None:
            link.heard(home, stream, message, self._now())
            self._mark(link)

    @_stops_the_node
    def down(self, node: NodeId) -> None:
        """The connection to ``node`` is gone, and with it every stream to a home there."""
        for link in self._links.values():
            if link.home == node:
                link.ended(self._now())
                self._mark(link)

    @_stops_the_node
    def leadership(self, group: GroupId, leader: NodeId | None) -> None:
        """Another node leads ``group``, as far as is known."""
        link = self._links.get(group)
        if link is not None and leader is not None:
            link.leads(leader)
            self._mark(link)

    # --- the turn ---------------------------------------------------------------------------

    def _mark(self, link: AgentLink) -> None:
        if link.marked or self._is_gone:
            return
        link.marked = True
        if not self._marked:
            self._loop.call_soon(self._pump)
        self._marked.append(link)

    @_stops_the_node
    def _pump(self) -> None:
        marked, self._marked = self._marked, []
        now = self._now()
        for link in marked:
            link.marked = False
            link.pump(now)
            for call, outcome in link.agent.take_answers():
                self._answer(call, outcome)  # type: ignore[arg-type]  # nothing was reserved
            at = link.deadline()
            if at is not None and (self._timer is None or at < self._timer_at):
                self._arm(at, now)

    def _arm(self, at: Instant, now: Instant) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now, TICK_MS_MIN) / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._now()
        next_at: Instant | None = None
        for link in self._links.values():
            at = link.deadline()
            if at is None:
                continue
            if at <= now + TICK_MS_MIN:
                self._mark(link)
            elif next_at is None or at < next_at:
                next_at = at
        if next_at is not None:
            self._arm(next_at, now)

    # --- the end ----------------------------------------------------------------------------

    async def leave(self, seconds: float) -> None:
        """Bring home what only this node knows, for at most ``seconds``, and say good-bye.

        Nobody then waits for leases of this node. Whoever still waits for an answer is refused.
        """
        self._is_leaving = True
        give_up_at = self._loop.time() + seconds
        while (unflushed := sum(each.unflushed for each in self.agents)) > 0:
            if self._loop.time() >= give_up_at:
                log.error("writes that no other node knows of are lost", writes=unflushed)
                break
            for link in self._links.values():
                link.agent.flush_all()
                self._mark(link)
            await asyncio.sleep(FLUSH_POLL_S)
        self._is_gone = True
        for link in self._links.values():
            self._refuse_waiting(link)
            link.leave()
        self.stop()

    def _refuse_waiting(self, link: AgentLink) -> None:
        for call, begun in list(link.agent.waiting()):
            self._answer(call, _UNKNOWN if begun else _GOING_AWAY)

    def stop(self) -> None:
        """Do nothing from now on."""
        self._is_gone = True
        self._links.clear()
        self._marked.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _fail(self, error: Exception) -> None:
        self.stop()
        self._host.broken(error)


_GOING_AWAY: Refused = refusal(ConnectionFailed("this node is going away"))
_UNKNOWN: Refused = refusal(OutcomeUnknown("this node went away while the write was on its way"))


def _needs_store(command: Single) -> bool:
    if isinstance(command, Lookup):
        return command.load
    return command.backing is not Backing.NONE
