"""A replica applies each command once, answers when it is committed, and keeps sessions."""

import random
from typing import ClassVar

import msgspec
import pytest

from synaxis.consensus.commands import (
    CloseSession,
    OpenSession,
    Proposal,
    SessionAlive,
    SessionClosed,
    SessionOpened,
)
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.replica import Replica
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import (
    Attachment,
    Members,
    Outcome,
    Refused,
    Reply,
    Snapshot,
    StoreAppend,
    StoreOperation,
)
from synaxis.errors import InvalidArgument, NotLeader
from synaxis.ids import GroupId, Instant, LogTime, NodeId, Sequence, SessionId
from synaxis.ports import RecoveredGroup

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
GROUP = GroupId("counter")
ONE = SessionId(1)


class Add(msgspec.Struct, frozen=True, array_like=True, tag=20):
    amount: int


class WaitFor(msgspec.Struct, frozen=True, array_like=True, tag=21):
    total: int
    until_ms: int


class Total(msgspec.Struct, frozen=True, array_like=True, tag=20):
    value: int


class Counter:
    """Adds up; WaitFor answers when the total is reached, or with 0 when its time is over."""

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Add, WaitFor)
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = command_types
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (Total,)

    def __init__(self) -> None:
        self.total = 0
        self.ended: list[SessionId] = []
        self.waits: list[tuple[int, int, SessionId, Sequence]] = []
        self.outcomes: list[Outcome] = []

    def validate(self, command: msgspec.Struct) -> None:
        if isinstance(command, Add) and command.amount > 1_000:
            raise InvalidArgument("at most 1000")

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        if isinstance(command, WaitFor):
            self.waits.append((command.total, now + command.until_ms, session, sequence))
            return None
        assert isinstance(command, Add)
        self.total += command.amount
        for wait in [w for w in self.waits if w[0] <= self.total]:
            self.waits.remove(wait)
            self.outcomes.append(Outcome(wait[2], wait[3], Total(self.total)))
        return Total(self.total)

    def end_session(self, session: SessionId, now: LogTime) -> None:
        self.ended.append(session)
        self.waits = [wait for wait in self.waits if wait[2] != session]

    def advance(self, now: LogTime) -> None:
        for wait in [w for w in self.waits if w[1] <= now]:
            self.waits.remove(wait)
            self.outcomes.append(Outcome(wait[2], wait[3], Total(0)))

    def deadline(self) -> LogTime | None:
        return LogTime(min(wait[1] for wait in self.waits)) if self.waits else None

    def take_outcomes(self) -> list[Outcome]:
        outcomes, self.outcomes = self.outcomes, []
        return outcomes

    def take_events(self) -> list[msgspec.Struct]:
        return []

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        return Total(self.total)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode([self.total, self.waits])

    def restore(self, data: bytes) -> None:
        self.total, waits = msgspec.msgpack.decode(data)
        self.waits = [tuple(wait) for wait in waits]

    def check_invariants(self) -> None:
        assert self.total >= 0


class World:
    """Replicas that hear each other at once and whose disks are immediate."""

    def __init__(self, *nodes: NodeId, config: ReplicaConfig | None = None) -> None:
        self.now = Instant(0)
        self.cut: set[NodeId] = set()
        self.replies: list[Reply] = []
        self.snapshots: list[Snapshot] = []
        self.machines = {node: Counter() for node in nodes}
        self.replicas = {
            node: Replica(
                GROUP,
                Raft(
                    node,
                    RaftConfig(),
                    RecoveredGroup(),
                    Members(tuple(nodes)),
                    random.Random(node),
                    self.now,
                ),
                self.machines[node],
                config or ReplicaConfig(),
                None,
                self.now,
            )
            for node in nodes
        }
        self.pass_time(5_000)

    def drain(self) -> None:
        busy = True
        while busy:
            busy = False
            for node, replica in self.replicas.items():
                effects = replica.take_effects()
                self.replies.extend(effects.replies)
                if effects.persist is not None:
                    if effects.persist.snapshot is not None:
                        self.snapshots.append(effects.persist.snapshot)
                    replica.persisted(effects.persist.mark, self.now)
                    busy = True
                for target, message in [*effects.send_now, *effects.send_after]:
                    busy = True
                    if node not in self.cut and target not in self.cut:
                        self.replicas[target].handle(node, message, self.now)

    def pass_time(self, milliseconds: int, step: int = 20) -> None:
        for _ in range(0, milliseconds, step):
            self.now = Instant(self.now + step)
            for replica in self.replicas.values():
                if replica.deadline() <= self.now:
                    replica.tick(self.now)
            self.drain()

    @property
    def leader(self) -> Replica:
        (leader,) = [r for r in self.replicas.values() if r.log.ready and r.log.leading]
        return leader

    def send(
        self, session: SessionId, sequence: int, command: msgspec.Struct, acked: int = 0
    ) -> None:
        proposal = Proposal(session, Sequence(sequence), Sequence(acked), command)
        self.leader.propose(proposal, (session, sequence), self.now)

    def call(
        self, session: SessionId, sequence: int, command: msgspec.Struct, acked: int = 0
    ) -> msgspec.Struct | None:
        self.replies.clear()
        self.send(session, sequence, command, acked)
        self.drain()
        bodies = [reply.body for reply in self.replies if reply.handle == (session, sequence)]
        return bodies[0] if bodies else None

    def totals(self) -> list[int]:
        self.pass_time(500)
        return [machine.total for machine in self.machines.values()]


