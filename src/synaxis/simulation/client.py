"""A simulated client: one session, requests that are repeated until answered, a lease it trusts.

A request is sent to the node believed to lead; without an answer in time it goes, with the same
(session, sequence), to the next node. A client gives a request up only when it dies or when its
session is gone; the outcome is then unknown to it. What a client does is a generator that yields
either a pause in microseconds or a ``Pending`` to wait for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from synaxis.consensus.commands import (
    CloseSession,
    OpenSession,
    Proposal,
    SessionAlive,
    SessionOpened,
)
from synaxis.effects import Refused
from synaxis.ids import Sequence, SessionId
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import Operation
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND, Kernel
from synaxis.simulation.network import Network
from synaxis.simulation.pending import Ask, AskKind, Pending, Told
from synaxis.simulation.task import Script, Task

__all__ = ["LEASE_MARGIN", "Client", "ClientConfig", "ClientSite"]

LEASE_MARGIN = 0.8
"""A client trusts its session for this part of the TTL after the last keep-alive it *sent*."""

SESSION_GONE = frozenset({"session_expired"})
TRY_ELSEWHERE = frozenset({"not_leader", "overloaded", "no_quorum", "outcome_unknown"})


@dataclass(slots=True)
class ClientConfig:
    """How clients of a run behave. Times in microseconds unless named otherwise."""

    ttl_ms: int = 3_000
    attempt_timeout: int = 600_000
    retry_delay: int = 100_000
    think_max: int = 300_000
    hold_max: int = 150_000


@dataclass(slots=True)
class ClientSite:
    """What all clients of a run share."""

    kernel: Kernel
    network: Network
    coverage: Coverage
    nodes: list[str]
    """Ids of the members; changes while the cluster runs."""
    history: list[Operation]
    trusted: dict[SessionId, int]
    """Session -> until when its client acts upon it (us)."""


@dataclass(slots=True)
class _Session:
    """The client's side of a session."""

    id: SessionId
    ttl_ms: int
    next_sequence: int = 1
    acked: int = 0
    acked_above: set[int] = field(default_factory=set)
    alive: bool = False


