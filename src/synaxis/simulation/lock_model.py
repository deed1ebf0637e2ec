"""The lock service as its documentation describes it, written a second time and naively.

The model does not predict; it *judges*: it is fed every call that the replicated machine
received with what the machine answered, in order, and refuses answers that the published rules do
not allow. It shares no code with ``synaxis.locks`` but the message types.

Rules judged: tokens strictly grow; holders are always compatible; nobody overtakes an earlier
waiter that he would block; whoever stands at the head and could have the lock has it; a wait ends
when its time is over and not before; a deadlock is announced exactly when there is a cycle, with
a cycle that exists; dead sessions hold and get nothing; releases free exactly what they name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

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

__all__ = ["Grant", "LockModel", "Outcome", "Wait"]

_NEVER = LogTime(0)
Key = tuple[LockKind, str]
Request = tuple[SessionId, Sequence]
Party = tuple[SessionId, int]
"""A session, or one of its tasks."""
Outcome = tuple[SessionId, Sequence, msgspec.Struct]


@dataclass(slots=True, eq=False)
class Grant:
    """Something held."""

    token: FencingToken
    session: SessionId
    keys: tuple[Key, ...]
    mode: LockMode
    weight: int
    task: int
    made_by: Sequence
    deadline: LogTime | None
    lock_delay_ms: int
    holds: int = 1

    @property
    def party(self) -> Party:
        """Who holds."""
        return self.session, self.task


@dataclass(slots=True, eq=False)
class Wait:
    """Something waited for; ``converts`` is the grant that an upgrade wants to change."""

    session: SessionId
    sequence: Sequence
    keys: tuple[Key, ...]
    mode: LockMode
    weight: int
    task: int
    deadline: LogTime | None
    command: Acquire | Convert
    converts: Grant | None = None

    @property
    def party(self) -> Party:
        """Who waits: a node of the wait-for graph."""
        return self.session, self.task


@dataclass(slots=True)
class _Resource:
    holders: dict[FencingToken, Grant] = field(default_factory=dict)
    queue: list[Wait] = field(default_factory=list)
    permits: int = 1
    pinned: bool = False
    delayed_until: LogTime = _NEVER


class LockModel:
    """Feed it calls in order; it raises ``HistoryViolation`` at the first wrong answer."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self.now = LogTime(0)
        self.token_max = FencingToken(0)
        self.grants: dict[FencingToken, Grant] = {}
        self.waits: dict[Request, Wait] = {}
        self._resources: dict[Key, _Resource] = {}
        self._touched: dict[Key, None] = {}
        self._delayed: dict[Key, None] = {}
        self._abandoned: set[Request] = set()
        self._newcomers: list[Wait] = []

    # --- calls -----------------------------------------------------------------------------

    def advance(self, now: LogTime, outcomes: Iterable[Outcome]) -> None:
        """Judge what happened by the passing of time."""
        self.now = max(self.now, now)
        for outcome in outcomes:
            self._judge_outcome(outcome, in_advance=True)
        self._end_due_grants(self.now)
        self._touched.update(dict.fromkeys(self._delayed))
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
        for wait in [each for each in self.waits.values() if each.session == session]:
            self._stop_waiting(wait)
        for grant in [each for each in self.grants.values() if each.session == session]:
            self._end(grant, forced=True)
        for outcome in outcomes:
            self._require(outcome[0] != session, "an ended session was answered", outcome)
            self._judge_outcome(outcome, in_advance=False)
        self._settle()

    def judge_answer(self, name: str, kind: LockKind, answer: msgspec.Struct) -> None:
        """Judge the answer to a DescribeLock at this point of the history."""
        if not isinstance(answer, LockInfo):
            raise HistoryViolation(f"DescribeLock({name}) was answered {answer!r}")
        resource = self._resources.get((kind, name), _Resource())
        held = sorted(resource.holders)
        told = sorted(holder.token for holder in answer.holders)
        self._require(held == told, f"{name} is held by {held}, a reader was told", told)
        queue = [(wait.session, wait.sequence) for wait in resource.queue]
        shown = [(waiter.session, waiter.sequence) for waiter in answer.waiters]
        self._require(queue == shown, f"{name} has the queue {queue}, a reader was told", shown)

    def check_invariants(self) -> None:
        """Judge the table as a whole: compatible holders, nobody forgotten in a queue."""
        self._touched.update(dict.fromkeys(self._resources))
        self._settle()

    # --- commands -----------------------------------------------------------------------------

    def _wait_of_acquire(self, session: SessionId, sequence: Sequence, command: Acquire) -> Wait:
        keys = tuple((command.kind, name) for name in command.names)
        for key in keys:
            resource = self._resource(key)
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
        return None if wait_ms < 0 else LogTime(self.now + wait_ms)

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
                again = self._reentered(wait)
                if again is not None:
                    self._require(token == again.token, "re-entry got another token", wait)
                    again.holds += 1
                    self._coverage.hit("lock.reentered")
                else:
                    (self._grant if wait.converts is None else self._converted)(wait, token)
            case Refused(code):
                self._judge_refused(wait, code, reply, outcomes)
            case None:
                self._require(wait.deadline != self.now, "a try waits", wait)
                self._enqueue(wait)
            case _:
                raise HistoryViolation(f"{wait!r} was answered {reply!r}")

    def _judge_refused(
        self, wait: Wait, code: str, reply: Refused, outcomes: list[Outcome]
    ) -> None:
        if code == "lock_timeout":
            self._require(wait.deadline == self.now, "timed out before its time", wait)
            self._require(not self._could_have(wait), "a free lock was refused", wait)
        elif code == "deadlock":
            self._enqueue(wait)
            # One wait can close several circles; who else was sacrificed left before.
            while any(
                body.code == "deadlock" for *_, body in outcomes if isinstance(body, Refused)
            ):
                self._judge_outcome(outcomes.pop(0), in_advance=False)
            self._judge_cycle(wait, reply)
            self._stop_waiting(wait)
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
        grant = self.grants.get(command.token)
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
        resource = self._resource(key)
        resource.pinned = permits > 0
        if permits > 0:
            resource.permits = permits
        self._touched[key] = None

    def _release(
        self, session: SessionId, token: FencingToken, reply: msgspec.Struct | None
    ) -> None:
        grant = self.grants.get(token)
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
        wait = self.waits.get((session, target))
        made = [g for g in self.grants.values() if (g.session, g.made_by) == (session, target)]
        if wait is not None:
            first = outcomes.pop(0) if outcomes else None
            answered = first is not None and first[:2] == (session, target)
            self._require(answered, "the abandoned wait was not answered first", first)
            self._stop_waiting(wait)
            self._coverage.hit("lock.abandoned")
        for grant in made:
            self._give_back(grant)
        if wait is None and not made:
            self._abandoned.add((session, target))
        self._require_done(reply, changed=wait is not None or bool(made))

    def _force_release(self, command: ForceRelease, reply: msgspec.Struct | None) -> None:
        resource = self._resource((command.kind, command.name))
        taken = [g for t, g in resource.holders.items() if command.token in (0, t)]
        for grant in taken:
            self._end(grant, forced=True)
            self._coverage.hit("lock.force_released")
        self._require_done(reply, changed=bool(taken))

    # --- late replies ---------------------------------------------------------------------------

    def _judge_outcome(self, outcome: Outcome, *, in_advance: bool) -> None:
        session, sequence, reply = outcome
        wait = self.waits.get((session, sequence))
        if wait is None:
            raise HistoryViolation(f"a late reply to nobody who waits: {outcome!r}")
        match reply:
            case Granted(token, at):
                self._require(at <= self.now, "granted in the future", outcome)
                if in_advance:
                    self._end_due_grants(at)
                self._coverage.hit("lock.granted_after_wait")
                (self._converted if wait.converts is not None else self._grant)(wait, token)
                self._stop_waiting(wait)
            case Refused("lock_timeout"):
                due = wait.deadline is not None and wait.deadline <= self.now
                self._require(due, "timed out before its time", outcome)
                self._stop_waiting(wait)
                self._coverage.hit("lock.timeout")
            case Refused("deadlock"):
                self._judge_cycle(wait, reply)
                self._stop_waiting(wait)
            case Refused("invalid_argument") if wait.keys[0][0] == LockKind.SEMAPHORE:
                fits = wait.weight <= self._resource(wait.keys[0]).permits
                self._require(not fits, "a wait for permits failed for no reason", outcome)
                self._stop_waiting(wait)
            case Refused("lock_not_held" | "lock_lost") if wait.converts is not None:
                gone = wait.converts.token not in self.grants
                self._require(gone, "a conversion failed for no reason", outcome)
                self._stop_waiting(wait)
            case _:
                raise HistoryViolation(f"{wait!r} was answered {reply!r}")

    def _judge_cycle(self, victim: Wait, reply: Refused) -> None:
        cycle = reply.details["cycle"]
        self._coverage.hit("lock.deadlock")
        members = [(SessionId(int(one["session"], 16)), int(one["task"])) for one in cycle]
        self._require(victim.party in members, "the victim is not in its cycle", reply)
        for here, there in zip(members, members[1:] + members[:1], strict=True):
            self._require(
                there in self._waits_for(here), f"{here} does not wait for {there}", reply
            )

    # --- the table ---------------------------------------------------------------------------

    def _grant(self, wait: Wait, token: FencingToken) -> None:
        self._require(token > self.token_max, f"token {token} is not above {self.token_max}", wait)
        self._require(self._could_have(wait), "granted against the rules", wait)
        self.token_max = token
        command = wait.command
        assert isinstance(command, Acquire)
        deadline = LogTime(self.now + command.max_hold_ms) if command.max_hold_ms else None
        grant = Grant(
            token,
            wait.session,
            wait.keys,
            wait.mode,
            wait.weight,
            wait.task,
            wait.sequence,
            deadline,
            command.lock_delay_ms,
        )
        self.grants[token] = grant
        if len(wait.keys) > 1:
            self._coverage.hit("lock.multi")
        for key in wait.keys:
            holders = self._resource(key).holders
            holders[token] = grant
            if key[0] == LockKind.SEMAPHORE:
                self._coverage.hit("lock.semaphore")
            elif len(holders) > 1:
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
            self._require(self._could_have(wait), "upgraded against the rules", wait)
            self._coverage.hit("lock.upgraded")
        self.token_max = max(self.token_max, token)
        for key in grant.keys:
            holders = self._resource(key).holders
            del holders[grant.token]
            holders[token] = grant
            self._touched[key] = None
        del self.grants[grant.token]
        self.grants[token] = grant
        grant.token, grant.mode = token, wait.mode

    def _give_back(self, grant: Grant) -> None:
        grant.holds -= 1
        if grant.holds == 0:
            self._end(grant, forced=False)

    def _end(self, grant: Grant, *, forced: bool) -> None:
        del self.grants[grant.token]
        for key in grant.keys:
            resource = self._resource(key)
            del resource.holders[grant.token]
            self._touched[key] = None
            if forced and grant.lock_delay_ms:
                until = LogTime(self.now + grant.lock_delay_ms)
                resource.delayed_until = max(resource.delayed_until, until)
                self._delayed[key] = None
                self._coverage.hit("lock.delayed")

    def _end_due_grants(self, now: LogTime) -> None:
        due = [g for g in self.grants.values() if g.deadline is not None and g.deadline <= now]
        for grant in due:
            self._end(grant, forced=True)
            self._coverage.hit("lock.max_hold")

    def _enqueue(self, wait: Wait) -> None:
        self.waits[wait.session, wait.sequence] = wait
        self._newcomers.append(wait)
        for key in wait.keys:
            queue = self._resource(key).queue
            place = len(queue)
            if wait.converts is not None:
                place = sum(other.converts is not None for other in queue)
            queue.insert(place, wait)
            self._touched[key] = None

    def _stop_waiting(self, wait: Wait) -> None:
        self.waits.pop((wait.session, wait.sequence), None)
        for key in wait.keys:
            self._resource(key).queue.remove(wait)
            self._touched[key] = None

    def _resource(self, key: Key) -> _Resource:
        found = self._resources.get(key)
        if found is None:
            found = self._resources[key] = _Resource()
        return found

    def _reentered(self, wait: Wait) -> Grant | None:
        if not isinstance(wait.command, Acquire) or not wait.command.reentrant:
            return None
        for grant in self._resource(wait.keys[0]).holders.values():
            strong = grant.mode == LockMode.EXCLUSIVE or wait.mode == LockMode.SHARED
            if strong and grant.party == wait.party and set(wait.keys) <= set(grant.keys):
                return grant
        return None

    # --- judgements -------------------------------------------------------------------------

    def _could_have(self, wait: Wait) -> bool:
        """Return whether the rules let ``wait`` have all it wants now."""
        for key in wait.keys:
            resource = self._resource(key)
            if resource.delayed_until > self.now:
                return False
            if self._blockers(wait, key):
                return False
        return True

    def _blockers(self, wait: Wait, key: Key) -> list[Party]:
        """Return who keeps ``wait`` from having ``key``: holders and earlier waiters."""
        resource = self._resource(key)
        others = [g for g in resource.holders.values() if g is not wait.converts]
        ahead = self._ahead(resource, wait)
        if key[0] == LockKind.SEMAPHORE:
            used = sum(grant.weight for grant in others)
            full = used + wait.weight > resource.permits
            return [g.party for g in others if full] + [w.party for w in ahead]
        exclusive = wait.mode == LockMode.EXCLUSIVE
        return [g.party for g in others if exclusive or g.mode == LockMode.EXCLUSIVE] + [
            w.party for w in ahead if exclusive or w.mode == LockMode.EXCLUSIVE
        ]

    def _ahead(self, resource: _Resource, wait: Wait) -> list[Wait]:
        if wait in resource.queue:
            return resource.queue[: resource.queue.index(wait)]
        if wait.converts is not None:
            return [other for other in resource.queue if other.converts is not None]
        return resource.queue

    def _waits_for(self, party: Party) -> set[Party]:
        """Return whom ``party`` waits for, by whatever it waits for."""
        return {
            blocker
            for wait in self.waits.values()
            if wait.party == party
            for key in wait.keys
            for blocker in self._blockers(wait, key)
        }

    def _settle(self) -> None:
        """After a call: the touched resources are compatible, and no head waits for nothing."""
        touched, self._touched = self._touched, {}
        for key in touched:
            resource = self._resource(key)
            self._judge_holders(key, resource)
            for wait in resource.queue[:1]:
                stuck = self._is_head(wait) and self._could_have(wait)
                self._require(not stuck, "a waiter was forgotten: the lock is free", wait)
            if resource.delayed_until <= self.now:
                self._delayed.pop(key, None)
        newcomers, self._newcomers = self._newcomers, []
        for wait in newcomers:
            if self.waits.get((wait.session, wait.sequence)) is wait:
                self._require(not self._in_cycle(wait), "a deadlock was not detected", wait)

    def _is_head(self, wait: Wait) -> bool:
        return all(self._resource(key).queue[0] is wait for key in wait.keys)

    def _judge_late_waits(self) -> None:
        for wait in self.waits.values():
            due = wait.deadline is not None and wait.deadline <= self.now
            self._require(not due, "a wait outlived its time", wait)

    def _judge_holders(self, key: Key, resource: _Resource) -> None:
        if key[0] == LockKind.SEMAPHORE:
            return  # a resize may leave more out than there is; grants are judged one by one
        modes = [grant.mode for grant in resource.holders.values()]
        alone = len(modes) <= 1 or LockMode.EXCLUSIVE not in modes
        self._require(alone, f"incompatible holders of {key[1]}", list(resource.holders))

    def _in_cycle(self, start: Wait) -> bool:
        """Return whether ``start`` waits for itself through locks alone; permits are left out."""
        seen: set[Party] = set()
        stack = [start.party]
        while stack:
            party = stack.pop()
            for wait in self.waits.values():
                if wait.party != party or wait.keys[0][0] == LockKind.SEMAPHORE:
                    continue
                for blocker in (one for key in wait.keys for one in self._blockers(wait, key)):
                    if blocker == start.party:
                        return True
                    if blocker not in seen:
                        seen.add(blocker)
                        stack.append(blocker)
        return False

    def _require_done(self, reply: msgspec.Struct | None, *, changed: bool) -> None:
        right = isinstance(reply, Done) and reply.changed == changed
        self._require(right, f"should be answered Done(changed={changed}), was", reply)

    def _require(self, holds: bool, rule: str, culprit: object) -> None:
        if not holds:
            raise HistoryViolation(f"{rule}: {culprit!r}")
