"""What nodes say to each other: one frame per link and loop turn.

A link is one WebSocket, dialled by the sender; replies travel on the link of the other side.
The first frame of a link is ``PeerHello``, answered by ``PeerWelcome`` or ``PeerRefusal``.
"""

import msgspec

from synaxis.caches.bus import AgentMessage, HomeMessage
from synaxis.caches.commands import (
    Clear,
    DescribeCaches,
    DescribeKey,
    KeyInfo,
    Removed,
    ShardCensus,
)
from synaxis.cluster.commands import NodeRecord
from synaxis.consensus.raft.messages import RaftMessage
from synaxis.effects import Refused
from synaxis.ids import GroupId, NodeId

__all__ = [
    "PROTOCOL_VERSION",
    "SEGMENT_PART_BYTES_MAX",
    "Ask",
    "BusMessage",
    "Envelope",
    "Heartbeat",
    "PeerFrame",
    "PeerHello",
    "PeerRefusal",
    "PeerWelcome",
    "SegmentAsk",
    "SegmentMessage",
    "SegmentPart",
    "ToAgent",
    "ToHome",
    "Told",
]

PROTOCOL_VERSION = 3
SEGMENT_PART_BYTES_MAX = 512 * 1024
"""Most bytes of a message store's segment that may be asked for at once."""


class PeerHello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Who is calling; refused unless cluster, identity and version fit."""

    version: int
    cluster_id: str
    node_id: NodeId
    disk_id: str
    """Drawn when the data directory was created: a wiped disk has another one."""
    target: NodeId
    """Whom the caller believes to be calling."""


class PeerWelcome(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The link may be used."""

    node_id: NodeId
    disk_id: str


class PeerRefusal(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The link is refused; ``fatal`` means that trying again cannot help."""

    code: str
    message: str
    fatal: bool


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    """Feeds the failure detector; rides on the frames, one per interval and node pair."""

    sequence: int
    record: NodeRecord
    """The sender as it is now; the leader of the cluster group records what changed."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A message for one group."""

    group: GroupId
    message: RaftMessage


class SegmentAsk(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A part of a segment of a group's message store is missing here."""

    group: GroupId
    segment: int
    position: int
    length: int
    """Bytes; at most ``SEGMENT_PART_BYTES_MAX``."""


class SegmentPart(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer; without ``data`` the sender does not hold all that was asked for."""

    group: GroupId
    segment: int
    position: int
    data: bytes
    gone: bool = False
    """Nobody holds it any more: the sender leads the group, and needs it no longer."""


SegmentMessage = SegmentAsk | SegmentPart


class ToHome(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """What the cache agent of the sending node tells the leader of ``group``."""

    group: GroupId
    stream: int
    """Drawn by the agent's node, anew for each Attach."""
    message: AgentMessage


class ToAgent(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """What the leader of ``group`` tells the cache agent of the receiving node."""

    group: GroupId
    stream: int
    message: HomeMessage


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Somebody at the sending node wants this of the leader of ``group``. Answered with Told."""

    id: int
    """Drawn by the asking node, not used twice on a link."""
    group: GroupId
    command: Clear | DescribeKey | DescribeCaches


class Told(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The answer to the Ask with this ``id``."""

    id: int
    body: Removed | KeyInfo | ShardCensus | Refused


BusMessage = ToHome | ToAgent | Ask | Told


class PeerFrame(msgspec.Struct, frozen=True, array_like=True):
    """Everything that one node had to say to another in one loop turn."""

    envelopes: list[Envelope]
    heartbeat: Heartbeat | None = None
    segments: list[SegmentMessage] = []
    """At most one, so that bulk does not hold up what rides on later frames."""
    bus: list[BusMessage] = []
