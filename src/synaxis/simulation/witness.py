"""The witness checker: the log itself says in which order everything happened.

Every answer carries its place in the total order, (index, rank). The checker sorts by it and
demands that the order respects real time (nothing is placed before what had been answered when
it was asked), that it agrees with the order of the machine calls, that every client was told what
the machines decided, and that one replay of the independent ``LockModel`` accepts every
decision. A pass proves linearizability of the answered requests; a failure is a bug even where
another order would exist. O(n log n).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from synaxis.consensus.commands import CloseSession, OpenSession
from synaxis.effects import Refused
from synaxis.locks.commands import DescribeLock
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import (
    HistoryViolation,
    MachineCall,
    MachineCallKind,
    Operation,
)
from synaxis.simulation.lock_model import LockModel

__all__ = ["check_answers", "check_order", "check_real_time", "replay"]

Decisions = dict[tuple[Any, Any], tuple[int, int, msgspec.Struct]]

UNDECIDED = frozenset({"session_expired", "outcome_unknown", "limit_exceeded"})
"""Refusals that the replica gives without asking the machine."""


def check_real_time(operations: Iterable[Operation]) -> None:
    """Demand that the order of the log respects real time.

    Raises:
        HistoryViolation: an answer was given from before something that had been answered
            when its request was first sent.
    """
    answered = [one for one in operations if one.returned_us is not None and one.index > 0]
    by_return = sorted(answered, key=lambda one: one.returned_us or 0)
    latest: Operation | None = None
    finished = 0
    for one in sorted((one for one in answered if not one.stale), key=lambda one: one.called_us):
        while finished < len(by_return) and (by_return[finished].returned_us or 0) < one.called_us:
            ended = by_return[finished]
            finished += 1
            if not ended.stale and (latest is None or _place(ended) > _place(latest)):
                latest = ended
        # A question has no place of its own between commands: its index alone counts.
        if latest is not None and one.index < latest.index:
            raise HistoryViolation(
                f"older than what was already answered: {one!r} after {latest!r}"
            )
        if latest is not None and one.sequence and latest.sequence and _place(one) < _place(latest):
            raise HistoryViolation(f"out of order: {one!r} after {latest!r}")


def check_answers(operations: Iterable[Operation], decided: Decisions) -> None:
    """Demand that every client was told what the machines decided.

    Raises:
        HistoryViolation: it was told something else, or something was decided nowhere.
    """
    for one in operations:
        if one.returned_us is None or isinstance(one.request, OpenSession | CloseSession):
            continue
        if one.sequence == 0:
            continue
        known = decided.get((one.session, one.sequence))
        if known is not None and known[2] == one.body:
            continue
        if isinstance(one.body, Refused) and one.body.code in UNDECIDED:
            continue
        if isinstance(one.body, Refused) and one.index == 0 and known is None:
            continue  # refused at the door; the log never saw it
        raise HistoryViolation(f"decided was {known!r}, the client was told {one!r}")


def check_order(operations: Iterable[Operation], decided: Decisions) -> None:
    """Demand that (index, rank) grows with the order in which the machines decided.

    Raises:
        HistoryViolation: two answers claim places in the wrong order, or the same place.
    """
    placed = [
        (decided[one.session, one.sequence][1], _place(one), one)
        for one in operations
        if one.returned_us is not None
        and (one.session, one.sequence) in decided
        and one.index > 0
        and one.body == decided[one.session, one.sequence][2]
    ]
    placed.sort(key=lambda item: item[:2])
    for (position, place, one), (later, next_place, other) in pairwise(placed):
        wrong = next_place <= place if later > position else next_place == place
        if wrong and one is not other:
            raise HistoryViolation(f"places disagree with decisions: {one!r} and {other!r}")


def replay(
    calls: Sequence[MachineCall], operations: Iterable[Operation], coverage: Coverage
) -> LockModel:
    """Replay all calls on the model, with the readers' answers in between.

    Raises:
        HistoryViolation: the machine, or an answer, broke the rules of the lock service.
    """
    reads: dict[int, list[Operation]] = {}
    for one in operations:
        if one.position >= 0 and isinstance(one.request, DescribeLock):
            reads.setdefault(one.position, []).append(one)
    model = LockModel(coverage)
    for position, call in enumerate(calls):
        _judge_reads(model, reads.get(position, ()))
        outcomes = call.outcomes
        try:
            if call.kind == MachineCallKind.APPLY:
                assert call.command is not None
                model.apply(call.session, call.sequence, call.command, call.reply, outcomes)
            elif call.kind == MachineCallKind.ADVANCE:
                model.advance(call.now, outcomes)
            else:
                model.end_session(call.session, outcomes)
        except HistoryViolation as violation:
            message = f"{violation} (call {position} at {call.time_us} us: {call!r})"
            raise HistoryViolation(message) from violation
    _judge_reads(model, reads.get(len(calls), ()))
    model.check_invariants()
    return model


def _judge_reads(model: LockModel, reads: Iterable[Operation]) -> None:
    for one in reads:
        assert one.body is not None
        model.judge_answer(one.request.name, one.request.kind, one.body)


def _place(one: Operation) -> tuple[int, int]:
    return one.index, one.rank
