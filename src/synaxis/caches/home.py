"""The leader's half of a cache shard: the home of its keys. See ``DESIGN.md`` for the rules.

Here are the agents: their streams, leases, wishes and answers. Clients that talk to the home
without an agent pass ``gate.py``; who holds what is in ``directory.py``.

Grants need no proof of leadership: a newer home answers nobody before the leases that this one
gave have run out, so what an agent receives under a good lease is the newest there is. Prolonging
a lease does need it (rule 8).
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec

from synaxis.caches.bus import (
    NO_STORE,
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
    ProbeAck,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.caches.commands import (
    ABSENT,
    AgentId,
    AgentKind,
    Backing,
    DescribeKey,
    Enlist,
    Fill,
    Item,
    Retire,
    ShardCensus,
)
from synaxis.caches.describing import described
from synaxis.caches.desk import Desk
from synaxis.caches.directory import Directory, Kind, Ticket, Transaction
from synaxis.caches.gate import CacheGate
from synaxis.caches.holders import Holder
from synaxis.caches.limits import HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.caches.tally import HomeTally
from synaxis.caches.validation import check_demand
from synaxis.errors import InvalidArgument, Overloaded
from synaxis.ids import LogTime, SessionId

__all__ = ["CacheHome"]


class CacheHome:
    """Implements ``ports.Attendant``; ``gate`` implements ``ports.Gate``. See the module."""

    def __init__(self, machine: CacheMachine, limits: HomeLimits) -> None:
        self._desk = Desk(machine, limits)
        self.gate = CacheGate(self._desk, self._enlisted)
        self._retire_at: dict[AgentId, LogTime] = {}
        """When to forget agents that are not attached."""
        self._enlisting: Counter[AgentId] = Counter()
        """How often the log is to be told of an agent."""
        self._unconfirmed: list[tuple[Holder, Renew]] = []
        self._asked: list[tuple[Holder, Renew]] = []
        machine.describe = self._describe

    @property
    def tally(self) -> HomeTally:
        """What happened here."""
        return self._desk.tally

    @property
    def directory(self) -> Directory:
        """Who holds what, as of now."""
        return self._desk.directory

    @property
    def is_recovering(self) -> bool:
        """Whether agents of an earlier home may still be using their lines."""
        return self._desk.recovery.is_under_way

    # --- leadership -------------------------------------------------------------------------

    def begin(self, now: LogTime) -> None:
        """Lead: nothing is served that an agent of an earlier home may hold (rule 8)."""
        self._clear()
        desk = self._desk
        desk.now = now
        agents = {number: each.kind for number, each in desk.machine.agents.items()}
        ends_at = LogTime(now + desk.limits.patience_ms)
        forgot = desk.machine.is_blank_era
        desk.recovery.begin(agents.items(), ends_at, strangers=forgot)
        self._retire_at = dict.fromkeys(agents, LogTime(now + desk.limits.retire_ms))
        desk.evictor.begin(now)

    def end(self) -> None:
        """Lead no longer: whoever is attached is told."""
        for holder in self._desk.holders:
            self._desk.tell(holder, Detached("this node leads the shard no longer"))
        self._clear()

    def _clear(self) -> None:
        self._desk.clear()
        self.gate.clear()
        self._retire_at, self._unconfirmed, self._asked = {}, [], []
        self._enlisting.clear()

    def _end_of_recovery(self) -> None:
        for waiting in self._desk.recovery.end():
            waiting()
        self._desk.carry_out()

    # --- agents -----------------------------------------------------------------------------

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Take what an agent says on the stream ``handle``.

        Raises:
            InvalidArgument, LimitExceeded: it breaks a limit; nothing was done.
            Overloaded: too many wait for the key.
        """
        del session
        desk = self._desk
        said: AgentMessage = message  # type: ignore[assignment]  # the wire decodes nothing else
        check_demand(said, desk.machine.limits)
        if isinstance(said, Attach):
            self._attach(said, handle)
        else:
            holder = desk.holders.by_handle.get(handle)
            if holder is None:
                desk.replies.append((handle, Detached("unknown stream")))
                return
            self._hear(holder, said)
        desk.carry_out()

    def _hear(self, holder: Holder, message: AgentMessage) -> None:
        match message:
            case BusRd(request, key, load, back):
                self._wish(holder, key, Transaction(Kind.READ, holder.id, request, load, back))
            case BusRdX(request, key, back) | BusUpgr(request, key, back):
                if holder.kind is not AgentKind.OWNER:
                    raise InvalidArgument("this agent may only share")
                self._wish(holder, key, Transaction(Kind.OWN, holder.id, request, back=back))
            case ProbeAck():
                self._acknowledged(holder, message)
            case Flush():
                self._flushed(holder, message)
            case Renew():
                self._renewed(holder, message)
            case _:
                self._hear_rest(holder, message)

    def _renewed(self, holder: Holder, message: Renew) -> None:
        """Prolong the lease of an agent that answers its probes, once this is proven a home."""
        desk = self._desk
        if holder.is_prompt(desk.now, desk.limits):
            holder.heard = desk.now
            self._unconfirmed.append((holder, message))

    def _hear_rest(self, holder: Holder, message: AgentMessage) -> None:
        desk = self._desk
        match message:
            case Reserve(request, key, renew):
                self._reserve(holder, request, key, renew=renew)
            case Surrender(key, token, request):
                desk.reservations.surrender(holder.id, key, token, request, desk.now)
            case Detach():
                desk.commands.append(Retire((holder.id,)))
                desk.let_go(holder)
            case _:
                raise AssertionError(message)

    def _attach(self, message: Attach, handle: object) -> None:
        """Begin a stream: whatever the agent held is dropped, but for what it still has to say."""
        desk = self._desk
        before = desk.holders.by_id.get(message.agent)
        if before is not None:
            self._take_over(before, message)
            desk.let_go(before, dropped=True)
        holder = Holder(message, handle)
        holder.heard = desk.now
        desk.holders.add(holder)
        self._retire_at.pop(holder.id, None)
        # Through the log each time: what was on its way there without a thought for this agent
        # is applied before the agent may ask for anything.
        desk.commands.append(Enlist(holder.id, holder.kind))
        self._enlisting[holder.id] += 1

    def _take_over(self, holder: Holder, message: Attach) -> None:
        """Take what an owner still holds of lines that it owns: nobody wrote them since."""
        desk = self._desk
        for dirty in message.dirty:
            line = desk.directory.lines.get(dirty.item.key)
            known = desk.version_of(holder.id, dirty.write_id) != ABSENT
            if line is None or line.owner != holder.id or known:
                continue
            if not desk.flights.is_under_way(holder.id, dirty.write_id):
                desk.write(holder, line.key, dirty, 0)

    def _enlisted(self, agent: AgentId) -> None:
        """The log knows the agent: from now on it may be granted lines."""
        desk = self._desk
        self._enlisting[agent] -= 1
        if self._enlisting[agent]:
            return  # it has attached again meanwhile
        del self._enlisting[agent]
        holder = desk.holders.by_id.get(agent)
        if holder is None:
            return
        if agent not in desk.machine.agents:
            desk.tell(holder, Detached("the shard has too many agents"))
            desk.let_go(holder)
            return
        holder.attached = True
        desk.tell(holder, Attached(desk.limits.lease_ms))
        if holder.dirty and desk.recovery.is_under_way:
            desk.recovery.later(partial(self._revive_all, holder), first=True)
        else:
            self._revive_all(holder)
        if desk.recovery.attached(agent):
            self._end_of_recovery()

    def _revive_all(self, holder: Holder) -> None:
        """Take the writes that an owner holds from an earlier stream, if nobody wrote since."""
        desk = self._desk
        if desk.holders.by_id.get(holder.id) is not holder:
            return
        taken: set[str] = set()
        for dirty in holder.dirty:
            if desk.flights.is_under_way(holder.id, dirty.write_id):
                continue
            version = desk.version_of(holder.id, dirty.write_id)
            if version == ABSENT and (dirty.item.key in taken or self._is_newest(holder, dirty)):
                taken.add(dirty.item.key)
                desk.write(holder, dirty.item.key, dirty, 0)
            else:
                desk.tally.dirty_lost += version == ABSENT
                desk.tell(holder, Flushed(dirty.item.key, dirty.write_id, version))

    def _is_newest(self, holder: Holder, dirty: Dirty) -> bool:
        """Whether nobody has, or may have, anything newer than what ``dirty`` replaces."""
        desk, key = self._desk, dirty.item.key
        if key in desk.directory.lines:
            return False
        reading, record = desk.read(key), desk.machine.records.by_key.get(key)
        if reading is None and dirty.base == ABSENT:
            return True
        own = desk.machine.agents[holder.id].answers.values()
        return record is not None and (record.version == dirty.base or record.version in own)

    def _try(self, holder: Holder, what: Callable[[], None]) -> None:
        """Do what was put off; who cannot be served now has to come again."""
        try:
            what()
        except Overloaded as error:
            self._desk.tell(holder, Detached(error.message))

    def _wish(self, holder: Holder, key: str, transaction: Transaction) -> None:
        desk = self._desk
        if not holder.attached:
            return
        owns = transaction.kind is Kind.OWN
        if desk.recovery.owners or (owns and desk.recovery.is_under_way):
            again = partial(self._wish, holder, key, transaction)
            desk.recovery.later(partial(self._try, holder, again))
            return
        line = desk.directory.lines.get(key)
        if line is not None and len(line.queue) >= desk.limits.waiting_per_key_max:
            raise Overloaded("too many wait for this key", limit="waiting_per_key_max")
        desk.tally.count(transaction.kind.value)
        desk.directory.begin(key, transaction)

    def _flushed(self, holder: Holder, flush: Flush) -> None:
        """Take a write of an owner; of what comes under an old grant tell the fate (rule 4)."""
        desk, dirty = self._desk, flush.dirty
        is_new = not desk.flights.is_under_way(holder.id, dirty.write_id)
        version = desk.version_of(holder.id, dirty.write_id)
        if not desk.directory.accepts(holder.id, flush):
            if is_new:
                desk.tell(holder, Flushed(flush.key, dirty.write_id, version))
        elif is_new and version == ABSENT and self._lacks_store(dirty):
            desk.tell(holder, Flushed(flush.key, dirty.write_id, NO_STORE))
        else:
            desk.write(holder, flush.key, dirty, flush.floor)

    def _lacks_store(self, dirty: Dirty) -> bool:
        """Whether a write has to be refused, because the store behind the cache does not answer.

        One that its owner has answered can only be taken; it waits for the store.
        """
        through = dirty.backing is Backing.THROUGH and not dirty.answered
        return through and not self._desk.store_answers

    def _acknowledged(self, holder: Holder, ack: ProbeAck) -> None:
        desk = self._desk
        sent_at = holder.probes.pop(ack.seq, None)
        if sent_at is not None:
            desk.tally.invalidated(desk.now - sent_at)
        if desk.barriers.acknowledged(holder.id, ack.seq):
            return
        line = desk.directory.lines.get(ack.key)
        if line is not None and line.acks.get(holder.id) == ack.seq:
            if ack.dirty is not None:
                desk.write(holder, ack.key, ack.dirty, 0)
            desk.directory.acknowledged(holder.id, ack)

    def _reserve(self, holder: Holder, request: int, key: str, *, renew: bool) -> None:
        """Let an agent compute a value, unless there is one; an owner may know of one alone."""
        desk = self._desk
        if not holder.attached or desk.holders.by_id.get(holder.id) is not holder:
            return
        line = desk.directory.lines.get(key)
        if not renew and line is not None and (line.owner is not None or line.writing):
            again = partial(self._reserve, holder, request, key, renew=False)
            ticket = Ticket(partial(self._try, holder, again), (key,), 1)
            desk.directory.begin_all(Kind.LOOK, ticket)
            return
        reading = None if renew else desk.read(key)
        if reading is not None:
            desk.tell(holder, Reserved(request, key, 0, 0, reading))
            return
        desk.reservations.ask(holder.id, request, key, desk.now, renew=renew)

    def disconnected(self, handle: object) -> None:
        """The stream is over. The agent may be using its lines until its lease ends."""

    def heard(self, session: SessionId) -> None:
        """Sessions have nothing to do with agents."""

    # --- the backing store ------------------------------------------------------------------

    def take_loads(self) -> list[str]:
        """Drain the keys that the backing store should be asked for."""
        loads, self._desk.loads = self._desk.loads, []
        return loads

    def loaded(self, items: list[Item], absent: list[str]) -> None:
        """The backing store has ``items`` and does not have ``absent``."""
        if items:
            self._desk.commands.append(Fill(tuple(items)))
        for key in absent:
            self._desk.directory.loaded(key, unavailable=False)
        self._desk.carry_out()

    def load_failed(self, keys: list[str]) -> None:
        """The backing store could not be asked for ``keys``."""
        for key in keys:
            self._desk.directory.loaded(key, unavailable=True)
        self._desk.carry_out()

    def backing_available(self, available: bool) -> None:  # it is the news
        """Note whether the store behind the cache answers; without one it does not."""
        self._desk.store_answers = available

    # --- time and leadership ----------------------------------------------------------------

    def see(self, now: LogTime) -> None:
        """Note the time."""
        self._desk.now = now

    def tick(self, now: LogTime) -> None:
        """Let go of the silent, pass on what took too long, make room."""
        desk = self._desk
        desk.now = now
        for holder in desk.holders.silent(now):
            desk.tally.lease_expiries += 1
            desk.tell(holder, Detached("the lease ran out"))
            desk.let_go(holder)
            self._retire_at[holder.id] = LogTime(now + desk.limits.retire_ms)
        if desk.recovery.is_late(now):
            self._end_of_recovery()
        late = tuple(agent for agent, at in self._retire_at.items() if at <= now)
        if late:
            desk.commands.append(Retire(late))
            for agent in late:
                del self._retire_at[agent]
        desk.reservations.expire(now)
        desk.make_room()
        desk.carry_out()

    def deadline(self) -> LogTime | None:
        """Return when ``tick`` must be called next."""
        desk = self._desk
        times = [
            desk.holders.deadline(),
            desk.reservations.deadline(),
            desk.evictor.deadline(),
            desk.recovery.deadline(),
            min(self._retire_at.values(), default=None),
        ]
        return min((each for each in times if each is not None), default=None)

    def wants_confirmation(self) -> bool:
        """Return whether a lease waits to be prolonged."""
        return bool(self._unconfirmed)

    def asked(self) -> None:
        """The leadership is being confirmed: that counts for what was wanted before."""
        self._asked += self._unconfirmed
        self._unconfirmed = []

    def confirmed(self, now: LogTime) -> None:
        """Prolong the leases that waited for it."""
        desk = self._desk
        desk.now = now
        asked, self._asked = self._asked, []
        for holder, renew in asked:
            if holder.attached and desk.holders.by_handle.get(holder.handle) is holder:
                desk.tell(holder, Renewed(renew.nonce))

    def take_replies(self) -> list[tuple[object, msgspec.Struct]]:
        """Drain (stream, message)."""
        replies, self._desk.replies = self._desk.replies, []
        return replies

    def take_commands(self) -> list[msgspec.Struct]:
        """Drain what the log should have, in the home's own name."""
        commands = self._desk.commands[:]
        self._desk.commands.clear()
        return commands

    # --- looking ----------------------------------------------------------------------------

    def _describe(self, query: msgspec.Struct) -> msgspec.Struct | None:
        desk = self._desk
        if isinstance(query, DescribeKey):
            info = desk.machine.key_info(query.key, desk.now)
            line = desk.directory.lines.get(query.key)
            return info if line is None else described(info, line, desk.holders)
        census: ShardCensus = desk.machine.census(getattr(query, "cache", ""))
        return msgspec.structs.replace(
            census,
            lines=desk.directory.pairs,
            invalidations=desk.tally.invalidations,
            lease_expiries=desk.tally.lease_expiries,
            dirty_lost=desk.tally.dirty_lost,
        )

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        self._desk.directory.check_invariants()
