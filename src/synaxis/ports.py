"""What the machines and shells need from each other and from the world."""

from collections.abc import Sequence as Seq
from typing import ClassVar, Protocol

import msgspec

from synaxis.effects import (
    Attachment,
    Effects,
    Entry,
    HardState,
    Members,
    Outcome,
    PersistMark,
    Snapshot,
    SnapshotMeta,
    StoreOperation,
)
from synaxis.errors import SynaxisError
from synaxis.ids import Instant, LogIndex, LogTime, NodeId, Sequence, SessionId, Term

__all__ = [
    "AppendFile",
    "Attendant",
    "Directory",
    "Gate",
    "LogStatus",
    "RandomSource",
    "RecoveredGroup",
    "ReplicatedLog",
    "StateMachine",
    "StoringMachine",
    "VolatileMachine",
]


class RandomSource(Protocol):
    """Where a machine's randomness comes from; ``random.Random`` fits."""

    def uniform(self, a: float, b: float) -> float:
        """Return a float between ``a`` and ``b``."""
        ...


class StateMachine(Protocol):
    """A deterministic rule book that a replicated log feeds.

    Two replicas that were given the same calls in the same order are equal: no clock, no
    randomness, no iteration over sets. Bad input is answered with ``Refused``, never raised.
    """

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]]
    """Tagged structs that ``apply`` understands; tags 1-19 belong to the replica."""
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]]
    """Those of them that clients may put into the log; the others are the leader's own."""
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]]
    """Tagged structs that ``apply`` and outcomes answer with, ``Refused`` left out."""

    def validate(self, command: msgspec.Struct) -> None:
        """Check limits that need no state, before the command enters the log.

        Raises:
            ClientError: with a message that says what is allowed.
        """
        ...

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Execute one command; ``None`` means that the reply comes later as an ``Outcome``."""
        ...

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """Forget everything that ``session`` holds or waits for. Its own waits get no Outcome."""
        ...

    def advance(self, now: LogTime) -> None:
        """Let everything happen that is due at or before ``now``; called before each entry."""
        ...

    def deadline(self) -> LogTime | None:
        """Return when ``advance`` next has something to do."""
        ...

    def take_outcomes(self) -> list[Outcome]:
        """Drain the late replies, in the order in which they were decided."""
        ...

    def take_events(self) -> list[msgspec.Struct]:
        """Drain what watchers should see, in order."""
        ...

    def query(self, query: msgspec.Struct, now: LogTime) -> msgspec.Struct:
        """Answer a question without changing anything; errors are ``Refused``."""
        ...

    def snapshot(self) -> bytes:
        """Return the whole state; equal states give equal bytes."""
        ...

    def restore(self, data: bytes) -> None:
        """Become the state that ``snapshot`` returned."""
        ...

    def check_invariants(self) -> None:
        """Assert what must always hold; the simulator calls it after every step."""
        ...


class StoringMachine(StateMachine, Protocol):
    """A state machine whose bulk lies in a message store instead of in its snapshot."""

    def take_store(self) -> list[StoreOperation]:
        """Drain what was done to the store since the last call, in order."""
        ...

    def attachments(self) -> tuple[Attachment, ...]:
        """Return what the present state refers to in the store."""
        ...


class VolatileMachine(StateMachine, Protocol):
    """A state machine of a volatile group: its log lives in memory, and may be lost with it."""

    def begin_era(self, era: int) -> None:
        """Forget everything: a new, later era of the group begins; also called at the start.

        Whatever is numbered from now on must be numbered higher than anything of an earlier
        era, of which this replica may know nothing.
        """
        ...


class Attendant(Protocol):
    """The leader's private half of a state machine: what it decides without the log.

    Called only between ``begin`` and ``end``. Nothing of it is replicated or survives.
    """

    def begin(self, now: LogTime) -> None:
        """Take up work: this replica leads, and has applied what earlier leaders committed."""
        ...

    def end(self) -> None:
        """Drop everything; whoever is being served is told."""
        ...

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Take what a client says outside the log.

        Raises:
            ClientError: it is refused; nothing was done.
        """
        ...

    def disconnected(self, handle: object) -> None:
        """Stop serving ``handle``."""
        ...

    def heard(self, session: SessionId) -> None:
        """Take the news that a session is alive."""
        ...

    def see(self, now: LogTime) -> None:
        """Note the time, before anything is applied or demanded."""
        ...

    def tick(self, now: LogTime) -> None:
        """Let everything happen that is due at ``now``."""
        ...

    def deadline(self) -> LogTime | None:
        """Return when ``tick`` must be called next."""
        ...

    def wants_confirmation(self) -> bool:
        """Return whether there is something to do that only a true leader may do."""
        ...

    def asked(self) -> None:
        """Note that a confirmation is being asked for: it counts for what was wanted before."""
        ...

    def confirmed(self, now: LogTime) -> None:
        """Do it: a quorum has confirmed the leadership after it was asked for."""
        ...

    def take_replies(self) -> list[tuple[object, msgspec.Struct]]:
        """Drain (handle, message)."""
        ...

    def take_commands(self) -> list[msgspec.Struct]:
        """Drain commands that the leader should propose in its own name."""
        ...


