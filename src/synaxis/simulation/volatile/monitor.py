"""What must hold at every moment where logs live in memory.

Within an era it is what must hold everywhere, with memories in place of disks: an entry counts as
held by a node that ever had it as stable, because whoever heard of it may act on that. Between
eras: one may begin only while those who remember are no majority of the members.
"""

from synaxis.consensus.quorum import acknowledged
from synaxis.consensus.raft.messages import AppendReply, era_of
from synaxis.effects import Entry, Members, Persist
from synaxis.ids import LogIndex, Term
from synaxis.ports import RecoveredGroup, ReplicatedLog
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.invariants import DurableLog, Monitor
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.observed import ObservedRaft

__all__ = ["EraMonitor"]


class HeldLog(DurableLog):
    """The hard state that is on a node's disk, and what its memory ever held."""

    __slots__ = ("_noted", "bases", "held")

    def __init__(self) -> None:
        super().__init__()
        self.held: set[tuple[int, Term]] = set()
        self.bases: dict[int, LogIndex] = {}
        """Era -> up to where its log was ever contained in a state that was taken over."""
        self._noted = (LogIndex(0), Term(0))

    def confirm(self, persist: Persist) -> None:
        """A hard state is durable."""
        assert self.pending.pop(0) is persist
        assert persist.hard_state is not None
        assert not persist.entries, "the log of a volatile group is not written"
        assert persist.snapshot is None, "nor is its state"
        self.hard_state = persist.hard_state

    def holds(self, index: int, term: Term) -> bool:
        """Return whether the entry was ever in this node's memory."""
        return (index, term) in self.held or index <= self.bases.get(era_of(term), 0)

    def note(self, log: ObservedRaft, last: LogIndex) -> None:
        """Everything up to ``last`` is held now."""
        base = log.base_index
        era = log.era or 0
        self.bases[era] = max(base, self.bases.get(era, LogIndex(0)))
        index, term = self._noted
        known = base <= index <= last and log.term_at(index) == term
        for each in range((index if known else base) + 1, last + 1):
            self.held.add((each, log.term_at(LogIndex(each))))
        if last >= base:
            self._noted = last, log.term_at(last)

    def recovered(self, group: RecoveredGroup) -> str | None:
        """Compare the hard state with what a restart found; the rest is gone by right."""
        lost = None if group.damaged else self.lost_promise(group.hard_state)
        self.pending = []
        self.hard_state = group.hard_state
        self._noted = LogIndex(0), Term(0)
        return lost


class EraMonitor(Monitor):
    """The observer of one era; what outlives eras is shared by all of them."""

    def __init__(self, kernel: Kernel, coverage: Coverage, bootstrap: Members) -> None:
        super().__init__(kernel, coverage, bootstrap)
        self.eras: dict[int, EraMonitor] = {0: self}
        self.memories: dict[str, ObservedRaft] = {}
        """The logs of the processes that run."""

    def make_disk(self) -> DurableLog:
        """Return the picture of a new node."""
        return HeldLog()

    def of(self, era: int | None) -> "EraMonitor":
        """Return the observer of an era; it begins when somebody asks for it first."""
        assert era is not None
        found = self.eras.get(era)
        return self._begin(era) if found is None else found

    def _begin(self, era: int) -> "EraMonitor":
        previous = self.eras[max(self.eras)]
        previous.check_forgotten(era)
        self.coverage.hit("volatile.era_begun")
        found = EraMonitor(self.kernel, self.coverage, previous.members)
        self.eras[era] = found
        found.eras, found.memories = self.eras, self.memories
        found.share_promises(self)
        return found

    def check_forgotten(self, era: int) -> None:
        """Demand that no majority of the members remembers this era, because ``era`` begins."""
        own = max(self.eras)
        remembering = {
            node for node, log in self.memories.items() if not log.quarantined and log.era == own
        }
        if acknowledged(self.members, lambda node: int(node in remembering)):
            self.fail(
                "what a majority remembers is not lost",
                f"era {era} begins although {sorted(remembering)} of {self.members} remember "
                f"era {own}",
            )

    def end_damage(self, node: str) -> None:
        """Do nothing: so little is written that a flipped bit may be found much later."""

    def committed(self, node: str, entry: Entry, log: ReplicatedLog) -> None:
        """A node hands ``entry`` to its replica; a sole voter has held it for this moment only."""
        assert isinstance(log, ObservedRaft)
        self.remembers(node, log, log.status().stable_index)
        super().committed(node, entry, log)

    def remembers(self, node: str, log: ObservedRaft, last: LogIndex) -> None:
        """A node holds everything up to ``last``."""
        disk = self.disk(node)
        assert isinstance(disk, HeldLog)
        disk.note(log, last)

    def acknowledged(self, node: str, message: AppendReply) -> None:
        """Demand that what a node acknowledges is in its memory, and note that it was."""
        log = self.memories[node]
        if message.success and message.term == self.disk(node).hard_state.term:
            if message.index > log.status().last_index:
                self.fail("promise before memory", f"{node} acknowledged {message!r}")
            if log.status().term == message.term:
                self.remembers(node, log, message.index)
