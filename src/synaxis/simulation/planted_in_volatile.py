"""Planted bugs of volatile groups: quarantine, eras, and what must be on disk all the same."""

# The replacements touch what is private to the machines, which is their whole purpose.
# ruff: noqa: SLF001

from collections.abc import Sequence
from typing import cast

from synaxis.consensus.raft import eras
from synaxis.consensus.raft.durability import Durability, HardStateDurability
from synaxis.consensus.raft.eras import Forgetting
from synaxis.consensus.raft.log import RaftLog
from synaxis.consensus.raft.state import RaftState
from synaxis.consensus.replica import Replica
from synaxis.effects import HardState, Members, Persist
from synaxis.ids import LogTime, NodeId, Term
from synaxis.ports import RecoveredGroup
from synaxis.simulation.planting import Patch, planted
from synaxis.simulation.seeds import VOLATILE
from synaxis.simulation.volatile.registers import RegisterMachine

Patches = Sequence[Patch]


@planted(
    "forgotten-voter-votes",
    "a voter that has forgotten the log votes and campaigns like any other",
    "crash",
    world=VOLATILE,
)
def _forgotten_voter_votes() -> Patches:
    def unsuspecting(self: RaftState, recovered: RecoveredGroup) -> None:
        recover(self, recovered)
        if self.has_forgotten:
            self._replace_hard_state(repair_after=Term(0))

    recover = RaftState._recover_volatile
    return [(RaftState, "_recover_volatile", unsuspecting)]


@planted(
    "volatile-vote-not-on-disk",
    "nothing of a volatile group is written, not even its votes",
    "crash",
    "power_cut",
    world=VOLATILE,
)
def _volatile_vote_not_on_disk() -> Patches:
    def nothing(self: Durability, log: RaftLog, hard_state: HardState) -> Persist | None:
        self.emitted_index = log.last_index
        self._hard_state = hard_state
        return None

    return [(HardStateDurability, "emit", nothing)]


@planted(
    "settled-before-its-term",
    "an entry counts as stable although the term that it came in is not on disk",
    "crash",
    "power_cut",
    "slow_disk",
    world=VOLATILE,
)
def _settled_before_its_term() -> Patches:
    return [(Durability, "is_hard_state_durable", lambda *_: True)]


@planted(
    "era-by-one-voice",
    "a single voter that has forgotten and hears no leader begins a new era",
    "crash",
    "partition",
    world=VOLATILE,
)
def _era_by_one_voice() -> Patches:
    def anybody(members: Members, forgotten: set[NodeId]) -> bool:
        return bool(forgotten.intersection(members.voters))

    return [(eras, "is_majority_lost", anybody)]


@planted(
    "forgetting-of-any-term",
    "who said once to have forgotten counts for ever, though it was repaired since",
    "crash",
    "partition",
    world=VOLATILE,
)
def _forgetting_of_any_term() -> Patches:
    return [(Forgetting, "_forget_other_terms", lambda _: None)]


@planted("era-keeps-the-log", "a new era begins with the old log", "power_cut", world=VOLATILE)
def _era_keeps_the_log() -> Patches:
    return [(RaftLog, "forget", lambda _: None)]


@planted("era-keeps-the-state", "a new era begins with the old state", "crash", world=VOLATILE)
def _era_keeps_the_state() -> Patches:
    def careless(self: Replica, era: int) -> None:
        machine = cast("RegisterMachine", self.machine)
        registers = machine.registers
        begin(self, era)
        machine.registers = registers

    begin = Replica._begin_era
    return [(Replica, "_begin_era", careless)]


@planted("era-keeps-the-time", "a new era begins with the old log time", "crash", world=VOLATILE)
def _era_keeps_the_time() -> Patches:
    def timeless(self: Replica, era: int) -> None:
        time = self.log_time
        begin(self, era)
        self.log_time = LogTime(time)

    begin = Replica._begin_era
    return [(Replica, "_begin_era", timeless)]


@planted(
    "versions-begin-anew", "versions of a new era repeat those of the last", "crash", world=VOLATILE
)
def _versions_begin_anew() -> Patches:
    def from_nothing(self: RegisterMachine, _: int) -> None:
        self.registers, self.version = {}, 0

    return [(RegisterMachine, "begin_era", from_nothing)]


@planted(
    "members-not-on-disk",
    "a node that restarts knows only the members that the group began with",
    "rotate",
    "crash",
    "power_cut",
    world=VOLATILE,
)
def _members_not_on_disk() -> Patches:
    return [(RaftState, "remember_configuration", lambda _: None)]
