"""What a leader knows about one peer, and how much it may send it.

::

                      acknowledged                        entries compacted away
      +-----------+ ---------------> +---------------+ ------------------+
      |   PROBE   |                  |   REPLICATE   |                   v
      | one at a  | <--------------- | a window of   |             +------------+
      |   time    |  refused, link   |   messages    |             |  SNAPSHOT  |
      +-----------+    broken        +---------------+             | one chunk  |
            ^  |          entries compacted away                   | at a time  |
            |  +-------------------------------------------------> +------------+
            +------------------------------------------------------------+
                              installed, or caught up otherwise

Invariants: ``0 <= match < next``; ``match`` never falls within a term; the window is empty
outside REPLICATE.

Sources: Ongaro, thesis 3.5, 10.2.1 (pipelining); the Progress of etcd-io/raft (states only).
"""

from collections import deque
from enum import Enum

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.snapshot import SnapshotSender
from synaxis.effects import Snapshot
from synaxis.ids import Instant, LogIndex

__all__ = ["Flow", "Progress"]


class Flow(Enum):
    """How entries flow to a peer."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """The leader's view of one peer."""

    __slots__ = (
        "_bytes_max",
        "_inflight",
        "_messages_max",
        "_paused",
        "acknowledged_round",
        "commit_sent",
        "contact_at",
        "flow",
        "inflight_bytes",
        "match",
        "next",
        "sender",
    )

    def __init__(self, config: RaftConfig, last_index: LogIndex, now: Instant) -> None:
        self._messages_max = config.inflight_messages_max
        self._bytes_max = config.inflight_bytes_max
        self._inflight: deque[tuple[LogIndex, int]] = deque()
        self._paused = False
        self.flow = Flow.PROBE
        self.match = LogIndex(0)
        """Last entry that the peer is known to hold durably, and equal to ours."""
        self.next = LogIndex(last_index + 1)
        """First entry of the next message."""
        self.inflight_bytes = 0
        self.contact_at = now
        """When the peer last answered in this term; starts with the benefit of the doubt."""
        self.acknowledged_round = 0
        self.commit_sent = LogIndex(0)
        self.sender: SnapshotSender | None = None

    @property
    def inflight_messages(self) -> int:
        """AppendEntries with entries that were sent and not acknowledged."""
        return len(self._inflight)

    def may_send(self) -> bool:
        """Return whether entries may be sent now."""
        if self.flow is Flow.REPLICATE:
            return (
                len(self._inflight) < self._messages_max and self.inflight_bytes < self._bytes_max
            )
        return self.flow is Flow.PROBE and not self._paused

    def sent(self, last: LogIndex, size: int) -> None:
        """Note that entries up to ``last`` left; ``size`` in bytes."""
        if self.flow is Flow.REPLICATE:
            self.next = LogIndex(last + 1)
            self._inflight.append((last, size))
            self.inflight_bytes += size
        else:
            self._paused = True

    def acknowledged(self, index: LogIndex) -> bool:
        """Take a success up to ``index``. Returns whether it is news."""
        while self._inflight and self._inflight[0][0] <= index:
            self.inflight_bytes -= self._inflight.popleft()[1]
        is_news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, LogIndex(index + 1))
        if self.flow is Flow.PROBE:
            self.flow = Flow.REPLICATE
            self.next = LogIndex(self.match + 1)
            self._paused = False
        return is_news

    def refused(self, next_index: LogIndex) -> None:
        """Take a refusal: look again from ``next_index``, but never below what is known."""
        if self.flow is Flow.SNAPSHOT:
            return
        self.probe()
        self.next = max(LogIndex(self.match + 1), min(self.next, next_index))

    def probe(self) -> None:
        """Send one message and wait: the peer's log or its link is not what we thought."""
        if self.flow is not Flow.PROBE:
            self.next = LogIndex(self.match + 1)
        self._clear(Flow.PROBE)

    def send_snapshot(self, snapshot: Snapshot) -> None:
        """Start with a snapshot, because the entries at ``next`` are gone."""
        self._clear(Flow.SNAPSHOT)
        self.sender = SnapshotSender(snapshot)

    def _clear(self, flow: Flow) -> None:
        # Messages and bytes go together: forgetting one of them closes the window for ever.
        self.flow = flow
        self.sender = None
        self._paused = False
        self._inflight.clear()
        self.inflight_bytes = 0

    def check_invariants(self) -> None:
        """Assert what the module docstring promises."""
        assert 0 <= self.match < self.next, (self.match, self.next)
        assert self.inflight_bytes == sum(size for _, size in self._inflight)
        assert len(self._inflight) <= self._messages_max
        assert self.flow is Flow.REPLICATE or not self._inflight
        assert (self.flow is Flow.SNAPSHOT) == (self.sender is not None)
