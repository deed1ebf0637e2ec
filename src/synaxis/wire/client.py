"""What clients and nodes say to each other.

One WebSocket (``/v1/client``) per client and node. A frame is a msgpack array of messages, all
that one side had to say in one loop turn. The client speaks first: ``Hello``. Requests carry an
``id`` chosen by the client, unique among its open requests on that connection; each gets exactly
one ``Answer`` or ``Failure`` (a ``Watch`` gets ``Notice`` messages until ``Cancel``).

A ``Call`` that is not answered because the node stopped leading is failed with ``not_leader`` or
``outcome_unknown``; sending the same (session, sequence) to the new leader is always safe.
"""

from typing import Any

import msgspec

from synaxis.caches import commands as caches
from synaxis.caches.bus import AgentMessage, HomeMessage
from synaxis.cluster.commands import (
    ClusterView,
    CreateTopic,
    DeleteTopic,
    DescribeCluster,
    ListTopics,
    NodeChanged,
    NodeRecord,
    TopicList,
    UpdateTopic,
)
from synaxis.consensus.commands import (
    CloseSession,
    OpenSession,
    Proposal,
    SessionClosed,
    SessionOpened,
)
from synaxis.effects import Refused
from synaxis.ids import FencingToken, GroupId, LogIndex, LogTime, NodeId, Sequence, SessionId
from synaxis.locks import commands as locks
from synaxis.queues import commands as queues
from synaxis.queues import questions
from synaxis.topics import TopicRecord

__all__ = [
    "CLIENT_PROTOCOL_VERSION",
    "Accepted",
    "AddMember",
    "Admin",
    "AdminAnswer",
    "Answer",
    "Assigned",
    "Bus",
    "Call",
    "Cancel",
    "ClientMessage",
    "Delegate",
    "Delivered",
    "Failure",
    "GroupStatus",
    "Hello",
    "KeepAlive",
    "KeptAlive",
    "Lost",
    "Member",
    "MemberStatus",
    "NodeStatus",
    "Notice",
    "Query",
    "RecordPage",
    "RemoveMember",
    "Route",
    "Routes",
    "Said",
    "ServerMessage",
    "StatusRequest",
    "Submission",
    "TransferLeadership",
    "Watch",
    "Welcome",
]

CLIENT_PROTOCOL_VERSION = 1


class Submission(Proposal, frozen=True, array_like=True, gc=False):
    """A Proposal as a client writes it: the commands are listed, so decoding validates them."""

    session: SessionId
    sequence: Sequence
    acked: Sequence
    command: (
        OpenSession
        | CloseSession
        | locks.Acquire
        | locks.Release
        | locks.Abandon
        | locks.Convert
        | locks.ForceRelease
        | locks.SetPermits
        | locks.BarrierEnter
        | locks.LatchCount
        | locks.LatchWait
        | locks.SetValue
        | queues.Publish
        | queues.Ack
        | queues.Nack
        | queues.Reject
        | queues.Join
        | queues.Leave
        | queues.Yield
        | queues.Seek
        | queues.Redrive
        | queues.PurgeDead
        | queues.Purge
        | queues.DeleteGroup
        | caches.Put
        | caches.Add
        | caches.Remove
        | caches.Clear
    )
    acked_above: tuple[Sequence, ...] = ()


# --- client to node ------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First message of a connection."""

    version: int
    client: str
    """Shown to people: host, pid, library version."""
    api_key: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Put a command into the log of ``group``."""

    id: int
    group: GroupId
    submission: Submission


class KeepAlive(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Prove that the session lives; confirmed by a leader that has just heard from a quorum."""

    id: int
    group: GroupId
    session: SessionId


