"""Streams of members: what they are told, and when they end."""

from array import array
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from synaxis.api import member_streams
from synaxis.api.member_streams import MemberStreams
from synaxis.api.payloads import Payloads
from synaxis.effects import Refused, Reply
from synaxis.errors import ConsumerFenced, NotLeader, Overloaded, SynaxisError
from synaxis.ids import GroupId, LogIndex, LogTime, SessionId
from synaxis.queues.commands import (
    Assignment,
    Attach,
    Credit,
    Delivery,
    Detach,
    Extend,
    Extended,
    Part,
    Release,
    Slice,
)
from synaxis.queues.questions import Page
from synaxis.queues.units import encode_unit
from synaxis.wire.client import (
    Answer,
    Assigned,
    Delivered,
    Failure,
    Member,
    RecordPage,
    ServerMessage,
)

if TYPE_CHECKING:
    from synaxis.nodes.base_node import BaseNode

GROUP = GroupId("queues/0")
SESSION = SessionId(7)
Handle = tuple[Callable[[Any, Reply], None], Any]
UNIT = encode_unit(array("I", [1, 1]).tobytes(), b"ab")[0]
BOTH = Slice(0, 10, 2, 0, 1, 0, len(UNIT), LogTime(5))


class Node:
    """What the streams need of a node: it is the driver and all replicas at once."""

    def __init__(self) -> None:
        self.driver = self
        self.replicas = {GROUP: self}
        self.demands: list[tuple[SessionId, msgspec.Struct]] = []
        self.handles: list[Handle] = []
        self.gone: list[object] = []
        self.error: SynaxisError | None = None

    def demand(
        self, group: GroupId, session: SessionId, message: msgspec.Struct, handle: Handle
    ) -> None:
        assert group == GROUP
        if self.error is not None:
            raise self.error
        self.demands.append((session, message))
        self.handles.append(handle)

    def disconnected(self, handle: object) -> None:
        self.gone.append(handle)

    def not_leader(self, group: GroupId) -> NotLeader:
        return NotLeader("elsewhere", leader="n2", url="http://n2", term=3)


class Source:
    """Stored bytes: segment 1 is in memory, segment 2 on disk, others nowhere."""

    def read(self, group: GroupId, ranges: Sequence[tuple[int, int, int]]) -> list[bytes] | None:
        return [UNIT for _ in ranges] if {segment for segment, _, _ in ranges} <= {1} else None

    def read_blocking(
        self, group: GroupId, ranges: Sequence[tuple[int, int, int]]
    ) -> list[bytes] | None:
        return [UNIT for _ in ranges] if {segment for segment, _, _ in ranges} <= {1, 2} else None


class Client:
    def __init__(self) -> None:
        self.node = Node()
        self.heard: list[ServerMessage] = []
        self.tasks: list[Coroutine[Any, Any, None]] = []
        payloads = Payloads(Source(), self.tasks.append, self.fail)
        self.streams = MemberStreams(cast("BaseNode", self.node), payloads, self.heard.append)

    def fail(self, error: Exception) -> None:
        raise error

    def attach(self, number: int = 1, member: int = 0) -> None:
        """Attach a member, another one for each number unless said otherwise."""
        self.take(number, Attach("t", "g", member or number, 10))

    def take(self, number: int, message: Any) -> None:
        self.streams.take(Member(number, GROUP, SESSION, message))

    def say(self, body: msgspec.Struct, at: int = -1) -> None:
        """Let the leader answer to a demand, the last one unless said otherwise."""
        deliver, reminder = self.node.handles[at]
        deliver(reminder, Reply(None, LogIndex(9), 2, body))


@pytest.fixture
def client() -> Client:
    return Client()


def test_what_a_member_says_goes_to_the_leader(client: Client) -> None:
    client.attach()
    client.take(0, Credit("t", "g", 1, 5))
    assert client.node.demands == [
        (SESSION, Attach("t", "g", 1, 10)),
        (SESSION, Credit("t", "g", 1, 5)),
    ]


def test_messages_come_under_the_number_of_their_attach(client: Client) -> None:
    client.attach(4)
    client.attach(5)
    client.say(Delivery((BOTH,)), at=0)
    (delivered,) = client.heard
    assert isinstance(delivered, Delivered)
    assert delivered.id == 4
    assert [(each.first, each.body) for each in delivered.records] == [(10, b"ab")]


def test_a_delivery_of_which_nothing_is_left_is_not_sent(client: Client) -> None:
    client.attach()
    client.say(Delivery(()))
    assert client.heard == []


