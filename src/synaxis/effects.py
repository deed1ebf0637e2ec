"""What a machine asks the world to do, in the order in which it must be done.

One batch of ``Effects`` is drained from a machine after any number of inputs. The order of its
fields is the order of execution; most consensus bugs in the field were a wrong order here.

Sources: Ongaro, "Consensus: Bridging Theory and Practice", 3.8 and 10.2.1; the ``Ready``
contract of etcd-io/raft (order only).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec

from synaxis.errors import SynaxisError
from synaxis.ids import LogIndex, LogTime, NodeId, Sequence, SessionId, Term

__all__ = [
    "Attachment",
    "Configuration",
    "Effects",
    "Entry",
    "EntryKind",
    "HardState",
    "Members",
    "Outcome",
    "Persist",
    "PersistMark",
    "Refused",
    "Reply",
    "Snapshot",
    "SnapshotMeta",
    "StoreAppend",
    "StoreCopy",
    "StoreDrop",
    "StoreOperation",
    "refusal",
]


class EntryKind(IntEnum):
    """What the payload of a log entry is."""

    NOOP = 0
    COMMANDS = 1
    MEMBERS = 2


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One slot of the replicated log. Invariant: (index, term) determines kind and payload."""

    index: LogIndex
    term: Term
    kind: EntryKind
    payload: bytes


class Members(msgspec.Struct, frozen=True, array_like=True):
    """A group's configuration; ``outgoing`` is non-empty while joint consensus runs (4.3).

    Invariants: ``voters`` and ``learners`` are disjoint, sorted and without duplicates.
    """

    voters: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()


class Configuration(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is left of a log that was forgotten: its last configuration, and how new it is.

    Of two configurations the one whose (as_of, index) is greater comes from the newer log.
    """

    as_of: Term
    """Term of the last entry of the log that this was in force in."""
    index: LogIndex
    """Where in that log it was; 0: before the first entry."""
    members: Members

    @property
    def position(self) -> tuple[Term, LogIndex]:
        """How new it is: compared as the ends of two logs are (thesis 3.6.1)."""
        return self.as_of, self.index


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a voter must never forget (thesis 3.8)."""

    term: Term
    voted_for: NodeId | None
    repair_after: Term = Term(0)
    """Not 0: the log may lack entries that it once acknowledged, until it durably holds an
    entry of a later term than this; the node neither votes nor campaigns meanwhile."""
    configuration: Configuration | None = None
    """Volatile groups only: the newest configuration that their log ever held here."""


class Attachment(msgspec.Struct, frozen=True, array_like=True):
    """Bulk that a snapshot refers to instead of containing it: a segment of a message store.

    Segments only grow and are equal on all replicas, so a prefix of one is named by its length.
    """

    segment: int
    length: int
    """Bytes of the segment that belong to the snapshot."""
    checksum: int
    """CRC32C over the checksums (u32 little endian) in the heads of the units of that prefix."""


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True):
    """Everything about a snapshot but its bytes."""

    index: LogIndex
    """Last entry that the snapshot contains."""
    term: Term
    members: Members
    size: int
    """Bytes."""
    checksum: int
    """CRC32C of the bytes."""
    attachments: tuple[Attachment, ...] = ()
    """What must be on disk beside the bytes, in order of segment."""


class Snapshot(msgspec.Struct, frozen=True):
    """A whole state, as of ``meta.index``."""

    meta: SnapshotMeta
    data: bytes


class PersistMark(msgspec.Struct, frozen=True):
    """Given back to the log by the executor once a ``Persist`` is durable.

    Carries the term as well: the same index may have been rewritten meanwhile (ABA).
    """

    index: LogIndex
    """Last entry of the log; whatever the disk holds above it is no longer part of the log."""
    term: Term
    snapshot_index: LogIndex
    serial: int = 0
    """Number of the ``Persist``, from 1 at each start; one that is durable means that all
    earlier ones are."""


class Persist(msgspec.Struct, frozen=True):
    """What must be durable before ``Effects.send_after`` may leave.

    Writing an entry at index i discards every stored entry at or above i.
    """

    mark: PersistMark
    hard_state: HardState | None = None
    snapshot: Snapshot | None = None
    """Written before the entries; entries at or below its index may be dropped from disk."""
    entries: tuple[Entry, ...] = ()


class StoreAppend(msgspec.Struct, frozen=True, gc=False):
    """Put ``data`` at the end of a segment of the group's message store."""

    segment: int
    position: int
    """Where that end is: every replica's segments are equal."""
    data: bytes


class StoreCopy(msgspec.Struct, frozen=True, gc=False):
    """Put a copy of a stored unit at the end of another segment."""

    segment: int
    position: int
    length: int
    target: int
    target_position: int


class StoreDrop(msgspec.Struct, frozen=True, gc=False):
    """Nothing in the segment is needed by the state any more.

    The file may go once no snapshot that could be needed refers to it either.
    """

    segment: int


StoreOperation = StoreAppend | StoreCopy | StoreDrop


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A reply that is an error; deterministic, so it may be replicated and cached."""

    code: str
    message: str
    details: dict[str, Any] = {}


def refusal(error: SynaxisError) -> Refused:
    """Return the reply that carries ``error`` to the client."""
    return Refused(error.code, error.message, error.details)


@dataclass(slots=True)
class Outcome:
    """The late reply to a command that had to wait (a lock acquire in a queue)."""

    session: SessionId
    sequence: Sequence
    reply: msgspec.Struct


@dataclass(slots=True)
class Reply:
    """An answer to whoever holds ``handle`` (a connection and request id in the shell)."""

    handle: Any
    index: LogIndex
    """Log position whose apply produced the answer; for a query the index it was served at."""
    rank: int
    """Position among the commands of that entry."""
    body: msgspec.Struct


@dataclass(slots=True)
class Effects:
    """One batch. Executors run the fields from top to bottom; a machine fills what it needs."""

    send_now: list[tuple[NodeId, msgspec.Struct]] = field(default_factory=list)
    """May leave before anything is durable: a leader's appends, heartbeats, pre-votes."""

    persist: Persist | None = None
    """Must be durable before ``send_after``; then ``persisted(mark)`` is called."""

    send_after: list[tuple[NodeId, msgspec.Struct]] = field(default_factory=list)
    """Votes and acknowledgements: promises about what ``persist`` holds, and every ``persist``
    before it; without one, they wait for those still under way."""

    era: int | None = None
    """A volatile group has forgotten everything here: its state must be forgotten too. Nearly
    always because this, a later era begins; what follows in this batch belongs to it."""

    restore: Snapshot | None = None
    """Replace the whole state by this before applying ``apply``."""

    apply: list[Entry] = field(default_factory=list)
    """Committed entries, in order, each exactly once."""

    reads: list[tuple[int, LogIndex]] = field(default_factory=list)
    """(ticket, index): the read may be served once ``index`` is applied."""

    failed_reads: list[int] = field(default_factory=list)
    """Tickets whose leadership could not be confirmed."""

    store: list[StoreOperation] = field(default_factory=list)
    """What applying did to the message store, in order. Its durability is the log's: a restart
    applies the same entries and does the same again."""

    gather: Snapshot | None = None
    """A leader's snapshot whose attachments must be made complete on disk; then ``gathered`` is
    called, and only then is it installed."""

    replies: list[Reply] = field(default_factory=list)

    events: list[tuple[LogIndex, int, LogTime, msgspec.Struct]] = field(default_factory=list)
    """(index, rank, time, event) for watchers; produced on every replica."""
