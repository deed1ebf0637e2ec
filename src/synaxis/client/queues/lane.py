"""The way to one partition: what waits, and the one batch that is on its way."""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Protocol

from synaxis.client.clock import now
from synaxis.client.queues.batching import Draft
from synaxis.client.queues.flight import Flight
from synaxis.client.queues.outgoing import Extras, Receipt
from synaxis.client.session import Session
from synaxis.errors import ClusterError, ConnectionFailed, NotFound, OutcomeUnknown, SynaxisError
from synaxis.ids import GroupId
from synaxis.queues.commands import Publish, Published

__all__ = ["Lane", "LaneOwner"]


class LaneOwner(Protocol):
    """What lanes share: the producer's name, its limits, the client's sessions."""

    producer: int
    batch_messages_max: int
    batch_bytes_max: int
    timeout_s: float
    loop: asyncio.AbstractEventLoop
    contradicted: Callable[[str], object]
    """Called with a topic that a shard does not know, or not with this partition."""

    def dirty(self, lane: "Lane") -> float:
        """Pump ``lane`` at the end of this loop turn; returns what time it is."""
        ...

    def may_send(self, lane: "Lane") -> bool:
        """Whether more may be on its way; if not, ``lane`` is pumped when it may."""
        ...

    def session(self, group: GroupId) -> Session | None:
        """Return the open session of a shard; None while it is being opened."""
        ...

    def later(self, lane: "Lane", delay_s: float) -> None:
        """Pump ``lane`` after about ``delay_s``."""
        ...

    def sent(self, messages: int, size: int) -> None:
        """Count a batch that is on its way."""
        ...

    def done(self, messages: int, size: int, *, was_sent: bool) -> None:
        """Count messages whose fate is told."""
        ...


class Lane:
    """See the module. Invariant: sequences leave in order, one at a time."""

    __slots__ = (
        "_draft",
        "_drafts",
        "_flight",
        "_flying",
        "_owner",
        "_sequence",
        "_stored_at",
        "group",
        "partition",
        "topic",
        "trouble",
    )

    def __init__(self, owner: LaneOwner, topic: str, partition: int, group: GroupId) -> None:
        self.topic = topic
        self.partition = partition
        self.group = group
        self.trouble: SynaxisError | None = None
        """Why the last try failed, for messages that never get one."""
        self._owner = owner
        self._sequence = 0
        self._stored_at = -inf
        self._drafts: deque[Draft] = deque()
        self._draft: Draft | None = None
        """The last of ``_drafts``, while it may grow."""
        self._flight: Flight | None = None
        self._flying: Draft | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return self._flight is None and not self._drafts

    # --- filling ----------------------------------------------------------------------------

    def add(self, record: bytes, key_hash: int, extras: Extras) -> asyncio.Future[Receipt]:
        """Let a message wait for the next batch."""
        draft, owner = self._draft, self._owner
        if (
            draft is None
            or len(draft.records) >= owner.batch_messages_max
            or draft.size + len(record) > owner.batch_bytes_max
        ):
            draft = self._begin()
        draft.add(record, key_hash, extras)
        future = owner.loop.create_future()
        draft.futures.append(future)
        return future

    def _begin(self) -> Draft:
        moment = self._owner.dirty(self)
        draft = self._draft = Draft(moment + self._owner.timeout_s)
        self._drafts.append(draft)
        return draft

    def put(self, draft: Draft) -> None:
        """Let a whole batch wait."""
        self._owner.dirty(self)
        self._drafts.append(draft)
        self._draft = None

    # --- sending ----------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what may be sent now."""
        if self._flight is not None:
            self._flight.resume()
            return
        while self._drafts and self._flight is None:
            if not self._owner.may_send(self):
                return
            if self._owner.session(self.group) is None:
                return
            draft = self._drafts.popleft()
            if draft is self._draft:
                self._draft = None
            self._take_off(self._without_cancelled(draft))

    def _without_cancelled(self, draft: Draft) -> Draft:
        kept = draft.without_cancelled()
        if kept is not draft:
            gone = len(draft.records) - len(kept.records)
            self._owner.done(gone, draft.size - kept.size, was_sent=False)
        return kept

    def _take_off(self, draft: Draft) -> None:
        if not draft.records:
            return
        self._sequence += 1
        owner = self._owner
        batch = draft.batch()
        command = Publish(self.topic, self.partition, owner.producer, self._sequence, batch)
        self._flying = draft
        self._flight = Flight(self, command, now() + owner.timeout_s)
        owner.sent(len(draft.records), draft.size)
        self._flight.resume()

    def session(self) -> Session | None:
        """Return the open session of the shard; None while it is being opened."""
        return self._owner.session(self.group)

    def later(self, delay_s: float) -> None:
        """Pump again after about ``delay_s``."""
        self._owner.later(self, delay_s)

    def landed(self, published: Published) -> None:
        """Give receipts."""
        self.trouble = None
        self._stored_at = now()
        self._arrived().stored(self.partition, published)
        self.pump()

    def crashed(self, error: SynaxisError) -> None:
        """Give bad news."""
        if isinstance(error, NotFound):
            self._owner.contradicted(self.topic)
        elif isinstance(error, ClusterError) and not isinstance(error, OutcomeUnknown):
            self.trouble = error
        self._arrived().failed(error)
        self.pump()

    def _arrived(self) -> Draft:
        draft, self._flying, self._flight = self._flying, None, None
        assert draft is not None
        self._owner.done(len(draft.records), draft.size, was_sent=True)
        return draft

    # --- giving up --------------------------------------------------------------------------

    def sweep(self, moment: float) -> None:
        """Give up what is too late."""
        self._draft = None  # a draft that grew for ever would never be too late
        flight = self._flight
        if flight is not None and flight.request is None and flight.deadline <= moment:
            flight.expire(self._excuse())
        if self._stored_at + self._owner.timeout_s > moment:
            return  # slow, but it moves
        while self._drafts and self._drafts[0].deadline <= moment:
            self._drop(self._drafts.popleft(), self._excuse())

    def fail(self, error: SynaxisError) -> None:
        """Give up everything."""
        self._draft = None
        drafts, self._drafts = self._drafts, deque()
        for draft in drafts:
            self._drop(draft, error)
        if self._flight is not None and self._flight.request is None:
            self._flight.expire(error)

    def _drop(self, draft: Draft, error: SynaxisError) -> None:
        self._owner.done(len(draft.records), draft.size, was_sent=False)
        draft.failed(error)

    def _excuse(self) -> SynaxisError:
        request = None if self._flight is None else self._flight.request
        failure = None if request is None else request.failure
        return failure or self.trouble or ConnectionFailed("no node took the messages in time")
