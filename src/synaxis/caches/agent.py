"""A cache agent: the lines that it holds, under which lease, and what they wait for.

Pure: messages and time in, messages and answers out. A node runs one per shard with kind OWNER, a
client one per shard with kind SHARER. What a shell must do:

* after connecting to the home: ``attached_to(stream, now)``, and send what ``take_messages``
  returns on that stream, in order; hand what arrives on it to ``receive``;
* when the stream ends for whatever reason: ``detached()``;
* call ``tick`` at ``deadline()``.

Lease (rule 7, Gray & Cheriton 1989): lines may be used while ``now < lease_until``. It runs from
the moment at which the message that asked for it was *sent*, so the home, which waits from the
moment at which it *arrived*, always waits longer.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    Detach,
    Detached,
    Down,
    Flushed,
    Grant,
    HomeMessage,
    Inv,
    InvTag,
    LineState,
    ProbeAck,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.caches.commands import ABSENT, Add, AgentId, AgentKind, Lookup, Put, Remove
from synaxis.caches.line import NOTHING, Line, Outbox
from synaxis.caches.local import Operation, Outcome
from synaxis.caches.lru import LineCache
from synaxis.caches.mesi import TRANSITIONS, Action, Event
from synaxis.caches.placement import cache_of
from synaxis.ids import Instant

__all__ = ["Agent", "AgentConfig", "AgentTally"]

NEVER = Instant(-1)
Single = Lookup | Put | Add | Remove
"""A command or question about one key."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent may hold, and how it keeps its lease."""

    entries_max: int = 1_000_000
    bytes_max: int = 64 * 1024 * 1024
    flush_ms: int = 1_000
    """Policy back: how long a write stays with its owner at most; a crash loses so much."""
    renewals_per_lease: int = 5
    """How often a lease is renewed in its time: how many lost messages it survives."""


class AgentTally(msgspec.Struct):
    """What happened here, for metrics."""

    installed: int = 0
    evictions: int = 0
    invalidations: int = 0
    lease_expiries: int = 0
    flushes: int = 0
    dirty_lost: int = 0
    """Writes of policy back that the home refused, because others wrote meanwhile."""


