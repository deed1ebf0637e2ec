"""Client sessions inside the replicated state: exactly-once replies, and who is still alive.

``SessionTable`` is replicated: every replica holds the same one. ``LeaseKeeper`` is the leader's
private memory of when it last heard from whom; its verdict becomes true only as a log entry.

Sources: Ongaro, thesis 6.3 (sessions); reference etcd issue 15247 (a leader that woke from a
stall revoked every lease: hence ``stalled``).
"""

from bisect import bisect_left, bisect_right
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Any

import msgspec

from synaxis.ids import Instant, LogIndex, LogTime, Sequence, SessionId

__all__ = ["AckedSequences", "CachedReply", "LeaseKeeper", "Session", "SessionTable"]


ENDED_KEPT_MS = 3_600_000
"""How long the id of an ended session is remembered, in log time: far beyond any delay."""
ENDED_MAX = 100_000

RANGES_MAX = 20_000
"""Gaps between acknowledged sequences of one session; as many as its open commands may make."""


class CachedReply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A reply and the place in the total order where it was decided."""

    index: LogIndex
    rank: int
    body: Any


class AckedSequences:
    """Which sequences the client has finished with: a floor and ranges above it.

    Invariant: ranges are disjoint, ascending, and none touches the floor or another.
    """

    __slots__ = ("floor", "ranges")

    def __init__(self, floor: int = 0, ranges: list[list[int]] | None = None) -> None:
        self.floor = floor
        self.ranges: list[list[int]] = ranges if ranges is not None else []

    def __contains__(self, sequence: int) -> bool:
        if sequence <= self.floor:
            return True
        at = bisect_right(self.ranges, sequence, key=itemgetter(0)) - 1
        return at >= 0 and sequence <= self.ranges[at][1]

    def raise_floor(self, floor: int) -> None:
        """Everything up to ``floor`` is finished."""
        if floor > self.floor:
            self.floor = floor
            self._merge_into_floor()

    def add(self, sequence: int) -> None:
        """``sequence`` alone is finished."""
        if sequence in self:
            return
        at = bisect_left(self.ranges, [sequence, sequence])
        self.ranges.insert(at, [sequence, sequence])
        if at + 1 < len(self.ranges) and self.ranges[at + 1][0] == sequence + 1:
            self.ranges[at][1] = self.ranges.pop(at + 1)[1]
        if at > 0 and self.ranges[at - 1][1] == sequence - 1:
            self.ranges[at - 1][1] = self.ranges.pop(at)[1]
        self._merge_into_floor()

    def _merge_into_floor(self) -> None:
        while self.ranges and self.ranges[0][0] <= self.floor + 1:
            self.floor = max(self.floor, self.ranges.pop(0)[1])


class Session:
    """One client session. ``replies`` maps a sequence to its reply, or to None while it waits."""

    __slots__ = ("acked", "owner", "replies", "ttl_ms")

    def __init__(self, ttl_ms: int, owner: str) -> None:
        self.ttl_ms = ttl_ms
        self.owner = owner
        self.acked = AckedSequences()
        self.replies: dict[Sequence, CachedReply | None] = {}

    def acknowledge(self, floor: Sequence, above: tuple[Sequence, ...]) -> None:
        """Drop replies that the client has seen."""
        acked = self.acked
        if floor > acked.floor:
            replies = self.replies
            if floor - acked.floor <= len(replies):
                for sequence in range(acked.floor + 1, floor + 1):
                    replies.pop(Sequence(sequence), None)
            else:
                for old in [known for known in replies if known <= floor]:
                    del replies[old]
            acked.raise_floor(floor)
        for sequence in above:
            # A reply that cannot be noted as seen is kept: forgetting both would let a late
            # duplicate of the command be applied again.
            if len(acked.ranges) < RANGES_MAX:
                self.replies.pop(sequence, None)
                acked.add(sequence)


class SavedSession(msgspec.Struct, frozen=True, array_like=True):
    """A session in a snapshot."""

    id: SessionId
    ttl_ms: int
    owner: str
    floor: int
    ranges: list[list[int]]
    replies: list[tuple[Sequence, CachedReply | None]]


class SessionTable:
    """All sessions of a group, in order of creation, and the ids of those that ended."""

    __slots__ = ("by_id", "ended")

    def __init__(self) -> None:
        self.by_id: dict[SessionId, Session] = {}
        self.ended: dict[SessionId, LogTime] = {}
        """When each session ended, oldest first. A delayed duplicate of its OpenSession must not
        bring it back: delayed duplicates of its commands would be applied a second time."""

    def open(self, session: SessionId, ttl_ms: int, owner: str) -> Session:
        """Create the session, or return the one that is there (a repeated open)."""
        found = self.by_id.get(session)
        if found is None:
            found = self.by_id[session] = Session(ttl_ms, owner)
        return found

    def end(self, session: SessionId, now: LogTime) -> Session | None:
        """Remove the session and remember that it ended; None if there was none."""
        found = self.by_id.pop(session, None)
        if found is not None:
            self.ended[session] = now
            while len(self.ended) > ENDED_MAX or self._oldest_end() < now - ENDED_KEPT_MS:
                del self.ended[next(iter(self.ended))]
        return found

    def _oldest_end(self) -> LogTime:
        return next(iter(self.ended.values()))

    def owner_of(self, session: SessionId) -> str:
        """Return the session's name for people, or its number in hex."""
        found = self.by_id.get(session)
        return found.owner if found is not None and found.owner else f"{session:016x}"

    def save(self) -> list[SavedSession]:
        """Return the table in a form that encodes to equal bytes for equal tables."""
        return [
            SavedSession(
                number,
                session.ttl_ms,
                session.owner,
                session.acked.floor,
                session.acked.ranges,
                sorted(session.replies.items()),
            )
            for number, session in self.by_id.items()
        ]

    def load(self, saved: list[SavedSession]) -> None:
        """Become what ``save`` returned; reply bodies must be decoded already."""
        self.by_id = {}
        for each in saved:
            session = Session(each.ttl_ms, each.owner)
            session.acked = AckedSequences(each.floor, each.ranges)
            session.replies = dict(each.replies)
            self.by_id[each.id] = session


