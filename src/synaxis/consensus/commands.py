"""What a COMMANDS entry holds, and the commands that the replica itself understands.

Tags 1-19 are the replica's, 20-59 the lock machine's, 60-79 the cluster machine's (unique, because
the client protocol decodes all of them in one union).

Source: Ongaro, thesis 6.3 (sessions, exactly-once replies).
"""

import msgspec

from synaxis.ids import LogTime, Sequence, SessionId

__all__ = [
    "Batch",
    "CloseSession",
    "ExpireSessions",
    "OpenSession",
    "Proposal",
    "ReplicaCommand",
    "SessionAlive",
    "SessionClosed",
    "SessionOpened",
]


class OpenSession(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Create the session named in the proposal; repeating it is harmless."""

    ttl_ms: int
    owner: str = ""
    """A name for people: host, process, purpose."""


class CloseSession(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """End the session now; whatever it holds is released."""


class ExpireSessions(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The leader's verdict that these sessions were silent for longer than their TTL."""

    sessions: tuple[SessionId, ...]


ReplicaCommand = OpenSession | CloseSession | ExpireSessions


class SessionOpened(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Reply to OpenSession."""

    ttl_ms: int


class SessionClosed(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Reply to CloseSession, also when there was nothing to close."""


class SessionAlive(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Reply to a keep-alive; never in the log."""

    alive: bool


class Proposal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One command of one session.

    ``sequence`` numbers the command inside the session (1, 2, ...); ``acked`` says that the
    client has seen the replies to all sequences up to and including it, so they may be dropped.
    """

    session: SessionId
    sequence: Sequence
    acked: Sequence
    command: msgspec.Struct
    acked_above: tuple[Sequence, ...] = ()
    """Sequences above ``acked`` whose replies the client has seen since it last said so; a
    command that waits for long must not keep the replies of all later ones alive."""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """The payload of one COMMANDS entry: everything that one loop turn gathered."""

    now: LogTime
    proposals: list[Proposal]
