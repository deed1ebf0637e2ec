"""Waits that would never end are ended, the right one, and nothing else."""

from typing import Any

import pytest

from support.lock_service import A, B, C, D, LockService
from synaxis.effects import Refused
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks.commands import (
    Acquire,
    Convert,
    DescribeWaits,
    Granted,
    LockEventType,
    LockKind,
    LockMode,
    WaitGraphInfo,
)
from synaxis.locks.limits import VictimPolicy
from synaxis.locks.machine import LockMachine

SHARED = LockMode.SHARED
SEMAPHORE = LockKind.SEMAPHORE


def crossed(**limits: Any) -> LockService:
    """A holds x, B holds y and waits for x: A's wait for y will close the circle."""
    service = LockService.limited(**limits)
    service.take(A, "x")
    service.take(B, "y")
    service.queue(B, "x")
    return service


def members(refused: Refused) -> list[tuple[str, list[str], str]]:
    cycle = refused.details["cycle"]
    return [(one["session"][-1], one["holds"], one["waits_for"]) for one in cycle]


def test_the_refusal_names_the_cycle_in_wait_order() -> None:
    refused = crossed().refused(A, Acquire(("y",)))
    assert refused.code == "deadlock"
    assert members(refused) == [("a", ["x"], "y"), ("b", ["y"], "x")]


def test_the_victim_keeps_what_it_holds() -> None:
    service = crossed()
    service.refused(A, Acquire(("y",)))
    assert service.holders("x") == [A]
    assert service.waiters("x") == [B]


def test_the_names_of_owners_stand_in_the_cycle() -> None:
    service = crossed()
    service.machine.owner_of = {A: "alice", B: "bob"}.__getitem__
    refused = service.refused(A, Acquire(("y",)))
    assert [one["owner"] for one in refused.details["cycle"]] == ["alice", "bob"]
    assert "alice -> bob" in refused.message


def test_a_deadlock_is_counted_and_reported() -> None:
    service = crossed()
    service.happened()
    service.refused(A, Acquire(("y",)))
    assert service.happened() == [
        LockEventType.QUEUED,
        LockEventType.DEADLOCK,
        LockEventType.LEFT_QUEUE,
    ]
    answer = service.machine.query(DescribeWaits(), LogTime(0))
    assert isinstance(answer, WaitGraphInfo)
    assert answer.deadlocks_total == 1


def test_a_chain_of_waits_is_no_deadlock() -> None:
    service = LockService()
    service.take(A, "x")
    service.take(B, "y")
    service.queue(B, "x")
    service.queue(C, "y")


def test_a_ring_longer_than_the_recursion_limit_is_found() -> None:
    size = 1_500
    machine = LockMachine()
    now, first, second = LogTime(0), Sequence(1), Sequence(2)
    ring = [SessionId(100 + i) for i in range(size)]
    for i, session in enumerate(ring):
        machine.apply(session, first, Acquire((f"lock {i}",)), now)
    for i, session in enumerate(ring[:-1]):
        assert machine.apply(session, second, Acquire((f"lock {i + 1}",)), now) is None
    refused = machine.apply(ring[-1], second, Acquire(("lock 0",)), now)
    assert isinstance(refused, Refused)
    assert refused.details["members"] == size


def test_a_fair_queue_alone_can_close_a_cycle() -> None:
    """B waits for no holder, but for D, which stands ahead of it and waits for A."""
    service = LockService()
    service.share(A, "x")
    service.take(B, "z")
    writer = service.queue(D, "x")
    reader = service.queue(B, "x", mode=SHARED)
    service.queue(A, "z")
    refused = service.answer(D, writer)
    assert members(refused) == [("a", ["x"], "z"), ("b", ["z"], "x"), ("d", [], "x")]
    assert isinstance(service.answer(B, reader), Granted)


def test_two_upgraders_of_one_name_are_a_deadlock() -> None:
    service = LockService()
    first, second = service.share(A, "x"), service.share(B, "x")
    assert service.convert(A, first, LockMode.EXCLUSIVE) is None
    refused = service.refused(B, Convert(second, LockMode.EXCLUSIVE))
    assert refused.code == "deadlock"
    assert members(refused) == [("b", ["x"], "x"), ("a", ["x"], "x")]
    assert [holder.mode for holder in service.info("x").holders] == [SHARED, SHARED]


def test_a_reader_held_up_by_an_upgrade_alone_waits_for_the_upgrader() -> None:
    """C is compatible with all holders of x; only the upgrade of A keeps it out."""
    service = LockService()
    token = service.share(A, "x", priority=1)
    service.share(B, "x", priority=1)
    service.take(C, "y")
    service.convert(A, token, LockMode.EXCLUSIVE)
    service.queue(C, "x", mode=SHARED, priority=1)
    refused = service.refused(B, Acquire(("y",)))
    assert members(refused) == [("b", ["x"], "y"), ("c", ["y"], "x"), ("a", ["x"], "x")]


