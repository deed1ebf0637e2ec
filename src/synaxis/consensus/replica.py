"""One replica of a group: a replicated log bound to a state machine, with sessions.

The machine is pure, so the replica applies by itself: executors only see what is left, which is
to persist, to send, to reply and to publish events.

Invariants: commands are applied in log order, each (session, sequence) at most once; a reply
leaves only after its entry is committed; ``log_time`` never goes back.

Sources: Ongaro, thesis 3.8, 5.1, 6.3, 6.4.
"""

from typing import cast

import msgspec

from synaxis.consensus.attending import CONFIRMATION, Attending
from synaxis.consensus.commands import (
    Batch,
    CloseSession,
    ExpireSessions,
    OpenSession,
    Proposal,
    SessionAlive,
    SessionClosed,
    SessionOpened,
)
from synaxis.consensus.gating import Gating
from synaxis.consensus.inflight import Inflight
from synaxis.consensus.reads import Read, Reads
from synaxis.consensus.refusals import (
    SESSION_EXPIRED,
    limit_exceeded,
    not_executed,
    refuse_sequence,
)
from synaxis.consensus.replica_codec import (
    ENCODER,
    batch_decoder,
    decode_state,
    encode_state,
    make_snapshot,
)
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.consensus.sessions import CachedReply, LeaseKeeper, Session, SessionTable
from synaxis.consensus.tally import ReplicaTally
from synaxis.effects import Effects, Entry, EntryKind, PersistMark, Reply, Snapshot, refusal
from synaxis.errors import NotLeader, SynaxisError
from synaxis.ids import GroupId, Instant, LogIndex, LogTime, NodeId, Sequence, SessionId, Term
from synaxis.ports import (
    Attendant,
    Gate,
    LogStatus,
    ReplicatedLog,
    StateMachine,
    StoringMachine,
    VolatileMachine,
)

__all__ = ["Replica"]

_INTERNAL = SessionId(0)


