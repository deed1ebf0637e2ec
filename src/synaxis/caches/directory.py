"""Who holds which line, and one transaction per key at a time: rules 1, 2 and 5 of ``DESIGN.md``.

Pure, and the leader's own: it dies with the leadership. What must be said or done is appended to
``Orders``; acknowledgements, applied writes and vanished agents come back in.

A transaction probes who is in its way, waits for all of them and for writes that are on their way
through the log, and is then *settled*: the grant is given, or the ticket of a command counts down.
Others of the key wait in order. Four hops, home in the middle: no transient states beyond that.

Sources: DASH (Lenoski et al. 1990) for the directory; reference: queues-caches B2, B3.
"""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import cast

import msgspec

from synaxis.caches.bus import Down, Flush, Grant, Inv, LineState, ProbeAck
from synaxis.caches.commands import AgentId, AgentKind, Reading

__all__ = ["Directory", "HomeLine", "Kind", "Orders", "Ticket", "Transaction"]


class Kind(Enum):
    """What a transaction is for."""

    READ = "BusRd"
    OWN = "BusRdX"
    CHANGE = "write"
    """A command that the log is to have: nobody may hold the line."""
    LOOK = "read"
    """A question that the home answers itself: nobody may have a newer value."""


class Ticket(msgspec.Struct):
    """A command or question about some keys; it is let go when all of them are ready."""

    release: Callable[[], None]
    keys: tuple[str, ...]
    left: int
    failed: bool = False
    """The backing store was asked in vain."""


class Transaction(msgspec.Struct):
    """See the module."""

    kind: Kind
    agent: AgentId = AgentId(0)
    request: int = 0
    load: bool = False
    back: bool = False
    ticket: Ticket | None = None
    loaded: bool = False
    unavailable: bool = False


NOBODY = cast("deque[Transaction]", ())
"""The queue of every line that nothing waits for; nothing can be put into it."""


