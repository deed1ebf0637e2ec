"""What waits between two caches is bounded, and stays in order."""

import pytest

from synaxis.caches.bus import (
    Attach,
    BusRd,
    Dirty,
    Flush,
    Grant,
    HomeMessage,
    Inv,
    LineState,
    ProbeAck,
    Reserved,
)
from synaxis.caches.commands import AgentId, AgentKind, Item, Reading, Version
from synaxis.communication.bus_queue import MESSAGE_BYTES, BusQueue, weight_of
from synaxis.ids import GroupId
from synaxis.wire.peer import BusMessage, ToAgent, ToHome

GROUP = GroupId("caches/0")
DIRTY = Dirty(1, Version(0), Item("c/k", b"x" * 1000))
READING = Reading(b"x" * 1000, 0, Version(1))


def home(number: int, size: int = 0) -> ToHome:
    dirty = Dirty(number, Version(0), Item("c/k", b"x" * size))
    return ToHome(GROUP, 1, Flush("c/k", 1, number, dirty))


def agent(message: HomeMessage) -> ToAgent:
    return ToAgent(GROUP, 1, message)


@pytest.mark.parametrize(
    ("message", "value_bytes"),
    [
        (ToHome(GROUP, 1, BusRd(1, "c/k")), 0),
        (agent(Inv("c/k", 1)), 0),
        (agent(Grant(1, "c/k", 1, LineState.S, None)), 0),
        (agent(Grant(1, "c/k", 1, LineState.S, READING)), 1000),
        (agent(Reserved(1, "c/k", 0, 0, READING)), 1000),
        (ToHome(GROUP, 1, ProbeAck("c/k", 1)), 0),
        (ToHome(GROUP, 1, ProbeAck("c/k", 1, DIRTY)), 1000),
        (ToHome(GROUP, 1, Flush("c/k", 1, 1, DIRTY)), 1000),
        (
            ToHome(GROUP, 1, Attach(AgentId(1), AgentKind.OWNER, "n1", (DIRTY, DIRTY))),
            2 * (1000 + MESSAGE_BYTES),
        ),
    ],
)
def test_a_message_weighs_what_its_values_weigh(message: BusMessage, value_bytes: int) -> None:
    assert weight_of(message) == MESSAGE_BYTES + value_bytes


def test_messages_leave_in_order_and_in_portions() -> None:
    queue = BusQueue(100, 10_000)
    sent = [home(number, 900) for number in range(5)]
    assert all(queue.put(each) for each in sent)
    assert queue.take(1_500) == sent[:2]
    assert queue.take(1) == sent[2:3]
    assert queue.take(10_000) == sent[3:]
    assert queue.take(10_000) == []


def test_there_is_room_for_so_many_bytes() -> None:
    queue = BusQueue(100, 2_000)
    assert queue.put(home(1, 900))
    assert queue.put(home(2, 900))
    assert not queue.put(home(3))
    queue.take(1)
    assert queue.put(home(4))
    queue.clear()
    assert len(queue) == 0
    assert queue.put(home(5, 1_900))


def test_there_is_room_for_so_many_messages() -> None:
    queue = BusQueue(2, 2_000)
    assert [queue.put(home(number)) for number in range(3)] == [True, True, False]