class Gate(Protocol):
    """Who decides when the leader's log may have a client's command, and answer a question.

    A ``token`` stands for a command or question with whoever waits for it. Called only between the
    attendant's ``begin`` and ``end``, but for ``drop_held``.
    """

    def holds(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, token: object
    ) -> bool:
        """Take a command that must not enter the log yet; False if it may.

        Raises:
            SynaxisError: it is refused; nothing was done.
        """
        ...

    def holds_query(self, query: msgspec.Struct, token: object) -> bool:
        """Take a question that must not be answered yet; False if it may.

        Raises:
            SynaxisError: it is refused.
        """
        ...

    def settled(self, session: SessionId, sequence: Sequence, command: msgspec.Struct) -> None:
        """Take the news that a command of this leader is applied, or never will be."""
        ...

    def take_released(self) -> list[object]:
        """Drain the tokens of commands that may enter the log, in order."""
        ...

    def take_questions(self) -> list[object]:
        """Drain the tokens of questions that may be answered."""
        ...

    def take_refusals(self) -> list[tuple[object, SynaxisError]]:
        """Drain (token, why) of what will not be done."""
        ...

    def is_open(self) -> bool:
        """Whether something may be taken from it now."""
        ...

    def drop_held(self) -> list[object]:
        """Return the tokens of everything that is held, and forget them."""
        ...


class LogStatus(msgspec.Struct, frozen=True):
    """What a log tells about itself (metrics, ``cluster status``, hints to clients)."""

    role: str
    """``leader``, ``candidate``, ``pre_candidate``, ``follower`` or ``learner``."""
    term: Term
    leader: NodeId | None
    commit_index: LogIndex
    last_index: LogIndex
    stable_index: LogIndex
    snapshot_index: LogIndex
    members: Members
    ready: bool
    """Leader whose first entry of the term is committed: it may serve reads and expiries."""
    match: dict[NodeId, LogIndex]
    """Leader only: what each follower is known to store."""
    log_bytes: int
    """Payload bytes in memory since the last snapshot."""
    change_pending: bool
    transferring: NodeId | None


