"""One simulated node: the real replica on the real log on a simulated disk, and its executor.

What the replica is a replica of, a subclass says (``LockNode``, ``QueueNode``).

The executor does what ``nodes.driver`` does, in the same order: inputs gather until the end of
the turn; then ``send_now`` leaves, ``persist`` goes to the disk, ``send_after`` waits for it, and
replies go out. The disk takes everything that was submitted while it was busy as one batch.

A process can crash (power lost or only killed), restart, be paused (its clock runs on, its mail
waits) and stop itself when its disk fails.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.effects import Effects, Members, Persist, Reply, refusal
from synaxis.errors import StorageError, SynaxisError
from synaxis.ids import GroupId, Instant, NodeId, Term
from synaxis.ports import RecoveredGroup
from synaxis.simulation.clock import NodeClock
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.disk import PowerLost, SimulatedDirectory
from synaxis.simulation.invariants import Monitor
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND, Kernel
from synaxis.simulation.network import Network
from synaxis.simulation.observed import ObservedMachine, ObservedRaft, ObservedReplica
from synaxis.simulation.pending import Ask, AskKind, Told
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog
from synaxis.wire.peer import Envelope

__all__ = ["CLUSTER_ID", "NodeConfig", "SimulatedNode", "Surroundings"]

CLUSTER_ID = "simulated"

TICK_MIN_US = 2 * MICROSECONDS_PER_MILLISECOND
WRITE_MAX_US = 3_000 * MICROSECONDS_PER_MILLISECOND
FUSE_OPERATIONS = (0, 1, 1, 1, 2, 3, 4, 6)
"""After how many steps of a write the power goes; 1 is between the write and its sync."""
INVARIANTS_CHECK_INTERVAL = 64
"""Turns between two calls of ``check_invariants``, which look at everything."""
LOG_CHECK_INTERVAL = 8 * INVARIANTS_CHECK_INTERVAL
"""The same for the log, which is longer than everything else."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Envelope)


@dataclass(slots=True)
class NodeConfig:
    """Settings of all nodes of a run. Times in microseconds."""

    raft: RaftConfig
    replica: ReplicaConfig
    wal: WalOptions
    turn: int = 100
    """How long a turn gathers inputs."""
    sync_min: int = 300
    sync_max: int = 3_000
    restart_delay: int = 300_000
    """Before a node that stopped itself is started again."""
    encode: bool = False
    """Encode and decode every message between nodes."""


@dataclass(slots=True)
class Surroundings:
    """What all nodes of a run share."""

    kernel: Kernel
    network: Network
    coverage: Coverage
    monitor: Monitor
    config: NodeConfig
    connection_lost: Callable[[str], None]
    """Told when a process ended: its peers may notice their broken links."""


