"""What people and tools are shown."""

from support.lock_service import A, B, C, LockService
from synaxis.ids import LogTime
from synaxis.locks.commands import (
    DescribeWaits,
    ListLocks,
    LockInfo,
    LockKind,
    LockList,
    LockMode,
    WaitEdge,
    WaitGraphInfo,
)
from synaxis.locks.requests import Request


def names(service: LockService, query: ListLocks) -> tuple[list[str], bool]:
    answer = service.machine.query(query, service.now)
    assert isinstance(answer, LockList)
    return [one.name for one in answer.locks], answer.more


def graph(service: LockService) -> WaitGraphInfo:
    answer = service.machine.query(DescribeWaits(), service.now)
    assert isinstance(answer, WaitGraphInfo)
    return answer


def test_a_free_and_unknown_lock_is_described_as_empty() -> None:
    assert LockService().info("x") == LockInfo("x", LockKind.LOCK, LogTime(1_000))


def test_a_held_lock_shows_its_holder() -> None:
    service = LockService()
    token = service.take(A, "x", max_hold_ms=500, value=b"me")
    service.advance(20)
    info = service.info("x")
    (holder,) = info.holders
    assert (holder.session, holder.token, holder.mode) == (A, token, LockMode.EXCLUSIVE)
    assert (holder.since, holder.deadline, holder.holds) == (1_000, 1_500, 1)
    assert holder.value == b"me"
    assert info.now == 1_020


def test_waiters_are_shown_in_the_order_in_which_they_will_be_served() -> None:
    service = LockService()
    token = service.share(A, "x")
    service.share(B, "x")
    service.queue(C, "x", wait_ms=100)
    service.convert(A, token, LockMode.EXCLUSIVE)
    upgrader, writer = service.info("x").waiters
    assert (upgrader.session, upgrader.converting, upgrader.mode) == (A, True, LockMode.EXCLUSIVE)
    assert (writer.session, writer.converting, writer.deadline) == (C, False, 1_100)
    assert (writer.sequence, upgrader.sequence) == (service.last(C), service.last(A))


def test_locks_are_listed_in_name_order_by_prefix_and_page() -> None:
    service = LockService()
    for name in ("b/2", "a/1", "b/1", "b/3"):
        service.take(A, name)
    assert names(service, ListLocks()) == (["a/1", "b/1", "b/2", "b/3"], False)
    assert names(service, ListLocks("b/", limit=2)) == (["b/1", "b/2"], True)
    assert names(service, ListLocks("b/", after="b/2")) == (["b/3"], False)


def test_each_kind_is_listed_on_its_own() -> None:
    service = LockService()
    service.take(A, "x")
    service.take(A, "boss", kind=LockKind.ELECTION)
    assert names(service, ListLocks(kind=LockKind.ELECTION)) == (["boss"], False)


def test_a_page_is_never_empty_while_there_is_more() -> None:
    service = LockService.limited(list_rows_max=1)
    for name in "xy":
        service.share(A, name)
        service.share(B, name)
    assert names(service, ListLocks()) == (["x"], True)
    assert names(service, ListLocks(limit=-3)) == (["x"], True)


def test_the_wait_graph_is_shown_sorted_with_the_reason() -> None:
    service = LockService()
    service.take(B, "x")
    service.take(B, "y")
    service.queue(C, "y")
    service.queue(A, "x")
    assert graph(service).edges == (WaitEdge(A, B, "x"), WaitEdge(C, B, "y"))


def test_a_large_wait_graph_is_cut_and_says_so() -> None:
    service = LockService.limited(wait_edges_max=2)
    service.take(A, "x")
    service.queue(B, "x")
    assert not graph(service).truncated
    service.queue(C, "x")
    assert graph(service).truncated
    assert len(graph(service).edges) == 2


def test_looking_at_a_lock_does_not_change_how_it_is_stored() -> None:
    service = LockService()
    service.take(A, "x")
    service.info("x")
    names(service, ListLocks())
    assert isinstance(service.machine.table.by_kind[LockKind.LOCK]["x"], Request)