@pytest.fixture(params=[(N1,), (N1, N2, N3)], ids=["one node", "three nodes"])
def world(request: pytest.FixtureRequest) -> World:
    made = World(*request.param)
    assert made.call(ONE, 0, OpenSession(10_000, "tester")) == SessionOpened(10_000)
    return made


def test_a_command_is_applied_on_every_replica_and_answered_once(world: World) -> None:
    assert world.call(ONE, 1, Add(5)) == Total(5)
    assert len(world.replies) == 1
    assert set(world.totals()) == {5}


def test_commands_of_one_turn_share_one_log_entry(world: World) -> None:
    before = world.leader.status().last_index
    for sequence in range(1, 101):
        world.send(ONE, sequence, Add(1))
    world.drain()
    assert world.leader.status().last_index == before + 1
    ranks = [reply.rank for reply in world.replies if reply.body != SessionOpened(10_000)]
    assert ranks == list(range(100))
    assert set(world.totals()) == {100}


def test_a_repeated_command_gets_the_first_reply_and_changes_nothing(world: World) -> None:
    """R12: a retried acquire of the predecessor was applied twice."""
    world.call(ONE, 1, Add(5))
    first = world.replies[0]
    assert world.call(ONE, 1, Add(5)) == Total(5)
    again = world.replies[0]
    assert (again.index, again.rank) == (first.index, first.rank)
    assert set(world.totals()) == {5}


def test_a_repeated_wait_is_answered_to_whoever_asked_last(world: World) -> None:
    world.send(ONE, 1, WaitFor(7, 60_000))
    world.drain()
    world.leader.propose(
        Proposal(ONE, Sequence(1), Sequence(0), WaitFor(7, 60_000)), "second", world.now
    )
    world.drain()
    world.replies.clear()
    world.call(ONE, 2, Add(7))
    assert [reply.handle for reply in world.replies] == [(ONE, 2), "second"]


def test_an_acknowledged_sequence_is_never_applied_again(world: World) -> None:
    world.call(ONE, 1, Add(5))
    world.call(ONE, 2, Add(5), acked=1)
    refused = world.call(ONE, 1, Add(5))
    assert isinstance(refused, Refused)
    assert refused.code == "outcome_unknown"
    assert set(world.totals()) == {10}


def test_a_command_without_a_session_is_refused(world: World) -> None:
    refused = world.call(SessionId(99), 1, Add(5))
    assert isinstance(refused, Refused)
    assert refused.code == "session_expired"
    assert set(world.totals()) == {0}


def test_bad_input_never_enters_the_log(world: World) -> None:
    before = world.leader.status().last_index
    with pytest.raises(InvalidArgument):
        world.send(ONE, 1, Add(1_001))
    with pytest.raises(InvalidArgument, match="ttl"):
        world.send(SessionId(5), 0, OpenSession(1))
    world.drain()
    assert world.leader.status().last_index == before


def test_a_late_reply_comes_when_another_command_decides_it(world: World) -> None:
    assert world.call(ONE, 1, WaitFor(3, 60_000)) is None
    world.call(ONE, 2, Add(3))
    late = [reply for reply in world.replies if reply.handle == (ONE, 1)]
    assert late[0].body == Total(3)
    assert late[0].rank > world.replies[0].rank


