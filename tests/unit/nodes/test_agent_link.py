"""An agent finds its home, and another one when that is gone."""

from collections.abc import Sequence
from itertools import count

import pytest

from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    BusRd,
    BusRdX,
    Detach,
    Detached,
    Flush,
    Flushed,
    Grant,
    HomeMessage,
    LineState,
    Renew,
)
from synaxis.caches.commands import AgentId, AgentKind, Item, Lookup, Put, Version
from synaxis.ids import GroupId, Instant, NodeId
from synaxis.nodes import agent_link
from synaxis.nodes.agent_link import (
    ATTACH_MS,
    BACK_BYTES_MAX,
    FLUSH_BYTES,
    PAUSE_MS_MAX,
    PAUSE_MS_MIN,
    AgentLink,
)

GROUP = GroupId("caches/0")
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


class Node:
    """What an agent's link sees of the cluster, and what it says."""

    def __init__(self) -> None:
        self.now = Instant(1_000)
        self.leader: NodeId | None = N2
        self.others: tuple[NodeId, ...] = (N1, N3)
        self.deaf: set[NodeId] = set()
        self.said: list[tuple[NodeId, int, AgentMessage]] = []
        self.agent = Agent(AgentId(7), AgentKind.OWNER, "n1", AgentConfig())
        numbers = count(100)
        self.link = AgentLink(
            GROUP, self.agent, self._send, self._candidates, lambda: next(numbers)
        )

    def _send(self, home: NodeId, group: GroupId, stream: int, message: AgentMessage) -> bool:
        assert group == GROUP
        if home in self.deaf:
            return False
        self.said.append((home, stream, message))
        return True

    def _candidates(self, group: GroupId) -> tuple[NodeId | None, Sequence[NodeId]]:
        assert group == GROUP
        return self.leader, self.others

    def pump(self, after_ms: int = 0) -> list[tuple[NodeId, AgentMessage]]:
        """Let it have its turn; return what it says, to whom."""
        self.now = Instant(self.now + after_ms)
        self.said.clear()
        self.link.pump(self.now)
        return [(home, message) for home, _, message in self.said]

    def homes_tried(self, times: int) -> list[NodeId | None]:
        """Refuse so many attempts to attach; return at whom they were."""
        tried = []
        for _ in range(times):
            self.pump(PAUSE_MS_MAX)
            tried.append(self.link.home)
            self.hear(Detached("not me"))
        return tried

    def hear(self, message: HomeMessage, home: NodeId | None = None, stream: int = 0) -> None:
        """Let the present home say something, unless another is named."""
        home = home or self.link.home
        assert home is not None
        self.link.heard(home, stream or self.agent.stream or 0, message, self.now)

    def attach(self) -> None:
        self.pump()
        self.hear(Attached(5_000))
        assert self.agent.is_usable(self.now)


@pytest.fixture
def node() -> Node:
    return Node()


def test_it_attaches_to_the_leader_and_says_what_waits(node: Node) -> None:
    node.agent.call(Lookup(("c/k",)), "token", node.now)
    ((home, attach),) = node.pump()
    assert (home, type(attach)) == (N2, Attach)
    assert node.pump() == []
    node.hear(Attached(5_000))
    assert node.pump() == [(N2, BusRd(1, "c/k"))]


def test_who_is_no_home_is_not_listened_to(node: Node) -> None:
    node.pump()
    stream = node.agent.stream
    assert stream is not None
    node.hear(Attached(5_000), home=N3)
    node.hear(Attached(5_000), stream=stream - 1)
    assert not node.agent.is_usable(node.now)
    node.hear(Attached(5_000))
    assert node.agent.is_usable(node.now)


def test_after_a_refusal_it_waits_longer_each_time(node: Node) -> None:
    pauses = []
    for _ in range(9):
        node.pump()
        node.hear(Detached("not yet"))
        retry_at = node.link.deadline()
        assert retry_at is not None
        pauses.append(retry_at - node.now)
        assert node.pump(pauses[-1] - 1) == []
        node.now = retry_at
    assert pauses[:3] == [PAUSE_MS_MIN, 2 * PAUSE_MS_MIN, 4 * PAUSE_MS_MIN]
    assert pauses[-1] == PAUSE_MS_MAX


def test_every_other_time_it_asks_somebody_else_than_the_leader(node: Node) -> None:
    assert node.homes_tried(6) == [N2, N1, N2, N3, N2, N1]


def test_when_nobody_is_known_to_lead_it_asks_everybody(node: Node) -> None:
    node.leader = None
    assert node.homes_tried(4) == [N1, N3, N1, N3]


def test_when_nobody_can_be_reached_it_waits(node: Node) -> None:
    node.leader, node.others = None, ()
    assert node.pump() == []
    assert node.link.deadline() == node.now + PAUSE_MS_MIN
    node.leader, node.others = N2, (N1, N2)
    node.pump(PAUSE_MS_MIN)
    node.hear(Attached(5_000))
    assert node.link.deadline() == node.agent.deadline()


