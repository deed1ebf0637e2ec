"""Cache agents behind one connection, as the homes on this node see them.

A stream is open from its Attach until either side says that it is over, another Attach of the same
agent, or the end of the connection. Costs per message are what counts: no task, no future.
"""

from collections.abc import Callable, Mapping

from synaxis.caches.bus import AgentMessage, Attach, Detach, Detached, HomeMessage
from synaxis.caches.commands import AgentId, AgentKind
from synaxis.caches.home import CacheHome
from synaxis.consensus.replica import Replica
from synaxis.effects import Reply
from synaxis.errors import SynaxisError
from synaxis.ids import GroupId, SessionId
from synaxis.nodes.driver import NodeDriver

__all__ = ["STREAMS_PER_GROUP_MAX", "AgentStreams", "Say"]

STREAMS_PER_GROUP_MAX = 4
"""Agents of one shard behind one connection; one more is sent away."""

Say = Callable[[GroupId, int, HomeMessage], bool]
"""Tells the agent on a stream something; False: it cannot be told, so the stream is over."""

_NOBODY = SessionId(0)


class _Stream:
    """What a handle reminds us of."""

    __slots__ = ("agent", "group", "number")

    def __init__(self, group: GroupId, number: int, agent: AgentId) -> None:
        self.group = group
        self.number = number
        self.agent = agent


Handle = tuple[Callable[[_Stream, Reply], None], _Stream]
"""Stands for a stream at its home: one object, for as long as the stream is open."""


class AgentStreams:
    """See the module."""

    def __init__(
        self,
        driver: NodeDriver,
        replicas: Mapping[GroupId, Replica],
        homes: Mapping[GroupId, CacheHome],
        say: Say,
        kind: AgentKind,
    ) -> None:
        """``kind`` is what the agents may be at most."""
        self._driver = driver
        self._replicas = replicas
        self._homes = homes
        self._say = say
        self._kind = kind
        self._open: dict[int, Handle] = {}

    def __len__(self) -> int:
        return len(self._open)

    def take(self, group: GroupId, number: int, message: AgentMessage) -> None:
        """Hand to the home of ``group`` what an agent says on stream ``number``.

        Whatever is wrong with it ends the stream, and the agent is told.
        """
        kind = type(message)
        if kind is Attach:
            self._attach(group, number, message)  # type: ignore[arg-type]  # an Attach
            return
        handle = self._open.get(number)
        if handle is None or handle[1].group != group:
            if kind is not Detach:
                self._say(group, number, Detached("no such stream"))
            return
        if kind is Detach:
            del self._open[number]
        try:
            self._driver.demand(group, _NOBODY, message, handle)
        except SynaxisError as error:
            self._refuse(handle[1], error.message)

    def _attach(self, group: GroupId, number: int, message: Attach) -> None:
        stream = _Stream(group, number, message.agent)
        if group not in self._homes:
            self._refuse(stream, f"there is no cache shard {group}")
        elif message.kind > self._kind:
            self._refuse(stream, "a client may share lines, not own them")
        elif number in self._open:
            self._refuse(stream, "a stream begins once")
        else:
            self._begin(stream, message)

    def _begin(self, stream: _Stream, message: Attach) -> None:
        beside = [each for each in self._open.values() if each[1].group == stream.group]
        for handle in beside:
            if handle[1].agent == stream.agent:
                self._end(handle)
                beside.remove(handle)
                break
        if len(beside) >= STREAMS_PER_GROUP_MAX:
            self._refuse(stream, f"{STREAMS_PER_GROUP_MAX} agents of the shard are attached here")
            return
        handle = self._open[stream.number] = self._deliver, stream
        try:
            self._driver.demand(stream.group, _NOBODY, message, handle)
        except SynaxisError as error:
            self._refuse(stream, error.message)

    def _refuse(self, stream: _Stream, reason: str) -> None:
        """End a stream, if it has begun, and say why."""
        handle = self._open.get(stream.number)
        if handle is not None:
            self._end(handle)
        self._say(stream.group, stream.number, Detached(reason))

    def _end(self, handle: Handle) -> None:
        """Tell the home that nobody listens any more."""
        stream = handle[1]
        del self._open[stream.number]
        self._replicas[stream.group].disconnected(handle)
        self._driver.touch(stream.group)

    def _deliver(self, stream: _Stream, reply: Reply) -> None:
        handle = self._open.get(stream.number)
        if handle is None or handle[1] is not stream:
            return  # the home did not know yet that it is over
        message: HomeMessage = reply.body  # type: ignore[assignment]  # homes say nothing else
        if type(message) is Detached:
            del self._open[stream.number]
            self._say(stream.group, stream.number, message)
        elif not self._say(stream.group, stream.number, message):
            self._end(handle)

    def close(self) -> None:
        """The connection ended; another one of the same peer may follow."""
        for handle in list(self._open.values()):
            self._end(handle)
