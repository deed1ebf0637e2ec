"""The history checkers accept what a real cluster did, and refuse it after any forgery."""

from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest

from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import Done, Granted, Holder, LockInfo, LockMode
from synaxis.simulation import lock_history, witness
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.history import HistoryViolation, MachineCall, Operation
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.lock_world import LockWorld
from synaxis.simulation.run import Run
from synaxis.simulation.wgl import Verdict, check

Decisions = dict[tuple[SessionId, Sequence], tuple[int, int, msgspec.Struct]]


class History:
    """What one run left behind."""

    def __init__(
        self,
        operations: list[Operation],
        calls: list[MachineCall],
        decided: Decisions,
        names: list[str],
    ) -> None:
        self.operations = operations
        self.calls = calls
        self.decided = decided
        self.names = names

    def copy(self) -> "History":
        return History(
            deepcopy(self.operations), deepcopy(self.calls), dict(self.decided), self.names
        )

    def check(self) -> None:
        witness.check_real_time(self.operations)
        witness.check_answers(self.operations, self.decided)
        witness.check_order(self.operations, self.decided)
        witness.replay(self.calls, self.operations, Coverage())

    def search(self) -> list[Verdict]:
        return [
            check(
                lock_history.intervals_of(name, self.operations, self.calls, self.decided),
                lock_history.INITIAL,
                lock_history.sequential_lock,
            )
            for name in self.names
        ]

    def having(self, *kinds: type) -> list[Any]:
        return [o for o in self.operations if o.returned_us and isinstance(o.body, kinds)]


def record(seed: int) -> History:
    run = Run(Kernel(seed), 6.0, FaultMix())
    run.execute()
    monitor, world = run.cluster.monitor, run.world
    assert isinstance(world, LockWorld)
    return History(monitor.history, monitor.calls, monitor.decided, world.workload.plain)


@pytest.fixture(scope="module")
def recorded() -> History:
    """The first seed with enough of everything, whatever the simulator draws today."""
    for seed in range(1, 50):
        history = record(seed)
        seen = [one for one in history.having(LockInfo) if one.body.holders and not one.stale]
        if len(history.having(Granted)) > 80 and len(seen) > 12:
            return history
    raise AssertionError("no seed has enough of everything")


@pytest.fixture
def history(recorded: History) -> History:
    copy = recorded.copy()
    copy.check()
    return copy


def refused(history: History) -> bool:
    try:
        history.check()
    except HistoryViolation:
        return True
    return Verdict.NOT_LINEARIZABLE in history.search()


def test_the_search_accepts_what_the_witness_accepts(history: History) -> None:
    assert set(history.search()) == {Verdict.LINEARIZABLE}


def test_a_token_that_was_changed_on_the_way_is_noticed(history: History) -> None:
    random = Random(1)  # repeatable
    for victim in random.sample(history.having(Granted), 10):
        true = victim.body
        victim.body = msgspec.structs.replace(true, token=true.token + 1)
        with pytest.raises(HistoryViolation):
            history.check()
        victim.body = true


def test_an_answer_from_before_the_question_is_noticed(history: History) -> None:
    random = Random(2)  # repeatable
    late = [
        o
        for o in history.having(Granted, Done, LockInfo)
        if o.called_us > 2_000_000 and not o.stale
    ]
    for victim in random.sample(late, 10):
        true = victim.index
        victim.index = 2
        with pytest.raises(HistoryViolation):
            history.check()
        victim.index = true


def test_two_answers_with_one_place_are_noticed(history: History) -> None:
    first, second = history.having(Granted)[:2]
    second.index, second.rank = first.index, first.rank
    with pytest.raises(HistoryViolation):
        history.check()


def test_a_grant_nobody_decided_is_noticed(history: History) -> None:
    victim = history.having(Granted)[5]
    del history.decided[victim.session, victim.sequence]
    with pytest.raises(HistoryViolation, match="decided was None"):
        history.check()


def test_a_reader_who_is_told_a_wrong_holder_is_noticed(history: History) -> None:
    reads = [o for o in history.having(LockInfo) if o.body.holders and not o.stale][:20]
    searched = 0
    for victim in reads:
        true = victim.body
        victim.body = msgspec.structs.replace(true, holders=(), waiters=())
        with pytest.raises(HistoryViolation, match="a reader was told"):
            history.check()
        searched += Verdict.NOT_LINEARIZABLE in history.search()
        victim.body = true
    # Some of these lies are only about order among concurrent requests, which is free.
    assert searched >= len(reads) // 2 > 2


def test_a_reader_who_sees_a_holder_that_never_was_is_noticed(history: History) -> None:
    free = [o for o in history.having(LockInfo) if not o.body.holders and not o.stale]
    ghost = Holder(SessionId(1), FencingToken(7), LockMode.EXCLUSIVE, LogTime(0), 1, 1, None, b"")
    free[0].body = msgspec.structs.replace(free[0].body, holders=(ghost,))
    assert Verdict.NOT_LINEARIZABLE in history.search()
    with pytest.raises(HistoryViolation):
        history.check()


def test_a_lost_release_is_noticed_by_the_model(history: History) -> None:
    places = [
        at for at, call in enumerate(history.calls) if type(call.command).__name__ == "Release"
    ]
    noticed = 0
    for place in places[:12]:
        forged = history.copy()
        del forged.calls[place]
        for one in forged.operations:
            one.position = -1
        noticed += refused(forged)
    assert noticed >= 10


def test_forged_histories_are_refused_whatever_was_forged(history: History) -> None:
    """Every mutation below lies about the lock, so none may pass both checkers."""
    random = Random(4)  # repeatable
    missed = []
    for number in range(150):
        forged = History(
            [replace(one) for one in history.operations],
            history.calls,
            history.decided,
            history.names,
        )
        what = _forge(forged, random)
        if what is not None and not refused(forged):
            missed.append((number, what))
    assert missed == []


def _forge(history: History, random: Random) -> tuple[str, Operation] | None:
    """Lie once; return what was done."""
    kind = random.choice(("token", "changed", "index", "body", "rank"))
    if kind == "token":
        victim = random.choice(history.having(Granted))
        victim.body = msgspec.structs.replace(victim.body, token=victim.body.token ^ 1)
    elif kind == "changed":
        victim = random.choice(history.having(Done))
        victim.body = msgspec.structs.replace(victim.body, changed=not victim.body.changed)
    elif kind == "index":
        late = [o for o in history.having(Granted, Done) if o.called_us > 1_500_000]
        victim = random.choice(late)
        victim.index = 1 + random.randrange(3)
    elif kind == "body":
        one, other = random.sample(history.having(Granted), 2)
        one.body, other.body = other.body, one.body
        if one.body == other.body:
            return None
        victim = one
    else:
        one, other = random.sample(history.having(Granted, Done), 2)
        one.index, other.index = other.index, one.index
        one.rank, other.rank = other.rank, one.rank
        victim = one
    return kind, victim
