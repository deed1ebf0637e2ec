"""Who has forgotten, and when that is enough; the rules themselves are in tests/paper."""

import pytest

from support.raft_network import members
from support.raft_solo import Solo, append
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.durability import HardStateDurability
from synaxis.consensus.raft.eras import is_majority_lost
from synaxis.consensus.raft.log import RaftLog
from synaxis.consensus.raft.messages import ERA_BITS, era_of, first_term
from synaxis.effects import Configuration, Entry, EntryKind, HardState
from synaxis.errors import ConfigError
from synaxis.ids import LogIndex, NodeId, Term
from synaxis.ports import RecoveredGroup

HARD_STATE = HardState(Term(1), None)


@pytest.mark.parametrize(
    ("voters", "outgoing", "forgotten", "lost"),
    [
        ("a", "", "a", True),
        ("ab", "", "a", True),
        ("abc", "", "a", False),
        ("abc", "", "ab", True),
        ("abcd", "", "a", False),
        ("abcd", "", "ab", True),
        ("abcde", "", "ab", False),
        ("abcde", "", "abc", True),
        ("abc", "", "axy", False),
        ("abc", "cde", "ab", False),
        ("abc", "cde", "bc", False),
        ("abc", "cde", "bcd", True),
        ("", "", "abc", False),
    ],
)
def test_a_majority_is_lost_when_the_rest_is_none(
    voters: str, outgoing: str, forgotten: str, lost: bool
) -> None:
    group = members(voters, outgoing=outgoing)
    assert is_majority_lost(group, {NodeId(name) for name in forgotten}) == lost


def test_an_era_is_in_the_high_bits_of_a_term() -> None:
    assert era_of(2**ERA_BITS - 1) == 0
    assert era_of(first_term(3)) == era_of(first_term(3) + 5) == 3
    assert era_of(first_term(3) - 1) == 2


def test_what_a_disk_holds_of_the_log_of_a_volatile_group_is_not_read() -> None:
    entry = Entry(LogIndex(1), Term(1), EntryKind.COMMANDS, b"old")
    node = Solo(recovered=RecoveredGroup(HARD_STATE, None, [entry]), config=VOLATILE)
    assert node.status.last_index == 0


def test_a_damaged_disk_leaps_as_far_as_ever() -> None:
    config = RaftConfig(volatile=True, damaged_term_leap=100)
    node = Solo(recovered=RecoveredGroup(HARD_STATE, damaged=True), config=config)
    assert node.status.term == 101
    node.say("b", append(101, 0, 0, 101))
    assert node.raft.damaged, "it may have voted in any term up to the leap"


def test_a_configuration_that_was_known_once_is_not_replaced_by_an_older_one() -> None:
    newest = Configuration(Term(3), LogIndex(9), members("abd"))
    hard_state = HardState(Term(3), None, configuration=newest)
    node = Solo(recovered=RecoveredGroup(hard_state), config=VOLATILE)
    node.say("b", append(4, 0, 0, 1, 1))
    assert node.node.disk.hard_state.configuration == newest
    node.say("b", append(4, 2, 1, 4))
    configuration = node.node.disk.hard_state.configuration
    assert configuration is not None
    assert configuration.as_of == 4


def test_only_hard_states_are_written_and_the_rest_is_stable_with_them() -> None:
    durability = HardStateDurability(HARD_STATE, LogIndex(0))
    log = RaftLog(LogIndex(0), Term(0), [Entry(LogIndex(1), Term(1), EntryKind.NOOP, b"")])
    assert durability.settle(log, HARD_STATE)
    assert not durability.settle(log, HARD_STATE), "no news"
    assert durability.stable_index == 1
    assert durability.emit(log, HARD_STATE) is None
    later = HardState(Term(2), None)
    log.append(Entry(LogIndex(2), Term(2), EntryKind.NOOP, b""))
    persist = durability.emit(log, later)
    assert persist is not None
    assert (persist.hard_state, persist.entries, persist.snapshot) == (later, (), None)
    assert persist.mark.index == 0
    assert not durability.settle(log, later), "its term is not durable yet"
    durability.persisted(persist.mark)
    assert durability.stable_index == 2


def test_the_log_limit_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="volatile_log_bytes_max"):
        RaftConfig(volatile_log_bytes_max=0)


VOLATILE = RaftConfig(volatile=True)
