"""Turns the effects of all groups of a node into I/O. The simulator is the only other executor.

Inputs mark their group; at the end of the loop turn each marked group is drained once. So what
one turn gathered becomes one log entry, one message per peer, one write to the disk.

The order inside a batch is that of ``Effects``: what may leave before the disk leaves at once,
promises leave when the disk has answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

import msgspec

from synaxis.consensus.commands import Proposal
from synaxis.consensus.replica import Replica
from synaxis.effects import Attachment, Effects, Persist, Reply, SnapshotMeta, StoreOperation
from synaxis.errors import ProtocolViolation, SynaxisError
from synaxis.ids import GroupId, Instant, LogIndex, LogTime, NodeId, SessionId
from synaxis.wire.peer import PeerFrame

__all__ = [
    "Durability",
    "Gathering",
    "NodeDriver",
    "Observer",
    "Outlet",
    "ReplyHandle",
    "Store",
]

ReplyHandle = tuple[Callable[[Any, Reply], None], Any]
"""Whom to give a reply, and what it wants to be reminded of then."""

TICK_MS_MIN = 2


class Durability(Protocol):
    """Where persists go; calls ``done`` in order, on the loop, once durable."""

    @property
    def pinning_group(self) -> GroupId | None:
        """The group whose snapshot would free disk space, if that is wanted."""
        ...

    def submit(self, group: GroupId, persist: Persist, done: Callable[[], None]) -> None:
        """Make ``persist`` durable."""
        ...


class Outlet(Protocol):
    """Where messages to peers go."""

    def send(self, node: NodeId, group: GroupId, message: msgspec.Struct) -> None:
        """Say ``message`` to ``node`` if it can be reached."""
        ...


class Store(Protocol):
    """Where machines keep their bulk; every method is called in order, and costs no I/O."""

    def execute(self, group: GroupId, operations: Sequence[StoreOperation]) -> None:
        """Do what applying entries demanded."""
        ...

    def reset(self, group: GroupId, attachments: Sequence[Attachment]) -> None:
        """Become what a leader's snapshot, whose attachments were gathered, refers to."""
        ...

    def hold(self, group: GroupId, meta: SnapshotMeta) -> None:
        """Keep what a snapshot refers to, which is about to be handed to ``Durability``."""
        ...


class Gathering(Protocol):
    """Who fetches the attachments of leaders' snapshots, and reports to ``log.gathered``."""

    def gather(self, group: GroupId, meta: SnapshotMeta) -> None:
        """Begin with a snapshot; what was under way for the group is given up."""
        ...


class Observer(Protocol):
    """Who wants to know what happened."""

    def publish(
        self, group: GroupId, events: list[tuple[LogIndex, int, LogTime, msgspec.Struct]]
    ) -> None:
        """Take the events of applied entries."""
        ...

    def reset(self, group: GroupId, index: LogIndex) -> None:
        """A snapshot replaced the state up to ``index``: events before it were missed.

        0: a volatile group began a new era, and nothing of the past is true any more.
        """
        ...

    def leadership(self, group: GroupId) -> None:
        """Another node leads ``group`` now, or nobody."""
        ...

    def broken(self, error: Exception) -> None:
        """A rule failed: the node must not go on (a swallowed error would let replicas drift)."""
        ...


Input = TypeVar("Input", bound=Callable[..., None])


def _stops_the_node(method: Input) -> Input:
    """Make ``method`` the boundary of all rules: what fails in them stops the node."""

    @wraps(method)
    def guarded(self: "NodeDriver", *args: Any) -> None:  # noqa: ANN401  # any input
        try:
            method(self, *args)
        except ProtocolViolation:
            raise
        except Exception as error:  # noqa: BLE001  # see Observer.broken
            self.stop()
            self._observer.broken(error)  # a method in all but place

    return guarded  # type: ignore[return-value]  # the same signature


class _Runtime:
    """A replica with what the driver keeps beside it."""

    __slots__ = ("drained", "held", "leader", "marked", "replica", "serving", "wake_at")

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.marked = False
        self.leader: NodeId | None = None
        self.serving = False
        self.wake_at = Instant(0)
        self.drained: Callable[[], None] | None = None
        # One list per persist under way: promises that wait for it (the disk is first in,
        # first out, so the last list also covers promises about anything earlier).
        self.held: list[list[tuple[NodeId, msgspec.Struct]]] = []


