"""What the gateway keeps about clients, and what it does not."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from synaxis.api.connection import ClientConnection
from synaxis.api.gateway import SPEAKERS_SLACK, Gateway, GatewayConfig
from synaxis.cluster.machine import ClusterMachine
from synaxis.consensus.commands import OpenSession
from synaxis.ids import GroupId, SessionId
from synaxis.locks.commands import Acquire
from synaxis.locks.limits import LockLimits
from synaxis.locks.machine import LockMachine
from synaxis.observability import NodeCounters
from synaxis.topics import TopicLimits

if TYPE_CHECKING:
    from synaxis.nodes.base_node import BaseNode


def replica(machine: object) -> SimpleNamespace:
    return SimpleNamespace(machine=machine, sessions=SimpleNamespace(by_id={}))


@pytest.fixture
def gateway() -> Gateway:
    found = Gateway(GatewayConfig(), NodeCounters(), lambda _: True, lambda _: None)
    replicas = {
        GroupId("cluster"): replica(ClusterMachine([], 1, 3, 1, TopicLimits())),
        GroupId("locks/0"): replica(LockMachine(LockLimits())),
    }
    found.attach(cast("BaseNode", SimpleNamespace(replicas=replicas)))
    return found


def connection() -> ClientConnection:
    return cast("ClientConnection", SimpleNamespace(sessions=set()))


def test_clients_have_no_command_for_the_group_of_the_members(gateway: Gateway) -> None:
    """Its replicas could not decode one, and would stop at it at every start."""
    assert not gateway.commands[GroupId("cluster")]
    assert {Acquire, OpenSession} <= gateway.commands[GroupId("locks/0")]


def test_a_session_is_reached_where_it_last_spoke(gateway: Gateway) -> None:
    first, second = connection(), connection()
    gateway.speaks(SessionId(1), first)
    gateway.speaks(SessionId(1), second)
    assert gateway.speakers[SessionId(1)] is second
    assert (first.sessions, second.sessions) == (set(), {1})


def test_sessions_that_are_not_or_no_more_are_forgotten(gateway: Gateway) -> None:
    liar, honest = connection(), connection()
    gateway.node.replicas[GroupId("locks/0")].sessions.by_id[SessionId(5)] = cast("object", None)  # type: ignore[assignment]
    gateway.speaks(SessionId(5), honest)
    for number in range(10, 10 + 5 * SPEAKERS_SLACK):
        gateway.speaks(SessionId(number), liar)
    assert len(gateway.speakers) <= SPEAKERS_SLACK + 3
    assert len(liar.sessions) <= SPEAKERS_SLACK + 3
    assert gateway.speakers[SessionId(5)] is honest
