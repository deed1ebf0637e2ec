"""How single publishes become batches that are stored once and in order.

Everything that is published to a partition in one loop turn becomes one batch. While a batch is on
its way, what is published meanwhile forms the next one: so batches grow exactly when the cluster
is the bottleneck, and the order of a lane does not depend on which of two retries arrives first.
"""

import asyncio
from math import inf
from random import Random
from typing import TYPE_CHECKING

from synaxis.client.caller import Caller
from synaxis.client.clock import now
from synaxis.client.queues.catalog import Catalog
from synaxis.client.queues.lane import Lane
from synaxis.client.queues.limits import LIMITS
from synaxis.client.queues.outgoing import too_large
from synaxis.client.session import Session, SessionState
from synaxis.errors import ClusterError, ConnectionFailed, LimitExceeded, SynaxisError
from synaxis.ids import GroupId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Publisher"]

BATCH_MESSAGES_MAX = 5_000
BATCH_BYTES_MAX = 128 * 1024
"""Records of one batch, unless a single one is longer. A node reads a batch as a whole even to
deliver a part of it, and beyond a few hundred messages a batch costs little more per message."""
FRAME_SLACK_BYTES = 16 * 1024
"""What a frame needs besides the longest record that fits it."""
UNACKED_MESSAGES_MAX = 100_000
UNACKED_BYTES_MAX = 32 * 1024 * 1024
"""On their way at once; what is published beyond that waits in the client."""
ACCEPTED_MESSAGES_MAX = 1_000_000
ACCEPTED_BYTES_MAX = 256 * 1024 * 1024
"""Waiting or on their way; beyond that ``publish`` refuses."""
SWEEP_S = 0.1


