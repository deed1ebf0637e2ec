"""What must hold at every moment of a run, checked when something relevant happens.

One ``Monitor`` watches all nodes. It keeps its own picture of every disk, of the committed log and
of the calls that the state machines received, so it can tell at once, cheaply:

* at most one leader per term, elected by a quorum of durable votes, whose log holds every
  committed entry; no node votes for two candidates in one term;
* nothing is promised (vote, acknowledgement, term) that is not on the sender's disk;
* a committed entry is durable on a quorum, and the entry at an index never changes;
* entries are applied in order; all replicas feed their machines the same calls, get the same
  replies and have the same state; each (session, sequence) is applied at most once;
* fencing tokens grow; no session ends while its client may still trust it;
* what was synced is there after a crash.

Sources: Ongaro, thesis 3 (Figure 3.2) and 3.8; the list of reference/consensus.md 2.1.
"""

from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from synaxis.consensus.commands import Proposal
from synaxis.consensus.raft.messages import (
    AppendReply,
    RequestVote,
    VoteReply,
)
from synaxis.effects import Entry, EntryKind, HardState, Members, Persist
from synaxis.ids import LogIndex, NodeId, Sequence, SessionId, Term
from synaxis.locks.commands import Granted
from synaxis.ports import LogStatus, RecoveredGroup, ReplicatedLog
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import MachineCall, MachineCallKind, Operation
from synaxis.simulation.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DurableLog", "InvariantViolation", "Monitor"]

STATE_CHECK_INTERVAL = 32
"""Log entries between two comparisons of the whole state."""


class InvariantViolation(AssertionError):
    """``invariant`` is its short name."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


class DurableLog:
    """What one node's disk is known to hold for the group."""

    __slots__ = ("hard_state", "last_index", "pending", "promised", "snapshot_index", "terms")

    def __init__(self) -> None:
        self.hard_state = HardState(Term(0), None)
        self.snapshot_index = LogIndex(0)
        self.last_index = LogIndex(0)
        self.terms: dict[int, Term] = {}
        self.pending: list[Persist] = []
        """Handed to the disk and not confirmed."""
        self.promised: dict[int, Term] = {}
        """What a damaged disk held before. It still counts for those who heard of it: until it
        is repaired, the node lets nobody win who lacks it."""

    def confirm(self, persist: Persist) -> None:
        """``persist`` is durable now; confirmations come in order."""
        assert self.pending.pop(0) is persist
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state
            if self.hard_state.repair_after == 0:
                self.promised = {}
        if persist.snapshot is not None:
            self.snapshot_index = max(self.snapshot_index, persist.snapshot.meta.index)
        for entry in persist.entries:
            self.terms[entry.index] = entry.term
        self._cut(persist.mark.index)
        self.last_index = persist.mark.index

    def _cut(self, last: LogIndex) -> None:
        for index in range(last + 1, self.last_index + 1):
            self.terms.pop(index, None)

    def holds(self, index: int, term: Term) -> bool:
        """Return whether the entry is here, or inside the snapshot."""
        if index <= self.snapshot_index or self.terms.get(index) == term:
            return True
        return self.promised.get(index) == term

    def recovered(self, group: RecoveredGroup) -> str | None:
        """Compare with what a restart found; return what was lost. Adopts what was found."""
        found_snapshot = group.snapshot.meta.index if group.snapshot else LogIndex(0)
        lost = self._lost(group, found_snapshot)
        terms: dict[int, Term] = {entry.index: entry.term for entry in group.entries}
        last_index = group.entries[-1].index if group.entries else found_snapshot
        self.pending = []
        self.hard_state = group.hard_state
        if group.damaged:
            self.promised = self.promised | self.terms
            lost = None
        self.terms, self.last_index = terms, last_index
        self.snapshot_index = found_snapshot
        return lost

    def lost_promise(self, found: HardState) -> str | None:
        """Return what of term and vote was lost, if a restart found ``found``."""
        known = self.hard_state
        if found.term < known.term or (
            found.term == known.term and known.voted_for not in (None, found.voted_for)
        ):
            return f"term and vote {known} are gone, found {found}"
        return None

    def _lost(self, group: RecoveredGroup, found_snapshot: LogIndex) -> str | None:
        if lost := self.lost_promise(group.hard_state):
            return lost
        replayed = {entry.index for entry in group.entries}
        for index in range(found_snapshot + 1, self.snapshot_index + 1):
            # An older snapshot will do if the log reaches back to it.
            if index not in replayed:
                return f"snapshot {self.snapshot_index} is gone, found {found_snapshot}"
        # Writes under way may have replaced the end of the log without being confirmed.
        safe = self.last_index
        for persist in self.pending:
            first = persist.entries[0].index if persist.entries else persist.mark.index + 1
            safe = LogIndex(min(safe, first - 1, persist.mark.index))
        terms: dict[int, Term] = {entry.index: entry.term for entry in group.entries}
        for index in range(max(found_snapshot, self.snapshot_index) + 1, safe + 1):
            if index in self.terms and terms.get(index) != self.terms[index]:
                return f"entry {index} of term {self.terms[index]} is gone"
        return None


