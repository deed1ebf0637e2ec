"""The defects L1 to L6 of the lock manager that Synaxis replaces; each name says the cause."""

from support.lock_service import A, B, C, LockService
from synaxis.locks.commands import Acquire, DescribeWaits, Done, Granted, LockMode, WaitGraphInfo


def test_l1_a_contended_acquire_waits_in_a_queue_instead_of_failing_at_once() -> None:
    service = LockService()
    token = service.take(A, "x")
    wait = service.queue(B, "x", wait_ms=5_000)
    service.advance(500)
    service.release(A, token)
    assert isinstance(service.answer(B, wait), Granted)


def test_l1_waiters_are_woken_in_order() -> None:
    service = LockService()
    token = service.take(A, "x")
    first, second = service.queue(B, "x"), service.queue(C, "x")
    service.release(A, token)
    service.end_session(B)
    assert service.order == [(B, first), (C, second)]


def test_l2_a_lease_that_is_checked_by_nobody_cannot_be_outlived() -> None:
    service = LockService()
    service.take(A, "x", max_hold_ms=300)
    service.advance(300)
    assert service.info("x").holders == ()


def test_l2_a_crashed_client_does_not_hold_for_ever() -> None:
    service = LockService()
    service.take(A, "x")
    service.end_session(A)
    service.take(B, "x")


def test_l2_replicas_that_are_told_the_same_time_expire_alike() -> None:
    """Deadlines are log time from the command, not a clock that each process reads for itself."""
    first, second = LockService(), LockService()
    for service in (first, second):
        service.take(A, "x", max_hold_ms=300)
        service.queue(B, "x", wait_ms=299)
        service.advance(299)
    assert first.machine.snapshot() == second.machine.snapshot()
    assert first.late == second.late


def test_l3_an_acquire_that_timed_out_is_not_granted_to_nobody_later() -> None:
    service = LockService()
    token = service.take(A, "x")
    service.queue(B, "x", wait_ms=10)
    service.advance(10)
    service.release(A, token)
    assert service.info("x").holders == ()


def test_l3_an_acquire_whose_client_gave_up_before_it_was_applied_is_not_granted() -> None:
    service = LockService()
    target = service.last(A) + 1
    service.sequences[A] = target  # type: ignore[assignment]  # a number is a number here
    service.abandon(A, target)
    reply = service.do(A, Acquire(("x",)), sequence=target)
    assert reply is not None
    assert service.info("x").holders == ()


def test_l4_release_checks_the_token_not_just_the_owner() -> None:
    service = LockService()
    service.take(A, "x")
    for bogus in (0, 1, 2**53 - 1):
        assert service.release(A, bogus) == Done(changed=False)
    assert service.holders("x") == [A]


def test_l4_release_checks_the_owner_not_just_the_token() -> None:
    service = LockService()
    token = service.take(A, "x")
    assert service.release(B, token) == Done(changed=False)
    assert service.holders("x") == [A]


def test_l5_failed_attempts_leave_no_edges_and_no_false_deadlocks() -> None:
    service = LockService()
    service.take(A, "x")
    for _ in range(3):
        service.refused(B, Acquire(("x",), wait_ms=0))
        service.queue(B, "x", wait_ms=5)
        service.advance(5)
    graph = service.machine.query(DescribeWaits(), service.now)
    assert isinstance(graph, WaitGraphInfo)
    assert graph.edges == ()
    service.take(B, "y")
    service.queue(A, "y")


def test_l5_a_waiter_has_an_edge_to_each_of_many_holders() -> None:
    service = LockService()
    service.share(A, "x")
    service.share(B, "x")
    service.queue(C, "x")
    graph = service.machine.query(DescribeWaits(), service.now)
    assert isinstance(graph, WaitGraphInfo)
    assert [(edge.waiter, edge.holder) for edge in graph.edges] == [(C, A), (C, B)]


def test_l5_deadlock_detection_survives_a_fail_over() -> None:
    """The edges are in the replicated table, so the next leader sees the same graph."""
    service = LockService()
    service.take(A, "x")
    service.take(B, "y")
    service.queue(B, "x")
    service.restart()
    assert service.refused(A, Acquire(("y",))).code == "deadlock"


def test_l6_one_owner_that_shares_twice_is_two_holders() -> None:
    service = LockService()
    first, second = service.share(A, "x"), service.share(A, "x")
    writer = service.queue(B, "x")
    service.release(A, first)
    assert service.waits(B, writer)
    service.release(A, second)
    assert isinstance(service.answer(B, writer), Granted)


def test_l6_a_release_is_answered_when_it_is_done() -> None:
    service = LockService()
    token = service.share(A, "x")
    assert service.release(A, token) == Done()
    assert service.info("x").holders == ()


def test_l6_tokens_do_not_repeat_after_a_restart() -> None:
    service = LockService()
    issued = []
    for _ in range(5):
        issued.append(service.take(A, "x", mode=LockMode.EXCLUSIVE))
        service.release(A, issued[-1])
        service.restart()
    assert issued == sorted(set(issued))