def test_assignments_and_answers_are_passed_on(client: Client) -> None:
    client.attach(4)
    client.say(Assignment((0, 2), (2,)))
    client.take(6, Extend("t", "g", 1, (), 100))
    client.say(Extended())
    assert client.heard == [
        Assigned(4, Assignment((0, 2), (2,))),
        Answer(6, LogIndex(9), 2, Extended()),
    ]


def test_a_refusal_is_raised_to_those_who_wait_for_an_answer(client: Client) -> None:
    client.node.error = ConsumerFenced("join again", group="g")
    with pytest.raises(ConsumerFenced):
        client.attach()
    with pytest.raises(ConsumerFenced):
        client.take(6, Extend("t", "g", 1, (), 100))
    client.streams.close()
    assert client.node.gone == []


def test_a_refusal_that_nobody_waits_for_is_dropped(client: Client) -> None:
    client.node.error = ConsumerFenced("join again", group="g")
    client.take(0, Credit("t", "g", 1, 5))
    assert client.heard == []


def test_a_stream_ends_with_a_failure(client: Client) -> None:
    client.attach(4)
    client.say(Refused("consumer_fenced", "left", {"group": "g"}))
    assert client.heard == [Failure(4, "consumer_fenced", "left", {"group": "g"})]
    client.streams.close()
    assert client.node.gone == []


def test_the_end_of_a_leadership_says_where_to_go(client: Client) -> None:
    client.attach(4)
    client.say(Refused("not_leader", "leadership was lost", {}))
    (failure,) = client.heard
    assert isinstance(failure, Failure)
    assert (failure.id, failure.code, failure.message) == (4, "not_leader", "elsewhere")
    assert failure.details["url"] == "http://n2"


def test_the_end_of_a_connection_disconnects_what_is_open(client: Client) -> None:
    client.attach(4)
    client.attach(5)
    client.take(0, Credit("t", "g", 1, 5))
    client.say(Refused("consumer_fenced", "left", {}), at=0)
    client.streams.close()
    assert client.node.gone == [client.node.handles[1]]
    client.streams.close()
    assert len(client.node.gone) == 1


def test_a_connection_has_at_most_so_many_streams(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_streams, "STREAMS_MAX", 2)
    client.attach(1)
    client.attach(2)
    with pytest.raises(Overloaded, match="2 members"):
        client.attach(3)
    client.take(0, Credit("t", "g", 1, 5))  # others are not bound
    assert len(client.node.demands) == 3
    client.say(Refused("consumer_fenced", "left", {}), at=0)
    client.attach(3)
    assert len(client.node.demands) == 4


def test_a_page_of_a_browse_is_answered_with_its_messages(client: Client) -> None:
    answers: list[Reply] = []
    page = Page((BOTH,), (), 12)
    client.streams.complete(GROUP, Reply(None, LogIndex(9), 2, page), answers.append)
    (answer,) = answers
    assert isinstance(answer.body, RecordPage)
    assert (answer.index, answer.rank, answer.body.next_offset) == (9, 2, 12)
    assert [each.body for each in answer.body.records] == [b"ab"]


def test_attaching_again_takes_the_place_of_the_former_stream(client: Client) -> None:
    """Else a member that comes again and again uses up the streams of its connection."""
    client.attach(4, member=1)
    client.attach(5, member=1)
    client.say(Refused("consumer_fenced", "late news of the former one", {}), at=0)
    client.streams.close()
    assert client.node.gone == [client.node.handles[1]]


def test_a_member_that_detaches_has_no_stream_any_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_streams, "STREAMS_MAX", 1)
    for number in range(1, 4):
        client.attach(number)
        client.take(0, Detach("t", "g", number))
    client.streams.close()
    assert client.node.gone == []


@pytest.mark.parametrize("left", [False, True])
async def test_messages_that_were_moved_on_their_way_go_back_to_the_leader(
    client: Client, *, left: bool
) -> None:
    """Else the leader believes them in the hands of a member that never got them."""
    client.attach(4)
    moved = Slice(3, 20, 2, 0, 9, 0, len(UNIT), LogTime(5), ((21, 2),))
    stays = (msgspec.structs.replace(BOTH, segment=2),) if left else ()
    client.say(Delivery((*stays, moved)))
    await client.tasks[0]
    assert [type(each) for each in client.heard] == [Delivered] * left
    parts = (Part(3, 20, 20, 0), Part(3, 21, 21, 2))
    assert client.node.demands[1:] == [(SESSION, Release("t", "g", 4, parts))]


async def test_a_leader_that_is_gone_need_not_hear_what_did_not_arrive(client: Client) -> None:
    client.attach(4)
    client.say(Delivery((msgspec.structs.replace(BOTH, segment=9),)))
    client.node.error = NotLeader("elsewhere")
    await client.tasks[0]
    assert client.heard == []