class Client:
    """One client. ``run`` starts a script; ``die`` ends everything at once."""

    def __init__(self, name: str, site: ClientSite, config: ClientConfig) -> None:
        self.name = name
        self.kernel = site.kernel
        self.network = site.network
        self.nodes = site.nodes
        self.coverage = site.coverage
        self.history = site.history
        self.trusted = site.trusted
        self.config = config
        self.random = site.kernel.stream(f"client/{name}")
        self.session: _Session | None = None
        self.sessions: dict[SessionId, _Session] = {}
        self.dead = False
        self.paused_until_us = 0
        self.finished = False
        self.completed = 0
        self._target = self.random.choice(self.nodes)
        self._pending: dict[int, Pending] = {}
        self._next_id = 1
        self._tasks: list[Task] = []
        self.network.attach(name, self._receive)

    # --- running -----------------------------------------------------------------------------

    def run(self, *scripts: Callable[[Task], Script]) -> None:
        """Start one task per script, and the keep-alives."""
        several = len(scripts) > 1
        self._tasks = [Task(self, number + several) for number in range(len(scripts))]
        for task, script in zip(self._tasks, scripts, strict=True):
            task.start(script(task))
        self.kernel.after(self._keep_alive_interval(), self._keep_alive)

    def others_finished(self, task: Task) -> bool:
        """Return whether ``task`` is the last one that runs."""
        return all(other.finished for other in self._tasks if other is not task)

    def task_finished(self) -> None:
        """Note that a script came to its end."""
        self.finished = all(task.finished for task in self._tasks)

    def die(self) -> None:
        """Stop for ever; everything unanswered has an unknown outcome."""
        self.dead = True
        self.finished = True
        self.coverage.hit("client.died")
        self.coverage.hit("client.unknown", len(self._pending))
        self._pending.clear()
        self.network.detach(self.name)

    def pause(self, duration: int) -> None:
        """Do nothing for ``duration``: no keep-alive, no request, no answer is read."""
        self.paused_until_us = self.kernel.now + duration

    # --- sessions ----------------------------------------------------------------------------

    def open_session(self) -> Script:
        """Open a new session; returns when it is open."""
        while True:
            number = SessionId(self.random.getrandbits(62) + 1)
            session = _Session(number, self.config.ttl_ms)
            self.sessions[number] = self.session = session
            self.trusted[number] = self._trust_from(self.kernel.now)
            command = OpenSession(session.ttl_ms, self.name)
            body = yield self._submit(session, 0, command)
            if isinstance(body, SessionOpened):
                session.alive = True
                return

    def close_session(self) -> Script:
        """End the session in order."""
        session = self.session
        if session is None or not session.alive:
            return
        session.alive = False
        self.trusted[session.id] = 0
        yield self._submit(session, 0, CloseSession())

    def has_session(self) -> bool:
        """Return whether the session is open as far as the client knows."""
        return self.session is not None and self.session.alive

    def _trust_from(self, sent_us: int) -> int:
        ttl_us = self.config.ttl_ms * MICROSECONDS_PER_MILLISECOND
        return sent_us + int(ttl_us * LEASE_MARGIN)

    def _keep_alive_interval(self) -> int:
        return self.config.ttl_ms * MICROSECONDS_PER_MILLISECOND // 4

    def _keep_alive(self) -> None:
        if self.dead or self.finished:
            return
        if self.kernel.now >= self.paused_until_us and self.session and self.session.alive:
            self._send_new(Pending(None, AskKind.KEEP_ALIVE, self.session.id))
        self.kernel.after(self._keep_alive_interval(), self._keep_alive)

    def _lose_session(self, number: SessionId) -> None:
        session = self.sessions[number]
        if not session.alive:
            return
        self.coverage.hit("client.session_expired")
        session.alive = False
        self.trusted[number] = 0
        for pending in list(self._pending.values()):
            if pending.kind != AskKind.PROPOSE or pending.payload.session != number:
                continue
            self.coverage.hit("client.unknown")
            self._finish(pending, None)

    # --- requests ------------------------------------------------------------------------------

    def submit(self, command: msgspec.Struct) -> Pending:
        """Send a command in the session; yield the result to wait for the answer."""
        session = self.session
        assert session is not None
        sequence = session.next_sequence
        session.next_sequence += 1
        return self._submit(session, sequence, command)

    def ask(self, query: msgspec.Struct, *, stale: bool = False, anywhere: bool = False) -> Pending:
        """Send a question: to the leader as far as known, or to any node first."""
        number = self.session.id if self.session else SessionId(0)
        operation = Operation(self.name, number, Sequence(0), query, self.kernel.now, stale=stale)
        self.history.append(operation)
        kind = AskKind.STALE_QUERY if stale else AskKind.QUERY
        if stale or anywhere:
            self._target = self.random.choice(self.nodes)
        return self._send_new(Pending(operation, kind, query))

    def _submit(self, session: _Session, sequence: int, command: msgspec.Struct) -> Pending:
        operation = Operation(self.name, session.id, Sequence(sequence), command, self.kernel.now)
        self.history.append(operation)
        proposal = Proposal(
            session.id,
            Sequence(sequence),
            Sequence(session.acked),
            command,
            tuple(Sequence(each) for each in sorted(session.acked_above)),
        )
        return self._send_new(Pending(operation, AskKind.PROPOSE, proposal))

    def _send_new(self, pending: Pending) -> Pending:
        pending.id = self._next_id
        pending.first_sent_us = self.kernel.now
        self._next_id += 1
        self._pending[pending.id] = pending
        self._attempt(pending.id, 0)
        return pending

    def _attempt(self, number: int, attempt: int) -> None:
        pending = self._pending.get(number)
        if pending is None or pending.attempt != attempt or self.dead:
            return
        if self.kernel.now < self.paused_until_us:
            self.kernel.at(self.paused_until_us, self._attempt, number, attempt)
            return
        if attempt > 0:
            self.coverage.hit("client.retried")
        pending.attempt += 1
        ask = Ask(pending.id, pending.kind, pending.payload)
        self.network.send(self.name, self._target, ask)
        self.kernel.after(self.config.attempt_timeout, self._attempt_late, number, pending.attempt)

    def _attempt_late(self, number: int, attempt: int) -> None:
        pending = self._pending.get(number)
        if pending is None or pending.attempt != attempt:
            return
        if pending.kind == AskKind.KEEP_ALIVE and attempt > 2:
            del self._pending[number]  # the next one is due anyway
            return
        self._target = self.random.choice(self.nodes)
        self._attempt(number, attempt)

    # --- answers -----------------------------------------------------------------------------

    def _receive(self, sender: str, told: Told) -> None:
        if self.kernel.now < self.paused_until_us:
            self.kernel.at(self.paused_until_us, self._receive, sender, told)
            return
        pending = self._pending.get(told.id)
        if pending is None or self.dead:
            return
        body = told.body
        if isinstance(body, Refused) and body.code in TRY_ELSEWHERE and told.index == 0:
            self._retry(pending, body)
            return
        if pending.kind == AskKind.KEEP_ALIVE:
            self._kept_alive(pending, body)
            return
        if isinstance(body, Refused) and body.code in SESSION_GONE:
            self._lose_session(pending.payload.session)
            if told.id not in self._pending:
                return
        operation = pending.operation
        assert operation is not None
        operation.returned_us = self.kernel.now
        operation.index, operation.rank = told.index, told.rank
        operation.body, operation.position = body, told.position
        self._acknowledge(operation)
        self.completed += 1
        self._finish(pending, body)

    def _acknowledge(self, operation: Operation) -> None:
        session = self.sessions.get(operation.session)
        if session is None or operation.sequence == 0:
            return
        session.acked_above.add(operation.sequence)
        while session.acked + 1 in session.acked_above:
            session.acked += 1
            session.acked_above.discard(session.acked)

    def _retry(self, pending: Pending, body: Refused) -> None:
        if body.code == "not_leader":
            self.coverage.hit("client.not_leader")
        leader = body.details.get("leader")
        self._target = leader if leader in self.nodes else self.random.choice(self.nodes)
        delay = 1 + int(self.random.random() * self.config.retry_delay)
        self.kernel.after(delay, self._attempt, pending.id, pending.attempt)

    def _kept_alive(self, pending: Pending, body: msgspec.Struct) -> None:
        del self._pending[pending.id]
        session = self.sessions[pending.payload]
        if not isinstance(body, SessionAlive) or not session.alive:
            return
        if body.alive:
            trusted = self._trust_from(pending.first_sent_us)
            self.trusted[session.id] = max(self.trusted[session.id], trusted)
        else:
            self._lose_session(session.id)

    def _finish(self, pending: Pending, body: msgspec.Struct | None) -> None:
        self._pending.pop(pending.id, None)
        pending.answered = True
        pending.body = body
        if pending.when_answered is not None:
            pending.when_answered(pending)
