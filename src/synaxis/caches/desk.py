"""What the parts of a home share: its books, and what lies on it to be said and done."""

from functools import partial
from typing import TYPE_CHECKING

from synaxis.caches.barrier import Barriers
from synaxis.caches.bus import Dirty, Down, Grant, HomeMessage, Inv, Reserved
from synaxis.caches.commands import ABSENT, AgentId, Evict, Reading, Version, WriteBack
from synaxis.caches.directory import Directory, HomeLine, Kind, Ticket
from synaxis.caches.eviction import Evictor
from synaxis.caches.flights import Flights
from synaxis.caches.holders import Holder, Holders
from synaxis.caches.limits import HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.caches.placement import cache_of
from synaxis.caches.recovery import Recovery
from synaxis.caches.reservations import Reservations
from synaxis.caches.tally import HomeTally
from synaxis.ids import LogTime

if TYPE_CHECKING:
    import msgspec

__all__ = ["Desk"]


class Desk:
    """See the module. ``clear`` begins anew with each leadership; the tally goes on."""

    def __init__(self, machine: CacheMachine, limits: HomeLimits) -> None:
        self.machine = machine
        self.limits = limits
        self.tally = HomeTally()
        self.now = LogTime(0)
        self.store_answers = True
        """Whether the store behind the cache can be reached."""
        self.replies: list[tuple[object, msgspec.Struct]] = []
        """(stream, message)."""
        self.clear()

    def clear(self) -> None:
        """Forget who holds what."""
        limits = self.limits
        self.holders = Holders(limits)
        self.directory = Directory(self.read, self.holders.kind_of, self._may_keep, self._may_own)
        self.reservations = Reservations(limits.fill_lease_ms, limits.waiting_per_key_max)
        self.barriers = Barriers()
        self.evictor = Evictor(self.machine)
        self.recovery = Recovery()
        self.flights = Flights(self.machine, self.tell_agent)
        self.commands: list[msgspec.Struct] = []
        """For the log, in the home's own name."""
        self.loads: list[str] = []
        """Keys that the backing store should be asked for."""
        self.evicting: tuple[str, ...] = ()
        """Keys that are being let go."""
        self._is_full = False
        """An agent could not keep a line, because there are too many."""

    # --- saying -----------------------------------------------------------------------------

    def tell(self, holder: Holder, message: HomeMessage) -> None:
        """Say something on an agent's present stream."""
        self.replies.append((holder.handle, message))

    def tell_agent(self, agent: AgentId, message: HomeMessage) -> None:
        """Say something to an agent, if it is attached."""
        holder = self.holders.by_id.get(agent)
        if holder is not None:
            self.tell(holder, message)

    def carry_out(self) -> None:
        """Say and do what the directory and the reservations want."""
        if self._is_full:
            self._is_full = False
            self._take_back_oldest()
        orders = self.directory.orders
        while orders.messages:
            messages, orders.messages = orders.messages, []
            for agent, message in messages:
                self._send(agent, message)
        if orders.loads:
            self.loads += orders.loads
            orders.loads = []
        promises, self.reservations.promises = self.reservations.promises, []
        for promise in promises:
            lease_ms = self.limits.fill_lease_ms if promise.token else 0
            said = Reserved(promise.request, promise.key, promise.token, lease_ms)
            self.tell_agent(promise.agent, said)

    def _send(self, agent: AgentId, message: Inv | Down | Grant) -> None:
        holder = self.holders.by_id.get(agent)
        if holder is None:
            self.directory.gone(agent)
            return
        if not isinstance(message, Grant):
            self.tally.count(type(message).__name__)
            holder.probes[message.seq] = self.now
        self.tell(holder, message)

    # --- what everybody needs ---------------------------------------------------------------

    def read(self, key: str) -> Reading | None:
        """Return what the store has."""
        return self.machine.records.read(key, self.now)

    def version_of(self, agent: AgentId, write_id: int) -> Version:
        """Return what became of an agent's write; 0: it is not in the store."""
        known = self.machine.agents.get(agent)
        return Version(ABSENT) if known is None else known.answers.get(write_id, Version(ABSENT))

    def write(self, holder: Holder, key: str, dirty: Dirty, floor: int) -> None:
        """Put the write of an owner into the log (rule 4)."""
        self.directory.write_begun(key)
        self.reservations.touched(key)
        self.tally.count("Flush")
        command = self.flights.begin(holder.id, key, dirty, floor)
        cache = cache_of(key)
        if self.barriers.has_answered(holder.id, cache):
            # Its owner will not drop it for this Clear: so the Clear comes first.
            self.barriers.wait(cache, partial(self._log_write, command))
        else:
            self._log_write(command)

    def _log_write(self, command: WriteBack) -> None:
        self.flights.sent(command)
        self.commands.append(command)

    def let_go(self, holder: Holder, *, dropped: bool = False) -> None:
        """The agent holds nothing any more: it ``dropped`` all, or its lease is over."""
        self.holders.remove(holder)
        lost = self.directory.gone(holder.id)
        if not dropped:
            self.tally.dirty_lost += lost
        self.barriers.gone(holder.id)
        self.reservations.gone(holder.id, self.now)

    def _may_keep(self, line: HomeLine, agent: AgentId) -> bool:
        """Whether an agent may keep a line that it wants to read."""
        if self.barriers.covers(cache_of(line.key)):
            return False
        if agent in line.sharers or agent == line.owner:
            return True
        record = self.machine.records.by_key.get(line.key)
        if record is not None and record.idle_ms:
            return False
        self._is_full = self.directory.pairs >= self.limits.lines_max
        return not self._is_full and len(line.sharers) < self.limits.sharers_per_key_max

    def _may_own(self, key: str) -> bool:
        """Whether somebody may become an owner of ``key`` now."""
        cache = cache_of(key)
        if self.barriers.covers(cache):
            self.barriers.wait(cache, partial(self.directory.look_again, key))
            return False
        return not self.recovery.is_under_way

    # --- making room ------------------------------------------------------------------------

    def _take_back_oldest(self) -> None:
        """Take the key that was held for the longest from its holders (an invented Inv)."""
        for key in self.directory.keys_held():
            line = self.directory.lines[key]
            if line.current is None:
                ticket = Ticket(partial(self.directory.write_done, key), (key,), 1)
                self.directory.begin_all(Kind.CHANGE, ticket)
                return

    def make_room(self) -> None:
        """Let records go that nobody needs, one round at a time."""
        if self.evicting or self.recovery.is_under_way:
            return  # agents of an earlier home may be reading what would go
        victims = self.evictor.victims(self.now)
        if not victims:
            return
        self.evicting = tuple(key for key, _ in victims)
        release = partial(self.commands.append, Evict(victims))
        self.directory.begin_all(Kind.CHANGE, Ticket(release, self.evicting, len(victims)))

    def evicted(self) -> None:
        """The round is over."""
        keys, self.evicting = self.evicting, ()
        for key in keys:
            self.directory.write_done(key)