# --- one session, several tasks ------------------------------------------------------------------


def test_waiting_for_oneself_is_a_cycle_of_one() -> None:
    service = LockService()
    service.take(A, "x")
    refused = service.refused(A, Acquire(("x",)))
    assert refused.code == "deadlock"
    assert members(refused) == [("a", ["x"], "x")]


def test_trying_what_one_holds_is_a_timeout_not_a_deadlock() -> None:
    service = LockService()
    service.take(A, "x")
    assert service.refused(A, Acquire(("x",), wait_ms=0)).code == "lock_timeout"


def test_an_exclusive_wait_behind_ones_own_shared_grant_is_a_deadlock() -> None:
    service = LockService()
    service.share(A, "x")
    assert service.refused(A, Acquire(("x",), reentrant=True)).code == "deadlock"


def test_two_tasks_of_a_session_wait_for_each_other_without_a_deadlock() -> None:
    service = LockService()
    token = service.take(A, "x", task=1)
    wait = service.queue(A, "x", task=2)
    service.release(A, token)
    assert isinstance(service.answer(A, wait), Granted)


def test_two_tasks_of_a_session_can_deadlock_each_other() -> None:
    service = LockService()
    service.take(A, "x", task=1)
    service.take(A, "y", task=2)
    service.queue(A, "y", task=1)
    refused = service.refused(A, Acquire(("x",), task=2))
    assert [one["task"] for one in refused.details["cycle"]] == [2, 1]


def test_a_task_that_still_runs_makes_no_false_deadlock() -> None:
    """One task of A waits for B while B waits for what another task of A holds and will release."""
    service = LockService()
    token = service.take(A, "x", task=1)
    service.take(B, "y")
    service.queue(A, "y", task=2)
    wait = service.queue(B, "x")
    service.release(A, token)
    assert isinstance(service.answer(B, wait), Granted)


# --- the victim ----------------------------------------------------------------------------------


def test_the_lowest_priority_loses_even_if_it_waited_first() -> None:
    service = LockService()
    service.take(A, "x")
    service.take(B, "y")
    victim = service.queue(B, "x", priority=-1)
    wait = service.queue(A, "y")
    assert service.answer(B, victim).code == "deadlock"
    assert service.waits(A, wait)
    assert service.holders("y") == [B]


def test_with_equal_priority_who_holds_fewest_locks_loses() -> None:
    service = LockService()
    service.take(A, "x", "other")
    service.take(B, "y")
    victim = service.queue(B, "x")
    service.queue(A, "y")
    assert service.answer(B, victim).code == "deadlock"


def test_with_equal_locks_the_youngest_wait_loses() -> None:
    assert crossed().refused(A, Acquire(("y",))).code == "deadlock"


@pytest.mark.parametrize(
    ("policy", "loser"),
    [
        (VictimPolicy.LOWEST_PRIORITY, B),
        (VictimPolicy.FEWEST_LOCKS, B),
        (VictimPolicy.YOUNGEST, A),
        (VictimPolicy.REQUESTER, A),
    ],
)
def test_the_policy_decides_who_loses(policy: VictimPolicy, loser: SessionId) -> None:
    service = LockService.limited(victim_policy=policy)
    service.take(A, "x", "other")
    service.take(B, "y")
    wait = service.queue(B, "x", priority=-1)
    reply = service.acquire(A, "y")
    if loser == A:
        assert isinstance(reply, Refused)
    else:
        assert reply is None
        assert service.answer(B, wait).code == "deadlock"


def test_fewest_locks_goes_before_priority_under_that_policy() -> None:
    service = LockService.limited(victim_policy=VictimPolicy.FEWEST_LOCKS)
    service.take(A, "x", "other")
    service.take(B, "y")
    victim = service.queue(B, "x", priority=9)
    service.queue(A, "y")
    assert service.answer(B, victim).code == "deadlock"


def test_every_cycle_through_the_requester_is_broken() -> None:
    service = LockService()
    service.take(A, "x", "other", "another")
    first, second = service.share(B, "y"), service.share(C, "y")
    waits = [service.queue(B, "x", priority=-1), service.queue(C, "x", priority=-1)]
    wait = service.queue(A, "y")
    assert service.answer(B, waits[0]).code == "deadlock"
    assert service.answer(C, waits[1]).code == "deadlock"
    service.release(B, first)
    service.release(C, second)
    assert isinstance(service.answer(A, wait), Granted)