def test_a_home_that_does_not_answer_is_given_up(node: Node) -> None:
    node.pump()
    assert node.link.deadline() == node.now + ATTACH_MS
    assert node.pump(ATTACH_MS - 1) == []
    node.pump(1)
    assert node.link.home is None
    node.pump(PAUSE_MS_MAX)
    assert node.link.home == N1


def test_every_stream_has_a_number_of_its_own(node: Node) -> None:
    streams = []
    for _ in range(4):
        node.pump(PAUSE_MS_MAX)
        streams.append(node.agent.stream)
        node.hear(Detached())
    assert len(set(streams)) == 4


def test_a_connection_that_ends_takes_the_lines_with_it(node: Node) -> None:
    node.attach()
    node.agent.call(Lookup(("c/k",)), "token", node.now)
    node.pump()
    node.hear(Grant(1, "c/k", 1, LineState.S, None))
    assert node.agent.lines
    node.link.ended(node.now)
    assert not node.agent.lines
    ((home, attach),) = node.pump(PAUSE_MS_MIN)
    assert (home, type(attach)) == (N2, Attach)


def test_a_message_that_cannot_be_said_ends_the_stream(node: Node) -> None:
    node.attach()
    node.agent.call(Lookup(("c/k",)), "token", node.now)
    node.deaf.add(N2)
    assert node.pump() == []
    assert node.link.home is None
    assert not node.agent.is_usable(node.now)


def test_a_new_leader_is_attached_to_at_once(node: Node) -> None:
    node.attach()
    node.leader = N3
    node.link.leads(N3)
    assert not node.agent.is_usable(node.now)
    ((home, attach),) = node.pump()
    assert (home, type(attach)) == (N3, Attach)


def test_the_leader_that_is_known_already_is_no_news(node: Node) -> None:
    node.attach()
    node.link.leads(N2)
    assert node.agent.is_usable(node.now)
    assert node.pump() == []


def test_the_news_of_a_leader_ends_a_pause(node: Node) -> None:
    node.homes_tried(5)
    node.link.leads(N2)
    ((home, _),) = node.pump()
    assert home == N2


def test_a_lease_is_renewed_and_when_it_ends_so_does_the_stream(node: Node) -> None:
    node.attach()
    assert node.link.deadline() == node.now + 1_000
    assert node.pump(1_000) == [(N2, Renew(1))]
    node.pump(4_000)
    assert node.link.home is None
    ((_, attach),) = node.pump(PAUSE_MS_MIN)
    assert type(attach) is Attach


def hold_back(node: Node, size: int, key: str = "c/k") -> bool:
    """Write with policy back, if that is allowed."""
    allowed = node.link.may_hold_back(size)
    if allowed:
        node.agent.call(Put((Item(key, b"x" * size),)), "token", node.now, back=True)
    return allowed


def own(node: Node, *keys: str) -> None:
    """Let the home grant lines to write."""
    for seq, key in enumerate(keys, 1):
        node.agent.call(Put((Item(key, b""),)), "token", node.now, back=True)
        ((_, wish),) = node.pump()
        assert isinstance(wish, BusRdX)
        node.hear(Grant(wish.request, key, seq, LineState.E, None))


def test_writes_of_policy_back_go_home_early_when_they_are_many(node: Node) -> None:
    node.attach()
    own(node, "c/1", "c/2", "c/3")
    assert hold_back(node, FLUSH_BYTES - 10, "c/1")
    assert node.pump() == []
    assert hold_back(node, FLUSH_BYTES - 10, "c/2")
    assert [type(message) for _, message in node.pump()] == [Flush, Flush, Flush]
    assert not node.link.may_hold_back(30)


def test_they_are_allowed_again_when_the_home_has_them(node: Node) -> None:
    node.attach()
    own(node, "c/k")
    assert hold_back(node, BACK_BYTES_MAX)
    assert not hold_back(node, 1)
    ((_, flush),) = node.pump()
    assert isinstance(flush, Flush)
    assert not hold_back(node, 1)
    node.hear(Flushed("c/k", flush.dirty.write_id, Version(9)))
    node.pump()
    assert hold_back(node, 1)


def test_a_line_that_is_written_often_counts_once(node: Node) -> None:
    node.attach()
    own(node, "c/k")
    for _ in range(100):
        assert hold_back(node, FLUSH_BYTES // 2)
        node.pump()
    assert node.agent.unflushed == 1


def test_a_great_number_of_lines_is_not_held_back_either(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_link, "BACK_LINES_MAX", 3)
    node.attach()
    own(node, "c/1", "c/2", "c/3")
    assert not hold_back(node, 1)


def test_good_bye_is_said_to_the_home(node: Node) -> None:
    node.attach()
    node.said.clear()
    node.link.leave()
    assert [message for _, _, message in node.said] == [Detach()]
    assert not node.agent.is_usable(node.now)
    node.link.leave()
    assert len(node.said) == 1
