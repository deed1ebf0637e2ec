"""The replica of a volatile group: eras make it blank, snapshots are made when they are wanted."""

import random
from typing import Any

import msgspec

from synaxis.consensus.commands import OpenSession, Proposal, SessionAlive, SessionOpened
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.raft.messages import AppendEntries, first_term
from synaxis.consensus.replica import Replica
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import Effects, HardState, Members, Refused
from synaxis.ids import GroupId, Instant, LogIndex, NodeId, Sequence, SessionId, Term
from synaxis.ports import RecoveredGroup
from synaxis.simulation.volatile.registers import (
    VERSION_BITS,
    Get,
    Put,
    RegisterMachine,
    Stored,
    Value,
)

ONE = SessionId(1)
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


class Node:
    """One replica, with a disk that answers at once."""

    def __init__(self, voters: tuple[NodeId, ...] = (N1,), term: int = 0) -> None:
        self.now = Instant(1_000)
        recovered = RecoveredGroup(HardState(Term(term), None))
        raft = Raft(
            N1,
            RaftConfig(volatile=True, volatile_log_bytes_max=100, suffix_entries_max=1),
            recovered,
            Members(voters),
            random.Random(1),
            self.now,
        )
        self.machine = RegisterMachine()
        group = GroupId("caches/0")
        self.replica = Replica(group, raft, self.machine, ReplicaConfig(), None, self.now)
        self.answers: dict[Any, msgspec.Struct] = {}
        self.effects: list[Effects] = []

    def drain(self) -> None:
        while True:
            effects = self.replica.take_effects()
            self.effects.append(effects)
            self.answers.update({reply.handle: reply.body for reply in effects.replies})
            if effects.persist is not None:
                self.replica.persisted(effects.persist.mark, self.now)
            elif not self.replica.is_restless:
                return

    def lead(self) -> None:
        self.replica.tick(self.now)
        self.drain()
        self.drain()

    def propose(self, command: msgspec.Struct, sequence: int, handle: str) -> None:
        proposal = Proposal(ONE, Sequence(sequence), Sequence(0), command)
        self.replica.propose(proposal, handle, self.now)

    def follow(self, era: int) -> None:
        message = AppendEntries(Term(first_term(era) + 1), LogIndex(0), Term(0), LogIndex(0), 0)
        self.replica.handle(N2, message, self.now)
        self.drain()


def test_a_sole_voter_starts_with_an_era_of_its_own() -> None:
    node = Node(term=5)
    assert node.machine.version == 0
    node.lead()
    assert node.machine.version == 1 << VERSION_BITS
    assert node.replica.tally.eras_begun == 1


def test_a_machine_is_told_the_era_that_it_starts_in() -> None:
    node = Node((N1, N2, N3), term=first_term(4) + 1)
    assert node.machine.version == 4 << VERSION_BITS


def test_writes_are_answered_without_a_disk() -> None:
    node = Node()
    node.lead()
    before = sum(effects.persist is not None for effects in node.effects)
    node.propose(OpenSession(5_000), 0, "open")
    node.propose(Put("a", "x"), 1, "put")
    node.drain()
    assert node.answers == {"open": SessionOpened(5_000), "put": Stored(1)}
    assert sum(effects.persist is not None for effects in node.effects) == before


def test_an_era_makes_the_replica_blank() -> None:
    node = Node()
    node.lead()
    node.propose(OpenSession(5_000), 0, "open")
    node.propose(Put("a", "x"), 1, "put")
    node.drain()
    node.follow(2)
    assert node.replica.applied_index == 0
    assert node.replica.log_time == 0
    assert not node.replica.sessions.by_id
    node.replica.query(Get("a"), "get", node.now, stale=True)
    node.drain()
    assert node.answers["get"] == Value("", 2 << VERSION_BITS)


def test_an_era_fails_what_was_open() -> None:
    node = Node()
    node.lead()
    node.propose(OpenSession(5_000), 0, "open")
    node.drain()
    node.replica.query(Get("a"), "get", node.now)
    node.replica.keep_alive(ONE, "alive", node.now)
    node.propose(Put("a", "x"), 1, "put")
    node.follow(1)
    for handle in ("get", "alive", "put"):
        answer = node.answers[handle]
        assert isinstance(answer, Refused)
        assert answer.code == "not_leader"


def test_a_session_of_an_earlier_era_is_unknown() -> None:
    node = Node()
    node.lead()
    node.propose(OpenSession(5_000), 0, "open")
    node.drain()
    again = Node(term=1)
    again.lead()
    again.replica.keep_alive(ONE, "alive", again.now)
    again.drain()
    assert again.answers["alive"] == SessionAlive(alive=False)


def test_no_snapshot_is_taken_for_the_disk() -> None:
    node = Node()
    node.lead()
    node.propose(OpenSession(5_000), 0, "open")
    for number in range(1, 50):
        node.propose(Put("a", "x" * 20), number, f"put {number}")
        node.drain()
    node.replica.snapshot_soon()
    node.drain()
    assert node.replica.tally.snapshots_taken == 0
    assert node.replica.status().log_bytes < 300, "the log is dropped all the same"