class ReplicatedLog(Protocol):
    """A total order of payloads. Raft today; PBFT and external logs fit the same port."""

    @property
    def leading(self) -> Term | None:
        """The term that this replica leads in; None while it does not lead."""
        ...

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this replica knows."""
        ...

    @property
    def ready(self) -> bool:
        """Whether this replica leads and has committed an entry of its own term."""
        ...

    @property
    def era(self) -> int | None:
        """Which life of a volatile group this is; None for a group whose log is on disk."""
        ...

    @property
    def wants_snapshot(self) -> bool:
        """Whether a peer lacks what the log of this volatile group has dropped: see ``offer``."""
        ...

    def handle(self, sender: NodeId, message: msgspec.Struct, now: Instant) -> None:
        """Take a message of a peer."""
        ...

    def tick(self, now: Instant) -> None:
        """Let timers fire; call it at or after ``deadline()``."""
        ...

    def deadline(self) -> Instant:
        """Return when ``tick`` must be called next."""
        ...

    def propose(self, payload: bytes, now: Instant) -> tuple[LogIndex, Term]:
        """Append a COMMANDS entry.

        Raises:
            NotLeader: this replica does not lead, or is handing leadership over.
            Overloaded: too many bytes are uncommitted.
        """
        ...

    def read(self, now: Instant) -> int:
        """Ask for a linearizable read point; the ticket comes back in ``Effects.reads``.

        Raises:
            NotLeader: this replica does not lead, or has not committed in its term yet.
        """
        ...

    def change_members(self, voters: Seq[NodeId], learners: Seq[NodeId], now: Instant) -> None:
        """Start moving to this configuration, by joint consensus when the voters change.

        New voters must be caught-up learners first: the caller sequences that.

        Raises:
            NotLeader, MembershipRefused
        """
        ...

    def transfer_leadership(self, target: NodeId, now: Instant) -> None:
        """Hand leadership to a voter (thesis 3.10).

        Raises:
            NotLeader, MembershipRefused
        """
        ...

    def peer_unreachable(self, peer: NodeId, now: Instant) -> None:
        """Take a hint that the link to ``peer`` broke. Never needed for safety."""
        ...

    def persisted(self, mark: PersistMark, now: Instant) -> None:
        """Take the news that a ``Persist`` is durable."""
        ...

    def gathered(self, meta: SnapshotMeta, *, complete: bool, now: Instant) -> None:
        """Take the news about the attachments of the snapshot in ``Effects.gather``.

        Not ``complete``: they cannot be had; the leader must send a newer snapshot.
        """
        ...

    def compact(self, snapshot: Snapshot) -> None:
        """Forget entries that ``snapshot`` (of this replica's applied state) contains.

        Emits a ``Persist`` that holds the snapshot.
        """
        ...

    def offer(self, snapshot: Snapshot) -> None:
        """Take a snapshot of the applied state for the peers that want one; kept no longer."""
        ...

    @property
    def is_member(self) -> bool:
        """Whether this node belongs to the group, as far as it knows."""
        ...

    def members_at(self, index: LogIndex) -> Members:
        """Return the configuration in force at ``index`` (for building a snapshot)."""
        ...

    def term_at(self, index: LogIndex) -> Term:
        """Return the term of the entry at ``index``.

        Raises:
            LookupError: the entry was compacted away or does not exist yet.
        """
        ...

    def take_effects(self) -> Effects:
        """Drain everything that the inputs so far demand."""
        ...

    def status(self) -> LogStatus:
        """Return a summary for people and metrics."""
        ...


class RecoveredGroup(msgspec.Struct):
    """What a node's disk knows of one group."""

    hard_state: HardState = HardState(Term(0), None)
    snapshot: Snapshot | None = None
    entries: list[Entry] = []
    """Contiguous, from ``snapshot.meta.index + 1`` (or 1)."""
    damaged: bool = False
    """Records were lost to damage: do not vote or lead until a leader has repaired us."""


class AppendFile(Protocol):
    """A file that only grows."""

    def write(self, data: bytes) -> None:
        """Append; durable only after ``sync``."""
        ...

    def sync(self) -> None:
        """Make everything written so far durable (fdatasync). A failure is final."""
        ...

    def close(self) -> None:
        """Close without syncing."""
        ...


class Directory(Protocol):
    """A flat directory: the only door of the storage package to a file system."""

    def names(self) -> list[str]:
        """Return the file names, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return the whole content."""
        ...

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        ...

    def append(self, name: str) -> AppendFile:
        """Open for appending; a new file's name is durable when this returns."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Atomically and durably make ``data`` the content (temp, sync, rename, sync dir)."""
        ...

    def truncate(self, name: str, size: int) -> None:
        """Durably cut the file to ``size`` bytes."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; durable when this returns."""
        ...
