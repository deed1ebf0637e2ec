"""The nouns of the queue service: what clients and leaders put into the log, and what comes back.

Durations are milliseconds of log time. An *offset* numbers the messages of a partition from 0 and
is never used twice. Ranges of offsets are inclusive at both ends.

A message has three lives. In the log and on disk it is bytes of a *unit* (``units.py``) that
nobody here decodes; in a consumer group it is unfinished, finished (acknowledged, expired, purged)
or a dead letter; at the leader it may be acquired by a member, which is nobody else's business
and dies with the leadership (``delivery.py``).

Tags 80-139.
"""

from enum import IntEnum

import msgspec

from synaxis.ids import LogTime
from synaxis.topics import TopicRecord

__all__ = [
    "ABSENT",
    "END",
    "Ack",
    "Assignment",
    "Attach",
    "Begin",
    "ConfigureTopic",
    "Credit",
    "DeleteGroup",
    "Delivery",
    "Detach",
    "Expire",
    "Extend",
    "Extended",
    "Finished",
    "GroupMode",
    "Join",
    "Joined",
    "Leave",
    "Nack",
    "Part",
    "Publish",
    "Published",
    "Purge",
    "PurgeDead",
    "QueueCommand",
    "QueueReply",
    "RecordBatch",
    "Records",
    "Redrive",
    "Reject",
    "Release",
    "RemoveTopic",
    "Revoke",
    "Seek",
    "Settled",
    "Slice",
    "Yield",
]

ABSENT = -1
"""Stands for "not given" in a field of numbers."""

END = -2
"""``Seek.offset``: behind everything that is stored."""


class GroupMode(IntEnum):
    """How the members of a consumer group share a partition."""

    SHARED = 0
    """Any message goes to any member: the most parallel, without order."""
    KEYED = 1
    """Messages of one key are delivered in order, and are with one member at a time."""
    EXCLUSIVE = 2
    """A partition belongs to one member, which gets its messages in order."""


# --- commands of clients --------------------------------------------------------------------


class RecordBatch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Messages that a producer sends to one partition together.

    Columns that no message of the batch needs stay empty; the others have one item a message.
    """

    sizes: bytes
    """u32 little endian per message: length of its record in ``body``."""
    body: bytes
    """The records, one after the other: opaque here, encoded and decoded by clients."""
    key_hashes: bytes = b""
    """u32 little endian per message: CRC32 of its key, 0 without one."""
    priorities: bytes = b""
    """One byte per message, 0 (normal) to 9 (first); heeded by groups in SHARED mode."""
    delays_ms: tuple[int, ...] = ()
    """Not to be delivered earlier than this after the publish was applied."""
    ttls_ms: tuple[int, ...] = ()
    """Not to be delivered later than this after the publish was applied; 0: no limit."""
    message_ids: tuple[str, ...] = ()
    """A message whose id was seen in the partition within the window is not stored again."""

    @property
    def count(self) -> int:
        """Number of messages."""
        return len(self.sizes) >> 2


class Publish(msgspec.Struct, frozen=True, array_like=True, tag=80, gc=False):
    """Store a batch at the end of a partition.

    (``producer``, ``sequence``) names the batch: applied at most once within the memory of the
    partition, also when its session is gone. Sequences of one producer and partition start at 1
    and grow; gaps are allowed.
    """

    topic: str
    partition: int
    producer: int
    """Random number from 1 to 2**63 - 1 that a client draws once."""
    sequence: int
    batch: RecordBatch


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A range of offsets of one partition that share their number of failures.

    ``failures`` is the number that came with the delivery (0 at first); it fences: a member that
    was overtaken (its lease ran out, another one got the message) has an older number.
    """

    partition: int
    first: int
    last: int
    failures: int = 0


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=81, gc=False):
    """Messages are finished. Out of order is fine.

    SHARED accepts it after the lease has run out, as long as nobody else finished the message:
    the work *is* done. The ordered modes refuse what another owner may be working on.
    """

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=82):
    """Messages failed: each counts a failure and comes again after ``delay_ms`` or the back-off."""

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]
    delay_ms: int = ABSENT
    """ABSENT: the topic's back-off."""
    error: str = ""