class SimulatedNode(ABC):
    """A machine with a disk, and the process on it while it runs."""

    group: ClassVar[GroupId]

    def __init__(
        self, around: Surroundings, node_id: str, bootstrap: Members, disk: SimulatedDirectory
    ) -> None:
        self.around = around
        self.kernel = around.kernel
        self.id = NodeId(node_id)
        self.bootstrap = bootstrap
        self.disk = disk
        self.clock = NodeClock(around.kernel, 1.0)
        self.random = around.kernel.stream(f"node/{node_id}")
        self.running = False
        self.paused_until = 0
        self.incarnation = 0
        self.slowness = 1.0
        """Factor on the duration of disk writes."""
        self.retired = False
        """Never to be started again."""
        self.replica: ObservedReplica | None = None
        self.log: ObservedRaft | None = None
        self._inbox: list[tuple[str, Any]] = []
        self._restart_planned = False

    # --- life ------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the process from what the disk holds."""
        self._restart_planned = False
        if self.running or self.retired:
            return
        self.incarnation += 1
        self.paused_until = 0
        self.clock.reboot(self.random)
        try:
            wal, groups = self._open_log()
        except PowerLost:
            self.disk.crash()
            self._plan_restart()
            return
        except StorageError as error:
            self.kernel.note(self.id, "did not start:", error.message)
            self.disk.kill()
            self._plan_restart()
            return
        self._build(wal, groups.get(self.group, RecoveredGroup()))

    # --- what a subclass decides ---------------------------------------------------------------

    def _open_log(self) -> tuple[WriteAheadLog, dict[GroupId, RecoveredGroup]]:
        """Open what the disk holds; may raise whatever a disk raises."""
        return WriteAheadLog.open(self.disk, CLUSTER_ID, self.id, self.around.config.wal)

    @abstractmethod
    def _make_machine(self) -> ObservedMachine:
        """Return the state machine of a process that starts."""

    def _replica_config(self, now: Instant) -> ReplicaConfig:
        """Return the limits of a process that starts at ``now``."""
        del now
        return self.around.config.replica

    def _started(self, replica: ObservedReplica) -> None:  # noqa: B027  nothing is a good answer
        """Prepare a process that is about to run."""

    def _take(self, replica: ObservedReplica, sender: str, message: msgspec.Struct) -> None:
        """Take a message of a peer."""
        replica.handle(NodeId(sender), message, self.clock.now())

    # --- its end --------------------------------------------------------------------------------

    def _build(self, wal: WriteAheadLog, group: RecoveredGroup) -> None:
        config, monitor = self.around.config, self.around.monitor
        monitor.booted(self.id, group)
        now = self.clock.now()
        self._wal = wal
        log = ObservedRaft(self.id, config.raft, group, self.bootstrap, self.random, now)
        log.monitor, log.node = monitor.of(log.era), self.id
        log.commit_seen = log.status().commit_index  # its snapshot was committed by others
        machine = self._make_machine()
        ObservedReplica.monitor, ObservedReplica.node = monitor, self.id
        limits = self._replica_config(now)
        replica = ObservedReplica(self.group, log, machine, limits, group.snapshot, now)
        replica.monitor, replica.node = log.monitor, self.id
        self.log, self.machine, self.replica = log, machine, replica
        self._held: list[list[tuple[NodeId, msgspec.Struct]]] = []
        self._queue: list[Persist] = []
        self._writing: list[Persist] = []
        self._marked = False
        self._turns = 0
        self._led: Term | None = None
        self._timer_at: int | None = None
        self._timer_serial = 0
        self._started(replica)
        self.running = True
        self.kernel.note(self.id, "started with", group.hard_state, len(group.entries), "entries")
        self.around.network.attach(self.id, self._receive)
        self._mark()

    def crash(self, *, power: bool) -> None:
        """End the process, in the middle of whatever its disk is doing.

        Args:
            power: whether the machine loses power, and with it what was not synced.
        """
        if not self.running:
            if power:
                self.disk.crash()
            return
        if self._writing and self.random.random() < 0.7:
            self._die_writing()
        self._end(power=power)

    def stop(self) -> None:
        """Stop the process in order, as at SIGTERM: the log is sealed."""
        if self.running and not self.paused:
            try:
                self._wal.close()
            except PowerLost:
                self._end(power=True)
                self._plan_restart()
            else:
                self._end(power=False)

    def lose_power_while_writing(self) -> None:
        """Lose power at some step of the next write to the disk; the restart follows by itself."""
        if self.running:
            self.disk.light_fuse(self.random.choice(FUSE_OPERATIONS))

    def _die_writing(self) -> None:
        self.disk.light_fuse(self.random.choice(FUSE_OPERATIONS))
        try:
            self._write_batch(self._writing)
        except (PowerLost, StorageError):
            self.kernel.note(self.id, "dies while writing")

    def _end(self, *, power: bool) -> None:
        self.running = False
        self.incarnation += 1
        self.kernel.note(self.id, "loses power" if power else "is killed")
        self.around.network.detach(self.id)
        self._inbox = []
        self.replica = self.log = None
        if power:
            self.disk.crash()
        else:
            self.disk.kill()
        self.around.connection_lost(self.id)

    def _plan_restart(self) -> None:
        if not self._restart_planned and not self.retired:
            self._restart_planned = True
            self.kernel.after(self.around.config.restart_delay, self.boot)

    def pause(self, duration: int) -> None:
        """Stop the process for ``duration``; its clock goes on and its mail waits."""
        if not self.running or self.paused_until > self.kernel.now:
            return
        self.around.coverage.hit("process.paused")
        self.kernel.note(self.id, "is paused for", duration)
        self.paused_until = self.kernel.now + duration
        self.kernel.at(self.paused_until, self._resume, self.incarnation)

    def resume(self) -> None:
        """End a pause now."""
        if self.paused_until > self.kernel.now:
            self.paused_until = self.kernel.now
            self._resume(self.incarnation)

    def _resume(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self.paused_until > self.kernel.now:
            return
        self.around.coverage.hit("process.time_jump")
        self.kernel.note(self.id, "goes on with", len(self._inbox), "messages")
        inbox, self._inbox = self._inbox, []
        if self.random.random() < 0.5:
            self._tick()
        for sender, message in inbox:
            if incarnation == self.incarnation:
                self._receive(sender, message)
        if incarnation == self.incarnation:
            self._tick()

    @property
    def paused(self) -> bool:
        """Whether the process is stopped at this moment."""
        return self.paused_until > self.kernel.now

    # --- inputs -----------------------------------------------------------------------------

    def call(self, action: Callable[[ObservedReplica, Instant], None]) -> None:
        """Let an operator call the running replica directly."""
        if self.running and not self.paused and self.replica is not None:
            action(self.replica, self.clock.now())
            self._mark()

    def _receive(self, sender: str, message: msgspec.Struct) -> None:
        if self.paused:
            self._inbox.append((sender, message))
            return
        replica = self.replica
        assert replica is not None
        if self.kernel.verbose and type(message) is Ask:
            self.kernel.note(sender, "->", self.id, message)
        if type(message) is Ask:
            self._serve(replica, sender, message)
        else:
            self._take(replica, sender, message)
        if self.running and not self._marked:
            self._mark()

    def _serve(self, replica: ObservedReplica, client: str, ask: Ask) -> None:
        now = self.clock.now()
        handle = (client, ask.id)
        try:
            if ask.kind == AskKind.PROPOSE:
                replica.propose(ask.payload, handle, now)
            elif ask.kind == AskKind.KEEP_ALIVE:
                replica.keep_alive(ask.payload, handle, now)
            else:
                stale = ask.kind == AskKind.STALE_QUERY
                replica.query(ask.payload, handle, now, stale=stale)
        except SynaxisError as error:
            told = Told(ask.id, 0, 0, refusal(error), -1)
            self.around.network.send(self.id, client, told)

    # --- the turn ---------------------------------------------------------------------------

    def _mark(self) -> None:
        if not self._marked:
            self._marked = True
            self.kernel.after(self.around.config.turn, self._turn, self.incarnation)

    def _turn(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        if self.paused:
            self.kernel.at(self.paused_until, self._turn, incarnation)
            return
        self._marked = False
        replica, log = self.replica, self.log
        assert replica is not None
        assert log is not None
        effects = replica.take_effects()
        self._execute(effects)
        if incarnation != self.incarnation:
            return
        if log.leading != self._led:
            self._led = log.leading
            if self._led is not None:
                self._report_leadership(log)
        self._turns += 1
        if self._turns % INVARIANTS_CHECK_INTERVAL == 0:
            self._check_invariants(replica)
        if self._turns % LOG_CHECK_INTERVAL == 1:
            log.check_invariants()
        if replica.is_restless:
            self._mark()
        self._arm(replica.deadline())

    def _check_invariants(self, replica: ObservedReplica) -> None:
        replica.check_invariants()

    def _report_leadership(self, log: ObservedRaft) -> None:
        status = log.status()
        try:
            term = log.term_at(log.monitor.committed_max)
        except LookupError:
            term = None
        self.kernel.note(self.id, "leads term", status.term)
        log.monitor.leads(self.id, status, term)

    def _execute(self, effects: Effects) -> None:
        for target, message in effects.send_now:
            self._send(target, message)
        self._before_log(effects)
        self._persist(effects)
        self._after_log(effects)
        for reply in effects.replies:
            self._answer(reply)
        if effects.restore is not None:
            self.around.coverage.hit("raft.snapshot_installed")
        self.machine.calls.answers.clear()

    def _before_log(self, effects: Effects) -> None:  # noqa: B027  as above
        """Do what must be done before the log gets what it has to keep."""

    def _after_log(self, effects: Effects) -> None:  # noqa: B027  as above
        """Do what comes before the replies."""

    def _persist(self, effects: Effects) -> None:
        if effects.persist is not None:
            self._held.append(effects.send_after)
            self._queue.append(effects.persist)
            self.around.monitor.written(self.id, effects.persist)
            if not self._writing:
                self._start_writing()
        elif effects.send_after:
            if self._held:
                self._held[-1].extend(effects.send_after)
            else:
                for target, message in effects.send_after:
                    self._send(target, message)

    def _answer(self, reply: Reply) -> None:
        if reply.handle is None:
            return
        client, number = reply.handle
        position = self.machine.calls.answers.get(id(reply.body), -1)
        told = Told(number, reply.index, reply.rank, reply.body, position)
        if self.kernel.verbose:
            self.kernel.note(self.id, "->", client, told)
        self.around.network.send(self.id, client, told)

    def _send(self, target: NodeId, message: msgspec.Struct) -> None:
        around = self.around
        around.monitor.sent(self.id, target, message)
        if self.kernel.verbose:
            self.kernel.note(self.id, "->", target, message)
        if around.config.encode:
            envelope = Envelope(self.group, message)  # type: ignore[arg-type]  # only Raft speaks here
            message = _DECODER.decode(_ENCODER.encode(envelope)).message
        around.network.send(self.id, target, message)

    # --- the disk ---------------------------------------------------------------------------

    def _start_writing(self) -> None:
        self._writing, self._queue = self._queue, []
        config = self.around.config
        spread = config.sync_max - config.sync_min
        duration = int((config.sync_min + self.random.random() * spread) * self.slowness)
        duration = min(duration, WRITE_MAX_US)
        if self.slowness > 1:
            self.around.coverage.hit("disk.slow")
        self.kernel.after(duration, self._written, self.incarnation)

    def _write_batch(self, batch: list[Persist]) -> None:
        for persist in batch:
            self._wal.append(self.group, persist)
        taken = self._wal.take()
        assert taken is not None
        self._wal.write(taken)

    def _written(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        if self.paused:
            self.kernel.at(self.paused_until, self._written, incarnation)
            return
        batch = self._writing
        try:
            self._write_batch(batch)
        except PowerLost:
            self._end(power=True)
            self._plan_restart()
            return
        except StorageError as error:
            self.kernel.note(self.id, "stops, because", error.message)
            self._end(power=False)
            self._plan_restart()
            return
        self._writing = []
        self._confirm(batch)
        if self._queue:
            self._start_writing()

    def _confirm(self, batch: list[Persist]) -> None:
        replica = self.replica
        assert replica is not None
        now = self.clock.now()
        for persist in batch:
            self.around.monitor.synced(self.id, persist)
            for target, message in self._held.pop(0):
                self._send(target, message)
            replica.persisted(persist.mark, now)
        self._mark()

    # --- time -------------------------------------------------------------------------------

    def _arm(self, deadline: Instant) -> None:
        at = max(self.clock.virtual_time_of(deadline), self.kernel.now + TICK_MIN_US)
        if self._timer_at is None or at < self._timer_at:
            self._timer_at = at
            self._timer_serial += 1
            self.kernel.at(at, self._timer, self.incarnation, self._timer_serial)

    def _timer(self, incarnation: int, serial: int) -> None:
        if incarnation != self.incarnation or serial != self._timer_serial:
            return
        self._timer_at = None
        if self.paused:
            return  # resuming ticks
        assert self.replica is not None
        deadline = self.replica.deadline()
        if deadline > self.clock.now():
            self._arm(deadline)
        else:
            self._tick()

    def _tick(self) -> None:
        if self.replica is not None:
            self.replica.tick(self.clock.now())
            self._mark()