def test_what_is_due_happens_without_any_client(world: World) -> None:
    world.send(ONE, 1, WaitFor(3, 700))
    world.drain()
    world.replies.clear()
    world.pass_time(600)
    assert world.replies == []
    world.pass_time(300)
    assert [reply.body for reply in world.replies] == [Total(0)]


def test_a_silent_session_is_ended_on_every_replica(world: World) -> None:
    world.pass_time(11_000)
    assert all(machine.ended == [ONE] for machine in world.machines.values())


def test_keep_alives_keep_a_session(world: World) -> None:
    for _ in range(10):
        world.replies.clear()
        world.leader.keep_alive(ONE, "ping", world.now)
        world.drain()
        assert [reply.body for reply in world.replies] == [SessionAlive(alive=True)]
        world.pass_time(3_000)
    assert all(machine.ended == [] for machine in world.machines.values())


def test_a_keep_alive_heard_in_time_saves_a_session_though_the_quorum_is_slow() -> None:
    world = World(N1, N2, N3)
    world.call(ONE, 0, OpenSession(3_000, "tester"))
    world.pass_time(2_600)
    leader = world.leader
    world.cut = {node for node, replica in world.replicas.items() if replica is not leader}
    leader.keep_alive(ONE, "ping", world.now)
    world.pass_time(600)
    world.cut = set()
    world.pass_time(1_000)
    assert [reply.body for reply in world.replies[-1:]] == [SessionAlive(alive=True)]
    assert all(machine.ended == [] for machine in world.machines.values())


def test_a_session_whose_end_is_proposed_is_not_called_alive() -> None:
    world = World(N1, N2, N3)
    world.call(ONE, 0, OpenSession(3_000, "tester"))
    world.pass_time(2_800)
    world.replies.clear()
    leader = world.leader
    world.cut = {node for node, replica in world.replicas.items() if replica is not leader}
    world.pass_time(400)  # its time is over; the leader cannot commit that yet
    leader.keep_alive(ONE, "ping", world.now)
    world.cut = set()
    world.pass_time(1_000)
    assert [reply.body for reply in world.replies] == [SessionAlive(alive=False)]
    assert all(machine.ended == [ONE] for machine in world.machines.values())


def test_a_closed_session_is_told_so(world: World) -> None:
    assert world.call(ONE, 0, CloseSession()) == SessionClosed()
    assert world.call(ONE, 0, CloseSession()) == SessionClosed()
    world.leader.keep_alive(ONE, "ping", world.now)
    world.replies.clear()
    world.drain()
    assert world.replies[0].body == SessionAlive(alive=False)


def test_an_ended_session_is_never_opened_again(world: World) -> None:
    """A delayed duplicate would bring it back, and with it delayed duplicates of its commands."""
    world.call(ONE, 1, Add(5))
    world.call(ONE, 0, CloseSession())
    refused = world.call(ONE, 0, OpenSession(10_000, "late duplicate"))
    assert isinstance(refused, Refused)
    assert refused.code == "session_expired"
    assert world.leader.sessions.by_id == {}
    world.call(ONE, 1, Add(5))
    assert set(world.totals()) == {5}


def test_the_waits_of_a_closed_session_are_answered(world: World) -> None:
    world.send(ONE, 1, WaitFor(3, 60_000))
    world.drain()
    world.replies.clear()
    world.call(ONE, 0, CloseSession())
    (late,) = [reply for reply in world.replies if reply.handle == (ONE, 1)]
    assert isinstance(late.body, Refused)
    assert late.body.code == "session_expired"


def test_a_query_sees_everything_answered_before_it(world: World) -> None:
    world.call(ONE, 1, Add(5))
    world.replies.clear()
    world.leader.query(Add(0), "question", world.now)
    world.drain()
    assert [(reply.handle, reply.body) for reply in world.replies] == [("question", Total(5))]


def test_a_stale_query_is_answered_by_members_only(world: World) -> None:
    world.call(ONE, 1, Add(5))
    world.pass_time(500)
    world.replies.clear()
    for replica in world.replicas.values():
        replica.query(Add(0), "question", world.now, stale=True)
    world.drain()
    assert {reply.body for reply in world.replies} == {Total(5)}
    members, random_ = Members((N1,)), random.Random(1)
    raft = Raft(NodeId("outsider"), RaftConfig(), RecoveredGroup(), members, random_, world.now)
    outsider = Replica(GROUP, raft, Counter(), ReplicaConfig(), None, world.now)
    with pytest.raises(NotLeader, match="does not belong"):
        outsider.query(Add(0), "question", world.now, stale=True)