class NodeDriver:
    """Runs the replicas of one node on the running loop."""

    def __init__(
        self,
        replicas: dict[GroupId, Replica],
        durability: Durability,
        outlet: Outlet,
        observer: Observer,
        store: Store | None = None,
        gathering: Gathering | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._runtimes = {group: _Runtime(replica) for group, replica in replicas.items()}
        self._durability = durability
        self._outlet = outlet
        self._observer = observer
        self._store = store
        self._gathering = gathering
        self._marked: list[_Runtime] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = Instant(0)
        self._stopped = False

    def now(self) -> Instant:
        """Return the machines' time: milliseconds of the loop's monotonic clock."""
        return Instant(int(self._loop.time() * 1000))

    def start(self) -> None:
        """Let time begin for every group."""
        for runtime in self._runtimes.values():
            self._mark(runtime)

    def stop(self) -> None:
        """Do nothing from now on, whatever arrives."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    # --- inputs -----------------------------------------------------------------------------

    @_stops_the_node
    def deliver(self, sender: NodeId, frame: PeerFrame) -> None:
        """Hand the messages of a peer's frame to their groups."""
        now = self.now()
        for envelope in frame.envelopes:
            runtime = self._runtimes.get(envelope.group)
            if runtime is not None:
                runtime.replica.handle(sender, envelope.message, now)
                if not runtime.marked:
                    self._mark(runtime)

    def propose(self, group: GroupId, proposal: Proposal, handle: ReplyHandle | None) -> None:
        """Put a command into the log of ``group``.

        Raises:
            KeyError: no such group.
            SynaxisError: see ``Replica.propose``; also when a rule failed and the node stops.
        """
        runtime = self._runtimes[group]
        try:
            runtime.replica.propose(proposal, handle, self.now())
        except SynaxisError:
            raise
        except Exception as error:
            raise self._broken(error) from error
        if not runtime.marked:
            self._mark(runtime)

    def query(
        self, group: GroupId, query: msgspec.Struct, handle: ReplyHandle, *, stale: bool
    ) -> None:
        """Ask the state machine of ``group``; see ``Replica.query``, and ``propose``."""
        runtime = self._runtimes[group]
        try:
            runtime.replica.query(query, handle, self.now(), stale=stale)
        except SynaxisError:
            raise
        except Exception as error:
            raise self._broken(error) from error
        self._mark(runtime)

    def keep_alive(self, group: GroupId, session: SessionId, handle: ReplyHandle) -> None:
        """Renew a session; see ``Replica.keep_alive``."""
        runtime = self._runtimes[group]
        runtime.replica.keep_alive(session, handle, self.now())
        self._mark(runtime)

    def demand(
        self, group: GroupId, session: SessionId, message: msgspec.Struct, handle: ReplyHandle
    ) -> None:
        """Take what a client says outside the log; see ``Replica.demand``, and ``propose``."""
        runtime = self._runtimes[group]
        try:
            runtime.replica.demand(session, message, handle, self.now())
        except SynaxisError:
            raise
        except Exception as error:
            raise self._broken(error) from error
        self._mark(runtime)

    def _broken(self, error: Exception) -> SynaxisError:
        """Stop, and return what to tell whoever caused it."""
        self.stop()
        self._observer.broken(error)
        return SynaxisError("a rule of the node failed: it stops")

    def peer_unreachable(self, peer: NodeId) -> None:
        """Tell every group that the link to ``peer`` broke."""
        now = self.now()
        for runtime in self._runtimes.values():
            runtime.replica.peer_unreachable(peer, now)
            self._mark(runtime)

    @_stops_the_node
    def gathered(self, group: GroupId, meta: SnapshotMeta, complete: bool) -> None:
        """Tell ``group`` what became of the attachments in ``Effects.gather``."""
        runtime = self._runtimes[group]
        runtime.replica.log.gathered(meta, complete=complete, now=self.now())
        self._mark(runtime)

    def touch(self, group: GroupId) -> None:
        """Drain ``group`` soon: its replica was called directly."""
        self._mark(self._runtimes[group])

    def follow(self, group: GroupId, drained: Callable[[], None]) -> None:
        """Call ``drained`` at the end of every turn in which something happened to ``group``."""
        self._runtimes[group].drained = drained

    # --- the turn ---------------------------------------------------------------------------

    def _mark(self, runtime: _Runtime) -> None:
        if runtime.marked or self._stopped:
            return
        runtime.marked = True
        if not self._marked:
            self._loop.call_soon(self._drain)
        self._marked.append(runtime)

    @_stops_the_node
    def _drain(self) -> None:
        marked, self._marked = self._marked, []
        for runtime in marked:
            runtime.marked = False
            if self._stopped:
                return
            self._drain_one(runtime)

    def _drain_one(self, runtime: _Runtime) -> None:
        self._execute(runtime, runtime.replica.take_effects())
        log = runtime.replica.log
        if log.leader != runtime.leader or log.ready != runtime.serving:
            runtime.leader, runtime.serving = log.leader, log.ready
            self._observer.leadership(runtime.replica.group)
        if runtime.drained is not None:
            runtime.drained()
        if runtime.replica.is_restless:
            self._mark(runtime)
        runtime.wake_at = runtime.replica.deadline()
        if self._timer is None or runtime.wake_at < self._timer_at:
            self._arm(runtime.wake_at)

    def _execute(self, runtime: _Runtime, effects: Effects) -> None:
        group, store = runtime.replica.group, self._store
        for node, message in effects.send_now:
            self._outlet.send(node, group, message)
        if store is not None:
            self._prepare(store, group, effects)
        if effects.era is not None:
            self._observer.reset(group, LogIndex(0))
        if effects.restore is not None:
            self._observer.reset(group, effects.restore.meta.index)
        self._persist(runtime, effects)
        if store is not None and effects.store:
            store.execute(group, effects.store)
        if self._gathering is not None and effects.gather is not None:
            self._gathering.gather(group, effects.gather.meta)
        for reply in effects.replies:
            if reply.handle is not None:
                deliver, reminder = reply.handle
                deliver(reminder, reply)
        if effects.events:
            self._observer.publish(group, effects.events)

    def _persist(self, runtime: _Runtime, effects: Effects) -> None:
        group = runtime.replica.group
        if effects.persist is not None:
            runtime.held.append(effects.send_after)
            self._durability.submit(
                group, effects.persist, partial(self._durable, runtime, effects.persist)
            )
        elif effects.send_after:
            if runtime.held:
                runtime.held[-1].extend(effects.send_after)
            else:
                self._send_all(group, effects.send_after)

    def _prepare(self, store: Store, group: GroupId, effects: Effects) -> None:
        """Tell the store what becomes of it, before the log hears of the snapshot."""
        if effects.restore is not None:
            store.reset(group, effects.restore.meta.attachments)
        if effects.persist is not None and effects.persist.snapshot is not None:
            store.hold(group, effects.persist.snapshot.meta)

    @_stops_the_node
    def _durable(self, runtime: _Runtime, persist: Persist) -> None:
        if self._stopped:
            return
        self._send_all(runtime.replica.group, runtime.held.pop(0))
        runtime.replica.persisted(persist.mark, self.now())
        self._mark(runtime)

    def _send_all(self, group: GroupId, messages: list[tuple[NodeId, msgspec.Struct]]) -> None:
        for node, message in messages:
            self._outlet.send(node, group, message)

    # --- time -------------------------------------------------------------------------------

    def _arm(self, at: Instant) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_ms = max(at - self.now(), TICK_MS_MIN)
        self._timer_at = at
        self._timer = self._loop.call_later(delay_ms / 1000, self._tick)

    @_stops_the_node
    def _tick(self) -> None:
        self._timer = None
        now = self.now()
        # Groups due within the same few milliseconds share their frames to the peers.
        horizon = now + TICK_MS_MIN
        next_at: Instant | None = None
        for runtime in self._runtimes.values():
            if runtime.wake_at <= horizon:
                runtime.replica.tick(now)
                self._mark(runtime)
            elif next_at is None or runtime.wake_at < next_at:
                next_at = runtime.wake_at
        if next_at is not None:
            self._arm(next_at)
