from support.raft_network import entry, make_snapshot, members
from synaxis.consensus.raft.durability import Durability
from synaxis.consensus.raft.log import RaftLog
from synaxis.effects import HardState, Persist
from synaxis.ids import LogIndex, NodeId, Term

HARD_STATE = HardState(Term(1), None)


class Machine:
    """A log and what the disk has of it."""

    def __init__(self) -> None:
        self.log = RaftLog(LogIndex(0), Term(0), [])
        self.hard_state = HARD_STATE
        self.durability = Durability(HARD_STATE, LogIndex(0))

    def append(self, *terms: int) -> None:
        for term in terms:
            self.log.append(entry(self.log.last_index + 1, term))

    def truncate(self, first: int) -> None:
        self.log.truncate(LogIndex(first))
        self.durability.truncate(LogIndex(first))

    def emit(self) -> Persist:
        persist = self.durability.emit(self.log, self.hard_state)
        assert persist is not None
        return persist


def test_nothing_new_writes_nothing() -> None:
    machine = Machine()
    assert machine.durability.emit(machine.log, machine.hard_state) is None


def test_every_entry_is_written_once() -> None:
    machine = Machine()
    machine.append(1, 1)
    assert [each.index for each in machine.emit().entries] == [1, 2]
    machine.append(1)
    assert [each.index for each in machine.emit().entries] == [3]


def test_replaced_entries_are_written_again() -> None:
    machine = Machine()
    machine.append(1, 1, 1)
    machine.emit()
    machine.truncate(2)
    machine.append(2)
    persist = machine.emit()
    assert [(each.index, each.term) for each in persist.entries] == [(2, 2)]
    assert (persist.mark.index, persist.mark.term) == (2, 2)


def test_one_confirmation_covers_all_earlier_writes() -> None:
    machine = Machine()
    machine.append(1)
    machine.emit()
    machine.append(1)
    machine.durability.persisted(machine.emit().mark)
    assert machine.durability.stable_index == 2


def test_a_repeated_confirmation_changes_nothing() -> None:
    machine = Machine()
    machine.append(1)
    first = machine.emit()
    machine.durability.persisted(first.mark)
    machine.append(1)
    machine.emit()
    machine.durability.persisted(first.mark)
    assert machine.durability.stable_index == 1


def test_a_write_of_replaced_entries_confirms_only_what_is_left_of_them() -> None:
    machine = Machine()
    machine.append(1, 1, 1)
    first = machine.emit()
    machine.truncate(2)
    machine.append(2, 2)
    machine.durability.persisted(first.mark)
    assert machine.durability.stable_index == 1
    machine.durability.check_invariants(machine.log)


def test_truncation_takes_back_what_was_durable() -> None:
    machine = Machine()
    machine.append(1, 1, 1)
    machine.durability.persisted(machine.emit().mark)
    machine.truncate(2)
    assert machine.durability.stable_index == 1


def test_a_term_is_durable_when_its_write_is_confirmed() -> None:
    machine = Machine()
    assert machine.durability.is_hard_state_durable(machine.hard_state)
    machine.hard_state = HardState(Term(2), NodeId("a"))
    assert not machine.durability.is_hard_state_durable(machine.hard_state)
    persist = machine.emit()
    assert persist.hard_state == machine.hard_state
    assert not machine.durability.is_hard_state_durable(machine.hard_state)
    machine.durability.persisted(persist.mark)
    assert machine.durability.is_hard_state_durable(machine.hard_state)


def test_a_hard_state_is_written_once() -> None:
    machine = Machine()
    machine.hard_state = HardState(Term(2), None)
    machine.emit()
    assert machine.durability.emit(machine.log, machine.hard_state) is None


def test_entries_that_a_new_snapshot_contains_are_not_written() -> None:
    machine = Machine()
    machine.append(1, 1, 1)
    machine.log.commit_to(LogIndex(2))
    machine.log.take_committed(1000)
    machine.log.compact(LogIndex(2), 0, 0)
    machine.durability.snapshot = make_snapshot(2, 1, members("a"), b"")
    persist = machine.emit()
    assert persist.snapshot is not None
    assert [each.index for each in persist.entries] == [3]
    assert persist.mark.snapshot_index == 2


def test_a_snapshot_of_a_leader_starts_the_disk_again() -> None:
    machine = Machine()
    machine.append(1, 1, 1)
    machine.durability.persisted(machine.emit().mark)
    machine.log.reset(LogIndex(9), Term(2))
    machine.durability.reset(make_snapshot(9, 2, members("a"), b""))
    assert machine.durability.stable_index == 0
    persist = machine.emit()
    assert (persist.mark.index, persist.mark.snapshot_index, persist.entries) == (9, 9, ())
    machine.durability.persisted(persist.mark)
    assert machine.durability.stable_index == 9