class Publisher:
    """What the lanes of a client share. See the module."""

    batch_messages_max = BATCH_MESSAGES_MAX

    def __init__(self, caller: Caller, catalog: Catalog, random: Random) -> None:
        self.loop = asyncio.get_running_loop()
        self.catalog = catalog
        self.producer = random.randrange(1, 1 << 63)
        self.timeout_s = caller.timeout_s
        frame = caller.pool.router.frame_bytes_max - FRAME_SLACK_BYTES
        self.record_bytes_max = min(frame, LIMITS.record_bytes_max)
        self.batch_bytes_max = min(frame, BATCH_BYTES_MAX)
        self.accepted_messages = 0
        self.accepted_bytes = 0
        self.unacked_messages = 0
        self.unacked_bytes = 0
        self._pool = caller.pool
        self._random = random
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._dirty: list[Lane] = []
        self._turn_at = 0.0
        self._stalled: dict[Lane, None] = {}
        self._opening: dict[GroupId, asyncio.Task[None]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self.contradicted: Callable[[str], object] = catalog.forget
        """Called with a topic that a shard does not know, or not with this partition."""

    def lane(self, topic: str, partition: int) -> Lane:
        """Return the lane of a partition."""
        found = self._lanes.get((topic, partition))
        if found is None:
            group = self.catalog.group_of(topic, partition)
            found = self._lanes[topic, partition] = Lane(self, topic, partition, group)
        return found

    # --- limits -----------------------------------------------------------------------------

    def accept(self, messages: int, size: int) -> None:
        """Count messages that are about to wait.

        Raises:
            LimitExceeded: too many do already, or the message is too large.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        self.accepted_messages += messages
        self.accepted_bytes += size
        if self.accepted_messages > ACCEPTED_MESSAGES_MAX:
            self._refuse(messages, size, "accepted_messages_max", ACCEPTED_MESSAGES_MAX)
        if self.accepted_bytes > ACCEPTED_BYTES_MAX:
            self._refuse(messages, size, "accepted_bytes_max", ACCEPTED_BYTES_MAX)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    def _refuse(self, messages: int, size: int, limit: str, maximum: int) -> None:
        self.accepted_messages -= messages
        self.accepted_bytes -= size
        raise LimitExceeded(
            f"{limit} is {maximum}: await what is published before publishing more",
            limit=limit,
            maximum=maximum,
        )

    def check_size(self, size: int) -> None:
        """Refuse a message that no frame and no shard takes.

        Raises:
            LimitExceeded: names the limit.
        """
        if size > self.record_bytes_max:
            own = self.record_bytes_max == LIMITS.record_bytes_max
            name = "record_bytes_max" if own else "frame_bytes_max"
            raise too_large(size, self.record_bytes_max, name)

    def may_send(self, lane: Lane) -> bool:
        """Whether more may be on its way; if not, ``lane`` is pumped when it may."""
        if self.unacked_messages < UNACKED_MESSAGES_MAX and self.unacked_bytes < UNACKED_BYTES_MAX:
            return True
        self._stalled[lane] = None
        return False

    async def room(self) -> None:
        """Wait until more may be accepted without piling up in the client."""
        while (
            self.accepted_messages >= UNACKED_MESSAGES_MAX
            or self.accepted_bytes >= UNACKED_BYTES_MAX
        ):
            future = self.loop.create_future()
            self._waiting.append(future)
            await future

    def sent(self, messages: int, size: int) -> None:
        """Count a batch that is on its way."""
        self.unacked_messages += messages
        self.unacked_bytes += size

    def done(self, messages: int, size: int, *, was_sent: bool) -> None:
        """Count messages whose fate is told."""
        self.accepted_messages -= messages
        self.accepted_bytes -= size
        if was_sent:
            self.unacked_messages -= messages
            self.unacked_bytes -= size
        if self._stalled:
            stalled, self._stalled = self._stalled, {}
            for lane in stalled:
                self.dirty(lane)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    # --- turns ------------------------------------------------------------------------------

    def dirty(self, lane: Lane) -> float:
        """Pump ``lane`` at the end of this loop turn; returns what time it is."""
        if not self._dirty:
            self._turn_at = now()
            self.loop.call_soon(self._flush)
        self._dirty.append(lane)
        return self._turn_at

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for lane in dirty:
            lane.pump()

    def later(self, lane: Lane, delay_s: float) -> None:
        """Pump ``lane`` after about ``delay_s``."""
        if delay_s:
            self.loop.call_later(delay_s * self._random.uniform(0.8, 1.2), lane.pump)
        else:
            self.dirty(lane)

    # --- sessions ---------------------------------------------------------------------------

    def session(self, group: GroupId) -> Session | None:
        """Return the open session of a shard; None while it is being opened."""
        session = self._pool.session(group)
        if session.state is SessionState.OPEN:
            return session
        if group not in self._opening and not self._closed:
            task = self.loop.create_task(self._open(group, session), name=f"synaxis-open {group}")
            self._opening[group] = task
        return None

    async def _open(self, group: GroupId, session: Session) -> None:
        trouble: SynaxisError | None = None
        try:
            await session.ready(now() + self.timeout_s)
        except SynaxisError as error:
            trouble = error
        finally:
            del self._opening[group]
        for lane in list(self._lanes.values()):
            if lane.group != group:
                continue
            if trouble is not None and not isinstance(trouble, ClusterError):
                lane.fail(trouble)
            elif not lane.idle:
                lane.trouble = trouble
                lane.pump()

    # --- the end ----------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._sweeper = None
        moment = now()
        for lane in list(self._lanes.values()):
            if not lane.idle:
                lane.sweep(moment)
        if self.accepted_messages and not self._closed:
            self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    async def drain(self, timeout_s: float = inf) -> bool:
        """Wait until the fate of everything published is told; returns whether it was."""
        deadline = now() + timeout_s
        while self.accepted_messages:
            if now() >= deadline:
                return False
            future = self.loop.create_future()
            self._waiting.append(future)
            await asyncio.wait([future], timeout=None if deadline == inf else deadline - now())
        return True

    async def close(self) -> None:
        """Fail what is not told yet; the requests themselves end with the router."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for lane in self._lanes.values():
            lane.fail(ConnectionFailed("the client was closed"))
