"""One acquire, from its arrival until its grant ends.

The same object is first a waiter and then the grant: ``token`` 0 means that it waits. It refers
to its resources by name, never by pointer, so there are no reference cycles and a snapshot is the
list of these structs.
"""

import msgspec

from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import LockKind, LockMode

__all__ = ["Conversion", "Owner", "Request"]

Owner = tuple[SessionId, int]
"""A node of the wait-for graph: a session and one of its tasks (0 when it names none)."""


class Conversion(msgspec.Struct, array_like=True, gc=False, eq=False):
    """An upgrade of a grant, waiting or done.

    A done one is kept until the grant ends or converts again, so that it can be undone by an
    ``Abandon`` that crossed the reply.
    """

    session: SessionId
    sequence: Sequence
    arrival: int
    since: LogTime
    deadline: LogTime | None
    """When the wait times out."""
    token_before: FencingToken
    waiting: bool = True


class Request(msgspec.Struct, array_like=True, gc=False, eq=False):
    """An acquire that waits (``token`` is 0) or holds.

    ``gc=False`` is safe because nothing that a request refers to refers back.
    """

    session: SessionId
    sequence: Sequence
    arrival: int
    """Position in the order of all requests: queues are sorted by it, and it breaks ties."""
    names: tuple[str, ...]
    kind: LockKind
    mode: LockMode
    weight: int
    task: int
    priority: int
    max_hold_ms: int
    lock_delay_ms: int
    value: bytes
    since: LogTime
    """When it was queued, later when it was granted."""
    deadline: LogTime | None = None
    """While it waits the end of the wait, while it holds the end of ``max_hold``."""
    token: FencingToken = FencingToken(0)
    holds: int = 1
    entries: list[Sequence] | None = None
    """Sequences of the acquires counted in ``holds``, once there was more than one."""
    conversion: Conversion | None = None

    @property
    def owner(self) -> Owner:
        """The graph node on whose behalf the request was made."""
        return self.session, self.task

    @property
    def waiting(self) -> bool:
        """Whether a queue holds it, as a new request or as an upgrade."""
        if not self.token:
            return True
        return self.conversion is not None and self.conversion.waiting
