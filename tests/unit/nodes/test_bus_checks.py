"""Numbers on the bus of the caches."""

from typing import get_args

import msgspec
import pytest

from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    BusRd,
    Detach,
    Dirty,
    Flush,
    Flushed,
    Grant,
    HomeMessage,
    Inv,
    LineState,
    Renew,
)
from synaxis.caches.commands import AgentId, AgentKind, DescribeCaches, Item, Removed, Version
from synaxis.errors import ProtocolViolation
from synaxis.ids import GroupId
from synaxis.nodes.bus_checks import _NUMBERS, DIRTY_MAX, check_bus_message, check_said
from synaxis.wire.peer import Ask, ToAgent, ToHome, Told

LARGEST = 2**63 - 1
DIRTY = Dirty(1, Version(0), Item("c/k", b""))
GROUP = GroupId("caches/0")


@pytest.mark.parametrize(
    "message",
    [
        BusRd(LARGEST, "c/k"),
        Renew(0),
        Flush("c/k", 0, LARGEST, DIRTY),
        Grant(1, "c/k", 1, LineState.S, None),
        Attached(5_000),
        Flushed("c/k", 1, Version(0)),
        Flushed("c/k", 1, Version(-1)),
        Attach(AgentId(1), AgentKind.OWNER, "n1", (DIRTY,) * DIRTY_MAX),
        Detach(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_said_every_day_is_good(message: AgentMessage | HomeMessage) -> None:
    check_said(1, message)
    check_said(LARGEST, message)
    for stream in (0, -1, LARGEST + 1):
        with pytest.raises(ProtocolViolation):
            check_said(stream, message)


@pytest.mark.parametrize(
    "message",
    [
        BusRd(-1, "c/k"),
        BusRd(LARGEST + 1, "c/k"),
        Flush("c/k", 0, -1, DIRTY),
        Inv("c/k", LARGEST + 1),
        Flushed("c/k", 1, Version(-2)),
        Attached(0),
        Attached(2**40),
        Attach(AgentId(1), AgentKind.OWNER, "n1", (DIRTY,) * (DIRTY_MAX + 1)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_numbers_that_nobody_counts_to_are_refused(message: AgentMessage | HomeMessage) -> None:
    with pytest.raises(ProtocolViolation, match=type(message).__name__):
        check_said(1, message)


def test_every_number_of_every_message_is_checked() -> None:
    by_home = {"agent", "lease_ms"} | {"version"}  # checked there, or by a rule of its own
    for kind in (*get_args(AgentMessage), *get_args(HomeMessage)):
        numbers = {
            field.name
            for field in msgspec.structs.fields(kind)
            if field.type is int or field.type is Version or field.type is AgentId
        }
        assert numbers - by_home <= set(_NUMBERS.get(kind, ())), kind


def test_peers_are_checked_the_same_way() -> None:
    check_bus_message(ToHome(GROUP, 1, Renew(1)))
    check_bus_message(ToAgent(GROUP, 1, Attached(5_000)))
    check_bus_message(Ask(1, GROUP, DescribeCaches()))
    check_bus_message(Told(1, Removed(0)))
    for wrong in (
        ToHome(GROUP, 1, Renew(-1)),
        ToAgent(GROUP, 0, Attached(5_000)),
        Ask(0, GROUP, DescribeCaches()),
        Told(-1, Removed(0)),
    ):
        with pytest.raises(ProtocolViolation):
            check_bus_message(wrong)
