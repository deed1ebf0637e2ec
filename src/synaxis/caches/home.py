"""The leader's half of a cache shard: the home of its keys. See ``DESIGN.md`` for the rules.

As ``Attendant`` it serves agents: leases, grants, probes, reservations. As ``Gate`` it stands
between clients and the log: a write enters the log only when no agent can read the old value any
more, a read is answered only when no agent can have a newer one.

Grants need no proof of leadership: a newer home answers nobody before the leases that this one
gave have run out, so what an agent receives under a good lease is the newest there is. Prolonging
a lease does need it (rule 8).
"""

from collections import deque
from functools import partial

import msgspec

from synaxis.caches.barrier import Barriers
from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    BusRd,
    BusRdX,
    BusUpgr,
    Detach,
    Detached,
    Dirty,
    Flush,
    Flushed,
    HomeMessage,
    InvTag,
    ProbeAck,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.caches.commands import (
    ABSENT,
    Add,
    AgentId,
    AgentKind,
    Backing,
    Clear,
    DescribeKey,
    Enlist,
    Evict,
    Fill,
    Item,
    Lookup,
    Put,
    Reading,
    Remove,
    Retire,
    ShardCensus,
    Version,
    WriteBack,
    Written,
)
from synaxis.caches.describing import described, keys_written
from synaxis.caches.directory import Directory, HomeLine, Kind, Ticket, Transaction
from synaxis.caches.eviction import Evictor
from synaxis.caches.flights import Flights
from synaxis.caches.held import Held
from synaxis.caches.holders import Holder, Holders
from synaxis.caches.limits import HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.caches.placement import cache_of
from synaxis.caches.reservations import Reservations
from synaxis.caches.tally import HomeTally
from synaxis.caches.validation import check_demand
from synaxis.errors import (
    BackingUnavailable,
    InvalidArgument,
    LeaseLost,
    Overloaded,
    SynaxisError,
)
from synaxis.ids import LogTime, Sequence, SessionId

__all__ = ["CacheHome"]

Origin = tuple[SessionId, Sequence]


