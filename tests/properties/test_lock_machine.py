"""Whatever clients do, the lock machine does what the naive model does, on every replica."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from properties.naive_locks import NaiveLocks, NaiveRequest
from properties.strategies import (
    NAMES,
    acquires,
    milliseconds,
    patient_acquires,
    sessions,
    waits_ms,
)
from synaxis.effects import Outcome, Refused
from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    Convert,
    DescribeLock,
    Done,
    ForceRelease,
    Granted,
    LockInfo,
    LockKind,
    LockMode,
    Release,
)
from synaxis.locks.limits import LockLimits, VictimPolicy
from synaxis.locks.machine import LockMachine


class Locks(RuleBasedStateMachine):
    """One machine that lives on, one that is rebuilt from a snapshot after every step."""

    @initialize(policy=st.sampled_from(list(VictimPolicy)))
    def start(self, policy: VictimPolicy) -> None:
        self.limits = LockLimits(victim_policy=policy)
        self.machine = LockMachine(self.limits)
        self.twin = LockMachine(self.limits)
        self.model = NaiveLocks()
        self.now = 1
        self.sequences: dict[int, int] = {}
        self.reserved: list[tuple[int, int]] = []
        self.tokens: dict[NaiveRequest, int] = {}
        self.retired: list[tuple[int, int]] = []
        self.token_max = 0
        self.advance(0)

    # --- plumbing -------------------------------------------------------------------------

    def next_sequence(self, session: int) -> int:
        self.sequences[session] = self.sequences.get(session, 0) + 1
        return self.sequences[session]

    def apply(self, session: int, sequence: int, command: msgspec.Struct) -> msgspec.Struct | None:
        now = LogTime(self.now)
        args = (SessionId(session), Sequence(sequence), command, now)
        reply = self.machine.apply(*args)
        assert self.twin.apply(*args) == reply
        return reply

    def drain(self) -> list[Outcome]:
        outcomes = self.machine.take_outcomes()
        assert self.twin.take_outcomes() == outcomes
        assert self.machine.take_events() == self.twin.take_events()
        return outcomes

    def compare(self, late: list[Outcome]) -> None:
        """Let the model judge the deadlocks and predict everything else."""
        told: dict[tuple[int, int], str] = {}
        for outcome in late:
            reply = outcome.reply
            if isinstance(reply, Refused) and reply.code == "deadlock":
                self.model.judge_victim(outcome.session, outcome.sequence, reply)
            told[outcome.session, outcome.sequence] = code_of(reply)
        assert told == self.model.outcomes
        self.model.outcomes.clear()
        assert not self.model.stuck(), "a deadlock went unnoticed"

    def held(self) -> list[NaiveRequest]:
        return [r for r in self.model.requests if r.held]

    def token_of(self, one: NaiveRequest) -> int:
        tenant = self.machine.table.tenants[SessionId(one.session)]
        return tenant.requests[Sequence(one.sequence)].token

    # --- rules ----------------------------------------------------------------------------

    @rule(session=sessions, command=acquires())
    def acquire(self, session: int, command: Acquire) -> None:
        self.do_acquire(session, self.next_sequence(session), command)

    @rule(session=sessions, command=patient_acquires())
    def acquire_patiently(self, session: int, command: Acquire) -> None:
        self.do_acquire(session, self.next_sequence(session), command)

    @rule(session=sessions, command=patient_acquires())
    def acquire_for_another_task(self, session: int, command: Acquire) -> None:
        other = msgspec.structs.replace(command, task=2)
        self.do_acquire(session, self.next_sequence(session), other)

    def do_acquire(self, session: int, sequence: int, command: Acquire) -> None:
        self.machine.validate(command)
        expected = self.model.acquire(session, sequence, command)
        reply = self.apply(session, sequence, command)
        late = self.drain()
        if isinstance(reply, Refused) and reply.code == "deadlock":
            assert expected == "waits"
            late.append(Outcome(SessionId(session), Sequence(sequence), reply))
        else:
            assert code_of(reply) == expected
        self.compare(late)

    @rule(data=st.data(), right=st.booleans())
    @precondition(lambda self: self.held())
    def release(self, data: st.DataObject, *, right: bool) -> None:
        one = data.draw(st.sampled_from(self.held()))
        session = one.session if right else one.session + 1
        token = FencingToken(self.token_of(one))
        reply = self.apply(session, self.next_sequence(session), Release(token))
        assert reply == Done(changed=right)
        if right:
            self.model.release(one)
        self.compare(self.drain())

    @rule(session=sessions, back=st.integers(1, 12))
    def abandon(self, session: int, back: int) -> None:
        sequence = self.next_sequence(session)
        target = max(1, sequence - back)
        if target == sequence or (session, target) in self.reserved:
            return
        changed = self.model.abandon(session, target)
        assert self.apply(session, sequence, Abandon(Sequence(target))) == Done(changed=changed)
        self.model.abandoned.discard((session, target))
        self.compare(self.drain())

    @rule(session=sessions)
    def abandon_before_it_arrives(self, session: int) -> None:
        target = self.next_sequence(session)
        self.reserved.append((session, target))
        sequence = self.next_sequence(session)
        assert self.apply(session, sequence, Abandon(Sequence(target))) == Done(changed=False)
        assert not self.model.abandon(session, target)

    @rule(command=acquires())
    @precondition(lambda self: self.reserved)
    def arrive_late(self, command: Acquire) -> None:
        session, sequence = self.reserved.pop()
        self.do_acquire(session, sequence, command)

    @rule(data=st.data(), mode=st.sampled_from(LockMode), wait_ms=waits_ms)
    @precondition(lambda self: self.held())
    def convert(self, data: st.DataObject, mode: LockMode, wait_ms: int) -> None:
        one = data.draw(st.sampled_from(self.held()))
        before = self.token_of(one)
        sequence = self.next_sequence(one.session)
        upgrades = mode != one.mode and mode == LockMode.EXCLUSIVE
        expected = self.model.convert(one, sequence, mode, wait_ms)
        reply = self.apply(one.session, sequence, Convert(FencingToken(before), mode, wait_ms))
        late = self.drain()
        if isinstance(reply, Refused) and reply.code == "deadlock":
            assert expected == "waits"
            late.append(Outcome(SessionId(one.session), Sequence(sequence), reply))
        else:
            assert code_of(reply) == expected
        if isinstance(reply, Granted):
            assert (reply.token > before) == upgrades
        self.compare(late)

    @rule(data=st.data(), all_holders=st.booleans())
    @precondition(lambda self: self.held())
    def force_release(self, data: st.DataObject, *, all_holders: bool) -> None:
        one = data.draw(st.sampled_from(self.held()))
        name, kind = one.command.names[0], one.command.kind
        token = FencingToken(0 if all_holders else self.token_of(one))
        rivals = [r for r in self.held() if r.command.kind == kind and name in r.command.names]
        for each in rivals if all_holders else [one]:
            self.model.drop(each, "lock_lost", forced=True)
        self.model.settle()
        command = ForceRelease(name, "because", kind, token)
        assert self.apply(99, self.next_sequence(99), command) == Done()
        self.compare(self.drain())

    @rule(session=sessions)
    def end_session(self, session: int) -> None:
        self.reserved = [one for one in self.reserved if one[0] != session]
        self.model.end_session(session)
        for machine in (self.machine, self.twin):
            machine.end_session(SessionId(session), LogTime(self.now))
        self.compare(self.drain())

    @rule(by=milliseconds)
    def advance(self, by: int) -> None:
        self.now += by
        self.model.advance(self.now)
        for machine in (self.machine, self.twin):
            machine.advance(LogTime(self.now))
        self.compare(self.drain())
        due = self.machine.deadline()
        assert due is None or due > self.now

    # --- after every step -----------------------------------------------------------------

    @invariant()
    def holds_its_own_invariants(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check_invariants()
            self.twin.check_invariants()

    @invariant()
    def survives_a_snapshot(self) -> None:
        if hasattr(self, "machine"):
            data = self.machine.snapshot()
            assert self.twin.snapshot() == data
            self.twin = LockMachine(self.limits)
            self.twin.restore(data)
            assert self.twin.snapshot() == data

    @invariant()
    def equals_the_model(self) -> None:
        if not hasattr(self, "machine"):
            return
        for kind in (LockKind.LOCK, LockKind.SEMAPHORE):
            for name in NAMES:
                info = self.machine.query(DescribeLock(name, kind), LogTime(self.now))
                assert isinstance(info, LockInfo)
                mine = [
                    r
                    for r in self.model.requests
                    if r.command.kind == kind and name in r.command.names
                ]
                assert described_holders(info) == sorted(
                    (r.session, r.mode, r.holds, r.deadline or 0) for r in mine if r.held
                )
                queue = [(w.session, w.sequence) for w in info.waiters if not w.converting]
                assert queue == [(r.session, r.sequence) for r in mine if not r.held]
                tokens = [holder.token for holder in info.holders]
                assert tokens == sorted(tokens)

    @invariant()
    def issues_growing_tokens(self) -> None:
        if hasattr(self, "machine"):
            assert self.machine.tokens.last >= self.token_max
            self.token_max = self.machine.tokens.last


def described_holders(info: LockInfo) -> list[tuple[Any, ...]]:
    return sorted((h.session, h.mode, h.holds, h.deadline or 0) for h in info.holders)


def code_of(reply: msgspec.Struct | None) -> str:
    if reply is None:
        return "waits"
    return reply.code if isinstance(reply, Refused) else "granted"


Locks.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLocks = Locks.TestCase
