"""One question to the cluster, from the first try to the answer.

A request outlives connections: ``Connection`` sends it, ``Router`` sends it again elsewhere. It
is settled once, through its future. Nobody but the sweep looks at its deadline, so that a request
costs no timer and no task.
"""

import asyncio
from typing import Any, Protocol

from synaxis.caches.commands import DescribeCaches, DescribeKey, Lookup
from synaxis.cluster.commands import (
    CreateTopic,
    DeleteTopic,
    DescribeCluster,
    ListTopics,
    UpdateTopic,
)
from synaxis.errors import (
    ConnectionFailed,
    NoQuorum,
    NotLeader,
    OutcomeUnknown,
    RequestTimeout,
    SynaxisError,
)
from synaxis.ids import GroupId
from synaxis.locks.commands import DescribeLock, DescribeWaits, ListLocks
from synaxis.queues.questions import Browse, BrowseDead, DescribeTopic
from synaxis.wire.client import (
    AddMember,
    Admin,
    AdminAnswer,
    Answer,
    Assigned,
    ClientMessage,
    Delivered,
    KeptAlive,
    Notice,
    Query,
    RemoveMember,
    Said,
    StatusRequest,
    TransferLeadership,
    Welcome,
)

__all__ = [
    "ANY_NODE",
    "AdminRequest",
    "Carrier",
    "Operation",
    "QueryRequest",
    "Question",
    "Request",
    "TopicOperation",
]

Question = (
    ListLocks
    | DescribeLock
    | DescribeWaits
    | DescribeCluster
    | ListTopics
    | DescribeTopic
    | Browse
    | BrowseDead
    | Lookup
    | DescribeKey
    | DescribeCaches
)
TopicOperation = CreateTopic | UpdateTopic | DeleteTopic
Operation = TransferLeadership | StatusRequest | AddMember | RemoveMember | TopicOperation

ANY_NODE = GroupId("")
"""Stands for a group whose leader is any node that answers."""


class Carrier(Protocol):
    """The connection on which a request is open."""

    open: "dict[int, Request]"
    welcome: Welcome

    def write(self, message: ClientMessage) -> None:
        """Send a message that expects no answer."""
        ...


class Request:
    """A question, the future of its answer, and what is known of its fate so far."""

    __slots__ = (
        "attempts",
        "connection",
        "deadline",
        "failure",
        "future",
        "group",
        "id",
        "uncertain",
    )

    weight = 0
    """Bytes that its message is known to have; 0 stands for "a few hundred at most"."""

    def __init__(self, group: GroupId, deadline: float) -> None:
        self.group = group
        self.deadline = deadline
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.connection: Carrier | None = None
        """Where it is open now; None while it is parked."""
        self.id = 0
        self.attempts = 0
        self.uncertain = False
        """An earlier try may have been executed."""
        self.failure: SynaxisError | None = None
        """Why the last try failed."""

    def message(self, number: int) -> ClientMessage:
        """Return what goes over the wire, under this number."""
        raise NotImplementedError

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Take the answer."""
        if not self.future.done():
            self.future.set_result(message)

    def noticed(self, message: Notice) -> None:
        """Take one event of a watch."""

    def streamed(self, message: Delivered | Assigned) -> None:
        """Take what a queue shard has for the member that attached."""

    def said(self, message: Said) -> None:
        """Take what a cache's home tells the agent that attached."""

    def interrupted(self) -> None:
        """Take the news that the connection is gone, before anything else becomes of it."""

    def failed(self, error: SynaxisError) -> None:
        """Settle with an error."""
        if not self.future.done():
            self.future.set_exception(error)
            # Look at it: nobody may be waiting, and asyncio complains about errors unseen.
            self.future.exception()

    @property
    def changes_state(self) -> bool:
        """Whether not knowing its fate is a problem of its own."""
        return False

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again although an earlier try may have been executed."""
        return True

    @property
    def portable(self) -> bool:
        """Whether other nodes may be asked instead; if not, it fails with the node's reason."""
        return True

    def wanted(self) -> bool:
        """Whether anybody still waits, so that it should be sent again."""
        return not self.future.done()

    def expire(self) -> bool:
        """Settle because the deadline has passed; returns whether to forget the request."""
        self.failed(self.lateness())
        return True

    def lateness(self) -> SynaxisError:
        """Return the error that says the most about why there was no answer in time."""
        asked = self.uncertain or self.connection is not None
        if asked and self.changes_state:
            return OutcomeUnknown("no answer in time: the command may or may not be applied")
        if isinstance(self.failure, NotLeader):
            return NoQuorum("the group had no leader that answered in time")
        if self.failure is not None:
            return self.failure
        if asked:
            return RequestTimeout("no answer in time")
        return ConnectionFailed("no node that could answer was reached in time")


class QueryRequest(Request):
    """A read of one group."""

    __slots__ = ("query", "stale")

    def __init__(self, group: GroupId, query: Question, deadline: float, *, stale: bool) -> None:
        super().__init__(group, deadline)
        self.query = query
        self.stale = stale

    def message(self, number: int) -> ClientMessage:
        """Return the Query."""
        return Query(number, self.group, self.query, self.stale)


class AdminRequest(Request):
    """An operation on the cluster; changing ones are not repeated once they may have run.

    Those of topics are: the same once more changes nothing.
    """

    __slots__ = ("operation",)

    def __init__(self, group: GroupId, operation: Operation, deadline: float) -> None:
        super().__init__(group, deadline)
        self.operation = operation

    @property
    def changes_state(self) -> bool:
        """All but the question for the status do."""
        return not isinstance(self.operation, StatusRequest)

    @property
    def repeatable(self) -> bool:
        """Most carry nothing by which a repetition would be noticed."""
        return not self.changes_state or isinstance(self.operation, TopicOperation)

    def message(self, number: int) -> ClientMessage:
        """Return the Admin message."""
        return Admin(number, self.operation)