class Replica:
    """See the module. ``handle`` arguments are opaque and come back in ``Effects.replies``."""

    def __init__(
        self,
        group: GroupId,
        log: ReplicatedLog,
        machine: StateMachine,
        config: ReplicaConfig,
        snapshot: Snapshot | None,
        now: Instant,
    ) -> None:
        self.group = group
        self.log = log
        self.machine = machine
        self.config = config
        self.sessions = SessionTable()
        self.applied_index = LogIndex(0)
        self.log_time = LogTime(0)
        self.leases = LeaseKeeper(config.stall_ms)
        self._decoder = batch_decoder(machine)
        self._store: StoringMachine | None = None
        """The machine, if its bulk lies in a message store."""
        if hasattr(machine, "take_store"):
            self._store = cast("StoringMachine", machine)
        self.tally = ReplicaTally()
        self.serving_since = LogIndex(0)
        """Entries up to this one were applied before this replica began to serve as leader."""
        self._attending = Attending(None)
        self._gating = Gating(None)
        self._clock_base = 0
        self._now = now
        self._led_term: Term | None = None
        self._serving = False
        self._open: list[Proposal] = []
        self._open_handles: list[object] = []
        self._expiring: tuple[SessionId, ...] = ()
        """Sessions that the open batch ends."""
        self._inflight: dict[LogIndex, Inflight] = {}
        self._waiting: dict[tuple[SessionId, Sequence], object] = {}
        self._doomed: dict[SessionId, LogIndex] = {}
        """Sessions whose expiry is proposed, and where it is in the log."""
        self._reads = Reads()
        self._replies: list[Reply] = []
        self._events: list[tuple[LogIndex, int, LogTime, msgspec.Struct]] = []
        self._bytes_since_snapshot = 0
        self._snapshot_bytes = 0
        self._snapshot_asked = False
        if log.era is not None:
            cast("VolatileMachine", machine).begin_era(log.era)
        elif snapshot is not None:
            self._restore(snapshot)

    def attended_by(self, attendant: Attendant) -> None:
        """Let ``attendant`` be the machine's private half whenever this replica leads."""
        self._attending = Attending(attendant)

    def guarded_by(self, gate: Gate) -> None:
        """Let ``gate`` decide when the log may have clients' commands, and answer questions."""
        self._gating = Gating(gate)

    # --- inputs -----------------------------------------------------------------------------

    def handle(self, sender: NodeId, message: msgspec.Struct, now: Instant) -> None:
        """Take a message of the peer ``sender``."""
        self._see(now)
        self.log.handle(sender, message, now)

    def tick(self, now: Instant) -> None:
        """Let everything happen that is due at ``now``."""
        self._see(now)
        self.log.tick(now)
        self._notice_loss()
        if self._serving:
            self._propose_what_is_due()

    def deadline(self) -> Instant:
        """Return when ``tick`` must be called next, at the latest."""
        deadline = self.log.deadline()
        if self._serving:
            silent = self.leases.deadline()
            if silent is not None and silent < deadline:
                deadline = silent
            # An entry in flight will carry the machine past its deadline or bring us back here.
            due = None if self._inflight else self.machine.deadline()
            for each in (due, self._attending.deadline()):
                if each is not None:
                    deadline = min(deadline, Instant(each - self._clock_base))
        return deadline

    def propose(self, proposal: Proposal, handle: object, now: Instant) -> None:
        """Queue a command for the entry that the next ``take_effects`` will append.

        Raises:
            NotLeader: another replica leads, or none as far as this one knows.
            ClientError: the command breaks a limit; nothing was queued.
        """
        self._now = now
        if self.log.leading is None:
            raise NotLeader("this node does not lead the group", leader=self.log.leader)
        command = proposal.command
        if isinstance(command, OpenSession):
            self.config.validate_ttl(command.ttl_ms)
        elif not isinstance(command, CloseSession):
            self.machine.validate(command)
            if self._gating.is_closed and not self._serving:
                raise NotLeader("this node does not serve the group yet", leader=self.log.leader)
            if self._gating.holds(proposal, handle):
                return
        self._open.append(proposal)
        self._open_handles.append(handle)

    def query(
        self, query: msgspec.Struct, handle: object, now: Instant, *, stale: bool = False
    ) -> None:
        """Ask the state machine; linearizable unless ``stale``.

        Raises:
            NotLeader: a linearizable query reached a replica that cannot serve it, or a stale one
                a node that does not belong to the group: it knows nothing, however old.
        """
        self._now = now
        if stale and not self.log.is_member:
            raise NotLeader("this node does not belong to the group", leader=self.log.leader)
        if stale:
            self._answer(Read(handle, query, now))
        elif not self._serving or not self._gating.holds_query(query, handle):
            self._read(Read(handle, query, now))

    def demand(
        self, session: SessionId, message: msgspec.Struct, handle: object, now: Instant
    ) -> None:
        """Hand what a client says outside the log to the attendant.

        Raises:
            NotLeader: this replica cannot serve it.
            ClientError: the attendant refuses it.
        """
        self._see(now)
        if not self._serving:
            raise NotLeader("this node does not serve the group", leader=self.log.leader)
        self._attending.demand(session, message, handle)

    def disconnected(self, handle: object) -> None:
        """Nobody listens any more to what the attendant says to ``handle``."""
        self._attending.disconnected(handle)

    def keep_alive(self, session: SessionId, handle: object, now: Instant) -> None:
        """Renew ``session`` once a quorum has confirmed that this replica still leads.

        Raises:
            NotLeader: this replica cannot serve it.
        """
        self._see(now)
        self._read(Read(handle, session, now))
        known = self.sessions.by_id.get(session)
        if known is not None:
            # At once, though the answer waits for the quorum: what was heard in time must not
            # expire because the quorum was slow. If this node leads no more, it ends nothing.
            self.leases.renew(session, known.ttl_ms, now)
            self._attending.heard(session)

    def persisted(self, mark: PersistMark, now: Instant) -> None:
        """Take the news that a ``Persist`` of this replica is durable."""
        self._now = now
        self.log.persisted(mark, now)

    def peer_unreachable(self, peer: NodeId, now: Instant) -> None:
        """Take the hint that the link to ``peer`` broke."""
        self._now = now
        self.log.peer_unreachable(peer, now)

    def snapshot_soon(self) -> None:
        """Take a snapshot at the next drain (this group pins old segments of the disk log)."""
        self._snapshot_asked = True

    def status(self) -> LogStatus:
        """Return the log's summary."""
        return self.log.status()

    # --- output -----------------------------------------------------------------------------

    def take_effects(self) -> Effects:
        """Append what was proposed, apply what is committed, and return what is left to do.

        ``restore`` stays in the batch as news only: the state has been replaced already.
        """
        self._take_snapshots()
        self._notice_loss()
        self._pass_gate()
        attendants = self._attending.take_proposals()
        if self._open or attendants:
            self._append_batch(attendants)
        if self._attending.is_eager:
            self._attending.asked()
            self._read(Read(None, CONFIRMATION, self._now))
        self._reads.ticket = None
        effects = self.log.take_effects()
        self._replace_state(effects)
        for entry in effects.apply:
            self._apply_entry(entry)
        if self._store is not None:
            effects.store = self._store.take_store()
        self._follow_leadership()
        self._serve_reads(effects)
        self._attending.gather()
        self._replies += self._attending.take_replies()
        effects.apply, effects.reads, effects.failed_reads = [], [], []
        if self._replies:
            effects.replies, self._replies = self._replies, []
        if self._events:
            effects.events, self._events = self._events, []
        return effects

    def _pass_gate(self) -> None:
        """Take up what the gate lets through by now."""
        self._gating.release_into(self._open, self._open_handles)
        for question, handle in self._gating.take_questions():
            self._read(Read(handle, question, self._now))
        self._replies += self._gating.take_refusals()

    @property
    def is_restless(self) -> bool:
        """Whether another ``take_effects`` should follow at once."""
        return self._attending.is_restless or self._gating.is_open or self.log.wants_snapshot

    def _append_batch(self, attendants: list[Proposal]) -> None:
        """Propose what is open, and behind it what the attendant wants."""
        proposals, handles = self._open + attendants, self._open_handles
        self._open, self._open_handles = [], []
        handles += [None] * len(attendants)
        batch = Batch(self.stamp(), proposals)
        try:
            index, term = self.log.propose(ENCODER.encode(batch), self._now)
        except SynaxisError as error:
            self._expiring = ()
            self._attending.refused(attendants)
            self._gating.settled(proposals[: len(proposals) - len(attendants)])
            body = refusal(error)
            self._replies.extend(not_executed(handle, body) for handle in handles if handle)
            return
        self._inflight[index] = Inflight(term, batch, handles)
        if self._expiring:
            self._doomed.update(dict.fromkeys(self._expiring, index))
            self._expiring = ()

    # --- applying ---------------------------------------------------------------------------

    def _apply_entry(self, entry: Entry) -> None:
        assert entry.index == self.applied_index + 1, "entries are applied in order, once"
        self.applied_index = entry.index
        inflight = self._inflight.pop(entry.index, None)
        if inflight is not None and inflight.term != entry.term:
            self._fail(inflight.handles)
            inflight = None
        if entry.kind != EntryKind.COMMANDS:
            return
        self._bytes_since_snapshot += len(entry.payload)
        handles: list[object] = []
        if inflight is None:
            batch = self._decoder.decode(entry.payload)
        else:
            batch, handles = inflight.batch, inflight.handles
        self._apply_batch(batch, handles)
        if inflight is not None:
            self._gating.settled(batch.proposals)
        if self._bytes_since_snapshot > self.config.snapshot_after(self._snapshot_bytes):
            self._snapshot_asked = True

    def _apply_batch(self, batch: Batch, handles: list[object]) -> None:
        self.log_time = max(self.log_time, batch.now)
        now, index, machine = self.log_time, self.applied_index, self.machine
        machine.advance(now)
        rank = self._collect_outcomes(0)
        for position, proposal in enumerate(batch.proposals):
            handle = handles[position] if handles else None
            cached = self._apply_one(proposal, rank, now)
            if cached is None:
                if handle is not None:
                    self._waiting[proposal.session, proposal.sequence] = handle
            elif handle is not None:
                self._replies.append(Reply(handle, cached.index, cached.rank, cached.body))
            rank = self._collect_outcomes(rank + 1)
        for event_rank, event in enumerate(machine.take_events()):
            self._events.append((index, event_rank, now, event))

    def _apply_one(self, proposal: Proposal, rank: int, now: LogTime) -> CachedReply | None:
        number, sequence, command = proposal.session, proposal.sequence, proposal.command
        if isinstance(command, OpenSession | CloseSession | ExpireSessions):
            return CachedReply(self.applied_index, rank, self._apply_session(number, command, now))
        if number == _INTERNAL:
            body = self.machine.apply(number, sequence, command, now)
            return CachedReply(self.applied_index, rank, body)
        session = self.sessions.by_id.get(number)
        if session is None:
            return CachedReply(self.applied_index, rank, SESSION_EXPIRED)
        return self._apply_in(session, proposal, rank, now)

    def _apply_in(
        self, session: Session, proposal: Proposal, rank: int, now: LogTime
    ) -> CachedReply | None:
        sequence = proposal.sequence
        session.acknowledge(proposal.acked, proposal.acked_above)
        replies = session.replies
        if sequence in replies:
            return replies[sequence]
        replies_max = self.config.sessions.replies_per_session_max
        refused = refuse_sequence(session, sequence, replies_max)
        if refused is not None:
            return CachedReply(self.applied_index, rank, refused)
        replies[sequence] = None
        body = self.machine.apply(proposal.session, sequence, proposal.command, now)
        if body is None:
            return None
        cached = replies[sequence] = CachedReply(self.applied_index, rank, body)
        return cached

    def _apply_session(
        self, number: SessionId, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct:
        match command:
            case OpenSession(ttl_ms, owner):
                known = self.sessions.by_id
                if number in self.sessions.ended:
                    return SESSION_EXPIRED
                if number not in known and len(known) >= self.config.sessions.sessions_max:
                    return limit_exceeded("sessions_max", self.config.sessions.sessions_max)
                fresh = number not in known
                session = self.sessions.open(number, ttl_ms, owner)
                if self._serving:
                    self.tally.sessions_opened += fresh
                    self.leases.renew(number, session.ttl_ms, self._now)
                return SessionOpened(session.ttl_ms)
            case ExpireSessions(numbers):
                for each in numbers:
                    self.tally.sessions_expired += self._serving and each in self.sessions.by_id
                    self._end_session(each, now)
            case _:
                self._end_session(number, now)
        return SessionClosed()

    def _end_session(self, number: SessionId, now: LogTime) -> None:
        session = self.sessions.end(number, now)
        if session is None:
            return
        self.leases.forget(number)
        self._doomed.pop(number, None)
        self.machine.end_session(number, now)
        for sequence, reply in session.replies.items():
            handle = self._waiting.pop((number, sequence), None) if reply is None else None
            if handle is not None:
                self._replies.append(Reply(handle, self.applied_index, 0, SESSION_EXPIRED))

    def _collect_outcomes(self, rank: int) -> int:
        for outcome in self.machine.take_outcomes():
            cached = CachedReply(self.applied_index, rank, outcome.reply)
            rank += 1
            session = self.sessions.by_id.get(outcome.session)
            if session is not None and outcome.sequence in session.replies:
                session.replies[outcome.sequence] = cached
            handle = self._waiting.pop((outcome.session, outcome.sequence), None)
            if handle is not None:
                self._replies.append(Reply(handle, cached.index, cached.rank, cached.body))
        return rank

    # --- leading ----------------------------------------------------------------------------

    def stamp(self) -> LogTime:
        """Return the log time that an entry proposed now would carry."""
        return LogTime(max(self.log_time, self._now + self._clock_base))

    def _see(self, now: Instant) -> None:
        self._now = now
        if self._serving:
            self.leases.observe(now)
            self._attending.see(self.stamp())

    def _notice_loss(self) -> None:
        """Notice that leadership came or went: nobody is served in the name of one that is over."""
        term = self.log.leading
        if term != self._led_term:
            if self._led_term is not None:
                self._stop_leading()
            self._led_term = term
            if term is not None:
                self._set_clock(self.log_time - self._now)

    def _follow_leadership(self) -> None:
        """Notice that leadership came, became usable, or went; what is committed is applied."""
        self._notice_loss()
        if self._led_term is not None and not self._serving and self.log.ready:
            if self.applied_index < self.log.status().commit_index:
                return  # the rest follows with the next batch of effects
            self._serving = True
            self.serving_since = self.applied_index
            # Entries of earlier leaders may have carried a later time than we had applied.
            self._set_clock(max(self._clock_base, self.log_time - self._now))
            self.leases.start(self.sessions, self._now)
            self._attending.begin(self.stamp())

    def _set_clock(self, base: int) -> None:
        minimum = self.config.wall_offset_ms
        self._clock_base = base if minimum is None else max(base, minimum)

    def _stop_leading(self) -> None:
        self._serving = False
        self._attending.end()
        self.leases.stop()
        self._expiring = ()
        self._doomed.clear()
        for inflight in self._inflight.values():
            self._fail(inflight.handles)
        self._inflight.clear()
        self._fail(list(self._waiting.values()))
        self._waiting.clear()
        self._fail(self._open_handles + self._gating.drop())
        self._open, self._open_handles = [], []
        self._fail([read.handle for read in self._reads.drop_unconfirmed()])

    def _fail(self, handles: list[object]) -> None:
        body = refusal(NotLeader("leadership was lost", leader=self.log.leader))
        self._replies.extend(not_executed(handle, body) for handle in handles if handle)

    def _propose_what_is_due(self) -> None:
        self._attending.tick(self.stamp())
        due = self.machine.deadline()
        expired = self.leases.expired(self._now)
        if expired:
            self._expiring = tuple(sorted(expired))
            command = ExpireSessions(self._expiring)
            self._open.append(Proposal(_INTERNAL, Sequence(0), Sequence(0), command))
            self._open_handles.append(None)
        elif due is not None and due <= self.stamp() and not self._open and not self._inflight:
            self._append_batch([])

    # --- reading ----------------------------------------------------------------------------

    def _read(self, read: Read) -> None:
        if not self._serving:
            raise NotLeader("this node cannot serve reads of the group", leader=self.log.leader)
        if self._reads.ticket is None:
            self._reads.begin(self.log.read(self._now))
        self._reads.ask(read)

    def _serve_reads(self, effects: Effects) -> None:
        for ticket in effects.failed_reads:
            dropped = self._reads.drop(ticket)
            self._fail([read.handle for read in dropped])
            if any(read.question is CONFIRMATION for read in dropped):
                self._attending.failed()
        for ticket, index in effects.reads:
            self._reads.confirm(ticket, index)
        for read in self._reads.due(self.applied_index, self._fate_of):
            self._answer(read)

    def _fate_of(self, question: msgspec.Struct | SessionId) -> LogIndex:
        """Return where the log decides whether the session asked about ends, or 0."""
        if isinstance(question, msgspec.Struct):
            return LogIndex(0)
        return self._doomed.get(question, LogIndex(0))

    def _answer(self, read: Read) -> None:
        question = read.question
        if question is CONFIRMATION:
            self._attending.confirmed(self.stamp())
            return
        body: msgspec.Struct
        if isinstance(question, msgspec.Struct):
            body = self.machine.query(question, self.stamp() if self._serving else self.log_time)
        else:
            session = self.sessions.by_id.get(question)
            if session is not None:
                self.leases.renew(question, session.ttl_ms, read.heard)
            body = SessionAlive(session is not None)
        self._replies.append(Reply(read.handle, self.applied_index, 0, body))

    # --- snapshots --------------------------------------------------------------------------

    def _take_snapshots(self) -> None:
        if self.log.wants_snapshot:
            self.log.offer(self._make_snapshot())
        elif self._snapshot_asked:
            self._compact()

    def _compact(self) -> None:
        """Compact the log behind the applied state, unless that is not on disk yet."""
        index = self.applied_index
        status = self.log.status()
        if index <= status.snapshot_index or self.log.era is not None:
            self._snapshot_asked = False  # of a volatile group the log makes its own decision
            return
        if status.stable_index < index:
            return
        self._snapshot_asked = False
        snapshot = self._make_snapshot()
        self._bytes_since_snapshot = 0
        self._snapshot_bytes = snapshot.meta.size
        self.log.compact(snapshot)

    def _make_snapshot(self) -> Snapshot:
        self.tally.snapshots_taken += 1
        attachments = self._store.attachments() if self._store is not None else ()
        return make_snapshot(self.log, self.applied_index, self.state(), attachments)

    def state(self) -> bytes:
        """Return the whole replicated state; equal on all replicas at equal applied index."""
        return encode_state(self.log_time, self.sessions, self.machine)

    def _restore(self, snapshot: Snapshot) -> None:
        self.log_time = decode_state(snapshot.data, self.sessions, self.machine)
        self.applied_index = snapshot.meta.index
        self._bytes_since_snapshot = 0
        self._snapshot_bytes = snapshot.meta.size

    def _replace_state(self, effects: Effects) -> None:
        if effects.era is not None:
            self._begin_era(effects.era)
        if effects.restore is not None:
            self._restore(effects.restore)
            self.tally.snapshots_installed += 1

    def _begin_era(self, era: int) -> None:
        """Become blank: a volatile group began anew. Leadership of the old era is lost by now."""
        self._fail([read.handle for read in self._reads.drop_all()])
        self.sessions.load([])
        self.sessions.ended = {}
        self.applied_index, self.log_time = LogIndex(0), LogTime(0)
        cast("VolatileMachine", self.machine).begin_era(era)
        self.tally.eras_begun += 1

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        self.machine.check_invariants()
        for number, session in self.sessions.by_id.items():
            assert number != _INTERNAL
            assert all(sequence > session.acked.floor for sequence in session.replies)
        assert self._serving is False or self._led_term is not None
