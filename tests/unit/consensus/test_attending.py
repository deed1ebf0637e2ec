"""A replica has its attendant work only while it leads, and act only when that is confirmed."""

import random

import msgspec
import pytest

from synaxis.cluster.commands import CreateTopic
from synaxis.cluster.machine import ClusterMachine
from synaxis.consensus.attending import Attending
from synaxis.consensus.commands import OpenSession, Proposal
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.raft.messages import AppendEntries
from synaxis.consensus.replica import Replica
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import Entry, HardState, Members, Reply
from synaxis.errors import ConsumerFenced, InvalidArgument, NotLeader
from synaxis.ids import GroupId, Instant, LogTime, NodeId, Sequence, SessionId, Term
from synaxis.ports import RecoveredGroup
from synaxis.topics import TopicConfig, TopicLimits

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
ONE = SessionId(1)


class Say(msgspec.Struct, frozen=True):
    text: str


class Witness:
    """An attendant that notes what it is told."""

    def __init__(self) -> None:
        self.leading = False
        self.begun = 0
        self.seen = LogTime(0)
        self.confirmations = 0
        self.wants = False
        self.due: LogTime | None = None
        self.ticks: list[LogTime] = []
        self.sessions: list[SessionId] = []
        self.demands: list[tuple[SessionId, msgspec.Struct, object]] = []
        self.gone: list[object] = []
        self.replies: list[tuple[object, msgspec.Struct]] = []
        self.commands: list[msgspec.Struct] = []

    def begin(self, now: LogTime) -> None:
        assert not self.leading
        self.leading = True
        self.begun += 1
        self.seen = now

    def end(self) -> None:
        assert self.leading
        self.leading = False
        self.wants = False
        self.commands = []
        self.replies.append(("stream", Say("over")))

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        if message == Say("bad"):
            raise ConsumerFenced("join again")
        self.demands.append((session, message, handle))

    def disconnected(self, handle: object) -> None:
        self.gone.append(handle)

    def heard(self, session: SessionId) -> None:
        self.sessions.append(session)

    def see(self, now: LogTime) -> None:
        assert now >= self.seen
        self.seen = now

    def tick(self, now: LogTime) -> None:
        if self.due is not None and self.due <= now:
            self.due = None
            self.ticks.append(now)

    def deadline(self) -> LogTime | None:
        return self.due

    def wants_confirmation(self) -> bool:
        return self.wants

    def asked(self) -> None:
        assert self.leading

    def confirmed(self, now: LogTime) -> None:
        assert self.leading
        self.confirmations += 1
        self.wants = False

    def take_replies(self) -> list[tuple[object, msgspec.Struct]]:
        replies, self.replies = self.replies, []
        return replies

    def take_commands(self) -> list[msgspec.Struct]:
        commands, self.commands = self.commands, []
        return commands


class World:
    """Replicas with attendants, that hear each other at once unless ``cut``."""

    def __init__(self, *nodes: NodeId) -> None:
        self.now = Instant(0)
        self.cut: set[NodeId] = set()
        self.replies: list[Reply] = []
        self.stored: list[Entry] = []
        """What was written to the disk of the only node."""
        self.machines = {node: ClusterMachine([], 1, 3, 1, TopicLimits()) for node in nodes}
        self.witnesses = {node: Witness() for node in nodes}
        self.replicas = {node: self._replica(node, nodes) for node in nodes}
        for node, replica in self.replicas.items():
            replica.attended_by(self.witnesses[node])
        self.pass_time(5_000)

    def _replica(self, node: NodeId, nodes: tuple[NodeId, ...]) -> Replica:
        members = Members(nodes)
        draw = random.Random(node)
        raft = Raft(node, RaftConfig(), RecoveredGroup(), members, draw, self.now)
        machine = self.machines[node]
        return Replica(GroupId("cluster"), raft, machine, ReplicaConfig(), None, self.now)

    def drain(self) -> None:
        busy = True
        while busy:
            busy = False
            for node, replica in self.replicas.items():
                effects = replica.take_effects()
                self.replies.extend(effects.replies)
                busy = busy or replica.is_restless
                if effects.persist is not None:
                    self.stored += effects.persist.entries
                    replica.persisted(effects.persist.mark, self.now)
                    busy = True
                for target, message in [*effects.send_now, *effects.send_after]:
                    busy = True
                    if node not in self.cut and target not in self.cut:
                        self.replicas[target].handle(node, message, self.now)

    def pass_time(self, milliseconds: int) -> None:
        for _ in range(0, milliseconds, 20):
            self.now = Instant(self.now + 20)
            for replica in self.replicas.values():
                if replica.deadline() <= self.now:
                    replica.tick(self.now)
            self.drain()

    @property
    def leader(self) -> NodeId:
        (leader,) = [node for node, each in self.replicas.items() if each.log.ready]
        return leader

    @property
    def witness(self) -> Witness:
        """Return the leader's attendant."""
        return self.witnesses[self.leader]

    def demand(self, text: str, handle: object = "stream") -> None:
        self.replicas[self.leader].demand(ONE, Say(text), handle, self.now)

    def topics(self) -> set[tuple[str, ...]]:
        """Return what all machines know, once they had time to learn it."""
        self.pass_time(500)
        found = [machine.topics.records for machine in self.machines.values()]
        return {tuple(record.name for record in records) for records in found}