class Reject(msgspec.Struct, frozen=True, array_like=True, tag=83):
    """Messages will never succeed: they become dead letters at once."""

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]
    error: str = ""


class Join(msgspec.Struct, frozen=True, array_like=True, tag=84):
    """Become a member of a group in this shard, for the life of the session. Idempotent.

    The first member creates the group. Another mode than the group's is refused.
    """

    topic: str
    group: str
    member: int
    """Random number from 1 to 2**63 - 1, drawn by the client, the same in every shard."""
    mode: GroupMode
    name: str = ""
    """For people."""
    visibility_ms: int = ABSENT
    """ABSENT: the topic's."""
    auto_extend: bool = True
    """Keep-alives of the session extend all leases of the member."""
    from_end: bool = False
    """A group that is created now begins behind what is stored; else with the oldest message."""
    announces: bool = False
    """The member says Begin before it works on a message that failed before. Then, if it dies,
    only what it began is blamed among those: neighbours of a message that kills its consumers do
    not become dead letters with it."""


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=85):
    """Stop being a member; what it holds goes back without blame. Idempotent."""

    topic: str
    group: str
    member: int


class Yield(msgspec.Struct, frozen=True, array_like=True, tag=86):
    """EXCLUSIVE: give up partitions that are assigned to somebody else now."""

    topic: str
    group: str
    member: int
    partitions: tuple[int, ...]


class Seek(msgspec.Struct, frozen=True, array_like=True, tag=87):
    """Move a group: everything from the position on is unfinished, everything before finished.

    Exactly one of ``offset`` (may be END) and ``time`` is given. Dead letters stay.
    ``partition`` ABSENT: all of this shard.
    """

    topic: str
    group: str
    partition: int = ABSENT
    offset: int = ABSENT
    time: LogTime = LogTime(ABSENT)
    """Milliseconds since 1970 (UTC), compared with the time of publishing."""


class Redrive(msgspec.Struct, frozen=True, array_like=True, tag=88):
    """Dead letters become unfinished again, with no failures; oldest first."""

    topic: str
    group: str
    limit: int = ABSENT
    partition: int = ABSENT
    offsets: tuple[int, ...] = ()
    """Only these, of ``partition``; empty: any."""
    reason: str = ""
    """Only those with this reason; empty: any."""


class PurgeDead(msgspec.Struct, frozen=True, array_like=True, tag=89):
    """Dead letters are forgotten; fields as in Redrive."""

    topic: str
    group: str
    limit: int = ABSENT
    partition: int = ABSENT
    offsets: tuple[int, ...] = ()
    reason: str = ""


class Purge(msgspec.Struct, frozen=True, array_like=True, tag=90):
    """Everything stored in the partitions of this shard goes, dead letters too."""

    topic: str
    partition: int = ABSENT


class DeleteGroup(msgspec.Struct, frozen=True, array_like=True, tag=91):
    """Forget a group without members, and its dead letters."""

    topic: str
    group: str


# --- commands of the leader -----------------------------------------------------------------


class ConfigureTopic(msgspec.Struct, frozen=True, array_like=True, tag=95):
    """The cluster group knows a newer version of the topic than this shard."""

    record: TopicRecord


class RemoveTopic(msgspec.Struct, frozen=True, array_like=True, tag=96):
    """The cluster group knows that the topic was removed."""

    name: str
    topic_id: int


class Expire(msgspec.Struct, frozen=True, array_like=True, tag=97):
    """Acquisitions of a member ended without its word: each counts a failure."""

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]
    reason: str
    """``lease_expired`` or ``session_lost``."""


class Revoke(msgspec.Struct, frozen=True, array_like=True, tag=98):
    """EXCLUSIVE: a partition is taken from an owner that did not yield in time."""

    topic: str
    group: str
    partition: int
    epoch: int
    """The owner epoch that the verdict is about."""


QueueCommand = (
    Publish
    | Ack
    | Nack
    | Reject
    | Join
    | Leave
    | Yield
    | Seek
    | Redrive
    | PurgeDead
    | Purge
    | DeleteGroup
)
"""What clients may put into the log of a queue shard."""