class CacheHome:
    """Implements ``ports.Attendant`` and ``ports.Gate``. See the module."""

    def __init__(self, machine: CacheMachine, limits: HomeLimits) -> None:
        self.limits = limits
        self.tally = HomeTally()
        self._machine = machine
        self._now = LogTime(0)
        self._store_answers = True
        self._replies: list[tuple[object, msgspec.Struct]] = []
        self._held = Held(limits.held_max)
        self._commands: list[msgspec.Struct] = []
        self._loads: list[str] = []
        machine.describe = self._describe
        self._reset()

    def _reset(self) -> None:
        limits = self.limits
        self._holders = Holders(limits)
        self.directory = Directory(self._read, self._holders.kind_of, self._may_keep)
        self._reservations = Reservations(limits.fill_lease_ms, limits.waiting_per_key_max)
        self._barriers = Barriers()
        self._evictor = Evictor(self._machine)
        self._is_full = False
        """An agent could not keep a line, because there are too many."""
        self._recovering: dict[AgentId, AgentKind] = {}
        """Agents that an earlier home may have granted lines to."""
        self._recovered_at = LogTime(0)
        self._early: list[tuple[object, ...]] = []
        """What arrived during the recovery: arguments of ``_submit`` and ``_wish``."""
        self._in_log: dict[Origin, deque[Ticket]] = {}
        """Released commands whose keys are busy until they are applied."""
        self._flights = Flights(self._machine, self._tell_agent)
        self._evicting: tuple[str, ...] = ()
        """Keys that are being let go for want of room."""
        self._retire_at: dict[AgentId, LogTime] = {}
        self._unconfirmed: list[tuple[Holder, Renew]] = []
        self._asked: list[tuple[Holder, Renew]] = []

    # --- leadership -------------------------------------------------------------------------

    def begin(self, now: LogTime) -> None:
        """Lead: nothing is served that an agent of an earlier home may hold (rule 8)."""
        self._reset()
        self._now = now
        self._recovering = {number: each.kind for number, each in self._machine.agents.items()}
        self._recovered_at = LogTime(now + self.limits.patience_ms)
        self._retire_at = dict.fromkeys(self._recovering, LogTime(now + self.limits.retire_ms))
        self._evictor.begin(now)

    def end(self) -> None:
        """Lead no longer: whoever is attached is told."""
        for holder in self._holders:
            self._tell(holder, Detached("this node leads the shard no longer"))
        self._reset()
        self._commands, self._loads = [], []

    def drop_held(self) -> list[object]:
        """Return the tokens of what is not released, and forget them: leadership was lost."""
        return self._held.drop()

    @property
    def is_recovering(self) -> bool:
        """Whether agents of an earlier home may still be using their lines."""
        return bool(self._recovering)

    def _end_of_recovery(self) -> None:
        self._recovering = {}
        early, self._early = self._early, []
        for what, *arguments in early:
            what(*arguments)  # type: ignore[operator]  # a bound method of this object
        self._carry_out()

    # --- Gate: commands ---------------------------------------------------------------------

    def holds(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, token: object
    ) -> bool:
        """Take a command that must not enter the log yet; False if it may.

        Raises:
            LeaseLost: the reservation that it was made under is void.
            BackingUnavailable: it is to be written through, and the store does not answer.
            Overloaded: too much waits already.
        """
        if not isinstance(command, Put | Add | Remove | Clear):
            return False
        if isinstance(command, Clear):
            keys: tuple[str, ...] = ()
        else:
            keys = keys_written(command)
            self._check(command, keys)
        if not self._holders.by_id and not self._recovering:
            return False
        self._held.take_in(token)
        origin = session, sequence
        if self._recovering:
            self._early.append((self._submit, origin, command, keys, token))
        else:
            self._submit(origin, command, keys, token)
            self._carry_out()
        return True

    def _check(self, command: Put | Add | Remove, keys: tuple[str, ...]) -> None:
        if command.backing is Backing.THROUGH and not self._store_answers:
            raise BackingUnavailable("the store behind the cache does not answer: nothing written")
        reservations = self._reservations
        if not reservations.by_key:
            if isinstance(command, Put) and command.fill:
                raise LeaseLost("the value took too long, or the home of the key has changed")
            return
        if isinstance(command, Put) and command.fill:
            if not reservations.is_good(keys[0], command.fill):
                raise LeaseLost("the key was written meanwhile, or the value took too long")
            return
        for key in keys:
            reservations.touched(key)

    def _submit(
        self, origin: Origin, command: msgspec.Struct, keys: tuple[str, ...], token: object
    ) -> None:
        if isinstance(command, Clear):
            self._begin_clear(origin, command, token)
            return
        ticket = Ticket(partial(self._held.release, token), keys, len(keys))
        self._in_log.setdefault(origin, deque()).append(ticket)
        self.directory.begin_all(Kind.CHANGE, ticket)

    def _begin_clear(self, origin: Origin, command: Clear, token: object) -> None:
        """Have every agent drop what carries the tag; until it is applied nobody keeps more."""
        seq = self.directory.next_seq()
        waiting = {each.id for each in self._holders if each.attached}
        for holder in self._holders:
            if holder.id in waiting:
                holder.probes[seq] = self._now
                self._tell(holder, InvTag(command.cache, command.tag, seq))
        self.tally.count("InvTag", len(waiting))
        release = partial(self._held.release, token)
        self._barriers.begin(command.cache, origin, seq, waiting, release)

    def settled(self, session: SessionId, sequence: Sequence, command: msgspec.Struct) -> None:
        """A command that this home let through is applied, or never will be."""
        match command:
            case Put() | Add() | Remove():
                tickets = self._in_log.get((session, sequence))
                if tickets:
                    self._settle_keys(tickets.popleft().keys)
                    if not tickets:
                        del self._in_log[session, sequence]
                self._note_written(command)
            case Clear():
                self._barriers.end((session, sequence))
            case WriteBack():
                self._flights.applied(command)
                self.directory.write_done(command.item.key)
                self._reservations.written(command.item.key)
            case Evict():
                evicted, self._evicting = self._evicting, ()
                self._settle_keys(evicted)
            case Fill(items):
                for item in items:
                    self.directory.loaded(item.key, unavailable=False)
            case Enlist(agent):
                self._enlisted(agent)
            case Written():
                self._flights.written()
            case _:
                return
        self._make_room()
        self._carry_out()

    def _note_written(self, command: Put | Add | Remove) -> None:
        if self._reservations.by_key:
            for key in keys_written(command):
                self._reservations.written(key)
        if isinstance(command, Put):
            for item in command.items:
                if item.idle_ms:
                    self._evictor.stored(item.key, self._now)

    def _settle_keys(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self.directory.write_done(key)

    # --- Gate: questions --------------------------------------------------------------------

    def holds_query(self, query: msgspec.Struct, token: object) -> bool:
        """Take a question that must wait; False if the store can answer it now."""
        if not isinstance(query, Lookup):
            return False
        owners = AgentKind.OWNER in self._recovering.values()
        if not owners and not self.directory.owned and not query.load:
            return False
        keys = tuple(key for key in dict.fromkeys(query.keys) if self._must_ask(key, query.load))
        if not keys and not owners:
            return False
        self._held.take_in(token)
        if owners:
            self._early.append((self._look, tuple(dict.fromkeys(query.keys)), query.load, token))
        else:
            self._look(keys, query.load, token)
            self._carry_out()
        return True

    def _must_ask(self, key: str, load: bool) -> bool:  # private, two callers
        line = self.directory.lines.get(key)
        if line is not None and line.owner is not None:
            return True
        return load and self._read(key) is None

    def _look(self, keys: tuple[str, ...], load: bool, token: object) -> None:
        ticket = Ticket(lambda: None, keys, len(keys))
        ticket.release = partial(self._held.ask, ticket, token)
        self.directory.begin_all(Kind.LOOK, ticket, load=load)

    def take_released(self) -> list[object]:
        """Drain the tokens of commands that may enter the log, in order."""
        return self._held.take_released()

    def take_questions(self) -> list[object]:
        """Drain the tokens of questions that can be answered now."""
        return self._held.take_questions()

    def take_refusals(self) -> list[tuple[object, SynaxisError]]:
        """Drain what became of questions that cannot be answered."""
        return self._held.take_refusals()

    def is_open(self) -> bool:
        """Whether something may be taken now."""
        return self._held.is_open()

    # --- agents -----------------------------------------------------------------------------

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Take what an agent says on the stream ``handle``.

        Raises:
            InvalidArgument, LimitExceeded: it breaks a limit; nothing was done.
        """
        del session
        said: AgentMessage = message  # type: ignore[assignment]  # the wire decodes nothing else
        check_demand(said, self._machine.limits)
        if isinstance(said, Attach):
            self._attach(said, handle)
        else:
            holder = self._holders.by_handle.get(handle)
            if holder is None:
                self._replies.append((handle, Detached("unknown stream")))
                return
            self._hear(holder, said)
        self._carry_out()

    def _hear(self, holder: Holder, message: AgentMessage) -> None:  # noqa: C901
        match message:
            case BusRd(request, key, load, back):
                self._wish(holder, key, Transaction(Kind.READ, holder.id, request, load, back))
            case BusRdX(request, key, back) | BusUpgr(request, key, back):
                if holder.kind is not AgentKind.OWNER:
                    raise InvalidArgument("this agent may only share")
                self._wish(holder, key, Transaction(Kind.OWN, holder.id, request, back=back))
            case ProbeAck():
                self._acknowledged(holder, message)
            case Flush(key, _, floor, dirty):
                if self.directory.accepts(holder.id, message):
                    self._write(holder, key, dirty, floor)
            case Renew():
                if holder.is_prompt(self._now, self.limits):
                    holder.heard = self._now
                    self._unconfirmed.append((holder, message))
            case Reserve(request, key, renew):
                self._reserve(holder, request, key, renew=renew)
            case Surrender(key, token, request):
                self._reservations.surrender(holder.id, key, token, request, self._now)
            case Detach():
                self._commands.append(Retire((holder.id,)))
                self._let_go(holder)
            case Attach():
                raise AssertionError("attach comes first")

    def _attach(self, message: Attach, handle: object) -> None:
        """Begin a stream: whatever the agent held is dropped, but for what it still has to say."""
        before = self._holders.by_id.get(message.agent)
        if before is not None:
            self._let_go(before, dropped=True)
        holder = Holder(message.agent, message.kind, message.name, handle)
        holder.heard = self._now
        self._holders.add(holder)
        self._retire_at.pop(holder.id, None)
        # Through the log each time: what was on its way there without a thought for this agent
        # is applied before the agent may ask for anything.
        self._commands.append(Enlist(holder.id, holder.kind))
        taken: set[str] = set()
        for dirty in message.dirty:
            self._revive(holder, dirty, taken)

    def _enlisted(self, agent: AgentId) -> None:
        holder = self._holders.by_id.get(agent)
        if holder is None:
            return
        if agent not in self._machine.agents:
            self._tell(holder, Detached("the shard has too many agents"))
            self._let_go(holder)
            return
        holder.attached = True
        self._tell(holder, Attached(self.limits.lease_ms))
        if self._recovering:
            self._recovering.pop(agent, None)
            if not self._recovering:
                self._end_of_recovery()

    def _revive(self, holder: Holder, dirty: Dirty, taken: set[str]) -> None:
        """Take a write that an owner still holds from an earlier stream, if nobody wrote since."""
        key = dirty.item.key
        known = self._machine.agents.get(holder.id)
        answers = known.answers if known is not None else {}
        version = answers.get(dirty.write_id)
        if version is None:
            line, record = self.directory.lines.get(key), self._machine.records.by_key.get(key)
            found = record.version if record is not None else Version(ABSENT)
            ours = found == dirty.base or found in answers.values()
            if key in taken or (line is None and ours):
                taken.add(key)
                self._write(holder, key, dirty, 0)
                return
            self.tally.dirty_lost += 1
            version = Version(ABSENT)
        self._tell(holder, Flushed(key, dirty.write_id, version))

    def _wish(self, holder: Holder, key: str, transaction: Transaction) -> None:
        if not holder.attached:
            return
        owners = AgentKind.OWNER in self._recovering.values()
        if owners or (self._recovering and transaction.kind is Kind.OWN):
            self._early.append((self._wish, holder, key, transaction))
            return
        if transaction.kind is Kind.OWN and self._barriers.covers(cache_of(key)):
            self._barriers.wait(cache_of(key), partial(self._wish, holder, key, transaction))
            return
        line = self.directory.lines.get(key)
        if line is not None and len(line.queue) >= self.limits.waiting_per_key_max:
            raise Overloaded("too many wait for this key", limit="waiting_per_key_max")
        self.tally.count(transaction.kind.value)
        self.directory.begin(key, transaction)

    def _may_keep(self, line: HomeLine, agent: AgentId) -> bool:
        limits, directory = self.limits, self.directory
        if agent in line.sharers:
            return not self._barriers.covers(cache_of(line.key))
        if len(line.sharers) >= limits.sharers_per_key_max or self._barriers.covers(
            cache_of(line.key)
        ):
            return False
        record = self._machine.records.by_key.get(line.key)
        if record is not None and record.idle_ms:
            return False
        self._is_full = directory.pairs >= limits.lines_max
        return not self._is_full

    def _take_back_oldest(self) -> None:
        """Take the key that was held for the longest from its holders (B4: invented Inv)."""
        for key in self.directory.keys_held():
            line = self.directory.lines[key]
            if line.current is None:
                ticket = Ticket(partial(self.directory.write_done, key), (key,), 1)
                self.directory.begin_all(Kind.CHANGE, ticket)
                return

    def _read(self, key: str) -> Reading | None:
        return self._machine.records.read(key, self._now)

    # --- writes of agents -------------------------------------------------------------------

    def _acknowledged(self, holder: Holder, ack: ProbeAck) -> None:
        sent_at = holder.probes.pop(ack.seq, None)
        if sent_at is not None:
            self.tally.invalidated(self._now - sent_at)
        if self._barriers.acknowledged(holder.id, ack.seq):
            return
        line = self.directory.lines.get(ack.key)
        if line is not None and line.acks.get(holder.id) == ack.seq:
            if ack.dirty is not None:
                self._write(holder, ack.key, ack.dirty, 0)
            self.directory.acknowledged(holder.id, ack)

    def _write(self, holder: Holder, key: str, dirty: Dirty, floor: int) -> None:
        """Put the write of an owner into the log (rule 4)."""
        self.directory.write_begun(key)
        self._reservations.touched(key)
        self.tally.count("Flush")
        self._commands.append(self._flights.begin(holder.id, key, dirty, floor))

    # --- reservations and loads -------------------------------------------------------------

    def _reserve(self, holder: Holder, request: int, key: str, *, renew: bool) -> None:
        if not holder.attached:
            return
        line = self.directory.lines.get(key)
        settled = line is None or (line.owner is None and not line.writing)
        if not renew and (not settled or self._read(key) is not None):
            reading = self._read(key) if settled else None
            self._tell(holder, Reserved(request, key, 0, 0, reading))
            return
        self._reservations.ask(holder.id, request, key, self._now, renew=renew)

    def take_loads(self) -> list[str]:
        """Drain the keys that the backing store should be asked for."""
        loads, self._loads = self._loads, []
        return loads

    def loaded(self, items: list[Item], absent: list[str]) -> None:
        """The backing store has ``items`` and does not have ``absent``."""
        if items:
            self._commands.append(Fill(tuple(items)))
        for key in absent:
            self.directory.loaded(key, unavailable=False)
        self._carry_out()

    def load_failed(self, keys: list[str]) -> None:
        """The backing store could not be asked for ``keys``."""
        for key in keys:
            self.directory.loaded(key, unavailable=True)
        self._carry_out()

    def backing_available(self, available: bool) -> None:  # it is the news
        """Note whether the store behind the cache answers; there may be none at all."""
        self._store_answers = available

    # --- carrying out -----------------------------------------------------------------------

    def _tell(self, holder: Holder, message: HomeMessage) -> None:
        self._replies.append((holder.handle, message))

    def _tell_agent(self, agent: AgentId, message: HomeMessage) -> None:
        holder = self._holders.by_id.get(agent)
        if holder is not None:
            self._tell(holder, message)

    def _carry_out(self) -> None:
        """Say and do what the directory and the reservations want."""
        if self._is_full:
            self._is_full = False
            self._take_back_oldest()
        orders = self.directory.orders
        while orders.probes or orders.grants:
            probes, orders.probes = orders.probes, []
            for agent, probe in probes:
                holder = self._holders.by_id.get(agent)
                if holder is None:
                    self.directory.gone(agent)
                    continue
                self.tally.count(type(probe).__name__)
                holder.probes[probe.seq] = self._now
                self._tell(holder, probe)
            grants, orders.grants = orders.grants, []
            for agent, grant in grants:
                self._tell_agent(agent, grant)
        if orders.loads:
            self._loads += orders.loads
            orders.loads = []
        promises, self._reservations.promises = self._reservations.promises, []
        for promise in promises:
            lease_ms = self.limits.fill_lease_ms if promise.token else 0
            said = Reserved(promise.request, promise.key, promise.token, lease_ms)
            self._tell_agent(promise.agent, said)

    def _make_room(self) -> None:
        if self._evicting:
            return
        victims = self._evictor.victims(self._now)
        if not victims:
            return
        self._evicting = tuple(key for key, _ in victims)
        release = partial(self._commands.append, Evict(victims))
        self.directory.begin_all(Kind.CHANGE, Ticket(release, self._evicting, len(victims)))

    def _let_go(self, holder: Holder, *, dropped: bool = False) -> None:
        """The agent holds nothing any more: it said so, or its lease is over."""
        self._holders.remove(holder)
        lost = self.directory.gone(holder.id)
        if not dropped:
            self.tally.dirty_lost += lost
        self._barriers.gone(holder.id)
        self._reservations.gone(holder.id, self._now)

    def disconnected(self, handle: object) -> None:
        """The stream is over. The agent may be using its lines until its lease ends."""

    def heard(self, session: SessionId) -> None:
        """Sessions have nothing to do with agents."""

    # --- time and leadership ----------------------------------------------------------------

    def see(self, now: LogTime) -> None:
        """Note the time."""
        self._now = now

    def tick(self, now: LogTime) -> None:
        """Let go of the silent, pass on what took too long, make room."""
        self._now = now
        for holder in self._holders.silent(now):
            self.tally.lease_expiries += 1
            self._tell(holder, Detached("the lease ran out"))
            self._let_go(holder)
            self._retire_at[holder.id] = LogTime(now + self.limits.retire_ms)
        if self._recovering and now > self._recovered_at:
            self._end_of_recovery()
        late = tuple(agent for agent, at in self._retire_at.items() if at <= now)
        if late:
            self._commands.append(Retire(late))
            for agent in late:
                del self._retire_at[agent]
        self._reservations.expire(now)
        self._make_room()
        self._carry_out()

    def deadline(self) -> LogTime | None:
        """Return when ``tick`` must be called next."""
        times = [
            self._holders.deadline(),
            self._reservations.deadline(),
            self._evictor.deadline(),
            min(self._retire_at.values(), default=None),
        ]
        if self._recovering:
            times.append(LogTime(self._recovered_at + 1))
        return min((each for each in times if each is not None), default=None)

    def wants_confirmation(self) -> bool:
        """Return whether a lease waits to be prolonged."""
        return bool(self._unconfirmed)

    def asked(self) -> None:
        """The leadership is being confirmed: that counts for what was wanted before."""
        self._asked, self._unconfirmed = self._unconfirmed, []

    def confirmed(self, now: LogTime) -> None:
        """Prolong the leases that waited for it."""
        self._now = now
        asked, self._asked = self._asked, []
        for holder, renew in asked:
            if self._holders.by_handle.get(holder.handle) is holder and holder.attached:
                self._tell(holder, Renewed(renew.nonce))

    def take_replies(self) -> list[tuple[object, msgspec.Struct]]:
        """Drain (stream, message)."""
        replies, self._replies = self._replies, []
        return replies

    def take_commands(self) -> list[msgspec.Struct]:
        """Drain what the log should have, in the home's own name."""
        commands, self._commands = self._commands, []
        return commands

    # --- looking ----------------------------------------------------------------------------

    def _describe(self, query: msgspec.Struct) -> msgspec.Struct | None:
        if isinstance(query, DescribeKey):
            info = self._machine.key_info(query.key, self._now)
            line = self.directory.lines.get(query.key)
            return info if line is None else described(info, line, self._holders)
        census: ShardCensus = self._machine.census(getattr(query, "cache", ""))
        return msgspec.structs.replace(
            census,
            lines=self.directory.pairs,
            invalidations=self.tally.invalidations,
            lease_expiries=self.tally.lease_expiries,
            dirty_lost=self.tally.dirty_lost,
        )

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        self.directory.check_invariants()