@pytest.fixture(params=[(N1,), (N1, N2, N3)], ids=["one node", "three nodes"])
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param)


def test_the_attendant_of_the_leader_alone_begins(world: World) -> None:
    leading = [node for node, each in world.witnesses.items() if each.leading]
    assert leading == [world.leader]
    assert world.witness.begun == 1


def test_a_demand_reaches_it_after_the_time(world: World) -> None:
    world.now = Instant(world.now + 7)
    before = world.witness.seen
    world.demand("hello")
    assert world.witness.demands == [(ONE, Say("hello"), "stream")]
    assert world.witness.seen >= before + 7


def test_its_refusal_is_raised(world: World) -> None:
    with pytest.raises(ConsumerFenced):
        world.demand("bad")


def test_what_it_says_goes_to_the_handles(world: World) -> None:
    world.replies.clear()
    world.witness.replies.append(("stream", Say("news")))
    world.drain()
    assert [(reply.handle, reply.body) for reply in world.replies] == [("stream", Say("news"))]


def test_it_acts_once_a_confirmation_that_it_wanted_has_come(world: World) -> None:
    assert world.witness.confirmations == 0
    world.witness.wants = True
    world.drain()
    assert world.witness.confirmations == 1
    world.drain()
    assert world.witness.confirmations == 1


def test_its_commands_go_through_the_log_in_its_own_name(world: World) -> None:
    world.witness.commands.append(CreateTopic("jobs", TopicConfig()))
    world.drain()
    assert world.topics() == {("jobs",)}


def test_its_timers_fire_when_they_are_due(world: World) -> None:
    witness = world.witness
    world.demand("what time is it?")
    due = witness.due = LogTime(witness.seen + 300)
    world.pass_time(280)
    assert witness.ticks == []
    world.pass_time(40)
    assert len(witness.ticks) == 1
    assert due <= witness.ticks[0] <= due + 20


def test_it_hears_of_sessions_that_are_alive(world: World) -> None:
    replica = world.replicas[world.leader]
    opening = Proposal(ONE, Sequence(0), Sequence(0), OpenSession(10_000, "tester"))
    replica.propose(opening, "open", world.now)
    world.drain()
    world.witness.sessions.clear()
    replica.keep_alive(SessionId(99), "ping", world.now)  # nobody knows it
    assert world.witness.sessions == []
    replica.keep_alive(ONE, "ping", world.now)
    assert world.witness.sessions == [ONE]


def test_it_hears_of_connections_that_ended(world: World) -> None:
    world.replicas[world.leader].disconnected("stream")
    assert world.witness.gone == ["stream"]


# --- without a quorum -----------------------------------------------------------------------


def test_a_follower_takes_no_demands() -> None:
    world = World(N1, N2, N3)
    follower = next(node for node in world.replicas if node != world.leader)
    with pytest.raises(NotLeader):
        world.replicas[follower].demand(ONE, Say("hello"), "stream", world.now)
    world.replicas[follower].disconnected("stream")
    assert world.witnesses[follower].demands == []
    assert world.witnesses[follower].gone == []


def test_nothing_is_done_while_no_quorum_confirms() -> None:
    world = World(N1, N2, N3)
    witness, leader = world.witness, world.leader
    world.cut = {node for node in world.replicas if node != leader}
    witness.wants = True
    world.pass_time(200)
    assert witness.confirmations == 0
    world.cut = set()
    world.pass_time(500)
    assert sum(each.confirmations for each in world.witnesses.values()) == 1


def test_a_leader_that_was_replaced_without_noticing_does_nothing() -> None:
    world = World(N1, N2, N3)
    former, witness = world.leader, world.witness
    world.cut = {former}
    witness.wants = True
    world.pass_time(10_000)
    assert witness.confirmations == 0
    assert not witness.leading
    assert world.leader != former
    assert world.witness.begun == 1


def test_the_end_of_a_leadership_is_told_to_those_who_were_served() -> None:
    world = World(N1, N2, N3)
    former = world.leader
    world.replies.clear()
    world.cut = {former}
    world.pass_time(10_000)
    assert [(each.handle, each.body) for each in world.replies] == [("stream", Say("over"))]
    with pytest.raises(NotLeader):
        world.replicas[former].demand(ONE, Say("hello"), "stream", world.now)


