"""An owner that has to yield a partition is given no more of it, and is not blamed for yielding."""

from support.queue_service import EXCLUSIVE, QueueService


def test_what_a_yielding_owner_gives_back_does_not_come_straight_back_and_counts_no_failure() -> (
    None
):
    service = QueueService()
    service.configure(partitions=2, max_deliveries=1)
    first = service.member(EXCLUSIVE)
    service.publish_many(1, partition=0)
    service.publish_many(1, partition=1)
    second = service.member(EXCLUSIVE)
    (given_up,) = first.assignments[-1].yielding
    before = list(first.got)
    service.publish_many(1, partition=given_up)
    first.release(0, partition=given_up)
    assert first.got == before, "nothing more of it for who has to yield"
    first.give_up(given_up)
    assert [place for place in second.got if place[0] == given_up] == [(given_up, 0), (given_up, 1)]
    assert service.dead(given_up) == []
