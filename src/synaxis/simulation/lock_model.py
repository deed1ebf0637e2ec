"""The lock service as its documentation describes it, written a second time and naively.

The model does not predict; it *judges*: it is fed every call that the replicated machine
received with what the machine answered, in order, and refuses answers that the published rules do
not allow. It shares no code with ``synaxis.locks`` but the message types.

Rules judged: tokens strictly grow; holders are always compatible; nobody overtakes an earlier
waiter that he would block; whoever could have what he waits for has it; a wait ends
when its time is over and not before; a deadlock is announced exactly when there is a cycle, with
a cycle that exists; dead sessions hold and get nothing; releases free exactly what they name.
"""

from collections.abc import Iterable

import msgspec

from synaxis.effects import Refused
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    Convert,
    Done,
    ForceRelease,
    Granted,
    LockInfo,
    LockKind,
    LockMode,
    Release,
    SetPermits,
)
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.naive_table import Grant, Key, NaiveTable, Resource, Wait

__all__ = ["LockModel", "Outcome"]

Outcome = tuple[SessionId, Sequence, msgspec.Struct]
Request = tuple[SessionId, Sequence]


class LockModel:
    """Feed it calls in order; it raises ``HistoryViolation`` at the first wrong answer."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self.table = NaiveTable()
        self.token_max = FencingToken(0)
        self._delayed: dict[Key, None] = {}
        self._abandoned: set[Request] = set()
        self._newcomers: list[Wait] = []

    # --- calls -----------------------------------------------------------------------------

    def advance(self, now: LogTime, outcomes: Iterable[Outcome]) -> None:
        """Judge what happened by the passing of time."""
        self.table.now = max(self.table.now, now)
        for outcome in outcomes:
            self._judge_outcome(outcome, in_advance=True)
        self._end_due_grants(self.table.now)
        self.table.touched.update(dict.fromkeys(self._delayed))
        self._judge_late_waits()
        self._settle()

    def apply(
        self,
        session: SessionId,
        sequence: Sequence,
        command: msgspec.Struct,
        reply: msgspec.Struct | None,
        outcomes: Iterable[Outcome],
    ) -> None:
        """Judge the answer to one command and the late replies that it decided."""
        outcomes = list(outcomes)
        match command:
            case Acquire():
                wait = self._wait_of_acquire(session, sequence, command)
                self._judge_taking(wait, reply, outcomes)
            case Convert():
                self._convert(session, sequence, command, reply, outcomes)
            case Release(token):
                self._release(session, token, reply)
            case Abandon(target):
                self._abandon(session, target, reply, outcomes)
            case ForceRelease():
                self._force_release(command, reply)
            case SetPermits(name, permits):
                self._set_permits((LockKind.SEMAPHORE, name), permits)
            case _:
                raise HistoryViolation(f"{command!r} is not modelled")
        for outcome in outcomes:
            self._judge_outcome(outcome, in_advance=False)
        self._settle()

    def end_session(self, session: SessionId, outcomes: Iterable[Outcome]) -> None:
        """Judge what the end of a session set free."""
        for wait in [each for each in self.table.waits.values() if each.session == session]:
            self.table.stop_waiting(wait)
        for grant in [each for each in self.table.grants.values() if each.session == session]:
            self._end(grant, forced=True)
        for outcome in outcomes:
            self._require(outcome[0] != session, "an ended session was answered", outcome)
            self._judge_outcome(outcome, in_advance=False)
        self._settle()

    def judge_answer(self, name: str, kind: LockKind, answer: msgspec.Struct) -> None:
        """Judge the answer to a DescribeLock at this point of the history."""
        if not isinstance(answer, LockInfo):
            raise HistoryViolation(f"DescribeLock({name}) was answered {answer!r}")
        resource = self.table.resources.get((kind, name), Resource())
        held = sorted(resource.holders)
        told = sorted(holder.token for holder in answer.holders)
        self._require(held == told, f"{name} is held by {held}, a reader was told", told)
        queue = [(wait.session, wait.sequence) for wait in resource.queue]
        shown = [(waiter.session, waiter.sequence) for waiter in answer.waiters]
        self._require(queue == shown, f"{name} has the queue {queue}, a reader was told", shown)

    def check_invariants(self) -> None:
        """Judge the table as a whole: compatible holders, nobody forgotten in a queue."""
        self.table.touched.update(dict.fromkeys(self.table.resources))
        self._settle()

    # --- commands -----------------------------------------------------------------------------

    def _wait_of_acquire(self, session: SessionId, sequence: Sequence, command: Acquire) -> Wait:
        keys = tuple((command.kind, name) for name in command.names)
        for key in keys:
            resource = self.table.resource(key)
            unused = not resource.holders and not resource.queue and not resource.pinned
            if key[0] == LockKind.SEMAPHORE and unused:
                resource.permits = command.permits
        return Wait(
            session,
            sequence,
            keys,
            command.mode,
            command.weight,
            command.task,
            self._wait_deadline(command.wait_ms),
            command,
        )

    def _wait_deadline(self, wait_ms: int) -> LogTime | None:
        return None if wait_ms < 0 else LogTime(self.table.now + wait_ms)

    def _judge_taking(
        self, wait: Wait, reply: msgspec.Struct | None, outcomes: list[Outcome]
    ) -> None:
        """Judge the immediate answer to an acquire or a conversion."""
        if (wait.session, wait.sequence) in self._abandoned:
            gone = isinstance(reply, Refused) and reply.code == "wait_abandoned"
            self._require(gone, "executed after it was abandoned", wait)
            self._coverage.hit("lock.abandoned_early")
            return
        match reply:
            case Granted(token):
                again = self.table.reentered(wait)
                if again is not None:
                    self._require(token == again.token, "re-entry got another token", wait)
                    again.holds += 1
                    again.entries.append(wait.sequence)
                    self._coverage.hit("lock.reentered")
                else:
                    (self._grant if wait.converts is None else self._converted)(wait, token)
            case Refused(code):
                self._judge_refused(wait, code, reply, outcomes)
            case None:
                self._require(wait.deadline != self.table.now, "a try waits", wait)
                self._enqueue(wait)
            case _:
                raise HistoryViolation(f"{wait!r} was answered {reply!r}")

    def _judge_refused(
        self, wait: Wait, code: str, reply: Refused, outcomes: list[Outcome]
    ) -> None:
        if code == "lock_timeout":
            self._require(wait.deadline == self.table.now, "timed out before its time", wait)
            self._require(not self.table.could_have(wait), "a free lock was refused", wait)
        elif code == "deadlock":
            self._enqueue(wait)
            # One wait can close several circles; who else was sacrificed left before.
            while any(
                body.code == "deadlock" for *_, body in outcomes if isinstance(body, Refused)
            ):
                self._judge_outcome(outcomes.pop(0), in_advance=False)
            self._judge_cycle(wait, reply)
            self.table.stop_waiting(wait)
        else:
            self._require(code in ("limit_exceeded", "invalid_argument"), f"refused: {code}", wait)

    def _convert(
        self,
        session: SessionId,
        sequence: Sequence,
        command: Convert,
        reply: msgspec.Struct | None,
        outcomes: list[Outcome],
    ) -> None:
        grant = self.table.grants.get(command.token)
        if grant is None or grant.session != session:
            lost = isinstance(reply, Refused) and reply.code == "lock_not_held"
            self._require(lost, "a conversion of nothing succeeded", reply)
            return
        wait = Wait(
            session,
            sequence,
            grant.keys,
            command.mode,
            grant.weight,
            grant.task,
            self._wait_deadline(command.wait_ms),
            command,
            grant,
        )
        self._judge_taking(wait, reply, outcomes)

    def _set_permits(self, key: Key, permits: int) -> None:
        resource = self.table.resource(key)
        resource.pinned = permits > 0
        if permits > 0:
            resource.permits = permits
        self.table.touched[key] = None

    def _release(
        self, session: SessionId, token: FencingToken, reply: msgspec.Struct | None
    ) -> None:
        grant = self.table.grants.get(token)
        held = grant is not None and grant.session == session
        self._require_done(reply, changed=held)
        if grant is not None and held:
            self._give_back(grant)

    def _abandon(
        self,
        session: SessionId,
        target: Sequence,
        reply: msgspec.Struct | None,
        outcomes: list[Outcome],
    ) -> None:
        wait = self.table.waits.get((session, target))
        mine = [grant for grant in self.table.grants.values() if grant.session == session]
        made = [grant for grant in mine if target in grant.entries]
        upgraded = [grant for grant in mine if grant.upgraded_by == target]
        if wait is not None:
            first = outcomes.pop(0) if outcomes else None
            answered = first is not None and first[:2] == (session, target)
            self._require(answered, "the abandoned wait was not answered first", first)
            self.table.stop_waiting(wait)
            self._coverage.hit("lock.abandoned")
        for grant in made:
            grant.entries.remove(target)
            self._give_back(grant)
        for grant in upgraded:
            self._coverage.hit("lock.upgrade_undone")
            self.table.change(grant, grant.token_before, LockMode.SHARED)
        changed = wait is not None or bool(made) or bool(upgraded)
        if not changed:
            self._abandoned.add((session, target))
        self._require_done(reply, changed=changed)

    def _force_release(self, command: ForceRelease, reply: msgspec.Struct | None) -> None:
        resource = self.table.resource((command.kind, command.name))
        taken = [g for t, g in resource.holders.items() if command.token in (0, t)]
        for grant in taken:
            self._end(grant, forced=True)
            self._coverage.hit("lock.force_released")
        self._require_done(reply, changed=bool(taken))

    # --- late replies ---------------------------------------------------------------------------

    def _judge_outcome(self, outcome: Outcome, *, in_advance: bool) -> None:
        session, sequence, reply = outcome
        wait = self.table.waits.get((session, sequence))
        if wait is None:
            raise HistoryViolation(f"a late reply to nobody who waits: {outcome!r}")
        match reply:
            case Granted(token, at):
                self._require(at <= self.table.now, "granted in the future", outcome)
                if in_advance:
                    self._end_due_grants(at)
                self._coverage.hit("lock.granted_after_wait")
                (self._converted if wait.converts is not None else self._grant)(wait, token)
                self.table.stop_waiting(wait)
            case Refused("lock_timeout"):
                due = wait.deadline is not None and wait.deadline <= self.table.now
                self._require(due, "timed out before its time", outcome)
                self.table.stop_waiting(wait)
                self._coverage.hit("lock.timeout")
            case Refused("deadlock"):
                self._judge_cycle(wait, reply)
                self.table.stop_waiting(wait)
            case Refused("invalid_argument") if wait.keys[0][0] == LockKind.SEMAPHORE:
                resources = [self.table.resource(key) for key in wait.keys]
                fits = all(wait.weight <= one.permits for one in resources)
                self._require(not fits, "a wait for permits failed for no reason", outcome)
                self.table.stop_waiting(wait)
            case Refused("lock_not_held" | "lock_lost") if wait.converts is not None:
                gone = wait.converts.token not in self.table.grants
                self._require(gone, "a conversion failed for no reason", outcome)
                self.table.stop_waiting(wait)
            case _:
                raise HistoryViolation(f"{wait!r} was answered {reply!r}")

    def _judge_cycle(self, victim: Wait, reply: Refused) -> None:
        cycle = reply.details["cycle"]
        self._coverage.hit("lock.deadlock")
        members = [(SessionId(int(one["session"], 16)), int(one["task"])) for one in cycle]
        self._require(victim.party in members, "the victim is not in its cycle", reply)
        for here, there in zip(members, members[1:] + members[:1], strict=True):
            self._require(
                there in self.table.waits_for(here), f"{here} does not wait for {there}", reply
            )

    # --- the table ---------------------------------------------------------------------------

    def _grant(self, wait: Wait, token: FencingToken) -> None:
        self._require(token > self.token_max, f"token {token} is not above {self.token_max}", wait)
        self._require(self.table.could_have(wait), "granted against the rules", wait)
        self.token_max = token
        command = wait.command
        assert isinstance(command, Acquire)
        deadline = LogTime(self.table.now + command.max_hold_ms) if command.max_hold_ms else None
        grant = Grant(
            token,
            wait.session,
            wait.keys,
            wait.mode,
            wait.weight,
            wait.task,
            [wait.sequence],
            deadline,
            command.lock_delay_ms,
        )
        self.table.add(grant)
        if len(wait.keys) > 1:
            self._coverage.hit("lock.multi")
        for key in wait.keys:
            if key[0] == LockKind.SEMAPHORE:
                self._coverage.hit("lock.semaphore")
            elif len(self.table.resource(key).holders) > 1:
                self._coverage.hit("lock.shared_together")

    def _converted(self, wait: Wait, token: FencingToken) -> None:
        grant = wait.converts
        assert grant is not None
        if wait.mode == grant.mode:
            self._require(token == grant.token, "nothing to convert, yet a new token", wait)
            return
        if wait.mode == LockMode.SHARED:
            self._require(token >= grant.token, "a downgrade lowered the token", wait)
            self._coverage.hit("lock.downgraded")
        else:
            self._require(token > self.token_max, "an upgrade needs a new token", wait)
            self._require(self.table.could_have(wait), "upgraded against the rules", wait)
            self._coverage.hit("lock.upgraded")
        self.token_max = max(self.token_max, token)
        before = grant.token
        self.table.change(grant, token, wait.mode)
        if wait.mode == LockMode.EXCLUSIVE:
            grant.upgraded_by, grant.token_before = wait.sequence, before

    def _give_back(self, grant: Grant) -> None:
        grant.holds -= 1
        if grant.holds == 0:
            self._end(grant, forced=False)

    def _end(self, grant: Grant, *, forced: bool) -> None:
        self.table.remove(grant)
        if forced and grant.lock_delay_ms:
            for key in grant.keys:
                resource = self.table.resource(key)
                until = LogTime(self.table.now + grant.lock_delay_ms)
                resource.delayed_until = max(resource.delayed_until, until)
                self._delayed[key] = None
                self._coverage.hit("lock.delayed")

    def _end_due_grants(self, now: LogTime) -> None:
        due = [
            g for g in self.table.grants.values() if g.deadline is not None and g.deadline <= now
        ]
        for grant in due:
            self._end(grant, forced=True)
            self._coverage.hit("lock.max_hold")

    def _enqueue(self, wait: Wait) -> None:
        self.table.enqueue(wait)
        self._newcomers.append(wait)

    # --- judgements -------------------------------------------------------------------------

    def _settle(self) -> None:
        """After a call: holders are compatible, and nobody waits for nothing."""
        touched, self.table.touched = self.table.touched, {}
        for key in touched:
            resource = self.table.resource(key)
            self._judge_holders(key, resource)
            for wait in resource.queue:
                stuck = self.table.could_have(wait)
                self._require(not stuck, "a waiter was forgotten: the lock is free", wait)
            if resource.delayed_until <= self.table.now:
                self._delayed.pop(key, None)
        newcomers, self._newcomers = self._newcomers, []
        for wait in newcomers:
            if self.table.waits.get((wait.session, wait.sequence)) is wait:
                self._require(not self.table.in_cycle(wait), "a deadlock was not detected", wait)

    def _judge_late_waits(self) -> None:
        for wait in self.table.waits.values():
            due = wait.deadline is not None and wait.deadline <= self.table.now
            self._require(not due, "a wait outlived its time", wait)

    def _judge_holders(self, key: Key, resource: Resource) -> None:
        if key[0] == LockKind.SEMAPHORE:
            return  # a resize may leave more out than there is; grants are judged one by one
        modes = [grant.mode for grant in resource.holders.values()]
        alone = len(modes) <= 1 or LockMode.EXCLUSIVE not in modes
        self._require(alone, f"incompatible holders of {key[1]}", list(resource.holders))

    def _require_done(self, reply: msgspec.Struct | None, *, changed: bool) -> None:
        right = isinstance(reply, Done) and reply.changed == changed
        self._require(right, f"should be answered Done(changed={changed}), was", reply)

    def _require(self, holds: bool, rule: str, culprit: object) -> None:
        if not holds:
            raise HistoryViolation(f"{rule}: {culprit!r}")
