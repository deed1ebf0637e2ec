"""What a shared lane hands out when a delivery has room for less than what is urgent."""

from support.queue_service import SHARED, QueueService
from synaxis.queues.limits import DeliveryLimits


def test_a_delivery_without_room_for_all_takes_the_most_urgent_message() -> None:
    service = QueueService(delivery=DeliveryLimits(delivery_bytes_max=150))
    service.configure()
    for priority in (5, 9):
        service.publish(b"m" * 100, priorities=[priority])
    service.publish_many(20)  # so that two messages of average size would have room
    member = service.member(SHARED)
    assert member.take_new()[:2] == [1, 0]
