"""What Raft nodes tell each other: the nouns of Ongaro's thesis, Figure 3.1 and chapters 4-6, 9.

Every message carries the sender's term. The sender itself is known from the link it came on.
"""

import msgspec

from synaxis.effects import Configuration, Entry, SnapshotMeta
from synaxis.ids import LogIndex, Term

__all__ = [
    "ERA_BITS",
    "AppendEntries",
    "AppendReply",
    "Forgot",
    "InstallSnapshot",
    "KnownMembers",
    "RaftMessage",
    "RequestVote",
    "SnapshotReply",
    "TimeoutNow",
    "VoteReply",
    "era_of",
    "first_term",
]

ERA_BITS = 36
"""Bits of a term below its era. An election takes a round trip at least: 2**36 of them take longer
than any cluster lives, so that no term ever grows into the next era by itself."""


def era_of(term: int) -> int:
    """Return the era that ``term`` belongs to; groups whose log is on disk never leave era 0."""
    return term >> ERA_BITS


def first_term(era: int) -> Term:
    """Return the term that an era begins with; nobody leads it."""
    return Term(era << ERA_BITS)


class RequestVote(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A candidate asks for a vote (3.4); ``pre`` only asks whether it would get one (9.6)."""

    term: Term
    """For ``pre``: the term that the sender would campaign in."""
    last_index: LogIndex
    last_term: Term
    pre: bool = False
    transfer: bool = False
    """Set in an election that the old leader asked for: overrides leader stickiness (4.2.3)."""


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer; a granted pre-vote carries the term that was asked about."""

    term: Term
    granted: bool
    pre: bool = False


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Replicates entries; without entries it is the heartbeat (3.5)."""

    term: Term
    prev_index: LogIndex
    prev_term: Term
    commit_index: LogIndex
    round: int
    """Confirmation round (6.4): a reply to it proves that the sender led when the round began."""
    entries: tuple[Entry, ...] = ()


class AppendReply(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The answer to AppendEntries; sent only when the entries it speaks of are durable."""

    term: Term
    success: bool
    index: LogIndex
    """Success: prev_index + number of entries. Failure: where the sender should look next."""
    hint_term: Term
    """Failure: term of our entry at ``index`` (0: none), so that a term is skipped at a time."""
    round: int


class InstallSnapshot(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """One chunk of a snapshot (5.2); chunks go in order, the next after the previous reply."""

    term: Term
    meta: SnapshotMeta
    offset: int
    data: bytes
    round: int


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """How many bytes of the snapshot at ``index`` have arrived; ``installed`` ends it."""

    term: Term
    index: LogIndex
    next_offset: int
    installed: bool
    round: int


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Campaign at once: leadership is handed to you (3.10)."""

    term: Term


class Forgot(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """A voter of a volatile group has forgotten the log, and hears no leader (``eras``).

    It promises to take part in no earlier term, and, unless a leader of this term or a later one
    repairs it, in no election of this era.
    """

    term: Term
    configuration: Configuration
    """The newest one that the sender's log ever held."""


class KnownMembers(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A newer configuration than the one that a ``Forgot`` or a request for a vote spoke of."""

    term: Term
    configuration: Configuration


RaftMessage = (
    RequestVote
    | VoteReply
    | AppendEntries
    | AppendReply
    | InstallSnapshot
    | SnapshotReply
    | TimeoutNow
    | Forgot
    | KnownMembers
)
