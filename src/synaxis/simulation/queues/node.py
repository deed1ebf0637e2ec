"""A simulated node with one queue shard: the real machine, dispatcher, log and message store.

Does what the shell does around them: carries the topics' configuration into the shard that it
leads, reads the bytes of what is delivered, gathers what snapshots refer to, keeps the members'
streams. All on the node's one disk.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from synaxis.consensus.commands import Proposal
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import (
    Effects,
    Members,
    Reply,
    SnapshotMeta,
    StoreCopy,
    StoreDrop,
    StoreOperation,
)
from synaxis.errors import ClusterError, StorageError
from synaxis.ids import GroupId, Instant, NodeId, Sequence, SessionId, Term
from synaxis.ports import LogStatus, RecoveredGroup
from synaxis.queues.commands import ConfigureTopic
from synaxis.queues.questions import Page
from synaxis.simulation.disk import PowerLost, SimulatedDirectory
from synaxis.simulation.invariants import InvariantViolation
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND
from synaxis.simulation.observed import ObservedReplica
from synaxis.simulation.pending import Told
from synaxis.simulation.process import CLUSTER_ID, SimulatedNode, Surroundings
from synaxis.simulation.queues.gathering import Gatherer
from synaxis.simulation.queues.inspection import Inspection
from synaxis.simulation.queues.ledger import Began, Deed, Delivering, Ledger
from synaxis.simulation.queues.observed import ObservedDispatcher, ObservedQueues
from synaxis.simulation.queues.setup import WALL_CLOCK_MS, QueueSetup
from synaxis.simulation.queues.streams import Hangup, NodeStream, PageRead, Say
from synaxis.simulation.queues.switchboard import Switchboard, ranges_of, records_in
from synaxis.storage.message_store import InlineExecutor, MessageStore
from synaxis.storage.write_ahead_log import WriteAheadLog
from synaxis.wire.peer import SegmentAsk, SegmentPart

__all__ = ["QueueNode"]

_NODE_ITSELF = SessionId(0)
_KEEPER = "keeper"
"""Handle of what the node proposes in its own name."""
CARRY_US = 200_000
"""Between two looks at whether the shard knows all topics."""


class QueueNode(SimulatedNode):
    """See the module."""

    group: ClassVar[GroupId] = GroupId("queues/0")

    def __init__(
        self,
        setup: QueueSetup,
        ledger: Ledger,
        around: Surroundings,
        node_id: str,
        bootstrap: Members,
        disk: SimulatedDirectory,
    ) -> None:
        super().__init__(around, node_id, bootstrap, disk)
        self.setup = setup
        self.ledger = ledger
        skew = setup.wall_skew_ms
        self.wall_skew_ms = self.random.randrange(-skew, skew + 1)

    # --- life ------------------------------------------------------------------------------

    def _open_log(self) -> tuple[WriteAheadLog, dict[GroupId, RecoveredGroup]]:
        self._broken: StorageError | None = None
        self.store = MessageStore(self.disk, self.setup.store, InlineExecutor(), self._fail)
        options = self.around.config.wal
        return WriteAheadLog.open(self.disk, CLUSTER_ID, self.id, options, self.store)

    def _fail(self, error: StorageError) -> None:
        self._broken = error

    def _make_machine(self) -> ObservedQueues:
        self.queues = ObservedQueues(self.setup.limits, self.around.monitor, self.id)
        return self.queues

    def _replica_config(self, now: Instant) -> ReplicaConfig:
        wall = WALL_CLOCK_MS + self.kernel.now // MICROSECONDS_PER_MILLISECOND + self.wall_skew_ms
        config = self.around.config.replica
        return msgspec.structs.replace(config, wall_offset_ms=wall - now)

    def _started(self, replica: ObservedReplica) -> None:
        self.dispatcher = ObservedDispatcher(
            self.queues, self.setup.delivery, self._report, self._proposed
        )
        replica.attended_by(self.dispatcher)
        self._gatherer = Gatherer(self, self.around.coverage, self.setup.part_bytes)
        self._switchboard = Switchboard(self)
        self._configuring: set[tuple[str, int]] = set()
        self._carry_at = 0
        self._census_due = False
        self._served_term = Term(0)
        """In which it has become leader last."""

    def _guard(self, action: Callable[..., Any], *args: object) -> None:
        """Run what touches the disk; the process ends if the disk does."""
        try:
            action(*args)
        except PowerLost:
            self._end(power=True)
            self._plan_restart()
        except StorageError as error:
            self._stop_because(error)
        else:
            if self._broken is not None:
                self._stop_because(self._broken)

    def _stop_because(self, error: StorageError) -> None:
        self.kernel.note(self.id, "stops, because", error.message)
        self._end(power=False)
        self._plan_restart()

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay`` us, if the process still lives."""
        self.kernel.after(delay, self._later, self.incarnation, action)

    def _later(self, incarnation: int, action: Callable[[], None]) -> None:
        if incarnation != self.incarnation:
            return
        if self.paused:
            self.kernel.at(self.paused_until, self._later, incarnation, action)
        else:
            self._guard(action)

    # --- inputs -----------------------------------------------------------------------------

    def _take(self, replica: ObservedReplica, sender: str, message: msgspec.Struct) -> None:
        if isinstance(message, Say):
            self._switchboard.hear(replica, sender, message)
        elif isinstance(message, Hangup):
            self._switchboard.hang_up(replica, sender, message.stream)
        elif isinstance(message, SegmentPart):
            self._guard(self._gatherer.received, message)
        elif isinstance(message, SegmentAsk):
            self._guard(self._serve_segment, replica, NodeId(sender), message)
        else:
            super()._take(replica, sender, message)

    def _serve_segment(self, replica: ObservedReplica, sender: NodeId, ask: SegmentAsk) -> None:
        where = (ask.segment, ask.position, ask.length)
        found = self.store.read_blocking(self.group, [where])
        gone = found is None and replica.log.ready
        data = found[0] if found else b""
        self.say(sender, SegmentPart(self.group, ask.segment, ask.position, data, gone))
        if gone:
            self.around.coverage.hit("queue.segment_gone")
            replica.snapshot_soon()

    # --- for its gatherer and its switchboard ------------------------------------------------

    def now(self) -> Instant:
        """Return the node's time."""
        return self.clock.now()

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Say something to the leader's half in the name of a member."""
        assert self.replica is not None
        self.replica.demand(session, message, handle, self.clock.now())
        self._mark()

    def draw(self) -> float:
        """Return a random number from 0 to 1."""
        return self.random.random()

    def status(self) -> LogStatus:
        """Return the status of the log."""
        assert self.log is not None
        return self.log.status()

    def say(self, target: NodeId, message: SegmentAsk | SegmentPart) -> None:
        """Send a message to a peer."""
        self.around.network.send(self.id, target, message)

    def gathered(self, meta: SnapshotMeta, *, complete: bool) -> None:
        """Tell the log."""
        assert self.log is not None
        self.log.gathered(meta, complete=complete, now=self.clock.now())
        self._mark()

    # --- the turn ---------------------------------------------------------------------------

    def _execute(self, effects: Effects) -> None:
        self._guard(super()._execute, effects)

    def _before_log(self, effects: Effects) -> None:
        if effects.restore is not None:
            self.store.reset(self.group, effects.restore.meta.attachments)
            self._census_due = True
        if effects.persist is not None and effects.persist.snapshot is not None:
            self.store.hold(self.group, effects.persist.snapshot.meta)

    def _after_log(self, effects: Effects) -> None:
        if effects.store:
            self._note_store(effects.store)
            self.store.execute(self.group, effects.store)
        if effects.gather is not None:
            self._gatherer.gather(effects.gather.meta)
        if self._census_due:
            self._census_due = False
            self.take_census()
        if self.log is not None and self.log.ready and self.kernel.now >= self._carry_at:
            self._carry_at = self.kernel.now + CARRY_US
            self._carry_topics()

    def _note_store(self, operations: list[StoreOperation]) -> None:
        coverage = self.around.coverage
        for operation in operations:
            if isinstance(operation, StoreCopy):
                coverage.hit("queue.unit_moved")
            elif isinstance(operation, StoreDrop):
                coverage.hit("queue.segment_dropped")

    def _check_invariants(self, replica: ObservedReplica) -> None:
        super()._check_invariants(replica)
        self.dispatcher.check_invariants()

    def _answer(self, reply: Reply) -> None:
        handle, body = reply.handle, reply.body
        if isinstance(handle, NodeStream):
            self._switchboard.tell(handle, body)
        elif handle == _KEEPER:
            self._configuring.clear()
        elif isinstance(body, Page):
            self._answer_page(reply, body)
        else:
            super()._answer(reply)

    def _carry_topics(self) -> None:
        """Put into the log what the shard does not know of its topics; see ``nodes``."""
        assert self.replica is not None
        for record in self.setup.topics.values():
            known = self.queues.shard.topics.get(record.name)
            news = record.name, record.version
            if (known is None or known.record.version < record.version) and (
                news not in self._configuring
            ):
                nothing = Sequence(0)
                proposal = Proposal(_NODE_ITSELF, nothing, nothing, ConfigureTopic(record))
                try:
                    self.replica.propose(proposal, _KEEPER, self.clock.now())
                except ClusterError:
                    return
                self._configuring.add(news)
                self._mark()

    def _answer_page(self, reply: Reply, page: Page) -> None:
        units = self.store.read_blocking(self.group, ranges_of(page.slices)) or []
        read = PageRead(records_in(page.slices, units), page.dead, page.next_offset)
        client, number = reply.handle
        position = self.queues.calls.answers.get(id(page), -1)
        told = Told(number, reply.index, reply.rank, read, position)
        self.around.network.send(self.id, client, told)

    # --- what the judge needs to know -----------------------------------------------------------

    def _report(self, deed: Deed) -> None:
        assert self.log is not None
        replica = self.replica
        if isinstance(deed, Began):
            assert self.log.leading is not None
            self._served_term = self.log.leading
        position = self.queues.calls.position
        self.ledger.add(position, self._served_term, self.id, deed)
        if isinstance(deed, Delivering) and replica is not None:
            times = replica.asked_us, self.kernel.now
            self.ledger.asked(self.id, deed, times, replica.applied_index)
        elif isinstance(deed, Began):
            self._census_due = True

    def _proposed(self, command: msgspec.Struct) -> None:
        self.ledger.proposed(command, self.kernel.now)

    def take_census(self) -> None:
        """Demand that everything the state refers to can be read, and note what that is.

        Raises:
            InvariantViolation: it cannot, or it is not what was published.
        """
        try:
            census = self._inspection().census()
        except InvariantViolation as violation:
            message = str(violation).removeprefix(f"{violation.invariant}: ")
            raise InvariantViolation(violation.invariant, f"{self.id} {message}") from violation
        self.ledger.add(self.queues.calls.position, self._served_term, self.id, census)

    def segments(self) -> list[bytes]:
        """Return the bytes of the live segments."""
        return self._inspection().segments()

    def _inspection(self) -> Inspection:
        return Inspection(self.queues.shard, self.store, self.group, self.ledger)