class StoringCounter(Counter):
    """Puts every amount into a message store as well."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.operations: list[StoreOperation] = []

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        self.operations.append(StoreAppend(1, self.length, b"unit"))
        self.length += 4
        return super().apply(session, sequence, command, now)

    def take_store(self) -> list[StoreOperation]:
        taken, self.operations = self.operations, []
        return taken

    def attachments(self) -> tuple[Attachment, ...]:
        return (Attachment(1, self.length, 0),)


def test_what_applying_did_to_the_store_leaves_in_order_and_a_snapshot_refers_to_it() -> None:
    raft = Raft(N1, RaftConfig(), RecoveredGroup(), Members((N1,)), random.Random(1), Instant(0))
    replica = Replica(GROUP, raft, StoringCounter(), ReplicaConfig(), None, Instant(0))
    stored: list[StoreOperation] = []
    metas = []
    for step in range(60):
        now = Instant(5_000 + step * 10)
        replica.tick(now)
        if replica.log.ready and step % 20 == 0:
            replica.propose(Proposal(SessionId(0), Sequence(0), Sequence(0), Add(1)), None, now)
            replica.snapshot_soon()
        effects = replica.take_effects()
        stored += effects.store
        if effects.persist is not None:
            if effects.persist.snapshot is not None:
                metas.append((effects.persist.snapshot.meta.attachments[0].length, len(stored)))
            replica.persisted(effects.persist.mark, now)
    assert stored == [StoreAppend(1, 4 * i, b"unit") for i in range(len(stored))]
    assert len(stored) >= 2
    assert metas
    assert all(length == 4 * count for length, count in metas)


def test_a_snapshot_carries_sessions_replies_and_state() -> None:
    """R17: a snapshot without the session table makes a retry apply twice."""
    world = World(N1, config=ReplicaConfig(snapshot_bytes_min=64, snapshot_ratio=1.0))
    world.call(ONE, 0, OpenSession(10_000, "tester"))
    world.send(ONE, 1, WaitFor(1_000, 60_000))
    for sequence in range(2, 20):
        world.call(ONE, sequence, Add(1))
    assert world.snapshots
    snapshot = world.snapshots[-1]
    machine = Counter()
    recovered = RecoveredGroup(snapshot=snapshot)
    raft = Raft(N1, RaftConfig(), recovered, Members((N1,)), random.Random(1), world.now)
    copy = Replica(GROUP, raft, machine, ReplicaConfig(), snapshot, world.now)
    assert copy.applied_index == snapshot.meta.index
    assert copy.state() == snapshot.data
    replies = copy.sessions.by_id[ONE].replies
    assert replies[Sequence(1)] is None
    assert all(isinstance(r.body, Total) for r in replies.values() if r is not None)


def test_a_deposed_leader_fails_what_waits_so_that_clients_go_elsewhere() -> None:
    world = World(N1, N2, N3)
    world.call(ONE, 0, OpenSession(60_000, "tester"))
    old = world.leader
    world.send(ONE, 1, WaitFor(100, 60_000))
    world.drain()
    world.replies.clear()
    world.cut.add(old.log.leader or N1)
    old.propose(Proposal(ONE, Sequence(2), Sequence(0), Add(1)), (ONE, 2), world.now)
    world.pass_time(5_000)
    failed = {reply.handle: reply.body for reply in world.replies}
    assert {h: b.code for h, b in failed.items() if isinstance(b, Refused)} == {
        (ONE, 1): "not_leader",
        (ONE, 2): "not_leader",
    }
    with pytest.raises(NotLeader):
        old.propose(Proposal(ONE, Sequence(3), Sequence(0), Add(1)), None, world.now)
    assert world.call(ONE, 2, Add(1)) == Total(1)
    world.cut.clear()
    assert world.totals() == [1, 1, 1]


def test_log_time_never_goes_back_when_leadership_moves() -> None:
    world = World(N1, N2, N3)
    world.call(ONE, 0, OpenSession(60_000, "tester"))
    world.pass_time(3_000)
    world.call(ONE, 1, Add(1))
    before = world.leader.log_time
    world.cut.add(world.leader.log.leader or N1)
    world.pass_time(5_000)
    world.call(ONE, 2, Add(1))
    newest = max(replica.log_time for replica in world.replicas.values())
    assert newest >= before
    for replica in world.replicas.values():
        replica.check_invariants()