class LeaseKeeper:
    """The leader's memory of when each session falls silent for too long.

    Time that the leader itself was stalled (stopped, swapped out, blocked) does not count: the
    keep-alives sent meanwhile wait unread in its sockets. ``observe`` must be called at least
    every ``stall_ms`` while all is well.
    """

    __slots__ = ("_deadlines", "_heap", "_last_seen", "_stall_ms", "_stalled_ms")

    def __init__(self, stall_ms: int) -> None:
        self._stall_ms = stall_ms
        self._stalled_ms = 0
        self._last_seen: Instant | None = None
        self._deadlines: dict[SessionId, int] = {}
        self._heap: list[tuple[int, SessionId]] = []

    def observe(self, now: Instant) -> None:
        """Note that the leader is awake at ``now``."""
        if self._last_seen is not None and now - self._last_seen > self._stall_ms:
            self._stalled_ms += now - self._last_seen
        self._last_seen = now

    def start(self, table: SessionTable, now: Instant) -> None:
        """Begin to lead: every session gets a full TTL from now (never expires early)."""
        self.observe(now)
        live = now - self._stalled_ms
        self._deadlines = {key: live + one.ttl_ms for key, one in table.by_id.items()}
        self._heap = [(deadline, session) for session, deadline in self._deadlines.items()]
        heapify(self._heap)

    def stop(self) -> None:
        """Lead no longer."""
        self._deadlines.clear()
        self._heap.clear()

    def renew(self, session: SessionId, ttl_ms: int, heard: Instant) -> None:
        """``session`` was alive at ``heard``."""
        deadline = heard - self._stalled_ms + ttl_ms
        known = self._deadlines.get(session)
        if known is None:
            heappush(self._heap, (deadline, session))
        elif deadline <= known:
            return
        self._deadlines[session] = deadline

    def forget(self, session: SessionId) -> None:
        """``session`` ended."""
        self._deadlines.pop(session, None)

    def deadline(self) -> Instant | None:
        """Return when ``expired`` may next have something to say (never later than true)."""
        return Instant(self._heap[0][0] + self._stalled_ms) if self._heap else None

    def expired(self, now: Instant) -> list[SessionId]:
        """Return sessions silent for longer than their TTL; they come back unless forgotten."""
        live = now - self._stalled_ms
        due: list[SessionId] = []
        while self._heap and self._heap[0][0] <= live:
            _, session = heappop(self._heap)
            deadline = self._deadlines.get(session)
            if deadline is None:
                continue
            if deadline > live:
                heappush(self._heap, (deadline, session))
            else:
                due.append(session)
                self._deadlines[session] = live + self._stall_ms
                heappush(self._heap, (live + self._stall_ms, session))
        return due