# --- replies --------------------------------------------------------------------------------


class Published(msgspec.Struct, frozen=True, array_like=True, tag=80, gc=False):
    """Reply to Publish: the messages have offsets ``first``, ``first`` + 1, ..."""

    first: int
    duplicate: bool = False
    """The batch had been stored before; ``first`` is where."""
    known: tuple[tuple[int, int], ...] = ()
    """(position in the batch, offset): messages whose id was known. They take up no offset, so
    ``first`` + n belongs to the n-th message that is not in here."""


class Settled(msgspec.Struct, frozen=True, array_like=True, tag=81, gc=False):
    """Reply to Ack, Nack and Reject."""

    done: int
    """Messages whose fate this command decided."""
    stale: tuple[Part, ...] = ()
    """Refused: another delivery of the message has been decided or begun meanwhile, or the
    member does not own it any more."""


class Joined(msgspec.Struct, frozen=True, array_like=True, tag=82):
    """Reply to Join."""

    epoch: int
    """Epoch of the group in this shard; grows with every change of members."""
    visibility_ms: int
    max_deliveries: int


class Finished(msgspec.Struct, frozen=True, array_like=True, tag=83):
    """Reply to everything that has nothing else to say; ``count`` says how many it concerned."""

    count: int = 0


# --- what a member tells its leader, outside the log ----------------------------------------


class Attach(msgspec.Struct, frozen=True, array_like=True, tag=100):
    """Deliver to me. Answered by Delivery and Assignment until Detach or the connection ends.

    Attaching again replaces the former stream. A new leader delivers what former leaders may
    have delivered only when every member of the group has attached and said what it holds, or
    its session is over.
    """

    topic: str
    group: str
    member: int
    credit: int
    """Messages that may be delivered now."""
    holding: tuple[Part, ...] = ()


class Credit(msgspec.Struct, frozen=True, array_like=True, tag=101, gc=False):
    """``more`` further messages may be delivered; negative: fewer, as far as they are unused."""

    topic: str
    group: str
    member: int
    more: int


class Release(msgspec.Struct, frozen=True, array_like=True, tag=102):
    """Take messages back without blame."""

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]


class Extend(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """Keep the leases for ``ms`` from now. Answered by Extended."""

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]
    ms: int


class Begin(msgspec.Struct, frozen=True, array_like=True, tag=108):
    """The member begins to work on messages; see ``Join.announces``. Answered by Extended."""

    topic: str
    group: str
    member: int
    parts: tuple[Part, ...]


class Detach(msgspec.Struct, frozen=True, array_like=True, tag=104):
    """End the stream; what is held stays held."""

    topic: str
    group: str
    member: int


class Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where on disk the records of consecutive offsets are."""

    partition: int
    first: int
    """Offset of the first record that is meant."""
    count: int
    skip: int
    """Records of the unit before the first one that is meant."""
    segment: int
    position: int
    length: int
    """Bytes of the whole unit."""
    at: LogTime
    """When the messages were published (ms since 1970)."""
    failures: tuple[tuple[int, int], ...] = ()
    """(offset, failures) of those that failed before."""


class Records(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Consecutive messages of one partition, as a client gets them."""

    partition: int
    first: int
    sizes: bytes
    body: bytes
    at: LogTime
    failures: tuple[tuple[int, int], ...] = ()


class Delivery(msgspec.Struct, frozen=True, tag=105):
    """Answer to Attach inside the node; the shell turns slices into records."""

    slices: tuple[Slice, ...]


class Assignment(msgspec.Struct, frozen=True, array_like=True, tag=106):
    """EXCLUSIVE: which partitions of this shard the member owns, and which it has to yield.

    ``yielding`` are owned still: finish or release what is held of them, then send Yield.
    """

    partitions: tuple[int, ...]
    yielding: tuple[int, ...]


class Extended(msgspec.Struct, frozen=True, array_like=True, tag=107):
    """Answer to Extend and Begin; ``stale`` are not held any more."""

    stale: tuple[Part, ...] = ()


QueueReply = Published | Settled | Joined | Finished