class Query(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Read: linearizable (ReadIndex, leader only), or with ``stale`` whatever this node has."""

    id: int
    group: GroupId
    query: (
        locks.ListLocks
        | locks.DescribeLock
        | locks.DescribeWaits
        | DescribeCluster
        | ListTopics
        | questions.DescribeTopic
        | questions.Browse
        | questions.BrowseDead
        | caches.Lookup
        | caches.DescribeKey
        | caches.DescribeCaches
    )
    stale: bool = False


class Watch(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Stream events of resources whose name starts with ``prefix``, from any replica.

    ``after`` resumes behind an index seen before; refused ``not_found`` when that part of the
    history is no longer kept. ``after`` = -1: from now on. The first Notice has no event and
    tells the index at which the stream starts.
    """

    id: int
    group: GroupId
    prefix: str
    kind: locks.LockKind
    after: int = -1


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """End the watch ``id``."""

    id: int


class TransferLeadership(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Hand the group to ``target``."""

    group: GroupId
    target: NodeId


class StatusRequest(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What this node knows of itself and the cluster."""


class AddMember(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Admit a node (cluster leader only)."""

    node_id: NodeId
    peer_address: str


class RemoveMember(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Retire a node (cluster leader only)."""

    node_id: NodeId


class Admin(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Operations on the cluster itself."""

    id: int
    operation: (
        TransferLeadership
        | StatusRequest
        | AddMember
        | RemoveMember
        | CreateTopic
        | UpdateTopic
        | DeleteTopic
    )
    """Changes of topics are repeatable: the same once more changes nothing."""


class Member(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """What a member of a consumer group tells the leader of a queue shard, outside the log.

    Attach opens a stream of Delivered and Assigned messages under ``id``; it ends with a Failure
    (the node does not lead any more) or with the connection. Extend and Begin are answered. The
    others are not answered; their ``id`` is 0.
    """

    id: int
    group: GroupId
    session: SessionId
    message: (
        queues.Attach
        | queues.Credit
        | queues.Release
        | queues.Extend
        | queues.Begin
        | queues.Detach
    )


class Bus(msgspec.Struct, frozen=True, array_like=True, tag=9, gc=False):
    """What a cache agent of the client tells the leader of a cache shard.

    ``stream`` is drawn by the client, anew for each Attach, and never used twice on a connection;
    what the home says comes back as ``Said`` with the same number. If the node does not lead the
    shard it says Detached.
    """

    stream: int
    group: GroupId
    message: AgentMessage


class Delegate(msgspec.Struct, frozen=True, array_like=True, tag=10, gc=False):
    """Do it with the cache agent of this node, for one key. Answered like a Call or a Query.

    With ``back`` it is answered as soon as the agent owns the line: policy ``back``.
    """

    id: int
    command: caches.Lookup | caches.Put | caches.Add | caches.Remove
    back: bool = False


ClientMessage = Hello | Call | KeepAlive | Query | Watch | Cancel | Admin | Member | Bus | Delegate


# --- node to client ------------------------------------------------------------------------


class Route(msgspec.Struct, frozen=True, array_like=True):
    """Where a group is led; ``leader`` is None while nobody leads as far as this node knows."""

    group: GroupId
    leader: NodeId | None
    url: str = ""
    term: int = 0
    """Orders the news of different nodes; 0 = not told, and the latest to arrive counts."""


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Answer to Hello."""

    version: int
    cluster_id: str
    node_id: NodeId
    routes: tuple[Route, ...]
    urls: tuple[str, ...]
    """API URLs of all known members, for fail-over."""
    lock_groups: int
    session_ttl_ms_min: int
    session_ttl_ms_max: int
    queue_groups: int
    frame_bytes_max: int
    """Longest frame that the node accepts; a larger one ends the connection."""
    cache_groups: int


class RecordPage(msgspec.Struct, frozen=True, array_like=True, tag=112):
    """Answer to Browse and BrowseDead."""

    records: tuple[queues.Records, ...]
    dead: tuple[questions.DeadLetter, ...]
    """BrowseDead: why, in the order of the records."""
    next_offset: int
    """Where to go on; -1 at the end."""


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The reply; ``index`` and ``rank`` place it in the group's total order."""

    id: int
    index: LogIndex
    rank: int
    body: (
        Refused
        | SessionOpened
        | SessionClosed
        | locks.Granted
        | locks.Done
        | locks.LatchState
        | NodeRecord
        | locks.LockInfo
        | locks.LockList
        | locks.WaitGraphInfo
        | ClusterView
        | TopicList
        | queues.Published
        | queues.Settled
        | queues.Joined
        | queues.Finished
        | queues.Extended
        | questions.TopicInfo
        | RecordPage
        | caches.Stored
        | caches.Counted
        | caches.Removed
        | caches.Readings
        | caches.KeyInfo
        | caches.ShardCensus
    )


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The request was not executed here; codes as in ``synaxis.errors``."""

    id: int
    code: str
    message: str
    details: dict[str, Any] = {}


class KeptAlive(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The session lives for its TTL from the moment the KeepAlive was *sent*.

    ``alive`` False: the session is gone.
    """

    id: int
    alive: bool


class Notice(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """One event of a watch, or the start marker when ``event`` is None."""

    id: int
    index: LogIndex
    rank: int
    at: LogTime
    event: locks.LockEvent | NodeChanged | None = None


class Lost(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """The cluster took a grant back (max hold, force release).

    Pushed to the connection that last spoke for the session; a lost push is made up for by the
    holder's own deadlines.
    """

    group: GroupId
    session: SessionId
    token: FencingToken
    reason: str


class Routes(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Leadership changed (pushed to every connected client)."""

    routes: tuple[Route, ...]
    urls: tuple[str, ...]


class Delivered(msgspec.Struct, frozen=True, array_like=True, tag=9, gc=False):
    """Messages for the member that attached under ``id``; each used up one credit."""

    id: int
    records: tuple[queues.Records, ...]


class Assigned(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """What a member in EXCLUSIVE mode owns from now on."""

    id: int
    assignment: queues.Assignment


class Said(msgspec.Struct, frozen=True, array_like=True, tag=11, gc=False):
    """What a home tells the agent that attached on ``stream``."""

    stream: int
    message: HomeMessage


class GroupStatus(msgspec.Struct, frozen=True, array_like=True):
    """One group as this node sees it."""

    group: GroupId
    role: str
    term: int
    leader: NodeId | None
    commit_index: int
    applied_index: int
    last_index: int
    snapshot_index: int
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    match: dict[str, int]
    sessions: int


class MemberStatus(msgspec.Struct, frozen=True, array_like=True):
    """One member as this node sees it; ``state`` is alive, suspected, dead or removed (S14)."""

    node_id: NodeId
    peer_address: str
    api_url: str
    state: str
    phi: float
    version: str


class NodeStatus(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Answer to StatusRequest."""

    cluster_id: str
    node_id: NodeId
    version: str
    uptime_s: float
    groups: tuple[GroupStatus, ...]
    members: tuple[MemberStatus, ...]


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The operation has begun or is done; ``message`` says which."""

    message: str


class AdminAnswer(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Answer to Admin."""

    id: int
    body: NodeStatus | Accepted | TopicRecord


ServerMessage = (
    Welcome
    | Answer
    | Failure
    | KeptAlive
    | Notice
    | Routes
    | AdminAnswer
    | Lost
    | Delivered
    | Assigned
    | Said
)
