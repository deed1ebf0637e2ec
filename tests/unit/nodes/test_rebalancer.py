"""One change at a time towards the members that the cluster wants."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec

from synaxis.cluster.commands import AddNode, NodeRecord, RemoveNode
from synaxis.cluster.machine import ClusterMachine
from synaxis.effects import Members
from synaxis.errors import MembershipRefused
from synaxis.ids import GroupId, Instant, LogIndex, LogTime, NodeId, Sequence, SessionId, Term
from synaxis.nodes.rebalancer import CAUGHT_UP_ENTRIES, Rebalancer
from synaxis.ports import LogStatus
from synaxis.topics import TopicLimits

if TYPE_CHECKING:
    from synaxis.consensus.replica import Replica

GROUP = GroupId("locks/0")
N1, N2, N3, N4 = map(NodeId, ("n1", "n2", "n3", "n4"))
NOW = Instant(0)


class Led:
    """A group that n1 leads (unless told otherwise), and what it is asked to do."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.log = SimpleNamespace(
            ready=True,
            change_members=lambda voters, learners, _: self._ask(voters, learners),
            transfer_leadership=lambda target, _: self._ask("transfer", target),
        )
        self.refuses = False
        self.now = LogStatus(
            role="leader",
            term=Term(1),
            leader=N1,
            commit_index=LogIndex(1000),
            last_index=LogIndex(1000),
            stable_index=LogIndex(1000),
            snapshot_index=LogIndex(0),
            members=Members((N1, N2, N3)),
            ready=True,
            match={N2: LogIndex(1000), N3: LogIndex(999)},
            log_bytes=0,
            change_pending=False,
            transferring=None,
        )

    def status(self) -> LogStatus:
        return self.now

    def becomes(self, **changes: object) -> None:
        self.now = msgspec.structs.replace(self.now, **changes)

    def _ask(self, *what: object) -> None:
        if self.refuses:
            raise MembershipRefused("busy")
        self.asked.append(what)


class World:
    def __init__(self) -> None:
        founders = [NodeRecord(node, f"{node}:1", "") for node in (N1, N2, N3)]
        self.cluster = ClusterMachine(founders, 1, 3, 1, TopicLimits())
        self.led = Led()
        replicas = {GROUP: cast("Replica", self.led)}
        self.rebalancer = Rebalancer(N1, replicas, self.cluster, 3)

    def apply(self, command: msgspec.Struct) -> None:
        self.cluster.apply(SessionId(0), Sequence(0), command, LogTime(0))

    def step(self) -> list[GroupId]:
        return self.rebalancer.step(NOW)


def test_a_group_that_is_as_it_should_be_is_left_alone() -> None:
    world = World()
    assert world.step() == []
    assert world.led.asked == []


def test_the_place_of_a_removed_node_is_taken_by_a_learner_first_and_a_voter_later() -> None:
    world = World()
    world.apply(AddNode(N4, "n4:1"))
    world.apply(RemoveNode(N3))
    assert world.step() == [GROUP]
    ((voters, learners),) = world.led.asked
    assert N4 in cast("tuple[NodeId, ...]", learners)
    assert N4 not in cast("tuple[NodeId, ...]", voters)
    behind = LogIndex(1000 - CAUGHT_UP_ENTRIES - 1)
    world.led.becomes(
        members=Members((N1, N2, N3), (), (N4,)), match={N2: LogIndex(1000), N4: behind}
    )
    world.led.asked.clear()
    world.step()
    assert all(N4 not in cast("tuple[NodeId, ...]", asked[0]) for asked in world.led.asked)
    world.led.becomes(match={N2: LogIndex(1000), N4: LogIndex(behind + 1)})
    world.led.asked.clear()
    assert world.step() == [GROUP]
    assert N4 in cast("tuple[NodeId, ...]", world.led.asked[0][0])


def test_a_leader_that_was_removed_hands_over_to_the_most_advanced_that_stays() -> None:
    world = World()
    world.apply(RemoveNode(N1))
    assert world.step() == [GROUP]
    assert world.led.asked == [("transfer", N2)]


def test_nothing_is_begun_while_something_runs_or_elsewhere_leads() -> None:
    world = World()
    world.apply(RemoveNode(N3))
    world.led.becomes(change_pending=True)
    assert world.step() == []
    world.led.becomes(change_pending=False, transferring=N2)
    assert world.step() == []
    world.led.becomes(transferring=None)
    world.led.log.ready = False
    assert world.step() == []
    assert world.led.asked == []


def test_a_change_that_raft_refuses_is_tried_again_at_the_next_step() -> None:
    world = World()
    world.apply(RemoveNode(N3))
    world.led.refuses = True
    assert world.step() == []
    world.led.refuses = False
    assert world.step() == [GROUP]
