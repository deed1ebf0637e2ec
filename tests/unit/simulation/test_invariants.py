"""The monitor notices the moment at which a rule is broken."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from synaxis.consensus.raft.messages import AppendReply, RequestVote, VoteReply
from synaxis.effects import (
    Entry,
    EntryKind,
    HardState,
    Members,
    Persist,
    PersistMark,
    Snapshot,
    SnapshotMeta,
)
from synaxis.ids import FencingToken, LogIndex, LogTime, NodeId, Sequence, SessionId, Term
from synaxis.locks.commands import Granted
from synaxis.ports import LogStatus, RecoveredGroup
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import MachineCall, MachineCallKind
from synaxis.simulation.invariants import InvariantViolation, Monitor
from synaxis.simulation.kernel import Kernel

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
THREE = Members((N1, N2, N3))


@pytest.fixture
def monitor() -> Monitor:
    made = Monitor(Kernel(1), Coverage(), THREE)
    for node in THREE.voters:
        made.booted(node, RecoveredGroup())
    return made


def entry(index: int, term: int, payload: bytes = b"x") -> Entry:
    return Entry(LogIndex(index), Term(term), EntryKind.COMMANDS, payload)


def persist(
    monitor: Monitor,
    node: NodeId,
    *entries: Entry,
    hard_state: HardState | None = None,
    last: int | None = None,
) -> None:
    index = last if last is not None else entries[-1].index if entries else 0
    what = Persist(PersistMark(LogIndex(index), Term(1), LogIndex(0)), hard_state, None, entries)
    monitor.written(node, what)
    monitor.synced(node, what)


def vote(monitor: Monitor, node: NodeId, term: int, candidate: NodeId) -> None:
    persist(monitor, node, hard_state=HardState(Term(term), candidate), last=0)


class Log:
    """As much of a log as the monitor asks for."""

    def members_at(self, _: LogIndex) -> Members:
        return THREE

    def status(self) -> LogStatus:
        return status(1)


LOG: Any = Log()


def status(term: int) -> LogStatus:
    return LogStatus(
        "leader",
        Term(term),
        N1,
        LogIndex(0),
        LogIndex(0),
        LogIndex(0),
        LogIndex(0),
        THREE,
        True,
        {},
        0,
        False,
        None,
    )


def test_a_vote_may_only_leave_when_it_is_on_disk(monitor: Monitor) -> None:
    vote(monitor, N2, 1, N1)
    monitor.sent(N2, N1, VoteReply(Term(1), True))
    with pytest.raises(InvariantViolation, match="promise before disk"):
        monitor.sent(N3, N1, VoteReply(Term(1), True))
    with pytest.raises(InvariantViolation, match="promise before disk"):
        monitor.sent(N2, N3, VoteReply(Term(1), True))


def test_a_candidacy_needs_the_own_vote_on_disk_but_a_pre_vote_needs_nothing(
    monitor: Monitor,
) -> None:
    monitor.sent(N1, N2, RequestVote(Term(5), LogIndex(0), Term(0), pre=True))
    with pytest.raises(InvariantViolation, match="promise before disk"):
        monitor.sent(N1, N2, RequestVote(Term(5), LogIndex(0), Term(0)))


def test_an_acknowledgement_may_only_leave_when_the_entries_are_on_disk(monitor: Monitor) -> None:
    persist(monitor, N2, entry(1, 1), entry(2, 1), hard_state=HardState(Term(1), None))
    monitor.sent(N2, N1, AppendReply(Term(1), True, LogIndex(2), Term(1), 0))
    with pytest.raises(InvariantViolation, match="acknowledged"):
        monitor.sent(N2, N1, AppendReply(Term(1), True, LogIndex(3), Term(1), 0))


def test_what_a_later_term_replaced_at_once_may_have_been_acknowledged_in_the_earlier_one(
    monitor: Monitor,
) -> None:
    persist(monitor, N2, entry(1, 2), hard_state=HardState(Term(2), None))
    monitor.sent(N2, N1, AppendReply(Term(1), True, LogIndex(3), Term(1), 0))
    with pytest.raises(InvariantViolation, match="acknowledged"):
        monitor.sent(N2, N1, AppendReply(Term(2), True, LogIndex(3), Term(2), 0))


def test_nobody_votes_twice_in_a_term(monitor: Monitor) -> None:
    vote(monitor, N3, 4, N1)
    with pytest.raises(InvariantViolation, match="one vote per term"):
        vote(monitor, N3, 4, N2)


def test_a_leader_needs_a_quorum_of_votes_that_are_on_disk(monitor: Monitor) -> None:
    vote(monitor, N1, 1, N1)
    with pytest.raises(InvariantViolation, match="election by quorum"):
        monitor.leads(N1, status(1), None)
    vote(monitor, N2, 2, N1)
    vote(monitor, N1, 2, N1)
    monitor.leads(N1, status(2), None)
    with pytest.raises(InvariantViolation, match="one leader per term"):
        monitor.leads(N2, status(2), None)


def test_a_committed_entry_is_on_a_quorum_of_disks_and_never_changes(monitor: Monitor) -> None:
    persist(monitor, N1, entry(1, 1))
    with pytest.raises(InvariantViolation, match="no quorum"):
        monitor.committed(N1, entry(1, 1), LOG)
    persist(monitor, N1, entry(2, 1))
    persist(monitor, N2, entry(1, 1), entry(2, 1))
    monitor.committed(N1, entry(2, 1), LOG)
    with pytest.raises(InvariantViolation, match="never changes"):
        monitor.committed(N2, entry(2, 1, b"y"), LOG)


def test_a_new_leader_has_every_committed_entry(monitor: Monitor) -> None:
    for node in (N1, N2):
        persist(monitor, node, entry(1, 1))
    monitor.committed(N1, entry(1, 1), LOG)
    for node in (N2, N3):
        vote(monitor, node, 2, N3)
    with pytest.raises(InvariantViolation, match="leader completeness"):
        monitor.leads(N3, status(2), None)


def test_entries_of_an_earlier_term_are_not_committed_by_counting(monitor: Monitor) -> None:
    monitor.counted(N1, Term(2), Term(2))
    with pytest.raises(InvariantViolation, match="only in the own term"):
        monitor.counted(N1, Term(3), Term(2))


def test_voters_are_not_replaced_in_one_step(monitor: Monitor) -> None:
    change = Members((N1, N2, NodeId("n4")))
    with pytest.raises(InvariantViolation, match="joint"):
        monitor._members_changed(LogIndex(9), change)


def test_what_was_synced_is_there_after_a_restart(monitor: Monitor) -> None:
    persist(monitor, N1, entry(1, 1), entry(2, 1), hard_state=HardState(Term(1), N2))
    found = RecoveredGroup(HardState(Term(1), N2), None, [entry(1, 1), entry(2, 1)])
    monitor.booted(N1, found)
    with pytest.raises(InvariantViolation, match="entry 2 of term 1 is gone"):
        monitor.booted(N1, RecoveredGroup(HardState(Term(1), N2), None, [entry(1, 1)]))


def test_a_vote_that_a_restart_forgot_is_noticed(monitor: Monitor) -> None:
    vote(monitor, N1, 3, N2)
    with pytest.raises(InvariantViolation, match="term and vote"):
        monitor.booted(N1, RecoveredGroup(HardState(Term(3), None), None, []))


def test_a_write_under_way_may_have_replaced_the_end_of_the_log(monitor: Monitor) -> None:
    persist(monitor, N1, entry(1, 1), entry(2, 1), entry(3, 1))
    mark = PersistMark(LogIndex(2), Term(2), LogIndex(0))
    monitor.written(N1, Persist(mark, None, None, (entry(2, 2),)))
    monitor.booted(N1, RecoveredGroup(HardState(Term(0), None), None, [entry(1, 1), entry(2, 2)]))


def test_a_snapshot_stands_for_the_entries_that_it_contains(monitor: Monitor) -> None:
    persist(monitor, N1, entry(1, 1), entry(2, 1), entry(3, 1))
    meta = SnapshotMeta(LogIndex(2), Term(1), THREE, 0, 0)
    found = RecoveredGroup(HardState(Term(0), None), Snapshot(meta, b""), [entry(3, 1)])
    monitor.booted(N1, found)
    assert monitor.disk(N1).holds(1, Term(1))


def test_damage_is_only_expected_where_a_fault_caused_it(monitor: Monitor) -> None:
    monitor.allow_damage(N1)
    monitor.booted(N1, RecoveredGroup(damaged=True))
    with pytest.raises(InvariantViolation, match="no simulated fault"):
        monitor.booted(N2, RecoveredGroup(damaged=True))


def test_what_a_damaged_node_had_acknowledged_still_counts_until_it_is_repaired(
    monitor: Monitor,
) -> None:
    persist(monitor, N1, entry(1, 1))
    monitor.allow_damage(N1)
    monitor.booted(N1, RecoveredGroup(damaged=True))
    assert monitor.disk(N1).holds(1, Term(1))
    persist(monitor, N1, hard_state=HardState(Term(9), None), last=0)
    assert not monitor.disk(N1).holds(1, Term(1))


def call(session: int, sequence: int, reply: msgspec.Struct | None, now: int = 1) -> MachineCall:
    owner, number = SessionId(session), Sequence(sequence)
    return MachineCall(MachineCallKind.APPLY, owner, number, None, LogTime(now), reply, [], 0)


def granted(token: int, holds: int = 1) -> Granted:
    return Granted(FencingToken(token), LogTime(0), holds)


def test_replicas_receive_equal_calls_with_equal_replies(monitor: Monitor) -> None:
    monitor.called(N1, 0, call(1, 1, None))
    monitor.called(N2, 0, call(1, 1, None))
    with pytest.raises(InvariantViolation, match="equal calls"):
        monitor.called(N3, 0, call(1, 1, None, now=2))


def test_a_command_is_applied_at_most_once(monitor: Monitor) -> None:
    monitor.called(N1, 0, call(1, 1, None))
    with pytest.raises(InvariantViolation, match="applied at most once"):
        monitor.called(N1, 1, call(1, 1, None))


def test_tokens_grow_and_belong_to_one_session(monitor: Monitor) -> None:
    monitor.called(N1, 0, call(1, 1, granted(5)))
    monitor.called(N1, 1, call(1, 2, granted(5, 2)))
    with pytest.raises(InvariantViolation, match="tokens grow"):
        monitor.called(N1, 2, call(2, 1, granted(5)))


def test_a_session_does_not_end_while_its_client_trusts_it(monitor: Monitor) -> None:
    monitor.trusted[SessionId(7)] = 10
    ended = replace(call(7, 0, None), kind=MachineCallKind.END_SESSION)
    with pytest.raises(InvariantViolation, match="no early expiry"):
        monitor.called(N1, 0, ended)


def test_equal_indexes_have_equal_states(monitor: Monitor) -> None:
    monitor.state_at(N1, LogIndex(32), b"a")
    monitor.state_at(N2, LogIndex(32), b"a")
    with pytest.raises(InvariantViolation, match="equal states"):
        monitor.state_at(N3, LogIndex(32), b"b")