def test_a_leader_that_is_deposed_within_a_turn_speaks_for_nobody_in_it() -> None:
    """A confirmation that it asked for then was refused by the log, which stopped the node."""
    world = World(N1, N2, N3)
    leader, witness = world.leader, world.witness
    replica = world.replicas[leader]
    other = next(node for node in world.replicas if node != leader)
    witness.wants = True
    witness.commands.append(CreateTopic("jobs", TopicConfig()))
    status = replica.status()
    heartbeat = AppendEntries(
        Term(status.term + 1), status.last_index, status.term, status.commit_index, 1
    )
    replica.handle(other, heartbeat, world.now)
    effects = replica.take_effects()
    assert [(each.handle, each.body) for each in effects.replies] == [("stream", Say("over"))]
    assert not witness.leading
    assert replica.status().last_index == status.last_index


def test_it_does_not_begin_before_what_earlier_leaders_committed_is_applied() -> None:
    """Entries are applied in portions; what came after the beginning would pass for news."""
    world = World(N1)
    for number in range(5):
        world.witness.commands.append(CreateTopic(f"jobs-{number}", TopicConfig()))
        world.drain()
    machine, witness = ClusterMachine([], 1, 3, 1, TopicLimits()), Witness()
    recovered = RecoveredGroup(HardState(Term(1), N1), None, world.stored)
    config, members = RaftConfig(apply_bytes_max=1), Members((N1,))
    raft = Raft(N1, config, recovered, members, random.Random(1), world.now)
    replica = Replica(GroupId("cluster"), raft, machine, ReplicaConfig(), None, world.now)
    replica.attended_by(witness)
    while not witness.leading:
        world.now = Instant(max(world.now, replica.deadline()))
        replica.tick(world.now)
        effects = replica.take_effects()
        if effects.persist is not None:
            replica.persisted(effects.persist.mark, world.now)
    assert len(machine.topics.records) == 5
    assert replica.applied_index == replica.status().commit_index


# --- by itself ------------------------------------------------------------------------------


@pytest.fixture
def attending() -> tuple[Attending, Witness]:
    witness = Witness()
    made = Attending(witness)
    made.begin(LogTime(1))
    return made, witness


def is_eager(made: Attending) -> bool:
    return made.is_eager


def is_restless(made: Attending) -> bool:
    return made.is_restless


def test_one_confirmation_is_under_way_at_a_time(attending: tuple[Attending, Witness]) -> None:
    made, witness = attending
    witness.wants = True
    assert is_eager(made)
    made.asked()
    assert not is_eager(made)
    made.confirmed(LogTime(2))
    assert witness.confirmations == 1
    witness.wants = True
    assert is_eager(made)


def test_a_confirmation_that_failed_is_asked_for_again(
    attending: tuple[Attending, Witness],
) -> None:
    made, witness = attending
    witness.wants = True
    made.asked()
    made.failed()
    assert is_eager(made)
    assert witness.confirmations == 0


def test_a_confirmation_that_comes_after_the_end_is_nobodys(
    attending: tuple[Attending, Witness],
) -> None:
    made, witness = attending
    made.asked()
    made.end()
    made.confirmed(LogTime(2))
    assert witness.confirmations == 0


def test_what_the_log_refused_is_offered_again_first_and_without_haste(
    attending: tuple[Attending, Witness],
) -> None:
    made, witness = attending
    witness.commands.append(Say("one"))
    made.gather()
    assert is_restless(made)
    refused = made.take_proposals()
    made.refused(refused)
    assert not is_restless(made)  # or the node would spin
    witness.commands.append(Say("two"))
    assert [each.command for each in made.take_proposals()] == [Say("one"), Say("two")]
    assert made.take_proposals() == []


def test_what_was_not_proposed_is_dropped_with_the_leadership(
    attending: tuple[Attending, Witness],
) -> None:
    made, witness = attending
    witness.commands.append(Say("one"))
    made.gather()
    refused = made.take_proposals()
    made.end()
    made.refused(refused)
    made.begin(LogTime(2))
    assert made.take_proposals() == []


def test_without_an_attendant_everything_is_harmless_but_a_demand() -> None:
    made = Attending(None)
    made.begin(LogTime(1))
    made.tick(LogTime(2))
    made.heard(ONE)
    made.disconnected("stream")
    made.confirmed(LogTime(2))
    assert (made.is_restless, made.deadline()) == (False, None)
    assert (made.take_proposals(), made.take_replies()) == ([], [])
    with pytest.raises(InvalidArgument, match="delivers nothing"):
        made.demand(ONE, Say("hello"), "stream")
