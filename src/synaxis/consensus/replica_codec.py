"""Bytes of a replica: batches in the log, and the state in a snapshot.

Commands and replies are tagged structs of whatever state machine a group runs, so the types that
decode them are put together here, once per replica.
"""

import msgspec
from google_crc32c import value as crc32c

from synaxis.consensus.commands import (
    Batch,
    CloseSession,
    ExpireSessions,
    OpenSession,
    Proposal,
    SessionClosed,
    SessionOpened,
)
from synaxis.consensus.sessions import CachedReply, SavedSession, SessionTable
from synaxis.effects import Attachment, Refused, Snapshot, SnapshotMeta
from synaxis.ids import LogIndex, LogTime, Sequence, SessionId
from synaxis.ports import ReplicatedLog, StateMachine

__all__ = [
    "ENCODER",
    "batch_decoder",
    "decode_state",
    "encode_state",
    "make_snapshot",
]

ENCODER = msgspec.msgpack.Encoder()


class _ReplicaState(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot holds."""

    log_time: LogTime
    sessions: list[SavedSession]
    machine: bytes
    ended: list[tuple[SessionId, LogTime]]


_STATE_DECODER = msgspec.msgpack.Decoder(_ReplicaState)


def encode_state(log_time: LogTime, sessions: SessionTable, machine: StateMachine) -> bytes:
    """Return the whole state; equal states give equal bytes."""
    ended = list(sessions.ended.items())
    return ENCODER.encode(_ReplicaState(log_time, sessions.save(), machine.snapshot(), ended))


def decode_state(data: bytes, sessions: SessionTable, machine: StateMachine) -> LogTime:
    """Let ``sessions`` and ``machine`` become what ``encode_state`` returned; returns the time."""
    state = _STATE_DECODER.decode(data)
    sessions.load([_with_typed_replies(each, machine.reply_types) for each in state.sessions])
    sessions.ended = dict(state.ended)
    machine.restore(state.machine)
    return state.log_time


def make_snapshot(
    log: ReplicatedLog, index: LogIndex, data: bytes, attachments: tuple[Attachment, ...]
) -> Snapshot:
    """Return the snapshot of the state at ``index`` of ``log``."""
    term, members = log.term_at(index), log.members_at(index)
    return Snapshot(SnapshotMeta(index, term, members, len(data), crc32c(data), attachments), data)


def batch_decoder(machine: StateMachine) -> msgspec.msgpack.Decoder[Batch]:
    """Return a decoder of batches whose commands are those of the replica and ``machine``."""
    command = OpenSession | CloseSession | ExpireSessions
    for each in machine.command_types:
        command |= each
    proposal = msgspec.defstruct(
        "Proposal",
        [
            ("session", SessionId),
            ("sequence", Sequence),
            ("acked", Sequence),
            ("command", command),
            ("acked_above", tuple[Sequence, ...], ()),
        ],
        bases=(Proposal,),
        frozen=True,
        array_like=True,
        gc=False,
    )
    batch = msgspec.defstruct(
        "Batch",
        [("now", LogTime), ("proposals", list[proposal])],  # type: ignore[valid-type]  # as above
        bases=(Batch,),
        frozen=True,
        array_like=True,
    )
    return msgspec.msgpack.Decoder(batch)


def _with_typed_replies(
    saved: SavedSession, reply_types: tuple[type[msgspec.Struct], ...]
) -> SavedSession:
    """Return ``saved`` with reply bodies as structs again (a snapshot holds plain values)."""
    if not any(reply is not None for _, reply in saved.replies):
        return saved
    union = Refused | SessionOpened | SessionClosed
    for each in reply_types:
        union |= each
    replies = [
        (sequence, reply and CachedReply(*_typed(reply, union)))
        for sequence, reply in saved.replies
    ]
    return msgspec.structs.replace(saved, replies=replies)


def _typed(reply: CachedReply, union: object) -> tuple[LogIndex, int, object]:
    return reply.index, reply.rank, msgspec.convert(reply.body, union)
