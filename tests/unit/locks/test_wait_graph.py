"""Edges are read from the table, and the search finds exactly the cycles that exist.

The two misses of YugabyteDB that came from storing edges (issues 16068 and 16286: edges of one
waiter overwritten, blockers not refreshed at a hand-over) are tests here.
"""

from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from support.lock_service import A, B, C, D, LockService
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.locks.commands import Acquire, Granted, LockMode
from synaxis.locks.limits import LockLimits
from synaxis.locks.machine import LockMachine
from synaxis.locks.requests import Owner
from synaxis.locks.table import LockTable
from synaxis.locks.wait_graph import CycleSearch, edges_of

SHARED = LockMode.SHARED


def edges(service: LockService, session: SessionId) -> list[tuple[str, SessionId]]:
    found = edges_of(service.machine.table, (session, 0))
    return [(resource.name, blocker.session) for resource, blocker in found]


def test_a_writer_waits_for_every_reader_and_every_waiter_ahead() -> None:
    service = LockService()
    service.share(A, "x")
    service.share(B, "x")
    service.queue(C, "x")
    service.queue(D, "x")
    assert edges(service, D) == [("x", A), ("x", B), ("x", C)]


def test_a_reader_waits_for_the_writer_ahead_and_not_for_other_readers() -> None:
    service = LockService()
    service.share(A, "x")
    service.queue(B, "x")
    service.queue(C, "x", mode=SHARED)
    service.queue(D, "x", mode=SHARED)
    assert edges(service, D) == [("x", B)]


def test_two_waits_of_one_session_keep_the_edges_of_both() -> None:
    """A second wait must not overwrite the edges of the first."""
    service = LockService()
    service.take(A, "x")
    service.take(B, "y")
    service.queue(C, "x")
    service.queue(C, "y")
    assert edges(service, C) == [("x", A), ("y", B)]


def test_a_deadlock_through_the_first_of_two_waits_is_found() -> None:
    """With overwritten edges C would seem to wait for B alone and the cycle with A be missed."""
    service = LockService()
    service.take(A, "x")
    service.take(B, "y")
    service.take(C, "z")
    service.queue(C, "x", priority=1)
    service.queue(C, "y", priority=1)
    assert service.refused(A, Acquire(("z",))).code == "deadlock"


def test_edges_follow_the_lock_when_it_changes_hands() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x")
    service.queue(C, "x")
    service.release(A, token)
    assert edges(service, C) == [("x", B)]


def test_a_deadlock_with_the_new_holder_is_found_after_a_hand_over() -> None:
    """With blockers remembered from the time of queueing C would still wait for A."""
    service = LockService()
    token = service.take(A, "x")
    service.take(C, "y")
    service.queue(B, "x", priority=1)
    service.queue(C, "x", priority=1)
    service.release(A, token)
    assert service.refused(B, Acquire(("y",))).code == "deadlock"


def test_edges_end_with_the_wait_they_belong_to() -> None:
    service = LockService()
    service.take(A, "x")
    service.queue(B, "x", wait_ms=10)
    service.advance(10)
    assert edges(service, B) == []


# --- against brute force -----------------------------------------------------------------------

acquires = st.tuples(
    st.integers(1, 5),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True),
    st.sampled_from(LockMode),
)


def tangle(steps: list[tuple[int, list[str], LockMode]]) -> LockTable:
    """Return a table whose deadlocks nobody resolves: searches may look at one edge only."""
    machine = LockMachine(LockLimits(deadlock_visits_max=1))
    for number, (session, names, mode) in enumerate(steps, 1):
        command = Acquire(tuple(names), mode=mode)
        machine.apply(SessionId(session), Sequence(number), command, LogTime(0))
    return machine.table


def shortest_cycle(table: LockTable, start: Owner) -> int:
    """Return the length of a shortest cycle through ``start`` by plain search, or 0."""
    distance = {start: 0}
    frontier = deque([start])
    while frontier:
        here = frontier.popleft()
        for _, blocker in edges_of(table, here):
            if blocker.owner == start:
                return distance[here] + 1
            if blocker.owner not in distance:
                distance[blocker.owner] = distance[here] + 1
                frontier.append(blocker.owner)
    return 0


@given(st.lists(acquires, max_size=14))
def test_the_search_finds_a_shortest_cycle_wherever_there_is_one(
    steps: list[tuple[int, list[str], LockMode]],
) -> None:
    table = tangle(steps)
    for session in range(1, 6):
        owner = (SessionId(session), 0)
        cycle = CycleSearch(table, visits_max=100_000).cycle_through(owner)
        assert len(cycle) == shortest_cycle(table, owner)
        for here, there in pairwise([*cycle, *cycle[:1]]):
            blockers = {blocker.owner for _, blocker in edges_of(table, here.owner)}
            assert there.owner in blockers


def test_reading_a_long_queue_costs_one_visit_per_place() -> None:
    machine = LockMachine()
    for number in range(500):
        machine.apply(SessionId(number + 1), Sequence(1), Acquire(("x",)), LogTime(0))
    search = CycleSearch(machine.table, visits_max=100_000)
    assert search.cycle_through((SessionId(500), 0)) == []
    assert search.visits == 499


def test_a_search_stops_at_its_bound() -> None:
    machine = LockMachine()
    for number in range(50):
        machine.apply(SessionId(number + 1), Sequence(1), Acquire(("x",)), LogTime(0))
    search = CycleSearch(machine.table, visits_max=10)
    assert search.cycle_through((SessionId(50), 0)) == []
    assert search.exhausted
    assert search.visits == 11


def test_a_granted_request_has_no_edges() -> None:
    service = LockService()
    reply = service.acquire(A, "x")
    assert isinstance(reply, Granted)
    assert edges(service, A) == []