class Monitor:
    """The omniscient observer of one run."""

    def __init__(self, kernel: Kernel, coverage: Coverage, bootstrap: Members) -> None:
        """``bootstrap`` is the first configuration."""
        self.kernel = kernel
        self.coverage = coverage
        self.history: list[Operation] = []
        self.calls: list[MachineCall] = []
        self.decided: dict[tuple[SessionId, Sequence], tuple[int, int, msgspec.Struct]] = {}
        """(session, sequence) -> position of its call, position of its reply, the reply."""
        self.trusted: dict[SessionId, int] = {}
        """Until when the client of a session acts upon it (us)."""
        self.on_call: Callable[[MachineCall], None] | None = None
        """Told of each call when the first replica makes it."""
        self.committed_max = LogIndex(0)
        self.leader_terms: dict[Term, str] = {}
        self._committed: dict[int, tuple[Term, int, int]] = {}
        self._states: dict[int, int] = {}
        self._disks: dict[str, DurableLog] = {}
        self._votes: dict[Term, dict[str, NodeId]] = {}
        self._applied_at: dict[tuple[SessionId, Sequence], int] = {}
        self.members = bootstrap
        """The last committed configuration."""
        self._damage_allowed: set[str] = set()
        self._token_max = 0
        self._tokens: dict[int, SessionId] = {}

    def fail(self, invariant: str, message: str) -> None:
        """Stop the run."""
        raise InvariantViolation(invariant, message)

    # --- disks and promises ---------------------------------------------------------------------

    def disk(self, node: str) -> DurableLog:
        """Return the picture of a node's disk."""
        found = self._disks.get(node)
        if found is None:
            found = self._disks[node] = self.make_disk()
        return found

    def make_disk(self) -> DurableLog:
        """Return the picture of a new node's disk."""
        return DurableLog()

    def of(self, era: int | None) -> "Monitor":
        """Return the observer of what a node in ``era`` does; logs on disk have no eras."""
        assert era is None
        return self

    def share_promises(self, other: "Monitor") -> None:
        """Observe the same disks as ``other``."""
        for name in ("_disks", "_votes", "_damage_allowed", "leader_terms", "history", "trusted"):
            setattr(self, name, getattr(other, name))

    def written(self, node: str, persist: Persist) -> None:
        """``persist`` went to the disk."""
        self.disk(node).pending.append(persist)

    def synced(self, node: str, persist: Persist) -> None:
        """``persist`` is durable."""
        disk = self.disk(node)
        if persist.snapshot is not None:
            self.coverage.hit("raft.compacted")
        if persist.entries and persist.entries[0].index <= disk.last_index:
            self.coverage.hit("raft.truncated")
        disk.confirm(persist)
        self._record_vote(node, persist.hard_state)

    def booted(self, node: str, group: RecoveredGroup) -> None:
        """A node recovered ``group`` from its disk."""
        if group.damaged and node not in self._damage_allowed:
            self.fail("durability", f"{node} found damage that no simulated fault caused")
        lost = self.disk(node).recovered(group)
        if lost is not None:
            self.fail("durability", f"{node} lost what it had synced: {lost}")
        self._record_vote(node, group.hard_state)

    def allow_damage(self, node: str) -> None:
        """A fault has damaged the disk of ``node``."""
        self._damage_allowed.add(node)

    def end_damage(self, node: str) -> None:
        """``node`` has been repaired."""
        self._damage_allowed.discard(node)

    def _record_vote(self, node: str, hard_state: HardState | None) -> None:
        if hard_state is None or hard_state.voted_for is None:
            return
        votes = self._votes.setdefault(hard_state.term, {})
        before = votes.setdefault(node, hard_state.voted_for)
        if before != hard_state.voted_for:
            self.fail(
                "one vote per term",
                f"{node} voted for {before} and {hard_state.voted_for} in term {hard_state.term}",
            )

    def sent(self, node: str, target: str, message: Any) -> None:  # noqa: ANN401  a Raft message
        """A message leaves a node: what it promises must be on that node's disk."""
        kind = type(message)
        if (kind is VoteReply or kind is RequestVote) and message.pre:
            return
        disk = self._disks[node]
        known = disk.hard_state
        if message.term > known.term:
            self.fail(
                "promise before disk", f"{node} sent {message!r} but has only {known} on disk"
            )
        if kind is AppendReply:
            self.acknowledged(node, message)
        elif kind is VoteReply and message.granted:
            self._require_vote(node, target, message.term)
        elif kind is RequestVote:
            self._require_vote(node, node, message.term)

    def acknowledged(self, node: str, message: AppendReply) -> None:
        """A node acknowledges entries: they must be on its disk."""
        disk = self._disks[node]
        held = max(disk.last_index, disk.snapshot_index)
        # A node that moves on to a later term within one turn may have to replace entries that
        # it has taken in the earlier one. Its disk never held them, as if it had been told
        # between acknowledging and replacing them.
        if message.success and message.index > held and message.term == disk.hard_state.term:
            self.fail(
                "promise before disk",
                f"{node} acknowledged {message!r} but has only {disk.last_index} on disk",
            )

    def _require_vote(self, node: str, candidate: str, term: Term) -> None:
        votes = self._votes.setdefault(term, {})
        if self._disks[node].hard_state.term > term:
            # The node has moved on within one turn. Its disk never held this vote, but can never
            # hold another one of that term either.
            votes.setdefault(node, NodeId(candidate))
        voted_for = votes.get(node)
        if voted_for != candidate:
            self.fail(
                "promise before disk",
                f"{node} gave {candidate} its vote in term {term} but its disk says {voted_for}",
            )

    # --- leadership and commitment -------------------------------------------------------------

    def leads(self, node: str, status: LogStatus, log_term: Term | None) -> None:
        """A node became leader; ``log_term`` is the term that it has at ``committed_max``.

        None: it has no entry there, or only inside its snapshot.
        """
        term = status.term
        before = self.leader_terms.setdefault(term, node)
        if before != node:
            self.fail("one leader per term", f"{before} and {node} both lead term {term}")
        self.coverage.hit("raft.elected")
        if len(self.leader_terms) > 1:
            self.coverage.hit("raft.reelected")
        votes = self._votes.get(term, {})
        for voters in (status.members.voters, status.members.outgoing):
            count = sum(votes.get(voter) == node for voter in voters)
            # A sole voter leads before its own vote is durable, but nothing of that leaves it.
            if voters not in ((), (node,)) and count <= len(voters) // 2:
                self.fail(
                    "election by quorum",
                    f"{node} leads term {term} with {count} durable votes of {voters}",
                )
        known = self._committed.get(self.committed_max)
        in_snapshot = self.committed_max <= status.snapshot_index
        if known is not None and not in_snapshot and log_term != known[0]:
            self.fail(
                "leader completeness",
                f"{node} leads term {term} without committed entry {self.committed_max}: its log "
                f"has term {log_term} there, not {known[0]}",
            )

    def counted(self, node: str, term: Term, entry_term: Term) -> None:
        """A leader of ``term`` moved its commit index to an entry of ``entry_term``."""
        if entry_term != term:
            self.fail(
                "commit by counting only in the own term",
                f"{node} leads term {term} and committed an entry of term {entry_term}",
            )

    def committed(self, node: str, entry: Entry, log: ReplicatedLog) -> None:
        """A node hands ``entry`` to its replica as committed."""
        index = entry.index
        content = (entry.term, int(entry.kind), crc32(entry.payload))
        before = self._committed.get(index)
        if before is None:
            self._committed[index] = content
            self.committed_max = max(self.committed_max, index)
            self.kernel.fold(content[2])
            members = log.members_at(entry.index)
            if entry.kind is EntryKind.MEMBERS:
                self._members_changed(entry.index, members)
            if not self._is_durable(entry, members):
                # A later configuration is in force as soon as it is in the leader's log, and
                # then decides about earlier entries too.
                members = log.status().members
                if not self._is_durable(entry, members):
                    self.fail(
                        "committed means durable on a quorum",
                        f"{node} applies entry {index} of term {entry.term}, which no quorum of "
                        f"{members} has on disk",
                    )
        elif before != content:
            self.fail(
                "committed prefix never changes",
                f"{node} applies {content} at {index}, before it was {before}",
            )

    def _members_changed(self, index: LogIndex, members: Members) -> None:
        before, self.members = self.members, members
        if members.outgoing:
            self.coverage.hit("raft.joint")
        elif members.voters != before.voters and not before.outgoing:
            self.fail(
                "voters change through joint consensus",
                f"entry {index} leads from {before} straight to {members}",
            )

    def _is_durable(self, entry: Entry, members: Members) -> bool:
        for voters in (members.voters, members.outgoing):
            count = sum(
                voter in self._disks and self._disks[voter].holds(entry.index, entry.term)
                for voter in voters
            )
            if voters and count <= len(voters) // 2:
                return False
        return True

    def state_at(self, node: str, index: LogIndex, state: bytes) -> None:
        """Compare the whole state of a replica with that of the others at the same index."""
        checksum = crc32(state)
        before = self._states.setdefault(index, checksum)
        if before != checksum:
            self.fail("equal states", f"{node} has another state at index {index} than a replica")

    # --- the state machines ---------------------------------------------------------------------

    def called(self, node: str, position: int, call: MachineCall) -> None:
        """A machine received its ``position``-th call."""
        calls = self.calls
        if position < len(calls):
            first = calls[position]
            if not first.same_call(call):
                self.fail("equal calls", f"{node} at {position}: {call!r}, elsewhere {first!r}")
            return
        assert position == len(calls), "a replica skipped calls"
        calls.append(call)
        if self.on_call is not None:
            self.on_call(call)
        if call.kind == MachineCallKind.APPLY:
            self._first_applied(position, call)
        elif call.kind == MachineCallKind.END_SESSION:
            self._session_ended(node, call.session)
        for session, sequence, body in call.outcomes:
            started = self._applied_at.get((session, sequence), -1)
            self.decided[session, sequence] = (started, position, body)
            self._judge_token(session, body)

    def _first_applied(self, position: int, call: MachineCall) -> None:
        key = (call.session, call.sequence)
        if call.session != 0 and self._applied_at.setdefault(key, position) != position:
            self.fail("applied at most once", f"session {key[0]:x} sequence {key[1]} again")
        if call.reply is not None:
            self.decided[key] = (position, position, call.reply)
            self._judge_token(call.session, call.reply)

    def skipped(self, proposal: Proposal) -> None:
        """A replica applied a proposal without asking its machine."""
        if (proposal.session, proposal.sequence) in self._applied_at:
            self.coverage.hit("replica.deduplicated")

    def _judge_token(self, session: SessionId, body: msgspec.Struct) -> None:
        if type(body) is not Granted:
            return
        token = body.token
        if token > self._token_max:
            self._token_max = token
            self._tokens[token] = session
        elif self._tokens.get(token) != session:
            self.fail("tokens grow", f"token {token} for {session:x} after {self._token_max}")

    def _session_ended(self, node: str, session: SessionId) -> None:
        trusted = self.trusted.get(session, 0)
        if trusted > self.kernel.now:
            self.fail(
                "no early expiry",
                f"{node} ends session {session:x} {trusted - self.kernel.now} us before its "
                "client gives it up",
            )