def test_a_victim_that_stood_in_the_way_lets_the_requester_through() -> None:
    service = LockService()
    service.take(B, "z")
    service.take(C, "y", "own")
    service.share(A, "x")
    multi = service.queue(B, "x", "y", priority=-1, mode=SHARED)
    service.release(A, service.info("x").holders[0].token)
    wait = service.queue(C, "x", "z", priority=3)
    assert service.answer(B, multi).code == "deadlock"
    service.release(B, service.info("z").holders[0].token)
    assert isinstance(service.answer(C, wait), Granted)


def test_a_shortest_cycle_is_named_without_the_bystanders_in_the_queue() -> None:
    service = LockService()
    service.take(A, "x")
    service.take(B, "y")
    for number in range(50):
        service.queue(SessionId(1_000 + number), "x")
    service.queue(B, "x")
    refused = service.refused(A, Acquire(("y",)))
    assert refused.details["members"] == 2


def test_who_waits_in_the_queue_is_not_hurt_by_the_deadlock_of_others() -> None:
    service = crossed()
    bystander = service.queue(C, "x")
    service.refused(A, Acquire(("y",)))
    assert service.waits(C, bystander)


# --- upgrades without a wait ---------------------------------------------------------------------


def test_an_immediate_upgrade_that_closes_a_cycle_is_noticed() -> None:
    """C waits as a reader of x and z; A becomes exclusive on x while another wait of A needs C."""
    service = LockService()
    service.take(D, "z")
    token = service.share(A, "x")
    service.take(C, "y")
    service.queue(C, "x", "z", mode=SHARED, priority=-1)
    service.queue(A, "y")
    assert isinstance(service.convert(A, token, LockMode.EXCLUSIVE), Granted)
    assert len(service.late) == 1


# --- semaphores ----------------------------------------------------------------------------------


def test_a_semaphore_held_by_the_cycle_alone_is_a_deadlock() -> None:
    service = LockService()
    service.take(A, "sem", kind=SEMAPHORE)
    service.take(B, "x")
    service.queue(A, "x")
    refused = service.refused(B, Acquire(("sem",), kind=SEMAPHORE))
    assert refused.code == "deadlock"


def test_a_semaphore_with_a_permit_outside_the_cycle_is_none() -> None:
    service = LockService()
    service.take(A, "sem", kind=SEMAPHORE, permits=2)
    outside = service.take(C, "sem", kind=SEMAPHORE, permits=2)
    service.take(B, "x")
    service.queue(A, "x")
    wait = service.queue(B, "sem", kind=SEMAPHORE, permits=2)
    service.release(C, outside)
    assert isinstance(service.answer(B, wait), Granted)


def test_permits_held_by_two_cycles_together_are_a_deadlock() -> None:
    service = LockService()
    service.take(A, "sem", kind=SEMAPHORE, permits=2)
    service.take(C, "sem", kind=SEMAPHORE, permits=2)
    service.take(B, "x")
    service.queue(A, "x")
    service.queue(C, "x")
    refused = service.refused(B, Acquire(("sem",), kind=SEMAPHORE, permits=2))
    assert refused.code == "deadlock"


def test_too_few_free_permits_for_a_heavy_waiter_are_a_deadlock() -> None:
    service = LockService()
    service.take(A, "sem", kind=SEMAPHORE, permits=3)
    service.take(B, "x")
    service.queue(A, "x")
    refused = service.refused(B, Acquire(("sem",), kind=SEMAPHORE, permits=3, weight=3))
    assert refused.code == "deadlock"


def test_a_light_request_behind_a_heavy_one_that_needs_its_permits_is_a_deadlock() -> None:
    service = LockService()
    service.take(A, "sem", kind=SEMAPHORE, permits=2)
    service.queue(B, "sem", kind=SEMAPHORE, permits=2, weight=2, priority=1)
    refused = service.refused(A, Acquire(("sem",), kind=SEMAPHORE, permits=2))
    assert refused.code == "deadlock"


# --- the bound -----------------------------------------------------------------------------------


def test_a_search_that_costs_too_much_is_given_up_and_counted() -> None:
    service = LockService.limited(deadlock_visits_max=1)
    service.take(A, "x")
    service.take(B, "y")
    service.queue(B, "x")
    assert service.acquire(A, "y", wait_ms=50) is None
    assert service.machine.table.searches_exhausted_total == 1
    service.advance(50)
    assert service.answer(A, service.last(A)).code == "lock_timeout"


def test_many_tasks_of_one_session_may_queue_for_one_name_without_any_search() -> None:
    """The 5,000th waiting task of one process cost 34 ms on every replica."""
    service = LockService.limited(deadlock_visits_max=1)
    service.do(A, Acquire(("hot",), task=1))
    for task in range(2, 200):
        service.do(A, Acquire((f"own/{task}",), task=task))
        service.do(A, Acquire(("hot",), task=task))
    assert service.machine.table.searches_exhausted_total == 0
    service.do(A, Acquire(("own/2",), task=3))
    assert service.machine.table.searches_exhausted_total == 1, "here a cycle was possible"