class HomeLine:
    """A key that somebody holds, or something is under way for."""

    __slots__ = (
        "acks",
        "current",
        "key",
        "loading",
        "owner",
        "owner_back",
        "owner_grant",
        "queue",
        "sharers",
        "writing",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.owner: AgentId | None = None
        self.owner_grant = 0
        self.owner_back = False
        """It may hold a write that nobody else knows of (policy ``back``)."""
        self.sharers: dict[AgentId, None] = {}
        self.queue: deque[Transaction] = NOBODY
        """What waits. An empty deque of its own would be most of what a line costs."""
        self.current: Transaction | None = None
        self.acks: dict[AgentId, int] = {}
        """Agent -> the probe that it has not answered."""
        self.writing = 0
        """Writes in the log that are not applied."""
        self.loading = False

    def enqueue(self, transaction: Transaction) -> None:
        """Let a transaction wait for its turn."""
        if not self.queue:
            self.queue = deque()
        self.queue.append(transaction)

    def dequeue(self) -> Transaction:
        """Return the transaction whose turn it is."""
        transaction = self.queue.popleft()
        if not self.queue:
            self.queue = NOBODY
        return transaction

    @property
    def is_empty(self) -> bool:
        """Whether nothing is worth remembering."""
        idle = not (self.queue or self.current or self.writing or self.loading)
        return idle and self.owner is None and not self.sharers


class Orders:
    """What a directory wants done; the home carries it out."""

    __slots__ = ("loads", "messages")

    def __init__(self) -> None:
        self.messages: list[tuple[AgentId, Inv | Down | Grant]] = []
        """In the order in which they must arrive: a probe that overtook the grant before it would
        void it, and owners who want the same key would take it from each other for ever."""
        self.loads: list[str] = []
        """Keys that the backing store should be asked for."""


Read = Callable[[str], Reading | None]


class Directory:
    """See the module. ``read`` looks into the store; ``kind_of`` and ``may_keep`` know the agents.

    ``may_own``: whether a key may be owned now; if not, who was told so calls ``look_again``.

    A wish of an agent that is gone (``kind_of`` None) is settled without a grant.

    Invariant: an owner excludes sharers, once no transaction of the key is under way.
    """

    def __init__(
        self,
        read: Read,
        kind_of: Callable[[AgentId], AgentKind | None],
        may_keep: Callable[[HomeLine, AgentId], bool],
        may_own: Callable[[str], bool],
    ) -> None:
        self.lines: dict[str, HomeLine] = {}
        self.held: dict[AgentId, dict[str, None]] = {}
        """Agent -> keys that it may hold."""
        self.owned = 0
        """Lines that have an owner."""
        self.writes = 0
        """Writes in the log that are not applied."""
        self.pairs = 0
        """(key, agent) pairs."""
        self.seq = 0
        self.orders = Orders()
        self._read = read
        self._kind_of = kind_of
        self._may_keep = may_keep
        self._may_own = may_own

    def line(self, key: str) -> HomeLine:
        """Return the line of ``key``, new if there is none."""
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = HomeLine(key)
        return line

    def next_seq(self) -> int:
        """Return the next number of grants and probes."""
        self.seq += 1
        return self.seq

    # --- transactions -----------------------------------------------------------------------

    def begin(self, key: str, transaction: Transaction) -> None:
        """Take a transaction; it may be settled before this returns."""
        line = self.line(key)
        line.enqueue(transaction)
        if line.current is None:
            self._go_on(line)

    def begin_all(self, kind: Kind, ticket: Ticket, *, load: bool = False) -> None:
        """Take one transaction per key of ``ticket``.

        All queues are entered at once, so two tickets meet in the same order everywhere and never
        wait for each other in a circle.
        """
        for key in ticket.keys:
            self.line(key).enqueue(Transaction(kind, load=load, ticket=ticket))
        for key in ticket.keys:
            line = self.lines.get(key)
            if line is not None and line.current is None:
                self._go_on(line)

    def _go_on(self, line: HomeLine) -> None:
        """Start transactions of the line as long as they can be settled at once."""
        while line.current is None and line.queue:
            line.current = line.dequeue()
            self._probe(line, line.current)
            self._try_to_settle(line)
        if line.is_empty:
            self.lines.pop(line.key, None)

    def _probe(self, line: HomeLine, transaction: Transaction) -> None:
        """Ask everybody who is in the way to give way (rule 2)."""
        owner, agent = line.owner, transaction.agent
        if transaction.kind in (Kind.READ, Kind.LOOK):
            if owner is not None and owner != agent:
                self._send(line, owner, Down(line.key, self.next_seq()))
            return
        for holder in line.sharers if owner is None else (owner, *line.sharers):
            if holder != agent:
                self._send(line, holder, Inv(line.key, self.next_seq()))

    def _send(self, line: HomeLine, agent: AgentId, probe: Inv | Down) -> None:
        line.acks[agent] = probe.seq
        self.orders.messages.append((agent, probe))

    def acknowledged(self, agent: AgentId, ack: ProbeAck) -> bool:
        """Take an answer to a probe; False if it is none to a probe that is open."""
        line = self.lines.get(ack.key)
        if line is None or line.acks.get(agent) != ack.seq:
            return False
        del line.acks[agent]
        assert line.current is not None
        if line.current.kind in (Kind.READ, Kind.LOOK):
            self._disown(line)
            self._share(line, agent)
        else:
            self._release(line, agent)
        self._try_to_settle(line)
        self._go_on(line)
        return True

    def _try_to_settle(self, line: HomeLine) -> None:
        transaction = line.current
        if transaction is None or line.acks or line.writing or line.loading:
            return
        if transaction.kind is Kind.OWN and not self._may_own(line.key):
            return
        missing = transaction.load and not transaction.loaded and self._read(line.key) is None
        if missing:
            line.loading = True
            self.orders.loads.append(line.key)
            return
        line.current = None
        self._settle(line, transaction)

    def _settle(self, line: HomeLine, transaction: Transaction) -> None:
        if transaction.ticket is None and self._kind_of(transaction.agent) is None:
            return
        match transaction.kind:
            case Kind.READ:
                self._grant_read(line, transaction)
            case Kind.OWN:
                self._release_others(line, transaction.agent)
                self._own(line, transaction)
            case _:
                ticket = transaction.ticket
                assert ticket is not None
                if transaction.kind is Kind.CHANGE:
                    line.writing += 1
                    self.writes += 1
                ticket.failed |= transaction.unavailable
                ticket.left -= 1
                if not ticket.left:
                    ticket.release()

    def _grant_read(self, line: HomeLine, transaction: Transaction) -> None:
        agent, key = transaction.agent, line.key
        if not self._may_keep(line, agent) or transaction.unavailable:
            unavailable = transaction.unavailable
            self._grant(transaction, key, self.next_seq(), LineState.I, unavailable=unavailable)
        elif line.owner == agent or (self._is_alone(line, agent) and self._may_own(key)):
            self._own(line, transaction)
        else:
            self._share(line, agent)
            self._grant(transaction, key, self.next_seq(), LineState.S)

    def _own(self, line: HomeLine, transaction: Transaction) -> None:
        """Grant E, with data (rule 2); the owner asking again gets the same number (rule 5)."""
        agent = transaction.agent
        if line.owner != agent:
            self._release(line, agent)
            line.owner, line.owner_grant, line.owner_back = agent, self.next_seq(), False
            self.owned += 1
            self._note(line, agent)
        line.owner_back |= transaction.back
        self._grant(transaction, line.key, line.owner_grant, LineState.E)

    def _grant(
        self,
        transaction: Transaction,
        key: str,
        seq: int,
        state: LineState,
        *,
        unavailable: bool = False,
    ) -> None:
        grant = Grant(transaction.request, key, seq, state, self._read(key), unavailable)
        self.orders.messages.append((transaction.agent, grant))

    # --- who holds what ---------------------------------------------------------------------

    def _is_alone(self, line: HomeLine, agent: AgentId) -> bool:
        kind = self._kind_of(agent)
        return kind is AgentKind.OWNER and all(each == agent for each in line.sharers)

    def _note(self, line: HomeLine, agent: AgentId) -> None:
        keys = self.held.setdefault(agent, {})
        if line.key not in keys:
            keys[line.key] = None
            self.pairs += 1

    def _share(self, line: HomeLine, agent: AgentId) -> None:
        line.sharers[agent] = None
        self._note(line, agent)

    def _disown(self, line: HomeLine) -> None:
        if line.owner is not None:
            line.owner, line.owner_grant, line.owner_back = None, 0, False
            self.owned -= 1

    def _release(self, line: HomeLine, agent: AgentId) -> None:
        """``agent`` holds the line no longer."""
        if line.owner == agent:
            self._disown(line)
        line.sharers.pop(agent, None)
        keys = self.held.get(agent)
        if keys is not None and keys.pop(line.key, self) is None:
            self.pairs -= 1

    def _release_others(self, line: HomeLine, agent: AgentId) -> None:
        for other in [each for each in line.sharers if each != agent]:
            self._release(line, other)

    def gone(self, agent: AgentId) -> int:
        """``agent`` holds nothing any more; return how many unknown writes may be lost with it."""
        lost = 0
        for key in list(self.held.get(agent, ())):
            line = self.lines[key]
            lost += line.owner == agent and line.owner_back
            line.acks.pop(agent, None)
            self._release(line, agent)
            self._try_to_settle(line)
            self._go_on(line)
        self.held.pop(agent, None)
        return lost

    # --- writes -----------------------------------------------------------------------------

    def accepts(self, agent: AgentId, flush: Flush) -> bool:
        """Whether a flush comes from the present owner, under its present grant (rule 4)."""
        line = self.lines.get(flush.key)
        return line is not None and line.owner == agent and line.owner_grant == flush.grant

    def write_begun(self, key: str) -> None:
        """A write of ``key`` goes into the log: whatever comes next waits until it is applied."""
        self.line(key).writing += 1
        self.writes += 1

    def write_done(self, key: str) -> None:
        """It is applied, or never will be."""
        line = self.lines.get(key)
        if line is not None:
            line.writing -= 1
            self.writes -= 1
            self._try_to_settle(line)
            self._go_on(line)

    def look_again(self, key: str) -> None:
        """Settle what waited for ``may_own``."""
        line = self.lines.get(key)
        if line is not None:
            self._try_to_settle(line)
            self._go_on(line)

    def loaded(self, key: str, *, unavailable: bool) -> None:
        """The backing store was asked; what it has is in the store by now."""
        line = self.lines.get(key)
        if line is not None and line.loading:
            line.loading = False
            if line.current is not None:
                line.current.loaded, line.current.unavailable = True, unavailable
            self._try_to_settle(line)
            self._go_on(line)

    def keys_held(self) -> Iterable[str]:
        """Yield keys that agents hold, the longest-held first."""
        return (key for key, line in self.lines.items() if line.sharers or line.owner is not None)

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        owned = pairs = writes = 0
        for key, line in self.lines.items():
            assert line.key == key
            assert not line.is_empty, key
            assert line.writing >= 0
            writes += line.writing
            holders = {*line.sharers} | ({line.owner} if line.owner is not None else set())
            owned += line.owner is not None
            pairs += len(holders)
            assert all(key in self.held[agent] for agent in holders)
            if line.owner is not None and line.current is None:
                assert not line.sharers
        counted = owned, pairs, writes
        assert counted == (self.owned, self.pairs, self.writes), counted
