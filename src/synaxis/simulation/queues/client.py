"""A simulated client of queues: what every client is, and streams to the leader of the shard."""

from typing import TYPE_CHECKING, Any

from synaxis.consensus.commands import SessionAlive
from synaxis.ids import SessionId
from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.pending import Pending
from synaxis.simulation.queues.streams import Hangup, Push, Say

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MemberStream", "QueueClient"]


class MemberStream:
    """The member's end of a stream; see ``streams``."""

    def __init__(self, client: "QueueClient", number: int, node: str, session: SessionId) -> None:
        self.number = number
        self.node = node
        self.broken = False
        self.heard_us = client.kernel.now
        """When the node was heard last."""
        self.inbox: list[Any] = []
        """What has arrived and was not looked at."""
        self._client = client
        self._session = session
        self._said = 0
        self._heard = 0

    def say(self, message: object) -> None:
        """Send a message to the node."""
        say = Say(self.number, self._said, self._session, message)
        self._said += 1
        self._client.network.flow(self._client.name, self.node, say)

    def take(self, push: Push) -> None:
        """Take what the node says, unless something before it is missing."""
        self.heard_us = self._client.kernel.now
        if push.serial != self._heard:
            self.broken = True
        if not self.broken:
            self._heard += 1
            self.inbox.append(push.body)


class QueueClient(Client):
    """See the module."""

    def __init__(self, name: str, site: ClientSite, config: ClientConfig) -> None:
        super().__init__(name, site, config)
        self.when_kept: Callable[[int], None] | None = None
        """Told that the session was alive, with the time at which that was asked (us)."""
        self._streams: dict[int, MemberStream] = {}
        self._next_stream = 1

    def open_stream(self) -> MemberStream:
        """Begin a stream to the node that seems to lead."""
        assert self.session is not None
        stream = MemberStream(self, self._next_stream, self._target, self.session.id)
        self._streams[stream.number] = stream
        self._next_stream += 1
        return stream

    def close_stream(self, stream: MemberStream) -> None:
        """Hear nothing more from a stream; the node is told, if it can be reached."""
        stream.broken = True
        if self._streams.pop(stream.number, None) is not None:
            self.network.flow(self.name, stream.node, Hangup(stream.number))

    def look_elsewhere(self, leader: object = None) -> None:
        """Believe somebody else to lead."""
        self._target = str(leader) if leader in self.nodes else self.random.choice(self.nodes)

    def die(self) -> None:
        """Stop for ever."""
        for stream in list(self._streams.values()):
            if self.random.random() < 0.5:
                self.close_stream(stream)  # its machine is there still, and tells
        super().die()

    def _receive(self, sender: str, told: Any) -> None:  # noqa: ANN401  whatever nodes say
        if not isinstance(told, Push | Hangup):
            super()._receive(sender, told)
            return
        if self.kernel.now < self.paused_until_us:
            self.kernel.at(self.paused_until_us, self._receive, sender, told)
            return
        stream = self._streams.get(told.stream)
        if stream is None or self.dead:
            return
        if isinstance(told, Hangup):
            stream.broken = True
        else:
            self.completed += 1
            stream.take(told)

    def _kept_alive(self, pending: Pending, body: Any) -> None:  # noqa: ANN401  see ``Client``
        super()._kept_alive(pending, body)
        self.completed += 1
        if self.when_kept is not None and isinstance(body, SessionAlive) and body.alive:
            self.when_kept(pending.first_sent_us)