class Agent:
    """See the module. ``lines`` may be read by the shell: a hit there needs ``is_usable``."""

    def __init__(self, number: AgentId, kind: AgentKind, name: str, config: AgentConfig) -> None:
        self.id = number
        self.lines = LineCache(config.entries_max, config.bytes_max, self._evicted)
        """Valid lines. Invariant: state is not I."""
        self.busy: dict[str, Line] = {}
        """Lines that something is under way for, whether valid or not."""
        self.lease_until = NEVER
        self.stream: int | None = None
        self.tally = AgentTally()
        self.watcher: Callable[[Line], None] | None = None
        """Told of each line that was installed, or lost by what the home said or did not say."""
        self._kind = kind
        self._name = name
        self._config = config
        self._out = Outbox()
        self._lease_ms = 0
        self._sent_at: dict[int, Instant] = {}
        """When each Renew under way was sent; 0 stands for Attach."""
        self._now = Instant(0)
        self._nonce = 0
        self._renew_at = Instant(0)
        self._flush_at: Instant | None = None
        self._reservations: dict[int, tuple[Reserve, object]] = {}
        self._by_tag: dict[str, set[str]] = {}
        self._tags: dict[str, tuple[str, ...]] = {}

    def is_usable(self, now: Instant) -> bool:
        """Whether lines may be read or written."""
        return now < self.lease_until

    # --- the stream -------------------------------------------------------------------------

    def attached_to(self, stream: int, now: Instant) -> None:
        """A stream to the home is open: introduce ourselves."""
        self.detached()
        self._now = now
        self.stream = stream
        held = [each for line in self.busy.values() for _, each in line.held.values()]
        dirty = tuple(sorted(held, key=lambda each: each.write_id))
        self._sent_at = {0: now}
        self._out.messages.append(Attach(self.id, self._kind, self._name, dirty))

    def detached(self) -> None:
        """The stream is over: nothing may be used any more."""
        self.stream = None
        self.lease_until = NEVER
        self._sent_at = {}
        self._out.messages.clear()
        for line in list(self._all()):
            line.lost(self._out)
        self._note_changes()
        for line in list(self.busy.values()):
            self._settle(line)

    def leave(self) -> None:
        """Say good-bye on the present stream; nothing may be unflushed."""
        self._out.messages.append(Detach())

    def receive(  # one case per message
        self, stream: int, message: HomeMessage, now: Instant
    ) -> None:
        """Take a message of the home."""
        if stream != self.stream:
            return
        self._now = now
        match message:
            case Grant():
                self._granted(message, now)
            case Inv() | Down():
                self._probed(message, now)
            case InvTag():
                self._tag_probed(message, now)
            case Flushed():
                self._flushed(message, now)
            case Renewed():
                self._prolonged(message, now)
            case Attached():
                self._attached(message, now)
            case Reserved():
                self._reserved(message)
            case Detached():
                self.detached()

    def _attached(self, message: Attached, now: Instant) -> None:
        self._lease_ms = message.lease_ms
        self._renewed(0)
        self._renew_at = Instant(now + self._lease_ms // self._config.renewals_per_lease)
        for line in self.busy.values():
            line.inquire(self._out)
        self._go_on(now)
        for reserve, _ in self._reservations.values():
            self._out.messages.append(reserve)

    def _go_on(self, now: Instant) -> None:
        """Ask for whatever waits."""
        for line in list(self.busy.values()):
            line.work(self._out, now)
            self._settle(line)
        self._note_changes()

    def _prolonged(self, message: Renewed, now: Instant) -> None:
        lapsed = not self.is_usable(now)
        self._renewed(message.nonce)
        if lapsed and self.is_usable(now):
            self._go_on(now)  # what came, or was not believed, in the meantime still waits

    def _renewed(self, nonce: int) -> None:
        sent_at = self._sent_at.pop(nonce, None)
        if sent_at is not None:
            self.lease_until = max(self.lease_until, Instant(sent_at + self._lease_ms))
            for old in [each for each in self._sent_at if each < nonce]:
                del self._sent_at[old]

    # --- operations -------------------------------------------------------------------------

    def call(self, command: Single, token: object, now: Instant, *, back: bool = False) -> None:
        """Do a command of one key; its outcome comes from ``take_answers`` with the token."""
        key = _key_of(command)
        self._now = now
        line = self._line(key)
        line.add(Operation(command, token, back=back))
        self.busy[key] = line
        if self.is_usable(now):
            line.work(self._out, now)
            self._note_changes()
            self._settle(line)

    def reserve(self, key: str, token: object, *, renew: bool) -> int:
        """Ask for the right to compute ``key``; Reserved comes from ``take_answers``.

        Returns the number to ``surrender`` by, in case that nobody waits for it any more.
        """
        number = self._out.next_request()
        reserve = Reserve(number, key, renew)
        self._reservations[number] = reserve, token
        if self.lease_until is not NEVER:
            self._out.messages.append(reserve)
        return number

    def _reserved(self, message: Reserved) -> None:
        reservation = self._reservations.pop(message.request, None)
        if reservation is not None:
            self._out.answers.append((reservation[1], message))
        elif message.token:
            self.surrender(message.key, token=message.token)  # it crossed with our taking it back

    def surrender(self, key: str, *, token: int = 0, request: int = 0) -> None:
        """Give back a right that was not used, or take back a wish for one."""
        self._reservations.pop(request, None)
        if self.lease_until is not NEVER:
            self._out.messages.append(Surrender(key, token, request))

    def cancel(self, key: str, token: object) -> None:
        """Nobody waits for the operation any more; a write that was begun goes on."""
        line = self.busy.get(key)
        if line is not None:
            line.withdraw(lambda each: each is token)
            self._settle(line)

    def cancel_all(self, chosen: Callable[[Any], bool]) -> list[Any]:
        """Do so with all whose token is ``chosen``; return the tokens of those that ended so."""
        withdrawn = []
        for line in list(self.busy.values()):
            withdrawn += line.withdraw(chosen)
            self._settle(line)
        return withdrawn

    def waiting(self) -> Iterator[tuple[Any, bool]]:
        """Yield the tokens of all operations, and whether a write of theirs is on its way."""
        for line in self.busy.values():
            for number, operation in enumerate(line.operations):
                yield operation.token, number == 0 and line.writing is not None

    def drop(self, key: str) -> None:
        """Forget the copy of ``key``; for whoever is about to write it by another way."""
        line = self.lines.pop(key, None)
        if line is not None:
            self._evicted(line)

    def _line(self, key: str) -> Line:
        return self.busy.get(key) or self.lines.get(key) or Line(key)

    # --- what the home says -----------------------------------------------------------------

    def _granted(self, grant: Grant, now: Instant) -> None:
        line = self.busy.get(grant.key)
        if line is None or line.request != grant.request:
            return
        if not self.is_usable(now):
            line.request = 0  # the value may be old by now; the next stream asks again
            return
        line.granted(grant, self._out, now)
        self._note_changes()
        self._settle(line)

    def _probed(self, probe: Inv | Down, now: Instant) -> None:
        event = Event.INV if isinstance(probe, Inv) else Event.DOWN
        line = self.busy.get(probe.key) or self.lines.get(probe.key) or Line(probe.key)
        self.tally.invalidations += line.state is not LineState.I
        line.probed(event, probe.seq, self._out)
        if line.held:
            self.busy[line.key] = line
        if line.operations and self.is_usable(now):
            line.work(self._out, now)
        self._note_changes()
        self._settle(line)

    def _tag_probed(self, probe: InvTag, now: Instant) -> None:
        """Drop what carries the tag; what is asked for may be served, but not kept."""
        label = f"{probe.cache}/{probe.tag}" if probe.tag else probe.cache
        for line in [each for each in self.busy.values() if cache_of(each.key) == probe.cache]:
            if line.request:
                line.floor = max(line.floor, probe.seq)
            if line.writing is not None:
                line.cleared(self._out)  # the write may be cleared with the rest
        for key in list(self._by_tag.get(label, ())):
            line = self.busy.get(key) or self.lines[key]
            self.tally.invalidations += 1
            line.cleared(self._out)
            if line.operations and self.is_usable(now):
                line.work(self._out, now)
            self._note_changes()
            self._settle(line)
        self._out.messages.append(ProbeAck(probe.cache, probe.seq))

    def _flushed(self, news: Flushed, now: Instant) -> None:
        line = self.busy.get(news.key)
        if line is None or news.write_id not in self._out.unsettled:
            return
        ours = line.dirty is not None and line.dirty.write_id == news.write_id
        if news.version >= ABSENT or not ours:
            del self._out.unsettled[news.write_id]
        self.tally.flushes += news.version > ABSENT
        lost = news.version <= ABSENT and news.write_id in line.held
        self.tally.dirty_lost += lost or (ours and news.version == ABSENT)
        line.flushed(news, self._out)
        if self.is_usable(now):
            line.work(self._out, now)
        self._note_changes()
        self._settle(line)

    # --- lines come and go ------------------------------------------------------------------

    def _settle(self, line: Line) -> None:
        """Put the line where it belongs now that something happened to it."""
        if line.is_idle:
            line.operations = NOTHING
            self.busy.pop(line.key, None)
        else:
            self.busy[line.key] = line
        if line.dirty is not None and self._flush_at is None:
            self._flush_at = Instant(self._now + self._config.flush_ms)
        if line.leaving and line.is_idle:
            self.lines.pop(line.key, None)
            self._evicted(line)

    def _note_changes(self) -> None:
        """Follow installs and losses in the tables."""
        changed, self._out.changed = self._out.changed, []
        for line in changed:
            self._unindex(line.key)
            if line.state is LineState.I:
                self.lines.pop(line.key, None)
            else:
                self.tally.installed += 1
                self._index(line)
                if line.reading is not None and line.reading.idle_ms:
                    self.lines.pop(line.key, None)
                    self._evicted(line)
                else:
                    self.lines.keep(line)
            if self.watcher is not None:
                self.watcher(line)

    def _evicted(self, line: Line) -> None:
        """Let go of a clean line; one that is not clean goes home first (rule 6)."""
        state, action = TRANSITIONS[line.state, Event.EVICT]
        if action is Action.FLUSH:
            line.leaving = True
            line.flush(self._out)
            self.busy[line.key] = line
            return
        self.tally.evictions += action is Action.DROP
        line.state, line.leaving = state, False
        line.reading = line.value = None
        self._unindex(line.key)

    def _index(self, line: Line) -> None:
        tags = line.reading.tags if line.reading is not None else ()
        cache = cache_of(line.key)
        labels = self._tags[line.key] = (cache, *(f"{cache}/{tag}" for tag in tags))
        for label in labels:
            self._by_tag.setdefault(label, set()).add(line.key)

    def _unindex(self, key: str) -> None:
        for label in self._tags.pop(key, ()):
            keys = self._by_tag[label]
            keys.discard(key)
            if not keys:
                del self._by_tag[label]

    def _all(self) -> Iterator[Line]:
        yield from self.lines.values()
        yield from (line for key, line in self.busy.items() if key not in self.lines)

    # --- time -------------------------------------------------------------------------------

    def tick(self, now: Instant) -> None:
        """Renew the lease, flush what is due, and notice a lease that ran out."""
        if self.stream is None:
            return
        if self.lease_until is not NEVER and now >= self.lease_until:
            self.tally.lease_expiries += 1
            self.detached()  # the shell opens another stream
            return
        if self.lease_until is not NEVER and now >= self._renew_at:
            self._nonce += 1
            self._sent_at[self._nonce] = now
            self._out.messages.append(Renew(self._nonce))
            self._renew_at = Instant(now + self._lease_ms // self._config.renewals_per_lease)
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at = None
            self.flush_all()

    def flush_all(self) -> None:
        """Send every unflushed write home."""
        for line in self.busy.values():
            line.flush(self._out)

    @property
    def unflushed(self) -> int:
        """Writes of policy back that the home has not confirmed."""
        return sum((line.dirty is not None) + len(line.held) for line in self.busy.values())

    def deadline(self) -> Instant | None:
        """Return when ``tick`` must be called next."""
        if self.stream is None or self.lease_until is NEVER:
            return None
        first = min(self._renew_at, self.lease_until)
        return first if self._flush_at is None else min(first, self._flush_at)

    # --- output -----------------------------------------------------------------------------

    def take_messages(self) -> list[AgentMessage]:
        """Drain what the home should hear, in order."""
        messages, self._out.messages = self._out.messages, []
        return messages

    def take_answers(self) -> list[tuple[Any, Outcome | Reserved]]:
        """Drain (token, outcome)."""
        answers, self._out.answers = self._out.answers, []
        return answers


def _key_of(command: Single) -> str:
    match command:
        case Lookup(keys) | Remove(keys):
            (key,) = keys
            return key
        case Put(items):
            (item,) = items
            return item.key
        case Add():
            return command.key
