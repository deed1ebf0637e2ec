"""Streams of cache agents: what their homes hear, and when they end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    BusRd,
    Detach,
    Detached,
    HomeMessage,
    Inv,
    Renew,
)
from synaxis.caches.commands import AgentId, AgentKind
from synaxis.effects import Reply
from synaxis.errors import LimitExceeded, NotLeader, SynaxisError
from synaxis.ids import GroupId, LogIndex, SessionId
from synaxis.nodes.agent_streams import STREAMS_PER_GROUP_MAX, AgentStreams

if TYPE_CHECKING:
    from synaxis.caches.home import CacheHome
    from synaxis.consensus.replica import Replica
    from synaxis.nodes.driver import NodeDriver

SHARD, OTHER = GroupId("caches/0"), GroupId("caches/1")
Handle = tuple[Callable[[Any, Reply], None], Any]
SHARER, OWNER = AgentKind.SHARER, AgentKind.OWNER


class Node:
    """A driver and all replicas at once, that remember what they are told."""

    def __init__(self) -> None:
        self.heard: list[tuple[GroupId, msgspec.Struct]] = []
        self.handles: list[Handle] = []
        self.gone: list[object] = []
        self.touched: list[GroupId] = []
        self.error: SynaxisError | None = None

    def demand(
        self, group: GroupId, session: SessionId, message: msgspec.Struct, handle: Handle
    ) -> None:
        assert session == 0
        if self.error is not None:
            raise self.error
        self.heard.append((group, message))
        self.handles.append(handle)

    def disconnected(self, handle: object) -> None:
        self.gone.append(handle)

    def touch(self, group: GroupId) -> None:
        self.touched.append(group)


class Connection:
    def __init__(self, kind: AgentKind = SHARER) -> None:
        self.node = Node()
        self.said: list[tuple[int, HomeMessage]] = []
        self.is_deaf = False
        self.streams = AgentStreams(
            cast("NodeDriver", self.node),
            cast("dict[GroupId, Replica]", {SHARD: self.node, OTHER: self.node}),
            cast("dict[GroupId, CacheHome]", {SHARD: None, OTHER: None}),
            self._say,
            kind,
        )

    def _say(self, group: GroupId, stream: int, message: HomeMessage) -> bool:
        if not self.is_deaf:
            self.said.append((stream, message))
        return not self.is_deaf

    def take(self, stream: int, message: AgentMessage, group: GroupId = SHARD) -> None:
        self.streams.take(group, stream, message)

    def attach(
        self, stream: int, agent: int = 0, kind: AgentKind = SHARER, group: GroupId = SHARD
    ) -> None:
        self.take(stream, Attach(AgentId(agent or stream), kind), group)

    def home_says(self, message: HomeMessage, at: int = -1) -> None:
        """Let the home say something on the stream of its ``at``-th demand."""
        deliver, reminder = self.node.handles[at]
        deliver(reminder, Reply(None, LogIndex(0), 0, message))


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_a_stream_is_one_handle_for_all_its_messages(connection: Connection) -> None:
    connection.attach(4)
    connection.take(4, BusRd(1, "c/k"))
    connection.attach(5)
    first, second, third = connection.node.handles
    assert first is second is not third
    assert connection.node.heard[1] == (SHARD, BusRd(1, "c/k"))


def test_what_the_home_says_comes_back_on_the_stream(connection: Connection) -> None:
    connection.attach(4)
    connection.attach(5)
    connection.home_says(Attached(5_000), at=0)
    connection.home_says(Inv("c/k", 1), at=1)
    assert connection.said == [(4, Attached(5_000)), (5, Inv("c/k", 1))]


def test_on_a_stream_that_is_none_nothing_is_done(connection: Connection) -> None:
    connection.take(4, Renew(1))
    connection.take(5, Detach())
    connection.attach(6)
    connection.take(6, Renew(1), group=OTHER)
    assert connection.said == [(4, Detached("no such stream")), (6, Detached("no such stream"))]
    assert len(connection.node.heard) == 1


def test_a_home_that_does_not_serve_ends_the_stream(connection: Connection) -> None:
    connection.node.error = NotLeader("another one does")
    connection.attach(4)
    assert connection.said == [(4, Detached("another one does"))]
    connection.node.error = None
    connection.attach(5)
    connection.node.error = LimitExceeded("the key is too long")
    connection.take(5, BusRd(1, "c/k"))
    connection.take(5, Renew(1))
    assert connection.said[1:] == [
        (5, Detached("the key is too long")),
        (5, Detached("no such stream")),
    ]
    assert len(connection.node.gone) == 2
    assert len(connection.streams) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"group": GroupId("caches/9")}, "no cache shard"),
        ({"group": GroupId("locks/0")}, "no cache shard"),
        ({"kind": OWNER}, "share"),
    ],
)
def test_not_every_attach_is_taken(
    connection: Connection, options: dict[str, Any], reason: str
) -> None:
    connection.attach(4, **options)
    ((stream, message),) = connection.said
    assert (stream, type(message)) == (4, Detached)
    assert reason in cast("Detached", message).reason
    assert connection.node.heard == []


def test_an_agent_of_a_node_may_own() -> None:
    connection = Connection(OWNER)
    connection.attach(4, kind=OWNER)
    assert len(connection.node.heard) == 1


def test_a_number_is_used_once(connection: Connection) -> None:
    connection.attach(4)
    connection.attach(4, agent=7)
    assert connection.said == [(4, Detached("a stream begins once"))]
    assert connection.node.gone == [connection.node.handles[0]]


def test_an_agent_has_one_stream_the_last_one(connection: Connection) -> None:
    for stream in range(1, 20):
        connection.attach(stream, agent=7)
        connection.home_says(Attached(5_000))
    connection.home_says(Inv("c/k", 1), at=0)
    assert connection.said == [(stream, Attached(5_000)) for stream in range(1, 20)]
    assert connection.node.gone == connection.node.handles[:-1]
    assert len(connection.streams) == 1


def test_there_is_room_for_a_few_agents_of_a_shard(connection: Connection) -> None:
    for stream in range(1, STREAMS_PER_GROUP_MAX + 1):
        connection.attach(stream)
    connection.attach(90)
    connection.attach(91, group=OTHER)
    ((stream, message),) = connection.said
    assert (stream, type(message)) == (90, Detached)
    connection.take(1, Detach())
    connection.attach(92)
    assert len(connection.said) == 1


def test_a_home_that_says_good_bye_is_not_told_of_the_end(connection: Connection) -> None:
    connection.attach(4)
    connection.home_says(Detached("enough"))
    connection.home_says(Inv("c/k", 1))
    connection.streams.close()
    assert connection.said == [(4, Detached("enough"))]
    assert connection.node.gone == []


def test_an_agent_that_says_good_bye_hears_no_more(connection: Connection) -> None:
    connection.attach(4)
    connection.take(4, Detach())
    assert connection.node.heard[-1] == (SHARD, Detach())
    connection.home_says(Inv("c/k", 1))
    assert connection.said == []


def test_the_end_of_the_connection_ends_all_streams(connection: Connection) -> None:
    connection.attach(4)
    connection.attach(5, group=OTHER)
    connection.streams.close()
    assert connection.node.gone == connection.node.handles
    assert connection.node.touched == [SHARD, OTHER]
    connection.home_says(Inv("c/k", 1))
    assert connection.said == []
    connection.attach(6)
    connection.home_says(Attached(5_000))
    assert connection.said == [(6, Attached(5_000))]


def test_an_agent_that_cannot_be_told_something_has_no_stream_any_more(
    connection: Connection,
) -> None:
    """What it would hear next makes no sense without what it missed."""
    connection.attach(4)
    connection.is_deaf = True
    connection.home_says(Inv("c/k", 1))
    connection.is_deaf = False
    connection.home_says(Inv("c/k", 2))
    assert connection.said == []
    assert connection.node.gone == connection.node.handles[:1]
    connection.take(4, Renew(1))
    assert connection.said == [(4, Detached("no such stream"))]
